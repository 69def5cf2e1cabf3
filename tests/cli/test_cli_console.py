"""What reaches the screen: nothing that a terminal obeys, no colour where none is wanted, no bar left behind."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from pathlib import Path
from time import sleep

import pytest
from fake_engine import Script, Stream, call, make_source

from sharedllm_cli.cli.terminal.console import Console, harmless, to_json
from sharedllm_cli.cli.terminal.tables import amount, duration, number_of, page_list, ranges, show_table, size
from sharedllm_cli.errors import DocumentError

REFRESHES_A_SECOND = 10
HOSTILE = "[bold]x[/bold]\x1b[2J\x1b]0;owned\x07\x9b31m\r\u202eevil\x00\x7f\u061c\ufff9\U000e0041 :smile: [/]"
OBEYED = ["\x1b", "\x07", "\x9b", "\r", "\u202e", "\x00", "\x7f", "\u061c", "\ufff9", "\U000e0041"]


@pytest.fixture
def book(tmp_path: Path) -> str:
    path = tmp_path / "book.pdf"
    path.write_text("x")
    return str(path)


def hostile_script() -> Script:
    source = make_source(document=HOSTILE, page_label=HOSTILE, quote=HOSTILE)
    bad = DocumentError(f"{HOSTILE} is damaged", hint=HOSTILE)
    return Script(
        pieces=(HOSTILE, "\x1b", "[31m"),
        changes={"sources": [source], "warnings": [HOSTILE], "answered": False, "reason": HOSTILE},
        failures=[(HOSTILE, bad)],
    )


def test_hostile_text_is_shown_and_not_obeyed(book: str) -> None:
    ran = call(hostile_script(), "ask", book, "When is it?")
    for stream in (ran.out, ran.err):
        assert not [character for character in OBEYED if character in stream]
        assert "[bold]x[/bold]" in stream
        assert ":smile:" in stream


def test_hostile_text_on_a_terminal_adds_no_sequence_of_its_own(book: str) -> None:
    ran = call(hostile_script(), "ask", book, "When is it?", terminal=True)
    for stream in (ran.out, ran.err):
        assert "\x1b]0" not in stream
        assert "\x1b[2J" not in stream
        assert "\x07" not in stream
    assert "\x1b" not in ran.out


def test_json_of_hostile_text_is_escaped_and_unchanged(book: str) -> None:
    ran = call(hostile_script(), "ask", book, "When is it?", "--json")
    assert not [character for character in OBEYED if character in ran.out]
    assert json.loads(ran.out)["sources"][0]["quote"] == HOSTILE


def test_lone_surrogates_do_not_break_json() -> None:
    text = to_json({"quote": "a\ud800b"})
    text.encode("utf-8")
    assert json.loads(text) == {"quote": "a\ud800b"}


def test_line_feeds_and_tabs_stay() -> None:
    assert harmless("a\n\tb") == "a\n\tb"


@pytest.mark.parametrize("arguments", [["ask", "BOOK", "When?"], ["plan", "BOOK"], ["doctor"], ["models", "list"]])
def test_no_escape_codes_without_a_terminal(book: str, arguments: list[str]) -> None:
    ran = call(Script(), *(book if word == "BOOK" else word for word in arguments))
    assert "\x1b" not in ran.out + ran.err


def test_colour_on_a_terminal_and_none_with_no_color(book: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    script = Script(changes={"sources": [make_source(verified=False)]})
    assert "\x1b[33mnot found word for word" in call(script, "ask", book, "When?", terminal=True).err
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[33m" not in call(script, "ask", book, "When?", terminal=True).err
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in call(script, "ask", book, "When?", terminal=True).err


def bars(monkeypatch: pytest.MonkeyPatch) -> tuple[Console, Stream]:
    monkeypatch.setenv("TERM", "xterm")
    err = Stream(terminal=True)
    return Console(Stream(terminal=True), err), err


def test_a_bar_tells_its_unit_and_gives_the_cursor_back(monkeypatch: pytest.MonkeyPatch) -> None:
    console, err = bars(monkeypatch)
    with console.task("reading book.pdf", 1000, "tokens") as task:
        task.advance(1000)
        sleep(2 / REFRESHES_A_SECOND)
    drawn = err.getvalue()
    assert "1,000 of 1,000 tokens" in drawn
    assert drawn.count("\x1b[?25l") == drawn.count("\x1b[?25h") == 1


def work_until_interrupted(console: Console) -> None:
    with console.task("reading", 10, "pages"), console.task("fetching", 98_400_000, "bytes") as task:
        task.advance(49_200_000)
        sleep(2 / REFRESHES_A_SECOND)
        raise KeyboardInterrupt


def test_two_bars_at_once_and_an_interrupt_give_the_cursor_back(monkeypatch: pytest.MonkeyPatch) -> None:
    console, err = bars(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        work_until_interrupted(console)
    assert "49.2 of 98.4 MB" in err.getvalue()
    assert err.getvalue().count("\x1b[?25l") == err.getvalue().count("\x1b[?25h") == 1
    with console.task("again", 1, "pages"):
        pass
    assert err.getvalue().count("\x1b[?25h") == 2


@pytest.mark.parametrize("quiet", [False, True])
def test_no_bar_without_a_terminal_or_with_quiet(quiet: bool) -> None:
    err = Stream(terminal=quiet)
    console = Console(Stream(terminal=False), err)
    console.quiet = quiet
    with console.task("reading", 10, "pages") as task:
        task.advance(10)
    assert err.getvalue() == ""


def test_a_warning_is_said_once() -> None:
    err = Stream(terminal=False)
    console = Console(Stream(terminal=False), err)
    console.warn("page 4 has no text")
    console.warn_all(["page 4 has no text", "page 5 has no text"])
    assert err.getvalue() == "warning: page 4 has no text\nwarning: page 5 has no text\n"


def test_quantities() -> None:
    assert [number_of(count, "chunk") for count in (0, 1, 1024)] == ["0 chunks", "1 chunk", "1,024 chunks"]
    assert [page_list(numbers) for numbers in ([4], [4, 7, 8])] == ["page 4", "pages 4, 7–8"]
    assert [duration(seconds) for seconds in (0.04, 9.94, 59.4, 200, 3900)] == [
        "0.0 s",
        "9.9 s",
        "59 s",
        "3 min 20 s",
        "1 h 05 min",
    ]
    assert [size(number) for number in (512, 331_000_000, 3_500_000_000)] == ["512 B", "331 MB", "3.5 GB"]
    assert amount(98_400_000, "bytes") == "98.4 MB"
    assert amount(131072, "tokens") == "131,072 tokens"
    assert ranges([9, 4, 7, 8]) == "4, 7–9"


def test_a_detail_is_shown_whole_and_only_with_verbose() -> None:
    err = Stream(False)
    console = Console(Stream(False), err)
    console.detail("the running text", "hidden")
    console.verbose = True
    console.detail("the running text", f"[page 1] first{HOSTILE}\n" + "long " * 60)
    shown = err.getvalue()
    assert shown.startswith("the running text:\n[page 1] first[bold]x[/bold]")
    assert "hidden" not in shown
    assert "long " * 59 in shown
    assert not any(character in shown for character in OBEYED)


def test_a_narrow_terminal_goes_without_spare_columns_and_a_pipe_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    for terminal in (True, False):
        out = Stream(terminal)
        rows = [("book.pdf", "1,024", "a-folder-with-a-long-name")]
        show_table(Console(out, Stream(False)), ("Document", "Tokens", "Folder"), rows, right="Tokens", spare="Folder")
        assert "book.pdf" in out.getvalue()
        assert "1,024" in out.getvalue()
        assert ("a-folder-with-a-long-name" in out.getvalue()) is not terminal


@pytest.mark.parametrize("width", [24, 40, 60, 80, 120])
def test_no_number_of_a_table_is_cut_at_any_width(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    headings = ("Document", "Pages", "Tokens", "Index", "To answer")
    rows = [("a-long-name.pdf", "18", "8,521", "22 MB", "5.5 s"), ("b.pdf", "1,024", "131,072", "345 MB", "1 min 20 s")]
    out = Stream(True)
    show_table(Console(out, Stream(False)), headings, rows, right="Pages,Tokens,Index,To answer")
    shown = re.sub("\x1b[^m]*m", "", out.getvalue())
    assert max(len(line) for line in shown.splitlines()) <= width
    for cell in (*headings[1:], *rows[0][1:], *rows[1][1:]):
        assert cell in shown, f"{cell} at {width} columns"
    assert "a-long-name" in shown


def test_too_narrow_for_its_numbers_a_table_becomes_one_block_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "26")
    out = Stream(True)
    rows = [("a.pdf", "8,521", "5.5 s"), ("b.pdf", "131,072", "80.0 s")]
    show_table(Console(out, Stream(False)), ("Document", "Tokens", "To answer"), rows, right="Tokens,To answer")
    shown = re.sub("\x1b[^m]*m", "", out.getvalue())
    assert [line.rstrip() for line in shown.splitlines()] == [
        *("a.pdf", "Tokens     8,521", "To answer  5.5 s", ""),
        *("b.pdf", "Tokens     131,072", "To answer  80.0 s"),
    ]


FORMATS = ("Cc", "Cf", "Cs", "Zl", "Zp")
SPELLING = "\t\n\u200c\u200d"
VISIBLE_FORMATS = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
"""Signs that Unicode counts as formats, but that have a shape: those of numbers and verses."""


def test_no_character_without_a_shape_reaches_the_screen_or_json() -> None:
    hidden = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) in FORMATS]
    spelling = SPELLING + VISIBLE_FORMATS + "".join(map(chr, range(0x13430, 0x13460)))
    hidden = [one for one in hidden if one not in spelling]
    hidden += ["\u034f", "\u115f", "\u1160", "\u3164", "\uffa0", *map(chr, range(0xE0100, 0xE01F0))]
    assert len(hidden) > 2000
    assert harmless("".join(hidden)) == ""
    for one in hidden:
        assert to_json(one).isascii()
        assert json.loads(to_json(one)) == one


def test_what_spells_words_stays() -> None:
    words = "می\u200cخواهم क्\u200dष ❤\ufe0f \u0600١٢ ᠠ\u180b 葛"
    assert harmless(words) == words
