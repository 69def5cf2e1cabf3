"""A conversation on disk: its documents, settings and turns as one JSON file, which this user alone can read.

    {"format": "sharedllm-chat", "version": 3, "saved": "2025-01-31T14:02:11+00:00",
     "documents": [{"name", "path", "content_hash"}], "pages": "xii" or null, "section": "4.2",
     "settings": {"policy": "bm25"},
     "turns": [{"question", "answer", "result": what `ask --json` prints, or null where the answer was stopped}]}

Only settings that differ from the user's defaults are there, and never a password. Files are replaced whole, so that
a crash leaves the old one or the new one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from sharedllm_cli.answer import Answer
from sharedllm_cli.cli.terminal.console import to_json
from sharedllm_cli.config import Settings
from sharedllm_cli.durable import make_private_folder, replace_bytes, sha256_of_bytes, writing
from sharedllm_cli.errors import UsageError
from sharedllm_cli.home import HOME_ELSEWHERE

FORMAT = "sharedllm-chat"
VERSION = 3
WITH_PAGES = 2
"""Without a section the file is as that version has it, and without pages as the oldest does."""
OLDEST = 1
"""Its `pages` are the first and the last as counted; without pages the two are the same, and this one is written."""
SUFFIX = ".json"
KEPT = "chats"
"""The folder of kept conversations below the tool's home."""
TYPED = "chat-history"
"""The file below the tool's home with the input history in chats."""
MOST_BYTES = 256_000_000
"""A larger file is no conversation, and is not read to find that out."""


@dataclass(frozen=True)
class SavedDocument:
    """A document of a conversation: its name there, where it lies (absolute), and the hash of what was read of it."""

    name: str
    path: str
    content_hash: str


@dataclass(frozen=True)
class SavedTurn:
    """A question and what was answered; `result` is None where the answer was stopped early."""

    question: str
    answer: str
    result: Answer | None = None


@dataclass(frozen=True)
class Session:
    """What is kept of a conversation. `saved` is when, in ISO 8601; `settings` those that differ from the defaults."""

    documents: list[SavedDocument]
    turns: list[SavedTurn]
    settings: dict[str, Any] = field(default_factory=dict)
    pages: str | None = None
    saved: str = ""
    section: str | None = None

    def when(self) -> str:
        """When it was saved, to the minute, in the user's own time."""
        try:
            return datetime.fromisoformat(self.saved).astimezone().strftime("%Y-%m-%d %H:%M")
        except ValueError:
            return "an unknown time"

    def names(self) -> str:
        return ", ".join(document.name for document in self.documents)


def encode(session: Session) -> bytes:
    """A session as its file holds it."""
    version = OLDEST if session.pages is None else WITH_PAGES
    content = asdict(session)
    if session.section is None:
        del content["section"]
    else:
        version = VERSION
    return (to_json({"format": FORMAT, "version": version, **content}, indent=1) + "\n").encode("utf-8")


def decode(data: bytes, name: str) -> Session:
    """The session that a file's bytes hold; UsageError where they hold none, or that of a later version."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise UsageError(f"{name} is not a saved conversation, or is damaged") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UsageError(f"{name} is not a saved conversation", hint="/save writes one")
    version = content.get("version")
    if isinstance(version, int) and version > VERSION:
        raise UsageError(
            f"{name} was saved by a later version of sharedllm (format {version}, this one reads {VERSION})",
            hint="upgrade sharedllm to resume it",
        )
    try:
        if version not in (OLDEST, WITH_PAGES, VERSION):
            raise _UnfitError("version")
        if version == OLDEST:
            content["pages"] = _counted(content.get("pages"))
        session: Session = _value(Session, content, "")
        _check_settings(session.settings)
        if not session.documents:
            raise _UnfitError("documents")
    except _UnfitError as problem:
        raise UsageError(f"{name} is damaged: {problem} is not valid in a conversation") from None
    return session


def _counted(pages: Any) -> str | None:
    """The pages of a conversation of the oldest version."""
    span: tuple[int, int] | None = _value(tuple[int, int] | None, pages, "pages")
    return None if span is None else f"counted:{span[0]}-{span[1]}"


class _UnfitError(Exception):
    """A value that is not of its kind; says where it stands."""


def _value(kind: Any, value: Any, place: str) -> Any:
    """A value of JSON as a kind that the dataclasses above name; _UnfitError where it is none."""
    if is_dataclass(kind):
        return _object(kind, value, place)
    if isinstance(kind, UnionType):
        kinds = [one for one in get_args(kind) if one is not NoneType]
        return None if value is None else _value(kinds[0], value, place)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is list and isinstance(value, list):
        return [_value(inner[0], one, f"{place}[{number}]") for number, one in enumerate(value)]
    if origin is tuple and isinstance(value, list) and len(value) == len(inner):
        return tuple(_value(one, part, place) for one, part in zip(inner, value, strict=True))
    if origin is dict and isinstance(value, dict):
        return value
    if kind is float and type(value) in (int, float) and isfinite(value):
        return float(value)
    if type(value) is kind and kind is not float:
        return value
    raise _UnfitError(place or "the file")


def _object(kind: Any, value: Any, place: str) -> Any:
    if not isinstance(value, dict):
        raise _UnfitError(place or "the file")
    hints = get_type_hints(kind)
    found = {}
    for part in fields(kind):
        if part.name in value:
            found[part.name] = _value(hints[part.name], value[part.name], f"{place}.{part.name}".lstrip("."))
        elif part.default is MISSING and part.default_factory is MISSING:
            raise _UnfitError(f"{place}.{part.name}".lstrip("."))
    return kind(**found)


def _check_settings(settings: dict[str, Any]) -> None:
    """Each of its own type; those that this version doesn't know are left to whoever uses them."""
    hints = get_type_hints(Settings)
    for name, value in settings.items():
        if name in hints:
            settings[name] = _value(hints[name], value, f"settings.{name}")


