"""What is wrong with documents or folders is told before anything heavy is loaded, in the engine's own words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_engine import Ran, Script, call
from reportlab.pdfgen import canvas

from sharedllm_cli.cli import doctor
from sharedllm_cli.documents import readers
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.home import obstacle
from sharedllm_cli.index.store import IndexStore

HEAVY = ("torch", "transformers", "sharedllm_cli.engine")
COMMANDS = (("ask", "DOCUMENT", "When?"), ("chat", "DOCUMENT"), ("index", "DOCUMENT"), ("plan", "DOCUMENT"))


def refused(script: Script, *arguments: str, code: int = 3) -> str:
    """The error of a command that ends before it has made an engine."""
    ran = call(script, *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert script.settings == [], "the engine was made"
    return ran.err


@pytest.fixture
def broken(shelf: Path) -> Path:
    """A folder of documents that can't be read, each for its own reason."""
    old = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    (shelf / "letter.doc").write_bytes(old + bytes(600) + "WordDocument".encode("utf-16-le"))
    (shelf / "empty.txt").write_text(" \n")
    (shelf / "torn.pdf").write_bytes(b"%PDF-1.7\nobj")
    (shelf / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" + b"\0" * 100)
    (shelf / "hollow").mkdir()
    return shelf


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_a_missing_document_is_told_at_once(command: tuple[str, ...]) -> None:
    for flags in ((), ("--json",)):
        words = [word.replace("DOCUMENT", "gone.pdf") for word in command]
        assert refused(Script(), *words, *flags).startswith("error: gone.pdf does not exist\n")


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("letter.doc", "letter.doc is an old Word file (doc), which can't be read"),
        ("empty.txt", "empty.txt is empty"),
        ("torn.pdf", "torn.pdf is damaged, or not a PDF"),
        ("photo.jpg", "photo.jpg is an image, which can't be read"),
        ("hollow", "the folder hollow contains no document"),
        ("*.xyz", "no document matches *.xyz"),
        ("", "the name of a document is empty or invalid"),
    ],
)
def test_what_can_t_be_read_is_told_at_once(broken: Path, document: str, told: str) -> None:
    assert f"error: {told}\n" in refused(Script(), "ask", document, "When is it?")


def test_the_words_are_those_of_reading_it(broken: Path) -> None:
    for name in ("letter.doc", "empty.txt", "torn.pdf", "photo.jpg"):
        with pytest.raises(readers.DocumentError) as caught:
            readers.read(SourceFile(name, broken / name))
        assert f"error: {caught.value.message}\n" in refused(Script(), "ask", name, "When is it?")


def test_one_readable_document_is_enough_to_go_on(broken: Path) -> None:
    script = Script()
    assert call(script, "ask", "gone.pdf", "letter.doc", "book.pdf", "When is it?").code == 0
    assert script.calls[0] == ("open", (["gone.pdf", "letter.doc", "book.pdf"], False))


def test_standard_input_is_left_to_the_engine() -> None:
    script = Script()
    assert call(script, "ask", "-", "gone.pdf", "When is it?").code == 0
    assert script.calls


def locked_pdf(path: Path, password: str) -> str:
    sheet = canvas.Canvas(str(path), encrypt=password)
    sheet.drawString(72, 700, "The lamp is lit at dusk.")
    sheet.save()
    return str(path)


def test_a_locked_pdf_needs_its_password_but_not_once_it_is_indexed(shelf: Path, private_home: Path) -> None:
    locked = locked_pdf(shelf / "locked.pdf", "open")
    assert "error: locked.pdf is encrypted\n" in refused(Script(), "ask", locked, "When is it?")
    wrong = refused(Script(), "ask", locked, "When is it?", "--password", "wrong")
    assert "error: the password does not open locked.pdf\n" in wrong
    assert call(Script(), "ask", locked, "When is it?", "--password", "open").code == 0
    document = readers.read(SourceFile("locked.pdf", Path(locked)), password="open")
    IndexStore(private_home / "indexes").write_text(document)
    assert call(Script(), "ask", locked, "When is it?").code == 0
    assert "is encrypted" in refused(Script(), "ask", locked, "When is it?", "--reindex")


