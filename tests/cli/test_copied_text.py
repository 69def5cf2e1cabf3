"""What is copied from an answer, or piped on, has the line breaks of the answer and no others."""

from __future__ import annotations

import re

import pytest
from chat_talk import talk
from fake_engine import Script, call, make_source

LONG = "The lamp is lit at dusk and put out at dawn, and the keeper notes both hours in the ledger. " * 8
PIECES = (LONG, "Second sentence.\n\n- one\n- two")


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_an_answer_is_wrapped_by_the_terminal_alone(
    terminal: bool, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    ran = call(Script(pieces=PIECES), "ask", "book.pdf", "When is the lamp lit?", stream, terminal=terminal)
    assert ran.out == "".join(PIECES) + "\n"


def test_a_piped_chat_has_answers_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = talk(Script(pieces=PIECES), monkeypatch, "When is the lamp lit?")
    assert ran.out == "".join(PIECES) + "\n"


def test_a_piped_quote_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    script = Script(changes={"sources": [make_source(quote=LONG)]})
    ran = call(script, "ask", "book.pdf", "When is the lamp lit?", "--sources")
    [line] = [line for line in ran.err.splitlines() if "“" in line]
    assert line.strip() == f"“{LONG.strip()}”"


def narrow(script: Script, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list[str]:
    """The lines that a command writes on standard error of a terminal of 40 columns, without colours."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    ran = call(script, *arguments, terminal=True)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", ran.err.replace("\r", "")).split("\n")


def test_a_remark_has_no_line_breaks_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    warning = "page 4 of /a/very/long/folder/with/a/long/name/book.pdf has no text, and neither has page 5"
    lines = narrow(Script(changes={"warnings": [warning]}), monkeypatch, "ask", "book.pdf", "When is the lamp lit?")
    assert f"warning: {warning}" in lines


def test_no_line_of_an_answer_ends_in_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = narrow(Script(changes={"sources": [make_source(quote=LONG)]}), monkeypatch, "ask", "book.pdf", "When?")
    shown = lines[lines.index("Sources") :]  # before it, progress is drawn and erased
    assert any("“" in line for line in shown)
    assert [line for line in shown if line != line.rstrip()] == []


def test_what_goes_on_in_a_narrow_window_is_below_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_source(quote=LONG, heading="The keeper’s duties at dusk and at dawn")
    lines = narrow(Script(changes={"sources": [source]}), monkeypatch, "ask", "book.pdf", "When?")
    first = next(number for number, line in enumerate(lines) if line.startswith("  1  page"))
    after = lines[first + 1 : lines.index("", first)]
    assert len(after) > 4
    assert all(line.startswith("     ") and len(line) <= 40 for line in after)
    assert "dawn" in " ".join(after[: next(n for n, line in enumerate(after) if "“" in line)])


def test_a_table_is_printed_without_the_blanks_that_fill_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    lines = call(Script(), "models", "list", terminal=True).out.split("\n")
    assert len(lines) > 3
    assert [line for line in lines if line != line.rstrip()] == []