def read_session(path: Path) -> tuple[Session, str]:
    """The conversation in a file, and the hash of the bytes that hold it; UsageError where there is none."""
    try:
        if not path.is_file():
            raise UsageError(f"there is no file {path}")
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"{path} is not a saved conversation")
        data = path.read_bytes()
        return decode(data, str(path)), sha256_of_bytes(data)
    except (OSError, ValueError) as problem:
        raise UsageError(f"{path} can't be read: {_reason(problem)}") from None


def write_session(path: Path, session: Session) -> None:
    """Write a conversation to a file of the user's choice, replacing an earlier conversation and nothing else.

    Raises UsageError where something else has the name or the folder can't be written, ResourceError for a full disk.
    """
    try:
        taken = path.exists()
    except (OSError, ValueError) as problem:
        raise UsageError(f"{path} can't be written: {_reason(problem)}") from None
    if taken:
        try:
            read_session(path)
        except UsageError as problem:
            raise UsageError(f"{path} already exists: {problem.message}", hint="choose another name") from None
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", hint="choose another place")
    with writing(path.parent, "choose another place"):
        replace_bytes(path, encode(session))


def _reason(problem: Exception) -> str:
    return (getattr(problem, "strerror", None) or str(problem)).lower()


class Drawer:
    """The folder in which conversations are kept by themselves, each in a file of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self) -> list[Path]:
        """The kept conversations, the last written first; without those that are gone by now."""
        found = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            if not path.name.startswith("."):
                with suppress(OSError):  # removed meanwhile, or a link that leads nowhere
                    found.append((path.stat().st_mtime_ns, path.name, path))
        return [path for *_, path in sorted(found, reverse=True)]

    def sessions(self) -> Iterator[tuple[Path, Session]]:
        """Those of them that can be read."""
        for path in self.paths():
            try:
                yield path, read_session(path)[0]
            except UsageError:
                continue

    def about(self, paths: Sequence[str]) -> Path | None:
        """The last conversation in which all these files were open; None where there is none."""
        wanted = {Path(path).resolve() for path in paths}
        for path, session in self.sessions():
            if wanted <= {Path(document.path).resolve() for document in session.documents}:
                return path
        return None

    def record(self, path: Path, session: Session, digest: str) -> Record:
        """Where a conversation from this file is kept from now on: there, if it is in the drawer, else anew.

        `session` is what it is at the beginning: it is not kept anew before more is said. `digest` is the hash of the
        bytes that were read of the file.
        """
        return Record(self, path if path.resolve().parent == self.folder.resolve() else None, session, digest)

    def new_path(self, session: Session) -> Path:
        """An empty file of a name of its own: when the conversation was begun, and what it is about."""
        about = re.sub(r"[^\w.-]+", "-", Path(session.documents[0].name).stem if session.documents else "")[:40]
        stem = "-".join(filter(None, [datetime.now().strftime("%Y-%m-%d-%H%M%S"), about.strip("-.")]))
        path, number = self.folder / f"{stem}{SUFFIX}", 1
        while True:
            with suppress(FileExistsError):  # another chat may begin in the same second
                path.touch(mode=0o600, exist_ok=False)
                return path
            number += 1
            path = self.folder / f"{stem}-{number}{SUFFIX}"


def kept_in(home: Path) -> Drawer:
    """Where conversations are kept below the tool's home."""
    return Drawer(home / KEPT)


class Record:
    """The file of the drawer that one running conversation is kept in.

    Two chats that go on with the same conversation don't overwrite each other: the second to write gets its own file.
    """

    def __init__(
        self, drawer: Drawer, path: Path | None = None, kept: Session | None = None, digest: str | None = None
    ) -> None:
        """`kept` is what need not be written, since it is on disk already.

        `digest` is the hash of the file as it was read. It is not taken here: documents are opened in between, and
        what another chat wrote meanwhile would pass for this one's own.
        """
        self._drawer = drawer
        self.path = path
        self._digest = digest
        self._kept = kept

    def keep(self, session: Session, *, again: bool = False) -> bool:
        """Write a conversation unless that is done; whether it had to go to another file than before.

        `again` writes it in any case. Raises UsageError or ResourceError where it can't be written.
        """
        if session == self._kept and not again and (self.path is None or self.path.exists()):
            return False
        with writing(self._drawer.folder, HOME_ELSEWHERE):
            make_private_folder(self._drawer.folder)
            apart = self.path is not None and _digest(self.path) not in (None, self._digest)
            data = encode(dated(session))
            if self.path is not None and not apart:
                path = self.path
                replace_bytes(path, data)
            else:
                path = self._drawer.new_path(session)
                try:
                    replace_bytes(path, data)
                except BaseException:
                    path.unlink(missing_ok=True)  # an empty file would pass for the last conversation
                    raise
        self.path, self._digest, self._kept = path, sha256_of_bytes(data), session
        return apart


def dated(session: Session) -> Session:
    """The session as of now."""
    return replace(session, saved=datetime.now(UTC).isoformat("T", "seconds"))


def _digest(path: Path | None) -> str | None:
    """The hash of a file's bytes, None where there is no such file."""
    return sha256_of_bytes(path.read_bytes()) if path is not None and path.is_file() else None
