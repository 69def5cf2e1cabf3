"""Scripted conversations: history, slash commands, and how a chat ends."""

from __future__ import annotations

import io
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_talk import ANSWER, Impatient, Typist, asked, talk
from fake_engine import Script, call, make_source

from sharedllm_cli.cli.chat import command as chat_module
from sharedllm_cli.cli.chat.keyboard import open_keyboard, private_file
from sharedllm_cli.errors import ModelError


def test_each_question_sees_the_ones_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    ran = talk(script, monkeypatch, "When?", "", "And why?")
    assert (ran.code, ran.out) == (0, f"{ANSWER}\n{ANSWER}\n")
    assert asked(script) == [("When?", [], None), ("And why?", [("When?", ANSWER)], None)]


def test_clear_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    talk(script, monkeypatch, "When?", "/clear", "And why?")
    assert asked(script)[1] == ("And why?", [], None)


def test_quit_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    assert talk(script, monkeypatch, "/quit", "When?").code == 0
    assert asked(script) == []


def test_slash_commands_write_to_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = talk(Script(), monkeypatch, "/help", "/docs", "/sources")
    assert ran.out == ""
    for word in chat_module.COMMANDS:
        assert word in ran.err
    assert "book.pdf: 12 pages, 5,000 tokens in 10 chunks" in ran.err
    assert "no sources yet" in ran.err


def test_sources_quotes_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    long = " ".join(["word"] * 100 + ["end"])
    script = Script(changes={"sources": [make_source(quote=long)]})
    ran = talk(script, monkeypatch, "When?", "/sources", flags=("--no-sources",))
    assert "word end”" in ran.err


def test_an_unknown_command_is_told_and_the_chat_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = talk(Script(), monkeypatch, "/sing", "When?")
    assert "error: unknown command /sing\nhint: one of: /help" in ran.err
    assert (ran.code, ran.out) == (2, f"{ANSWER}\n")


def test_a_failed_question_is_told_and_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(late_error=ModelError("the model stumbled"))
    ran = talk(script, monkeypatch, "When?", "Why?")
    assert ran.code == 4
    assert ran.err.count("error: the model stumbled") == 2
    assert asked(script)[1] == ("Why?", [], None)


def test_json_is_one_object_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = talk(Script(), monkeypatch, "When?", "Why?", flags=("--json",))
    assert [json.loads(line)["question"] for line in ran.out.splitlines()] == ["When?", "Why?"]
    assert ran.err == ""


def test_a_document_can_t_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("x"))
    ran = call(Script(), "chat", "-")
    assert ran.code == 2
    assert "hint: save the document to a file" in ran.err


def test_pages_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    talk(script, monkeypatch, "When?", flags=("--pages", "2-3"))
    assert asked(script) == [("When?", [], "2-3")]


def test_control_c_stops_the_answer_and_keeps_the_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_module, "open_keyboard", lambda *_: Typist("When?", "And why?"))
    script = Impatient()
    ran = call(script, "chat", "book.pdf")
    assert ran.code == 0
    assert ran.out == f"The lamp \n{ANSWER}\n"
    assert "stopped" in ran.err
    assert asked(script)[1] == ("And why?", [("When?", "The lamp ")], None)
    assert script.closed == 2


def test_at_a_terminal_three_sources_are_shown_and_the_rest_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_module, "open_keyboard", lambda *_: Typist("When?"))
    ran = call(Script(changes={"sources": [make_source()] * 8}), "chat", "book.pdf")
    assert ran.err.count("page xii (12)") == 3
    assert "5 more: /sources" in ran.err
    monkeypatch.setattr(chat_module, "open_keyboard", lambda *_: Typist("When?"))
    ran = call(Script(changes={"sources": [make_source()] * 8}), "chat", "book.pdf", "--sources")
    assert ran.err.count("page xii (12)") == 8


def test_control_c_in_a_pipe_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = talk(Impatient(), monkeypatch, "When?", "And why?")
    assert ran.code == 130


def test_history_is_private(tmp_path: Path) -> None:
    path = tmp_path / "chat-history"
    path.write_text("old")
    path.chmod(0o644)
    assert stat.S_IMODE(private_file(path).stat().st_mode) == 0o600
    assert path.read_text() == "old"
    assert stat.S_IMODE(private_file(tmp_path / "new").stat().st_mode) == 0o600


def test_a_pipe_is_read_line_by_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from sharedllm_cli.cli.terminal.console import Console

    monkeypatch.setattr("sys.stdin", io.StringIO("a\nb\n"))
    keyboard = open_keyboard(Console(), tmp_path, [])
    assert not keyboard.interactive
    assert list(keyboard.lines()) == ["a\n", "b\n"]


def test_each_answer_is_told_its_own_warnings_and_those_of_the_documents_once(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(warnings=["page 3 is damaged"], changes={"warnings": ["the answer stops at its longest length"]})
    err = talk(script, monkeypatch, "When?", "Why?").err
    assert err.count("the answer stops at its longest length") == 2
    assert err.count("page 3 is damaged") == 1


def test_what_commands_show_does_not_mix_into_json(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ("/help", "When?", "/sources", "/tree", "/stats", "/docs", "/set", "/save", "/load", "/add c.pdf", "/clear")
    ran = talk(Script(), monkeypatch, *lines, flags=("--json", "--quiet"))
    assert [json.loads(line)["question"] for line in ran.out.splitlines()] == ["When?"]
    assert "page xii (12)" in ran.err, "what is asked for is shown with --quiet too"


def test_a_line_that_begins_with_a_path_is_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    talk(script, monkeypatch, "/etc/fstab holds what?", "exit")
    assert [question for question, *_ in asked(script)] == ["/etc/fstab holds what?", "exit"]


def test_at_a_terminal_exit_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_module, "open_keyboard", lambda *_: Typist("exit", "When?"))
    script = Script()
    assert call(script, "chat", "book.pdf").code == 0
    assert asked(script) == []


def test_a_fault_of_ours_ends_the_line_and_not_the_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(late_error=KeyError("surprise"))
    ran = talk(script, monkeypatch, "When?", "/docs")
    assert "error: internal error" in ran.err
    assert "tokens in 10 chunks" in ran.err
    assert ran.code == 1


def test_control_c_stops_a_command_and_keeps_the_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()

    class Reading(Typist):
        def lines(self) -> Iterator[str]:
            script.error = KeyboardInterrupt()
            yield "/add long.pdf"
            script.error = None
            yield "When?"

    monkeypatch.setattr(chat_module, "open_keyboard", lambda *_: Reading())
    ran = call(script, "chat", "book.pdf")
    assert "stopped" in ran.err
    assert (ran.code, ran.out) == (0, f"{ANSWER}\n")


def test_a_stopped_answer_has_no_sources_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_module, "open_keyboard", lambda *_: Typist("When?", "/sources"))
    assert "no sources: the last answer was stopped" in call(Impatient(), "chat", "book.pdf").err
