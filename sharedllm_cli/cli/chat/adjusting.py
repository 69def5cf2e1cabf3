"""`/set` on a running chat: a setting changed, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sharedllm_cli.cli import options
from sharedllm_cli.cli.arguments import page_range
from sharedllm_cli.cli.chat.conversation import Conversation
from sharedllm_cli.cli.chat.settings import DEFAULT, KNOBS, OF_THE_CHAT, SECRET, is_switch, shown_name
from sharedllm_cli.documents.page_ranges import PageRange, resolve
from sharedllm_cli.errors import UsageError

if TYPE_CHECKING:
    from sharedllm_cli.engine import Engine, OpenDocument

YES, NO = ("on", "true", "yes", "1"), ("off", "false", "no", "0")


def change(conversation: Conversation, name: str, text: str) -> None:
    """Set a setting to what the user typed, or back to its default.

    Raises UsageError, with the words that the flag has for it, and then nothing is changed.
    """
    back = text.lower() == DEFAULT
    if name == "pages":
        wanted = None if back else page_range(text)
        for remark in check_pages(conversation.library.documents, wanted):
            conversation.call.console.note(remark)
        conversation.pages = wanted
    elif name in OF_THE_CHAT:
        setattr(conversation, name, True if back else _switch(name, text))
    else:
        value = getattr(conversation.defaults, name) if back else _parsed(name, text)
        conversation.engine.use(replace(conversation.engine.settings, **{name: value}))


def check_pages(documents: Sequence[OpenDocument], wanted: PageRange | None) -> list[str]:
    """How the pages are meant, where that must be told; UsageError where a document has none of them."""
    remarks = []
    for opened in documents if wanted else ():
        assert wanted is not None
        try:
            remarks.append(resolve(wanted, opened.document).remark)
        except UsageError as problem:
            there_is = f"{problem.hint}; " if problem.hint else ""
            raise UsageError(problem.message, hint=f"{there_is}/set pages default reads all of them") from None
    return [remark for remark in remarks if remark]


def _parsed(name: str, text: str) -> Any:
    if is_switch(name):
        return _switch(name, text)
    return options.number_from(KNOBS[name], text)


def _switch(name: str, text: str) -> bool:
    if text.lower() not in YES + NO:
        raise UsageError(f"--{shown_name(name)} can't be {text!r}", hint="choose one of on, off, default")
    return text.lower() in YES


def told(conversation: Conversation, name: str) -> str:
    """A setting's value as /set shows it; where the adapter decides, what it decides."""
    if name == "pages":
        return "all" if conversation.pages is None else str(conversation.pages)
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