def test_nothing_heavy_is_loaded_for_it(broken: Path) -> None:
    program = f"""
import sys
from sharedllm_cli.cli.app import run
from sharedllm_cli.cli.terminal.console import Console
for document in ("gone.pdf", "letter.doc", "torn.pdf"):
    assert run(["ask", document, "When is it?"], Console()) == 3
print(*(name for name in {HEAVY!r} if name in sys.modules))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert ran.stdout.split() == []


# Two questions


@pytest.mark.parametrize(
    "questions", [("Why?", "Who?"), ("When is it lit?", "Who lit it?"), ("who lit it", "and when")]
)
def test_one_question_is_asked_at_a_time(questions: tuple[str, str]) -> None:
    error = refused(Script(), "ask", "book.pdf", *questions, code=2)
    assert error == (
        f"error: {questions[0]!r} is not a document: ask one question at a time, as the last argument\n"
        "hint: to ask several: sharedllm chat book.pdf\n"
    )
    assert "no document given" in refused(Script(), "ask", *questions, code=2)


def test_a_document_s_name_may_have_spaces_and_a_pattern_a_question_mark(shelf: Path) -> None:
    (shelf / "my book").write_text("x")
    (shelf / "who lit it?").write_text("x")
    (shelf / "chapter1.pdf").write_text("x")
    for document in ("my book", "who lit it?", "chapter?.pdf", "chapter1.pd?"):
        assert call(Script(), "ask", document, "When is it?").code == 0
    assert "my boot.pdf does not exist" in refused(Script(), "ask", "my boot.pdf", "When is it?")


# The home folder


def ask_at(home: Path, monkeypatch: pytest.MonkeyPatch, *flags: str) -> tuple[Script, Ran]:
    monkeypatch.setenv("SHAREDLLM_HOME", str(home))
    script = Script()
    return script, call(script, "ask", "book.pdf", "When is it?", *flags)


def test_a_home_that_is_a_file_is_said(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = shelf / "book.pdf"
    for home, why in ((file, "it is a file, not a folder"), (file / "below", f"{file} is a file, not a folder")):
        assert obstacle(home) == why
        script, ran = ask_at(home, monkeypatch)
        assert (ran.code, script.settings) == (2, [])
        assert ran.err == (
            f"error: the home folder {home} can't be used: {why}\n"
            "hint: set SHAREDLLM_HOME to a folder that you can write to\n"
        )
    script, ran = ask_at(shelf, monkeypatch, "--index-dir", str(file))
    assert (ran.code, script.settings) == (2, [])
    assert f"error: the folder of indexes {file} can't be used: it is a file" in ran.err


def test_a_home_that_can_t_be_made_is_said_and_one_that_is_read_only_may_serve(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != shelf)
    assert obstacle(shelf / "new" / "home") == f"{shelf} can't be written to"
    assert obstacle(shelf) == "it can't be written to"
    assert f"can't be used: {shelf} can't be written to" in ask_at(shelf / "new", monkeypatch)[1].err
    assert ask_at(shelf, monkeypatch)[1].code == 0, "model and indexes may lie there, and be read"


def test_a_home_that_is_not_there_yet_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert obstacle(tmp_path / "new" / "home") is None
    assert ask_at(tmp_path / "new" / "home", monkeypatch)[1].code == 0
    assert not (tmp_path / "new").exists()


def test_doctor_says_what_stands_in_the_way_of_the_home(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_torch", lambda: iter(()))
    monkeypatch.setattr(doctor, "_runs", lambda *_: iter(()))
    for home, why in ((shelf / "book.pdf", "it is a file, not a folder"), (shelf / "book.pdf" / "x", "is a file")):
        monkeypatch.setenv("SHAREDLLM_HOME", str(home))
        ran = call(Script(), "doctor", "--json")
        [found] = [one for one in json.loads(ran.out)["findings"] if one["topic"] == "home"]
        assert found["state"] == "problem"
        assert why in found["value"]
        assert "SHAREDLLM_HOME" in found["advice"]
        assert "1 to fix" in call(Script(), "doctor").out
