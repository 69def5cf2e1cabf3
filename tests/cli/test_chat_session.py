"""A conversation on disk: kept after every answer, gone on with, and refused where its file can't be trusted."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_talk import ANSWER, Impatient, Typist, asked, talk
from fake_engine import Ran, Script, call, make_answer, make_source

from sharedllm_cli.answer import TreeRead
from sharedllm_cli.cli.chat import command as chat_module
from sharedllm_cli.cli.chat import session as chat_session
from sharedllm_cli.cli.chat.session import SavedDocument, SavedTurn, Session, decode, encode
from sharedllm_cli.errors import DocumentError, UsageError

DOCUMENT = SavedDocument("book.pdf", "/there/book.pdf", "book.pdf")
SESSION = Session(
    [DOCUMENT],
    [
        SavedTurn("When?", ANSWER, make_answer(sources=[make_source(page_label=None, paged=False, read=False)])),
        SavedTurn("Why\n\ud800 \x1b[2J?", "Be", None),
    ],
    {"seed": 3, "temperature": 0.5, "tree": True, "system": None},
    "A-3",
    "2025-01-31T14:02:11+00:00",
)


OTHERS = ("first.pdf", "second.pdf", "third.pdf", "other.pdf")


@pytest.fixture
def here(shelf: Path) -> Path:
    """The current folder, with more documents."""
    for name in OTHERS:
        (shelf / name).write_text("The lamp is lit at dusk.")
    return shelf


def kept(home: Path) -> list[Path]:
    return sorted((home / "chats").glob("*.json"))


def resume(script: Script, monkeypatch: pytest.MonkeyPatch, *lines: str, flags: tuple[str, ...] = ("--resume",)) -> Ran:
    """Another chat in which no document is named."""
    return talk(script, monkeypatch, *lines, flags=flags, documents=())


def test_what_is_saved_is_what_is_read() -> None:
    data = encode(SESSION)
    assert decode(data, "x") == SESSION
    assert b"\x1b" not in data
    assert decode(encode(Session([DOCUMENT], [])), "x") == Session([DOCUMENT], [])


def test_a_conversation_that_was_saved_before_answers_had_routes_is_read() -> None:
    text = encode(SESSION).decode().replace('"route": "passages"', '"readings": 1')
    assert "passages" not in text
    found = decode(text.encode(), "x").turns[0].result
    assert found is not None
    assert found.route is None


def test_a_conversation_is_kept_after_every_answer_for_this_user_alone(
    monkeypatch: pytest.MonkeyPatch, private_home: Path
) -> None:
    class Looking(Script):
        found: list[int] = []  # noqa: RUF012

        def make(self, *arguments: Any) -> Any:
            engine = super().make(*arguments)
            plain = engine.ask
            engine.ask = lambda *values, **named: (self.found.append(len(kept(private_home))), plain(*values, **named))[
                1
            ]
            return engine

    script = Looking()
    talk(script, monkeypatch, "When?", "Why?", "/set seed 5")
    assert script.found == [0, 1]
    (path,) = kept(private_home)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    session = chat_session.read_session(path)[0]
    assert [turn.question for turn in session.turns] == ["When?", "Why?"]
    assert session.turns[0].result == make_answer("When?")
    assert session.settings == {"seed": 5}
    assert session.documents == [SavedDocument("book.pdf", str(Path("book.pdf").absolute()), "book.pdf")]


def test_nothing_is_kept_of_a_chat_without_an_answer_nor_with_no_save(
    monkeypatch: pytest.MonkeyPatch, private_home: Path
) -> None:
    talk(Script(), monkeypatch, "/docs", "/set seed 5")
    talk(Script(), monkeypatch, "When?", flags=("--no-save",))
    assert kept(private_home) == []


def test_a_conversation_goes_on(monkeypatch: pytest.MonkeyPatch, private_home: Path) -> None:
    talk(Script(), monkeypatch, "When?", "/set top-p 0.5", "/set pages 2-3")
    script = Script()
    ran = resume(script, monkeypatch, "/sources", "And why?")
    assert ran.out == f"{ANSWER}\n"
    assert "book.pdf, 1 question\n  › When?\n    The lamp is lit at dusk.\n" in ran.err
    assert "page xii (12)" in ran.err, "the sources of the answer before"
    assert asked(script) == [("And why?", [("When?", ANSWER)], "2-3")]
    assert script.used[0].top_p == 0.5
    assert ("open", ([str(Path("book.pdf").absolute())], False)) in script.calls
    assert len(kept(private_home)) == 1, "it goes on in the same file"


def test_a_flag_wins_over_what_was_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    talk(Script(), monkeypatch, "When?", flags=("--seed", "3", "--top-p", "0.5", "--pages", "2-3"))
    script = Script()
    resume(script, monkeypatch, "Why?", flags=("--resume", "--seed", "4", "--pages", "5"))
    assert (script.used[0].seed, script.used[0].top_p) == (4, 0.5)
    assert asked(script)[0][2] == "5"


def test_at_a_terminal_the_last_conversation_goes_on_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    talk(Script(), monkeypatch, "When?")
    monkeypatch.setattr(chat_module, "open_keyboard", lambda *_: Typist("Why?"))
    script = Script()
    ran = call(script, "chat")
    assert "resuming the conversation of" in ran.err
    assert "kept: `sharedllm chat` resumes this conversation" in ran.err
    assert asked(script)[0][1] == [("When?", ANSWER)]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "no document given\nhint: sharedllm chat DOC..., or --resume"),
        (("--resume",), "no conversation is kept yet\nhint: start one with"),
        (("--load", "nosuch.json"), "there is no file nosuch.json"),
        (("--load", "x.json", "--resume"), "--load resumes one conversation and takes no --resume"),
        (("--load", "x.json", "book.pdf"), "--load resumes one conversation and takes no documents"),
    ],
)
def test_what_can_t_be_gone_on_with(
    monkeypatch: pytest.MonkeyPatch, here: Path, flags: tuple[str, ...], says: str
) -> None:
    ran = resume(Script(), monkeypatch, "When?", flags=flags)
    assert ran.code == 2
    assert f"error: {says}" in ran.err
    assert ran.out == ""


def test_a_kept_conversation_that_is_gone_is_passed_over(monkeypatch: pytest.MonkeyPatch, private_home: Path) -> None:
    talk(Script(), monkeypatch, "When?")
    (private_home / "chats" / "dangling.json").symlink_to("nowhere.json")
    (private_home / "chats" / "circle.json").symlink_to("circle.json")
    script = Script()
    ran = resume(script, monkeypatch, "/load", "Why?")
    assert (ran.code, asked(script)[0][1]) == (0, [("When?", ANSWER)])


def test_resume_with_documents_takes_the_last_conversation_about_them(
    monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    for name in ("book.pdf", "other.pdf"):
        talk(Script(), monkeypatch, f"What of {name}?", documents=(name,))
    script = Script()
    talk(script, monkeypatch, "Why?", flags=("--resume",))
    assert asked(script)[0][1] == [("What of book.pdf?", ANSWER)]
    ran = talk(Script(), monkeypatch, "Why?", flags=("--resume",), documents=("third.pdf",))
    assert (ran.code, ran.err.splitlines()[0]) == (2, "error: no conversation about third.pdf is kept")
    both = talk(Script(), monkeypatch, "Why?", flags=("--resume",), documents=("book.pdf", "other.pdf"))
    assert "error: no conversation about book.pdf, other.pdf is kept" in both.err, "each was asked apart"


def test_documents_that_are_gone_or_changed_are_told_and_not_forgotten(
    monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    talk(Script(), monkeypatch, "/add b.pdf", "When?")
    gone = str(here / "b.pdf")
    script = Script(hashes={"book.pdf": "another"}, failures=[(gone, DocumentError(f"{gone} does not exist"))])
    ran = resume(script, monkeypatch, "/docs", "Why?")
    assert f"error: {gone} does not exist" in ran.err
    assert "the conversation continues without b.pdf" in ran.err
    assert "book.pdf has changed: the answers so far are from its earlier text" in ran.err
    assert f"2  b.pdf: not there ({gone})" in ran.err
    assert ran.code == 3
    back = resume(Script(hashes={"book.pdf": "another"}), monkeypatch, "/drop b.pdf", "/docs", "Why?")
    assert "2  b.pdf: 12 pages" not in back.err
    assert "not there" not in back.err
    assert "error" not in back.err
    assert "1  book.pdf: 12 pages" in back.err


def test_a_conversation_whose_documents_are_all_gone_does_not_begin(
    monkeypatch: pytest.MonkeyPatch, private_home: Path, here: Path
) -> None:
    talk(Script(), monkeypatch, "When?")
    before = kept(private_home)[0].read_bytes()
    gone = str(here / "book.pdf")
    ran = resume(Script(failures=[(gone, DocumentError("it does not exist"))]), monkeypatch, "Why?")
    assert ran.code == 3
    assert "can be opened: it does not exist\nhint: put them back" in ran.err
    assert kept(private_home)[0].read_bytes() == before


def test_clear_begins_another_conversation_and_keeps_the_one_before(
    monkeypatch: pytest.MonkeyPatch, private_home: Path
) -> None:
    talk(Script(), monkeypatch, "When?", "/clear", "Why?")
    said = [[turn.question for turn in chat_session.read_session(path)[0].turns] for path in kept(private_home)]
    assert sorted(said) == [["When?"], ["Why?"]]


def test_save_and_load(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    ran = talk(Script(), monkeypatch, "When?", "/set seed 5", '/save "my talk"', "/clear", "/set seed 6")
    assert "saved, readable by you alone: my talk.json" in ran.err
    assert stat.S_IMODE((here / "my talk.json").stat().st_mode) == 0o600
    script = Script()
    loaded = talk(script, monkeypatch, "Else?", '/load "my talk"', "Why?", documents=("other.pdf",))
    assert "› When?" in loaded.err
    assert asked(script)[1] == ("Why?", [("When?", ANSWER)], None)
    assert [settings.seed for settings in script.used] == [0, 5]
    assert "  1  book.pdf" in loaded.err


def test_load_takes_over_no_settings_of_the_conversation_that_was_resumed(
    monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    talk(Script(), monkeypatch, "When?", "/save a", flags=("--policy", "bm25"))
    talk(Script(), monkeypatch, "When?", "/save b")
    script = Script()
    lines = ("Why?", "/load b.json", "Why?", "/save c.json")
    resume(script, monkeypatch, *lines, flags=("--load", "a.json", "--seed", "4"))
    assert [(used.policy, used.seed) for used in script.used] == [("bm25", 4), ("hybrid", 4)]
    assert chat_session.read_session(here / "c.json")[0].settings == {"seed": 4}


def test_what_is_loaded_is_not_kept_twice_until_more_is_said(
    monkeypatch: pytest.MonkeyPatch, private_home: Path, here: Path
) -> None:
    talk(Script(), monkeypatch, "When?", "/save talk", flags=("--no-save",))
    resume(Script(), monkeypatch, "/docs", flags=("--load", "talk.json"))
    assert kept(private_home) == []
    before = (here / "talk.json").read_bytes()
    resume(Script(), monkeypatch, "/save", flags=("--load", "talk.json", "--no-save"))
    assert len(kept(private_home)) == 1, "it was asked for"
    kept(private_home)[0].unlink()
    resume(Script(), monkeypatch, "Why?", flags=("--load", "talk.json"))
    assert len(kept(private_home)) == 1
    assert (here / "talk.json").read_bytes() == before, "only /save writes a file of the user's"


def test_save_without_a_name_keeps_even_with_no_save(monkeypatch: pytest.MonkeyPatch, private_home: Path) -> None:
    talk(Script(), monkeypatch, "When?", "/save", flags=("--no-save",))
    assert len(kept(private_home)) == 1


def test_load_lists_what_is_kept_and_takes_a_number(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    talk(Script(), monkeypatch, "When?", documents=("first.pdf",))
    script = Script()
    ran = talk(script, monkeypatch, "Else?", "/load", "/load 2", "Why?", "/load 9", documents=("second.pdf",))
    listed = ran.err.split("Kept conversations\n")[1].splitlines()
    assert listed[0].endswith("second.pdf, 1 question (this one)")
    assert listed[1].endswith("first.pdf, 1 question")
    assert asked(script)[1][1] == [("When?", ANSWER)]
    assert "error: there is no conversation number 9" in ran.err


@pytest.mark.parametrize("name", ["book.pdf", "folder", "nowhere/talk.json"])
def test_save_replaces_nothing_but_a_conversation(monkeypatch: pytest.MonkeyPatch, here: Path, name: str) -> None:
    (here / "folder").mkdir()
    ran = talk(Script(), monkeypatch, "When?", f"/save {name}", "/save talk", "Why?", "/save talk")
    assert ran.code == 2
    assert ran.err.count("error: ") == 1
    assert (here / "book.pdf").read_text() == "The lamp is lit at dusk."
    assert len(chat_session.read_session(here / "talk.json")[0].turns) == 2


def test_pages_of_an_older_conversation_are_those_counted_so() -> None:
    older = content() | {"version": 1, "pages": [2, 9]}
    assert decode(json.dumps(older).encode(), "old.json").pages == "counted:2-9"
    assert content()["version"] == 2
    assert json.loads(encode(replace(SESSION, pages=None)))["version"] == 1, "which an older tool reads"


def content() -> Any:
    return json.loads(encode(SESSION))


BAD: dict[str, Any] = {
    "cut": encode(SESSION)[:-40],
    "empty": b"",
    "list": [1],
    "foreign": {"format": "another"},
    "later": content() | {"version": 4},
    "no version": content() | {"version": None},
    "turn": content() | {"turns": [{"question": 1, "answer": ""}]},
    "no answer": content() | {"turns": [{"question": "x"}]},
    "pages": content() | {"pages": [1]},
    "setting": content() | {"settings": {"seed": "3"}},
    "nothing": content() | {"documents": []},
    "deep": b"[" * 100_000,
    "infinite": encode(SESSION).replace(b"14.5", b"1e999"),
    "no number": encode(SESSION).replace(b"14.5", b"NaN"),
    "bytes": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_and_loses_nothing(monkeypatch: pytest.MonkeyPatch, here: Path, case: str) -> None:
    bad = BAD[case] if isinstance(BAD[case], bytes) else json.dumps(BAD[case]).encode()
    (here / "bad.json").write_bytes(bad)
    script = Script()
    ran = talk(script, monkeypatch, "When?", "/load bad.json", "Why?")
    assert ran.err.count("error: bad.json ") == 1
    assert "went wrong inside" not in ran.err
    assert asked(script)[1] == ("Why?", [("When?", ANSWER)], None)
    assert (here / "bad.json").read_bytes() == bad
    started = resume(Script(), monkeypatch, flags=("--load", "bad.json"))
    assert (started.code, started.out) == (2, "")


def test_a_later_version_says_so() -> None:
    with pytest.raises(UsageError, match="saved by a later version of sharedllm") as raised:
        decode(json.dumps(BAD["later"]).encode(), "bad.json")
    assert raised.value.hint == "upgrade sharedllm to resume it"


def test_a_setting_that_can_t_be_meant_names_the_conversation(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    (here / "odd.json").write_text(json.dumps(content() | {"settings": {"policy": "x", "frobnicate": 1}}))
    ran = resume(Script(), monkeypatch, flags=("--load", "odd.json"))
    assert "error: odd.json: --policy can't be 'x'" in ran.err
    document = {"name": "book.pdf", "path": str(here / "book.pdf"), "content_hash": "book.pdf"}
    (here / "odd.json").write_text(json.dumps(content() | {"settings": {"frobnicate": 1}, "documents": [document]}))
    ran = resume(Script(), monkeypatch, flags=("--load", "odd.json"))
    assert "note: this version has no setting frobnicate" in ran.err
    assert ran.code == 0


def test_a_model_of_another_conversation_is_told_by_load(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    talk(Script(), monkeypatch, "When?", "/save talk", flags=("--model", "large"))
    ran = talk(Script(), monkeypatch, "/load talk")
    assert "used --model large, this chat uses smollm2-135m-instruct" in ran.err
    script = Script()
    resume(script, monkeypatch, flags=("--resume",))
    assert script.settings[0].model == "large", "a resumed chat loads it"


def test_two_chats_that_go_on_with_one_conversation_keep_both(
    monkeypatch: pytest.MonkeyPatch, private_home: Path
) -> None:
    talk(Script(), monkeypatch, "When?")

    class Meanwhile(Typist):
        def lines(self) -> Any:
            yield "One?"
            monkeypatch.setattr(chat_module, "open_keyboard", lambda *_: Typist("Two?"))
            call(Script(), "chat", "--resume")
            yield "Three?"

    monkeypatch.setattr(chat_module, "open_keyboard", lambda *_: Meanwhile())
    ran = call(Script(), "chat", "--resume")
    assert "this one is kept in" in ran.err
    said = [[turn.question for turn in chat_session.read_session(path)[0].turns] for path in kept(private_home)]
    assert sorted(said) == [["When?", "One?", "Three?"], ["When?", "One?", "Two?"]]


class Meanwhile(Script):
    """While the documents of the conversation open, another chat asks a question in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._monkeypatch = monkeypatch

    def make(self, *arguments: Any) -> Any:
        engine = super().make(*arguments)
        plain = engine.open

        def open_late(names: Any, **named: Any) -> Any:
            if Path(names[0]).name == "book.pdf":
                self._monkeypatch.setattr(chat_module, "open_keyboard", lambda *_: Typist("Two?"))
                call(Script(), "chat", "--resume")
            return plain(names, **named)

        engine.open = open_late
        return engine


