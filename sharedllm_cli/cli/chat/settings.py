"""What of the settings a chat can change while its model stays loaded, and how `/set` reads and shows it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharedllm_cli.cli import options
from sharedllm_cli.cli.arguments import page_span
from sharedllm_cli.cli.session import Call, read_config
from sharedllm_cli.config import Resolved, Settings, resolve
from sharedllm_cli.errors import UsageError

if TYPE_CHECKING:
    from sharedllm_cli.cli.chat.conversation import Conversation
    from sharedllm_cli.engine import Engine

OF_A_QUESTION = (
    *("policy", "evidence_tokens", "readings", "tree", "refuse_from", "candidates", "max_new_tokens", "temperature"),
    *("top_p", "seed", "cuda_graphs", "system", "password"),
)
"""Settings that are read at each question (the password: at each /add), in the order in which /set shows them."""
SECRET = frozenset({"password"})
"""Never shown and never saved."""
PLACES = frozenset({"model", "adapter", "index_dir"})
"""May name a folder, which is saved with its whole path: a chat may be resumed from elsewhere."""
OF_THE_CHAT = {
    "pages": "Read only these pages of every document, as counted from 1 (A-B).",
    "sources": "Show where the answer stands in the document.",
    "stream": "Show the answer while it is written.",
}
"""Options of `chat` itself."""
DEFAULT = "default"
YES, NO = ("on", "true", "yes", "1"), ("off", "false", "no", "0")
KNOBS: Mapping[str, Field[Any]] = {knob.name: knob for knob in fields(Settings)}


def shown_name(name: str) -> str:
    """A setting's name as /set takes it: its flag without the dashes before it."""
    return name.replace("_", "-")


def names() -> list[str]:
    """All that /set can change."""
    return [shown_name(name) for name in (*OF_A_QUESTION, *OF_THE_CHAT)]


def values(shown: str) -> list[str]:
    """What a setting can be set to, where that is a choice; always with `default`."""
    name = shown.replace("-", "_")
    if name in ("sources", "stream") or (name in KNOBS and _is_switch(name)):
        return ["on", "off", DEFAULT]
    return [*(KNOBS[name].metadata["choices"] if name in KNOBS else ()), DEFAULT]


def _is_switch(name: str) -> bool:
    return str(KNOBS[name].type).startswith("bool")


def settable(word: str) -> str:
    """The setting that a user means, by its own name; UsageError for one that is unknown or that fixes the model."""
    name = word.removeprefix("--").replace("-", "_").lower()
    if name in OF_A_QUESTION or name in OF_THE_CHAT:
        return name
    if name in KNOBS:
        raise UsageError(
            f"--{shown_name(name)} is settled when a chat starts",
            hint=f"leave with Ctrl-D, and go on with: sharedllm chat --resume --{shown_name(name)} …",
        )
    near = difflib.get_close_matches(shown_name(name), names(), n=1)
    hint = f"did you mean: {near[0]}" if near else f"one of: {', '.join(names())}"
    raise UsageError(f"there is no setting {word!r}", hint=hint)


def defaults_of(call: Call) -> Settings:
    """What the settings are where no flag is given: by environment, configuration file or default."""
    with suppress(UsageError):  # of a value that a flag stands in for
        return resolve({}, os.environ, read_config(call.config_path)).settings
    return Settings()


def change(conversation: Conversation, name: str, text: str) -> None:
    """Set a setting to what the user typed, or back to its default.

    Raises UsageError, with the words that the flag has for it, and then nothing is changed.
    """
    back = text.lower() == DEFAULT
    if name == "pages":
        span = None if back else page_span(text)
        for document in conversation.library.documents:
            check_pages(document, span)
        conversation.pages = span
    elif name in OF_THE_CHAT:
        setattr(conversation, name, True if back else _switch(name, text))
    else:
        value = getattr(conversation.defaults, name) if back else _parsed(name, text)
        conversation.engine.use(replace(conversation.engine.settings, **{name: value}))


