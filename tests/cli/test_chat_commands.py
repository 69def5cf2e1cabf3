"""What the commands of a chat show, and which documents they open and close."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from chat_talk import ANSWER, Typist, asked, talk
from fake_engine import FakeDocument, FakeLibrary, Script, call

from sharedllm_cli.answer import Coverage, IndexUse, ModelUse, TreeRead
from sharedllm_cli.cli.chat import command as chat_module
from sharedllm_cli.cli.chat.conversation import joined, without
from sharedllm_cli.errors import DocumentError


def test_tree_tells_what_was_read_of_it_by_document_and_level(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = TreeRead(40, 640, 8.0, "hybrid")
    changes = {
        "tree": tree,
        "index": IndexUse(True, True, "/index/book", 1),
        "coverage": Coverage(5000, 5000, 10, 12, []),
    }
    err = talk(Script(changes=changes), monkeypatch, "When?", "/tree", flags=("--no-sources",)).err
    assert "40 nodes, chosen by hybrid" in err
    assert "640 for 5,000 tokens, 8 to one" in err
    assert "book.pdf  10 chunks: 10 of level 1, 10 of level 2, 20 of level 3" in err
    assert "chunk 3  level 3, node 5, page xii (12)" in err


def test_tree_counts_no_levels_where_only_some_chunks_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(changes={"tree": TreeRead(8, 128, 8.0, "hybrid")})
    err = talk(script, monkeypatch, "When?", "/tree", flags=("--no-sources",)).err
    assert "8 nodes" in err
    assert "of level" not in err


@pytest.mark.parametrize(
    ("model", "flags", "reason"),
    [
        (ModelUse("m", None, False, False, "none", "cpu"), (), "adapter is untrained"),
        (ModelUse("m", "a", True, False, "none", "cpu"), (), "adapter reads no tree"),
        (ModelUse("m", "a", True, True, "none", "cpu"), (), "best from verbatim passages alone: /set tree on"),
        (ModelUse("m", "a", True, True, "none", "cpu"), ("--no-tree",), "switched off: /set tree on"),
    ],
)
def test_tree_says_why_none_was_read(
    monkeypatch: pytest.MonkeyPatch, model: ModelUse, flags: tuple[str, ...], reason: str
) -> None:
    err = talk(Script(changes={"model": model}), monkeypatch, "When?", "/tree", flags=flags).err
    assert "not read" in err
    assert reason in err


def test_tree_says_that_nothing_was_read_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(changes={"coverage": Coverage(5000, 0, 10, 12, []), "sources": []})
    assert "none of the question's words occur" in talk(script, monkeypatch, "When?", "/tree").err


@pytest.mark.parametrize("command", ["/tree", "/stats", "/sources"])
def test_what_needs_an_answer_says_so(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    assert "yet: ask a question first" in talk(Script(), monkeypatch, command).err


def test_stats_are_of_the_last_answer_and_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    err = talk(Script(), monkeypatch, "When?", "And why?", "/stats", flags=("--no-sources",)).err
    last, every = err.split("Last answer")[1].split("This conversation")
    assert "1,024 of 5,000 tokens" in last
    assert "6 tokens, 14.5 tokens/s" in last
    assert "text found on disk" in last
    assert "2.0 s (first token 1.2 s)" in last
    assert "700 MB" in last
    assert "2: 2 answered" in every
    assert "2,048 tokens" in every
    assert "4.0 s" in every


def test_documents_are_added_and_dropped_by_name_or_number(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    err = talk(script, monkeypatch, '/add "my notes.txt" b.pdf', "/drop 1", "/drop my", "/drop 1", "/docs").err
    assert ("open", (["my notes.txt", "b.pdf"], False)) in script.calls
    assert "3  b.pdf: 12 pages" in err
    assert "error: the last document can't be dropped" in err
    assert err.rstrip().endswith("  1  b.pdf: 12 pages, 5,000 tokens in 10 chunks")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/add", "/add needs a document"),
        ("/add -", "chat reads questions from standard input"),
        ("/add bad.pdf", "bad.pdf is damaged"),
        ("/add 'open", "unbalanced quotation mark, or a backslash at the end"),
        ("/drop", "/drop needs a document"),
        ("/drop 7", "no document '7' is open"),
        ("/drop book.pdf", "the last document can't be dropped"),
        ("/docs all", "/docs takes nothing after it"),
    ],
)
def test_a_command_that_fails_leaves_the_chat_as_it_was(monkeypatch: pytest.MonkeyPatch, line: str, says: str) -> None:
    bad = DocumentError("bad.pdf is damaged", hint="get another copy")
    script = Script(failures=[("bad.pdf", bad)], only_named=True)
    ran = talk(script, monkeypatch, line, "When?", "/docs")
    assert f"error: {says}" in ran.err
    assert ran.code == (3 if "bad" in line else 2)
    assert ran.out == f"{ANSWER}\n"
    assert ran.err.count("tokens in 10 chunks") == 1


def test_of_several_documents_the_bad_one_is_told_and_the_others_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(failures=[("bad.pdf", DocumentError("bad.pdf is damaged"))], only_named=True)
    ran = talk(script, monkeypatch, "/add bad.pdf b.pdf")
    assert "error: bad.pdf is damaged" in ran.err
    assert "2  b.pdf" in ran.err
    assert ran.code == 3


def test_the_same_content_is_open_once_and_a_changed_file_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(hashes={"book.pdf": "one", "twin.pdf": "one"})

    class Rewriting(Typist):
        def lines(self) -> Iterator[str]:
            yield "/add twin.pdf"
            script.hashes["book.pdf"] = "two"
            yield "/add book.pdf"

    monkeypatch.setattr(chat_module, "open_keyboard", lambda *_: Rewriting())
    err = call(script, "chat", "book.pdf").err
    assert "twin.pdf is already open, as book.pdf" in err
    assert "book.pdf has changed and is opened again" in err
    assert "  2  " not in err


def test_pages_hold_for_added_documents_too(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    ran = talk(
        script,
        monkeypatch,
        "/set pages 13-14",
        "/set pages 3",
        "/set pages x",
        "/set pages 3-",
        "When?",
        "/set pages default",
        "Why?",
    )
    assert "error: --pages 13-14: book.pdf has only 12 pages" in ran.err
    assert "error: --pages x: book.pdf has no such page\nhint: counted are 1-12; /set pages default" in ran.err
    assert "error: --pages can't be '3-'" in ran.err
    assert [pages for _, _, pages in asked(script)] == ["3", None]


def test_a_document_without_the_pages_that_are_read_is_not_added(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(unpaged=("notes.txt",))
    ran = talk(script, monkeypatch, "/add notes.txt", "/docs", flags=("--pages", "2-3"))
    assert "error: --pages: notes.txt has no pages" in ran.err
    assert "notes.txt: " not in ran.err


def test_the_warnings_of_a_dropped_document_go_with_it() -> None:
    first, second = FakeDocument("a", "a", content_hash="a", warnings=("a: page 3 is damaged",)), FakeDocument("b", "b")
    library: Any = FakeLibrary([first, second], [], ["a: page 3 is damaged", "the adapter is another's"])
    left = without(library, [first])  # type: ignore[list-item]
    assert left.warnings == ["the adapter is another's"]
    assert [one.name for one in left.documents] == ["b"]


FOLDERS = ("one", "two")


@dataclass(frozen=True)
class Opened:
    """A document with its text apart, as the library has it."""

    path: str
    document: FakeDocument

    @property
    def name(self) -> str:
        return self.document.name

    @property
    def content_hash(self) -> str:
        return self.path


def test_names_tell_documents_apart_however_they_were_opened(tmp_path: Path) -> None:
    for folder in FOLDERS:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "book.pdf").write_text("x")
    first, second = (Opened(str(tmp_path / folder / "book.pdf"), FakeDocument("book.pdf", None)) for folder in FOLDERS)
    libraries: Any = FakeLibrary([first], []), FakeLibrary([second], [])  # type: ignore[list-item]
    both, told = joined(*libraries)
    assert [one.name for one in both.documents] == ["one/book.pdf", "two/book.pdf"]
    assert told == ["book.pdf is added"]
