"""`sharedllm chats`: kept conversations listed, shown and deleted; and the setting that keeps none."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from chat_talk import talk
from fake_engine import Script, call

from sharedllm_cli.cli.chat.session import Drawer, Record, SavedDocument, SavedTurn, Session, kept_in
from sharedllm_cli.cli.options import complete_chats

DOCUMENTS = [SavedDocument("book.pdf", "/there/book.pdf", "book.pdf")]


@pytest.fixture
def two(shelf: Path, private_home: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two kept conversations, the last one first."""
    script = Script()
    talk(script, monkeypatch, "When?")
    (first,) = kept_in(private_home).paths()
    os.utime(first, (time.time() - 90_000, time.time() - 90_000))
    talk(script, monkeypatch, "Why?", "How?")
    return kept_in(private_home).paths()


def chats(*arguments: str) -> Any:
    return call(Script(), "chats", *arguments)


def test_the_last_conversation_is_listed_first(two: list[Path]) -> None:
    found = json.loads(chats("list", "--json").out)
    assert [one["name"] for one in found["chats"]] == [path.stem for path in two]
    assert [one["questions"] for one in found["chats"]] == [2, 1]
    assert [one["last_question"] for one in found["chats"]] == ["How?", "When?"]
    ran = chats("list")
    assert [path.stem in line for path, line in zip(two, ran.out.splitlines()[-2:], strict=True)] == [True, True]
    assert "2 in " in ran.err


def test_a_conversation_is_shown_whole(two: list[Path]) -> None:
    ran = chats("show", two[0].stem)
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert [line for line in lines if line.startswith("> ")] == ["> Why?", "> How?"]
    assert [line for line in lines if line.startswith("page ")] == ["page xii (12)"] * 2
    told = json.loads(chats("show", two[0].stem, "--json").out)
    assert [turn["question"] for turn in told["turns"]] == ["Why?", "How?"]
    assert told["path"] == str(two[0])


def test_an_answer_that_was_stopped_is_shown_as_such(private_home: Path) -> None:
    record = Record(kept_in(private_home))
    record.keep(Session(DOCUMENTS, [SavedTurn("Why\n?", "Be")]))
    assert chats("show", "2").out.splitlines()[-3:] == ["> Why ?", "Be", "stopped early"]


def test_a_name_is_its_beginning_or_its_file(two: list[Path]) -> None:
    assert chats("show", str(two[1])).code == chats("show", two[1].name).code == 0
    many = chats("show", "2")
    assert (many.code, many.out) == (2, "")
    assert two[0].stem in many.err
    for nothing in ("no", "", "/"):
        assert (chats("show", nothing).code, chats("rm", "--yes", nothing).code) == (2, 2)
    assert kept_in(two[0].parents[1]).paths() == two
    assert complete_chats("2") == [path.stem for path in two]
    assert complete_chats("no") == []


def test_rm_deletes_what_is_named_and_nothing_else(two: list[Path]) -> None:
    assert chats("rm", two[0].stem).code == 2, "nobody was asked"
    assert two[0].exists()
    ran = chats("rm", two[0].stem, "--yes", "--json")
    assert json.loads(ran.out) == {"deleted": [str(two[0])]}
    assert [path.exists() for path in two] == [False, True]


def test_rm_by_age(two: list[Path]) -> None:
    assert "nothing to delete" in chats("rm", "--older-than", "2", "--yes").err
    assert chats("rm", "--older-than", "1", "--yes").out == f"deleted {two[1].stem}\n"
    assert [path.exists() for path in two] == [True, False]


def test_rm_all_deletes_what_was_typed_too(two: list[Path], private_home: Path) -> None:
    typed = private_home / "chat-history"
    typed.write_text("+When?")
    chats("rm", two[0].stem, "--yes")
    assert typed.exists()
    assert chats("rm", "--all", "--yes").out == f"deleted {two[1].stem}\ndeleted chat-history\n"
    assert not typed.exists()
    assert not kept_in(private_home).paths()
    assert "nothing to delete" in chats("rm", "--all", "--yes").err
    assert "no conversation is kept" in chats("list").err


@pytest.mark.parametrize("flags", [[], ["x", "--all"], ["--all", "--older-than", "2"]])
def test_rm_is_told_one_thing(flags: list[str], two: list[Path]) -> None:
    ran = chats("rm", *flags, "--yes")
    assert ran.code == 2
    assert "say which conversations" in ran.err
    assert all(path.exists() for path in two)


def test_one_that_can_not_be_read_is_listed_and_can_be_deleted(two: list[Path]) -> None:
    two[0].write_text("{")
    ran = chats("list")
    assert "damaged" in ran.out
    told = json.loads(chats("list", "--json").out)["chats"]
    assert {one["name"]: bool(one["problem"]) for one in told} == {two[0].stem: True, two[1].stem: False}
    assert chats("show", two[0].stem).code == 2
    assert chats("rm", two[0].stem, "--yes").code == 0
    assert not two[0].exists()


def test_no_conversation_is_kept_where_the_settings_say_so(
    shelf: Path, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHAREDLLM_SAVE", "no")
    ran = talk(Script(), monkeypatch, "When?")
    assert ran.code == 0
    assert not (private_home / "chats").exists()
    talk(Script(), monkeypatch, "When?", flags=("--save",))
    (path,) = kept_in(private_home).paths()
    assert "save" not in json.loads(path.read_text("utf-8"))["settings"]


def test_two_chats_that_begin_in_the_same_second_have_files_of_their_own(tmp_path: Path) -> None:
    drawer = Drawer(tmp_path / "chats")
    session = Session(DOCUMENTS, [SavedTurn("When?", "Then")])
    (tmp_path / "chats").mkdir()
    paths = {drawer.new_path(session) for _ in range(20)}
    assert len(paths) == 20
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in paths)


def test_a_conversation_that_can_not_be_written_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sharedllm_cli.cli.chat.session.replace_bytes", full)
    with pytest.raises(Exception, match=r"(?i)space|disk"):
        Record(Drawer(tmp_path / "chats")).keep(Session(DOCUMENTS, [SavedTurn("When?", "Then")]))
    assert list((tmp_path / "chats").iterdir()) == []