def for_questions(wanted: Settings, now: Settings) -> Settings:
    """The settings of this chat, with those of a question taken from others."""
    return replace(now, **{name: getattr(wanted, name) for name in OF_A_QUESTION if name not in SECRET})


def meaning(name: str) -> str:
    """A setting's help, as the flag has it."""
    return OF_THE_CHAT[name] if name in OF_THE_CHAT else str(KNOBS[name].metadata["help"])


def check_pages(document: Any, span: tuple[int, int] | None) -> None:
    """UsageError where a document has none of these pages, as the question would raise it."""
    if span is None:
        return
    if not document.paged:
        raise UsageError(f"--pages: {document.name} has no pages", hint="/set pages default reads all of them")
    if span[0] > document.pages:
        raise UsageError(
            f"--pages {span[0]}-{span[1]}: {document.name} has only {document.pages} pages",
            hint="/set pages default reads all of them",
        )


def _parsed(name: str, text: str) -> Any:
    if _is_switch(name):
        return _switch(name, text)
    return options.number_from(KNOBS[name], text)


def _switch(name: str, text: str) -> bool:
    if text.lower() not in YES + NO:
        raise UsageError(f"--{shown_name(name)} can't be {text!r}", hint="choose one of on, off, default")
    return text.lower() in YES


def told(conversation: Conversation, name: str) -> str:
    """A setting's value as /set shows it; where the adapter decides, what it decides."""
    if name == "pages":
        return "all" if conversation.pages is None else f"{conversation.pages[0]}-{conversation.pages[1]}"
    if name in OF_THE_CHAT:
        return _text(getattr(conversation, name))
    value = getattr(conversation.engine.settings, name)
    if name in SECRET:
        return "none" if value is None else "given"
    if value is not None:
        return _text(value)
    return _of_the_adapter(conversation.engine, name)


def default_told(conversation: Conversation, name: str) -> str | None:
    """The default of a setting that differs from it; None where it doesn't."""
    if name == "pages":
        return None if conversation.pages is None else "all"
    if name in OF_THE_CHAT:
        return None if getattr(conversation, name) else "on"
    default = getattr(conversation.defaults, name)
    if getattr(conversation.engine.settings, name) == default:
        return None
    if default is None:
        return {"system": "built in", "password": "none"}.get(name, "the adapter's")
    return _text(default)


def _of_the_adapter(engine: Engine, name: str) -> str:
    shared, settings = engine.shared, engine.settings
    if name == "evidence_tokens":
        return f"{shared.passage_budget(settings):,} (the adapter's)"
    if name == "candidates":
        return f"{shared.candidates(settings)} (the adapter's)"
    if name == "tree":
        return f"{_text(shared.reads_tree(settings))} (the adapter's)"
    if name == "refuse_from":
        threshold = shared.refuse_from(settings)
        return "left to decoding" if threshold is None else f"{threshold:g} (the adapter's)"
    return "built in"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def to_save(settings: Settings, defaults: Settings) -> dict[str, Any]:
    """The settings that differ from the defaults, as a session keeps them."""
    found = {}
    for name in KNOBS:
        value = getattr(settings, name)
        if value != getattr(defaults, name) and name not in SECRET:
            found[name] = _whole_path(value) if name in PLACES and value else value
    return found


def _whole_path(text: str) -> str:
    with suppress(OSError, RuntimeError, ValueError):
        path = Path(text).expanduser()
        return str(path.absolute()) if path.exists() else text
    return text


def resumed(call: Call, saved: Mapping[str, Any], name: str) -> Call:
    """The call with the settings of a saved conversation; what was given as a flag stays.

    UsageError where they can't be meant, which names the conversation.
    """
    origins = call.resolved.origins
    wanted = {key: value for key, value in saved.items() if key in KNOBS and origins.get(key) != "flag"}
    try:
        settings = replace(call.settings, **wanted)
    except UsageError as problem:
        raise UsageError(f"{name}: {problem.message}", hint=problem.hint) from None
    return replace(call, resolved=Resolved(settings, {**origins, **dict.fromkeys(wanted, "conversation")}))
