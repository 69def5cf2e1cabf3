"""The settings that a chat can change while its model stays loaded: how they are shown, and what of them is saved."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharedllm_cli.cli.call import Call
from sharedllm_cli.config import OF_A_QUESTION, Resolved, Settings, resolve
from sharedllm_cli.configuration import read_config
from sharedllm_cli.errors import UsageError

if TYPE_CHECKING:
    from sharedllm_cli.cli.chat.conversation import Conversation
    from sharedllm_cli.engine import Engine

SECRET = frozenset({"password"})
"""Never shown and never saved."""
UNSAVED = SECRET | {"save", "serve"}
"""Not part of a conversation: whether it is kept, and where it is answered, is the user's to say each time."""
PLACES = frozenset({"model", "adapter", "index_dir"})
"""May name a folder, which is saved with its whole path: a chat may be resumed from elsewhere."""
OF_THE_CHAT = {
    "pages": "Read only these pages of every document (A-B), as --pages takes them.",
    "section": "Read only the sections with this heading or number, as --section takes it.",
    "sources": "Show the sources of the answer.",
    "stream": "Show the answer as it is generated.",
}
"""Options of `chat` itself."""
DEFAULT = "default"
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
    if name in ("sources", "stream") or (name in KNOBS and is_switch(name)):
        return ["on", "off", DEFAULT]
    return [*(KNOBS[name].metadata["choices"] if name in KNOBS else ()), DEFAULT]


def is_switch(name: str) -> bool:
    """Whether a setting is either on or off."""
    return str(KNOBS[name].type).startswith("bool")


def settable(word: str) -> str:
    """The setting that a user means, by its own name; UsageError for one that is unknown or that fixes the model."""
    name = word.removeprefix("--").replace("-", "_").lower()
    if name in OF_A_QUESTION or name in OF_THE_CHAT:
        return name
    if name in KNOBS:
        raise UsageError(
            f"--{shown_name(name)} can't change during a chat",
            hint=f"leave with Ctrl-D and run: sharedllm chat --resume --{shown_name(name)} …",
        )
    near = difflib.get_close_matches(shown_name(name), names(), n=1)
    hint = f"did you mean: {near[0]}" if near else f"one of: {', '.join(names())}"
    raise UsageError(f"unknown setting {word!r}", hint=hint)


def defaults_of(call: Call) -> Settings:
    """What the settings are where no flag is given: by environment, configuration file or default."""
    with suppress(UsageError):  # of a value that a flag stands in for
        return resolve({}, os.environ, read_config(call.config_path)).settings
    return Settings()


def for_questions(wanted: Settings, now: Settings) -> Settings:
    """The settings of this chat, with those of a question taken from others."""
    return replace(now, **{name: getattr(wanted, name) for name in OF_A_QUESTION if name not in SECRET})


def meaning(name: str) -> str:
    """A setting's help, as the flag has it."""
    return OF_THE_CHAT[name] if name in OF_THE_CHAT else str(KNOBS[name].metadata["help"])


def to_save(settings: Settings, defaults: Settings) -> dict[str, Any]:
    """The settings that differ from the defaults, as a session keeps them."""
    found = {}
    for name in KNOBS:
        value = getattr(settings, name)
        if value != getattr(defaults, name) and name not in UNSAVED:
            found[name] = _whole_path(value) if name in PLACES and value else value
    return found


def _whole_path(text: str) -> str:
    with suppress(OSError, RuntimeError, ValueError):
        path = Path(text).expanduser()
        return str(path.absolute()) if path.exists() else text
    return text


def resumed(call: Call, saved: Mapping[str, Any], name: str) -> Call:
    """The call with the settings of a saved conversation; what was given as a flag stays.

    UsageError where they are invalid; it names the conversation.
    """
    origins = call.resolved.origins
    wanted = {
        key: value for key, value in saved.items() if key in KNOBS and key not in UNSAVED and origins.get(key) != "flag"
    }
    try:
        settings = replace(call.settings, **wanted)
    except UsageError as problem:
        raise UsageError(f"{name}: {problem.message}", hint=problem.hint) from None
    return replace(call, resolved=Resolved(settings, {**origins, **dict.fromkeys(wanted, "conversation")}))


def told(conversation: Conversation, name: str) -> str:
    """A setting's value as /set shows it; where the adapter decides, what it decides."""
    if name == "pages":
        return "all" if conversation.pages is None else str(conversation.pages)
    if name == "section":
        return conversation.section or "all"
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
    if name == "section":
        return None if conversation.section is None else "all"
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
