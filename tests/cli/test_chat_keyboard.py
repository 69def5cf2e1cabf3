"""What keys do at the prompt, and what Tab offers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import pytest
from chat_talk import asked, talk
from fake_engine import Script, Stream
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from sharedllm_cli.cli.chat.keyboard import Prompt, Suggestions, is_kept, last_word, quoted
from sharedllm_cli.cli.chat.slash_commands import COMMANDS
from sharedllm_cli.cli.terminal.console import Console

ENTER, ALT_ENTER, TAB = "\r", "\x1b\r", "\t"
CTRL_A, CTRL_C, CTRL_D, CTRL_R, UP = "\x01", "\x03", "\x04", "\x12", "\x1b[A"
PASTED = "\x1b[200~{}\x1b[201~"


def suggestions(*documents: str) -> Suggestions:
    made = Suggestions({word: bool(command.takes) for word, command in COMMANDS.items()})
    made.documents = lambda: documents
    return made


@pytest.fixture
def keys() -> Iterator[PipeInput]:
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        yield typed


def lines(keys: PipeInput, typed: str, history: Path | None = None) -> tuple[list[str], str]:
    """What a person at the prompt has said, and what was told beside it."""
    err = Stream(terminal=False)
    keys.send_text(typed + CTRL_D)
    return list(
        Prompt(Console(io.StringIO(), err), history, suggestions("a.pdf", "b.pdf").offers).lines()
    ), err.getvalue()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (f"one{ENTER}two{ENTER}", ["one", "two"]),
        (f"one{ALT_ENTER}two{ENTER}", ["one\ntwo"]),
        (f"one\\{ENTER}two{ENTER}", ["one\ntwo"]),
        (f"a\\b{ENTER}", ["a\\b"]),
        (PASTED.format("one\r\ntwo\rthree") + ENTER, ["one\ntwo\nthree"]),
        (f"typed{CTRL_C}one{ENTER}", ["one"]),
        (f"/dr{TAB}a{TAB}{ENTER}", ["/drop a.pdf"]),
        (f"/sourc{TAB}{ENTER}", ["/sources"]),
        (f"/lo{TAB}{CTRL_A}{ENTER}", ["/load "]),
    ],
)
def test_what_is_typed_is_what_is_asked(keys: PipeInput, typed: str, said: list[str]) -> None:
    assert lines(keys, typed)[0] == said


@pytest.mark.parametrize(("typed", "said"), [(f"{UP}{ENTER}", "two"), (f"{CTRL_R}on{ENTER}{ENTER}", "one")])
def test_what_was_typed_before_is_found_again(keys: PipeInput, typed: str, said: str) -> None:
    prompt = Prompt(Console(io.StringIO(), Stream(terminal=False)), None, suggestions().offers).lines()
    keys.send_text(f"one{ENTER}two{ENTER}")
    assert [next(prompt), next(prompt)] == ["one", "two"]
    # The prompt reads its history while it waits for a person, who is slower than this.
    Timer(0.3, keys.send_text, [typed]).start()
    assert next(prompt) == said


def test_control_c_on_an_empty_line_says_how_to_leave(keys: PipeInput) -> None:
    said, told = lines(keys, f"{CTRL_C}one{ENTER}")
    assert said == ["one"]
    assert "Ctrl-D or /quit leaves" in told
    assert "leaves" not in lines(keys, f"typed{CTRL_C}one{ENTER}")[1]


def test_history_holds_what_was_typed_but_no_password(keys: PipeInput, tmp_path: Path) -> None:
    history = tmp_path / "history"
    lines(
        keys,
        f"one{ENTER}/set password open-sesame{ENTER} /set  --Password sesame{ENTER}/set pass-word sesame{ENTER}",
        history,
    )
    assert "+one" in history.read_text()
    assert "sesame" not in history.read_text()


@pytest.mark.parametrize(
    "line",
    [
        *("/set pass-word sesame", "/set 'password' sesame", "/set _password sesame", "/SET password sesame"),
        *("/set ---password sesame", "/set passwrod sesame", "/set password=sesame", "/set:password sesame"),
        *("/ set password sesame", "/setpassword sesame", "/set\tPASSWORD sesame", "/set\npassword sesame"),
    ],
)
def test_a_mistyped_password_is_not_kept_either(line: str) -> None:
    assert not is_kept(line)


@pytest.mark.parametrize(
    "line", ["/set", "/set seed 3", "/set --top_p 0.5", "/SET Pages 2-3", "/save set", "set out: when?", "/etc/set x?"]
)
def test_history_holds_other_settings_and_questions(line: str) -> None:
    assert is_kept(line)


def test_a_backslash_goes_on_in_the_next_line_of_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    talk(script, monkeypatch, "When is it lit,\\", "and why?", "Who?\\")
    assert [question for question, *_ in asked(script)] == ["When is it lit,\nand why?", "Who?"]


# What Tab offers

SHELF = ['"John\'s.md"', "a.pdf", "b.pdf", "bad.pdf", "book.pdf"]


@pytest.fixture
def folder(shelf: Path) -> Path:
    for name in (".hidden.pdf", "talk.json", "program.exe", "my notes.txt", "John's.md"):
        (shelf / name).write_text("x")
    (shelf / "letters to me").mkdir()
    (shelf / "letters to me" / "first.txt").write_text("x")
    return shelf


@pytest.mark.parametrize(
    ("text", "length", "offered"),
    [
        ("/s", 2, ["/sources", "/stats", "/set ", "/save "]),
        ("/zz", 3, []),
        ("a question", 0, []),
        ("/quit ", 0, []),
        ("/set pa", 2, ["password ", "pages "]),
        ("/set tree o", 1, ["on", "off"]),
        ("/set policy l", 1, ["late"]),
        ("/set seed d", 1, ["default"]),
        ("/set nonsense ", 0, ["default"]),
        ("/drop B", 1, ["book.pdf"]),
        ("/drop ", 0, ["book.pdf", "'two words.txt'"]),
        ("/load t", 1, ["talk.json"]),
        ("/save ", 0, ["'letters to me/", "talk.json"]),
        ("/add 'letters to me/first.txt' ", 0, [*SHELF, "'letters to me/", "'my notes.txt'"]),
        ("/add b", 1, ["b.pdf", "bad.pdf", "book.pdf"]),
        ("/add a.pdf my", 2, ["'my notes.txt'"]),
        ("/add .h", 2, [".hidden.pdf"]),
        ("/add Jo", 2, ['"John\'s.md"']),
        ("/add le", 2, ["'letters to me/"]),
        ("/add 'letters to me/", 15, ["'letters to me/first.txt'"]),
        ('/add "letters to me/f', 16, ["'letters to me/first.txt'"]),
        ("/add letters\\ to\\ me/f", 17, ["'letters to me/first.txt'"]),
        ("/add nowhere/x", 9, []),
    ],
)
def test_tab(folder: Path, text: str, length: int, offered: list[str]) -> None:
    found, offers = suggestions("book.pdf", "two words.txt").offers(text)
    assert [insert for insert, _ in offers] == offered
    assert found == length or not offered


def test_a_home_folder_stays_as_it_was_typed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert suggestions().offers("/add ~/my")[1] == [("~/'my notes.txt'", "my notes.txt")]


@pytest.mark.parametrize("word", ["plain", "two words", "John's", "both ' and \"", "back\\slash", "~/a b"])
def test_what_is_offered_is_read_as_it_was_meant(word: str) -> None:
    assert last_word(f"x {quoted(word)}") == (quoted(word), word)