@pytest.mark.parametrize(("arguments", "lines"), [(("--resume",), ("One?",)), (("other.pdf",), ("/load 1", "One?"))])
def test_what_another_chat_writes_while_documents_open_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, private_home: Path, here: Path, arguments: tuple[str, ...], lines: tuple[str, ...]
) -> None:
    talk(Script(), monkeypatch, "When?")
    monkeypatch.setattr(chat_module, "open_keyboard", lambda *_: Typist(*lines))
    ran = call(Meanwhile(monkeypatch), "chat", *arguments)
    assert "this one is kept in" in ran.err
    said = [[turn.question for turn in chat_session.read_session(path)[0].turns] for path in kept(private_home)]
    assert sorted(said) == [["When?", "One?"], ["When?", "Two?"]]


def test_a_stopped_answer_is_kept_as_far_as_it_came(monkeypatch: pytest.MonkeyPatch, private_home: Path) -> None:
    monkeypatch.setattr(chat_module, "open_keyboard", lambda *_: Typist("When?"))
    call(Impatient(), "chat", "book.pdf")
    assert chat_session.read_session(kept(private_home)[0])[0].turns == [SavedTurn("When?", "The lamp ", None)]


def test_a_chat_that_can_t_be_kept_goes_on_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, private_home: Path
) -> None:
    (private_home / "chats").write_text("a file in the way")
    ran = talk(Script(), monkeypatch, "When?", "Why?")
    assert (ran.code, ran.out) == (0, f"{ANSWER}\n{ANSWER}\n")
    assert ran.err.count("this conversation can't be saved") == 1


def test_an_interrupted_script_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class LaterImpatient(Impatient):
        at = 2

    ran = talk(LaterImpatient(), monkeypatch, "When?", "Why?")
    assert ran.code == 130
    assert "interrupted: `sharedllm chat --resume` resumes this conversation" in ran.err


def test_a_password_is_never_written(monkeypatch: pytest.MonkeyPatch, private_home: Path) -> None:
    talk(Script(), monkeypatch, "When?", "/set password open-sesame", "Why?", flags=("--password", "secret"))
    text = kept(private_home)[0].read_text()
    assert "secret" not in text
    assert "sesame" not in text


def test_what_was_read_of_a_tree_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    talk(Script(changes={"tree": TreeRead(40, 640, 8.0, "hybrid")}), monkeypatch, "When?")
    assert "40 nodes" in resume(Script(), monkeypatch, "/tree").err


def test_a_section_is_kept_and_needs_a_later_version() -> None:
    session = Session([SavedDocument("a.md", "/a.md", "0")], [], section="4.2")
    assert json.loads(encode(session))["version"] == 3
    assert decode(encode(session), "x").section == "4.2"
    assert json.loads(encode(replace(session, section=None, pages="3")))["version"] == 2
