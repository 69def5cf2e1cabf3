"""Whatever a file is made of, reading it ends: with text, or with one line that says why not; and writes nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_files import FILES

from sharedllm_cli.documents import readers
from sharedllm_cli.documents.pages import Document
from sharedllm_cli.documents.readers import Limits, Probe
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.errors import DocumentError

LIMITS = Limits(seconds=60.0, memory_bytes=1 << 30)
REFUSED_FILES = frozenset(
    {
        "half an archive.epub",
    }
)
"""The others are read, at least in part, or refused by a library's choice that may change with its release."""


def outcome(path: Path) -> Document | DocumentError:
    try:
        return Probe(SourceFile(path.name, path), limits=LIMITS).read()
    except DocumentError as problem:
        return problem


@pytest.fixture(scope="module", autouse=True)
def no_process_stays() -> Iterator[None]:
    yield
    readers.rest()


@pytest.mark.parametrize("name", FILES)
def test_reading_ends_and_writes_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    path = tmp_path / "in" / name
    path.write_bytes(FILES[name]())
    before = path.read_bytes()
    found = outcome(path)
    if isinstance(found, DocumentError):
        assert name in found.message
        assert "\n" not in found.message
        assert "its reader" not in found.message, "no crash"
        assert "no end of it" not in found.message, "no hang"
    else:
        assert found.text.strip()
        assert socket.gethostname() not in found.text, "nothing from outside of the file"
    assert name not in REFUSED_FILES or isinstance(found, DocumentError)
    assert path.read_bytes() == before
    assert [*(tmp_path / "work").iterdir()] == []
    assert [*(tmp_path / "in").iterdir()] == [path]
    assert not Path("/tmp/out.xhtml").exists()


@pytest.mark.parametrize(
    "name",
    [
        "a page tree that holds itself.pdf",
        "bookmarks in a circle.pdf",
        "a bomb of a page.pdf",
        "a form that draws itself.pdf",
        "elements in elements.html",
        "quotes in quotes.md",
        "lists in lists.md",
        "a bomb of a chapter.epub",
        "a way out.epub",
        "a file that includes.rst",
        "NULs.txt",
    ],
)
def test_what_can_be_read_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name]())
    found = outcome(path)
    assert isinstance(found, Document), found
    assert "dog" in found.text or "words" in found.text


def test_a_bomb_beyond_the_limit_is_refused_in_one_line(tmp_path: Path) -> None:
    """The guard itself, with a lowered limit: 4 MB of text are harmless, and too much here."""
    path = tmp_path / "long.html"
    path.write_bytes(b"<html><body><p>" + b"The dog sleeps. " * (1 << 18) + b"</p></body></html>")
    limits = Limits(seconds=60.0, memory_bytes=8 << 20)
    with pytest.raises(DocumentError, match=r"can't be read: (?:it takes more than|its reader)"):
        Probe(SourceFile(path.name, path), limits=limits).read()
