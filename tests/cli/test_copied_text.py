"""What is copied from an answer, or piped on, has the line breaks of the answer and no others."""

from __future__ import annotations

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
