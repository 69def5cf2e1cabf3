"""Adding documents to a chat and dropping them, without opening the others again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sharedllm_cli.cli.chat.session import SavedDocument
from sharedllm_cli.errors import UsageError

if TYPE_CHECKING:
    from sharedllm_cli.engine import Library, OpenDocument


def joined(library: Library, added: Library) -> tuple[Library, list[str]]:
    """A library with the documents of another after its own, and what became of each of these, in a line.

    A content that is open already is not opened twice; a file that has changed since takes its old place.
    """
    documents, told, warnings = list(library.documents), [], list(library.warnings)
    for new in added.documents:
        twin = next((one for one in documents if one.content_hash == new.content_hash), None)
        if twin is not None:
            told.append(f"{new.name} is open already" + ("" if twin.name == new.name else f", as {twin.name}"))
            continue
        old = next((place for place, one in enumerate(documents) if _same_file(one, new)), None)
        if old is None:
            documents.append(new)
            told.append(f"{new.name} is added")
        else:
            warnings = _without(warnings, documents[old], [*documents[:old], *documents[old + 1 :]])
            documents[old] = new
            told.append(f"{new.name} has changed and is opened anew")
    both = replace(
        library,
        documents=_named(documents),
        warnings=list(dict.fromkeys([*warnings, *added.warnings])),
        read_seconds=library.read_seconds + added.read_seconds,
        not_read=list(dict.fromkeys([*library.not_read, *added.not_read])),
    )
    return both, told


def without(library: Library, dropped: Sequence[OpenDocument]) -> Library:
    """A library without some of its documents, nor the warnings of these."""
    left = [one for one in library.documents if not any(one is gone for gone in dropped)]
    warnings = list(library.warnings)
    for gone in dropped:
        warnings = _without(warnings, gone, left)
    return replace(library, documents=left, warnings=warnings)


def chosen(documents: Sequence[OpenDocument], absent: Sequence[SavedDocument], words: Sequence[str]) -> list[object]:
    """The documents that these words mean: names, or numbers as /docs counts them; UsageError for any other.

    A name may be cut short where it is clear which one is meant.
    """
    return [_meant([*documents, *absent], word) for word in words]


def _meant(documents: Sequence[OpenDocument | SavedDocument], word: str) -> object:
    for matches in (
        [one for one in documents if one.name == word],
        [one for number, one in enumerate(documents, 1) if str(number) == word],
        [one for one in documents if one.path is not None and _resolved(one.path) == _resolved(word)],
        [one for one in documents if one.name.casefold().startswith(word.casefold())],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise UsageError(
                f"{word!r} may be {' or '.join(one.name for one in matches)}", hint="name one, or its number in /docs"
            )
    raise UsageError(f"no document {word!r} is open", hint=f"open are: {', '.join(one.name for one in documents)}")


def _named(documents: list[OpenDocument]) -> list[OpenDocument]:
    """The same documents by names that tell them apart, as if they had been opened together."""
    from sharedllm_cli.documents.sources import expand

    sources = expand([one.path for one in documents if one.path is not None], failures=[])
    names = {str(source.path): source.name for source in sources}
    return [_renamed(one, names.get(str(one.path), one.name)) for one in documents]


def _renamed(opened: OpenDocument, name: str) -> OpenDocument:
    return opened if opened.name == name else replace(opened, document=replace(opened.document, name=name))


def _without(warnings: list[str], gone: OpenDocument, left: Sequence[OpenDocument]) -> list[str]:
    """Warnings less those of a document, but for what others have to tell as well."""
    stay = {text for one in left for text in one.document.warnings}
    return [text for text in warnings if text in stay or text not in gone.document.warnings]


def _same_file(one: OpenDocument, other: OpenDocument) -> bool:
    return one.path is not None and other.path is not None and _resolved(one.path) == _resolved(other.path)


def _resolved(path: str) -> Path:
    return Path(path).expanduser().resolve()


def saved(opened: OpenDocument) -> SavedDocument:
    """A document as a session keeps it; its path is whole, since the session may be resumed from another folder."""
    return SavedDocument(opened.name, str(Path(opened.path or opened.name).absolute()), opened.content_hash)
