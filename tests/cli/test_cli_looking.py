"""`ask --report` and `ask --open`: what they write, and what they refuse before any work."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest
from chat_talk import talk
from fake_engine import Script, call, make_source
from pdf_making import make_pdf

from sharedllm_cli.cli import looking
from sharedllm_cli.durable import sha256_of_bytes

QUOTE = "The lamp is lit at dusk and put out at dawn."


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """A PDF whose only page holds the fake answer's quote, in the folder where the command runs."""
    data = make_pdf([[QUOTE]])
    (tmp_path / "book.pdf").write_bytes(data)
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    changes = {"sources": [make_source(page=1, page_label=None, quote=QUOTE)]}
    return Script(hashes={"book.pdf": sha256_of_bytes(data)}, changes=changes)


def test_a_report_has_the_page_and_standard_output_only_the_answer(book: Script, tmp_path: Path) -> None:
    done = call(book, "ask", "book.pdf", "When is the lamp lit?", "--report", "answer.html")
    assert (done.code, done.out) == (0, "The lamp is lit at dusk.\n")
    assert "report: answer.html" in done.err
    text = (tmp_path / "answer.html").read_text("utf-8")
    assert "data:image/png;base64," in text
    assert text.count('class="pen"') == 1


def test_a_source_is_left_as_a_marked_picture_where_there_is_no_viewer(book: Script, private_home: Path) -> None:
    done = call(book, "ask", "book.pdf", "When is the lamp lit?", "--open", "1", "--json")
    assert done.code == 0
    assert json.loads(done.out)["answered"]
    (path,) = (private_home / "opened").iterdir()
    assert f"source 1: {path}" in done.err
    assert path.name.startswith("book-page-1-")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_source_of_a_changed_file_is_left_as_text_and_said(book: Script, tmp_path: Path, private_home: Path) -> None:
    (tmp_path / "book.pdf").write_bytes(make_pdf([["Something else."]]))
    done = call(book, "ask", "book.pdf", "When is the lamp lit?", "--open", "1")
    assert done.code == 0
    assert "book.pdf has changed since it was read" in done.err
    (path,) = (private_home / "opened").iterdir()
    assert "<mark><b>The lamp is lit at dusk</b> and put out at dawn.</mark>" in path.read_text("utf-8")


def test_a_number_without_a_source_is_wrong_usage_behind_the_answer(book: Script) -> None:
    done = call(book, "ask", "book.pdf", "When is the lamp lit?", "--open", "2")
    assert done.code == 2
    assert done.out == "The lamp is lit at dusk.\n"
    assert "error: --open 2: the answer has no such source" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--open", "0"], "--open counts sources from 1, got 0"),
        (["--overwrite"], "--overwrite is for --report"),
        (["--report", "."], ". is a folder"),
        (["--report", "missing/answer.html"], "there is no folder missing"),
        (["--report", "book.pdf"], "book.pdf exists, and is no report of sharedllm"),
    ],
)
def test_what_can_not_be_done_is_refused_before_any_work(book: Script, arguments: list[str], said: str) -> None:
    done = call(book, "ask", "book.pdf", "When is the lamp lit?", *arguments)
    assert done.code == 2
    assert f"error: {said}" in done.err
    assert book.calls == []
    assert done.out == ""


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="xdg-open is Linux's")
@pytest.mark.parametrize(("status", "opened"), [(0, True), (3, False)])
def test_the_viewer_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, opened: bool) -> None:
    viewer = tmp_path / "xdg-open"
    viewer.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/seen\nexit {status}\n')
    viewer.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert looking.view(Path("/a/b c.png"), {"DISPLAY": ":0"}) is opened
    assert (tmp_path / "seen").read_text() == "/a/b c.png\n"
    assert looking.view(Path("/a/b c.png"), {}) is False


def test_the_file_of_a_source_that_no_viewer_shows_is_told_with_quiet_too(book: Script, private_home: Path) -> None:
    done = call(book, "ask", "book.pdf", "When is the lamp lit?", "--open", "1", "-q")
    (path,) = (private_home / "opened").iterdir()
    assert (done.code, done.out) == (0, "The lamp is lit at dusk.\n")
    assert done.err == f"source 1: {path}\n"


def test_a_chat_opens_a_source_of_its_last_answer(
    book: Script, monkeypatch: pytest.MonkeyPatch, private_home: Path
) -> None:
    done = talk(book, monkeypatch, "When is the lamp lit?", "/open", "/open 1")
    (path,) = (private_home / "opened").iterdir()
    assert done.err.count(f"source 1: {path}") == 2
    assert path.read_bytes().startswith(b"\x89PNG")
    assert done.out == "The lamp is lit at dusk.\n"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["/open"], "no sources yet: ask a question first"),
        (
            ["When is the lamp lit?", "/open 2"],
            "error: /open 2: the answer has no such source\nhint: it has one source",
        ),
        (
            ["When is the lamp lit?", "/open 0"],
            "error: /open 0: the answer has no such source\nhint: it has one source",
        ),
        (["When is the lamp lit?", "/open book.pdf"], "error: /open takes the number of a source, got 'book.pdf'"),
    ],
)
def test_a_chat_says_why_it_opens_nothing(
    book: Script, monkeypatch: pytest.MonkeyPatch, private_home: Path, lines: list[str], said: str
) -> None:
    assert said in talk(book, monkeypatch, *lines).err
    assert not (private_home / "opened").exists()


def test_a_chat_opens_an_encrypted_document_with_the_password_that_was_set(
    book: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str | None] = []
    plain = looking.Sights
    monkeypatch.setattr(looking, "Sights", lambda documents, password: given.append(password) or plain(documents))
    talk(book, monkeypatch, "When is the lamp lit?", "/set password sesame", "/open")
    assert given == ["sesame"]
