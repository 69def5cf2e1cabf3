"""`ask` and `chat` through a warm process: the same output as without, and nothing of another user or model."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sharedllm_cli.answer import Answer
from sharedllm_cli.cli import call as call_module
from sharedllm_cli.cli.app import run
from sharedllm_cli.cli.terminal.console import Console
from sharedllm_cli.config import Settings
from sharedllm_cli.errors import ModelError, ResourceError, UsageError
from sharedllm_cli.home import run_folder
from sharedllm_cli.progress import Silent
from sharedllm_cli.serving import wire
from sharedllm_cli.serving.ahead import can_open
from sharedllm_cli.serving.host import Host
from sharedllm_cli.serving.shell_client import WarmEngine, find_warm
from sharedllm_cli.serving.shell_server import ShellServer
from sharedllm_cli.serving.sockets import bound, connect, has_sockets, listening, socket_path
from sharedllm_cli.serving.turns import Job

pytestmark = pytest.mark.skipif(not has_sockets(), reason="this system has no Unix sockets")
QUESTION = "Who lights the beacon?"


class Warm:
    """A warm process, in threads of this one; entered while a test wants one."""

    def __init__(self, host: Host) -> None:
        self.host, self.server = host, ShellServer
        self._stack = ExitStack()
        self.stopped = threading.Event()

    def __enter__(self) -> Warm:
        listener = self._stack.enter_context(bound(socket_path(self.host.settings, self.host.home)))
        self.shell = ShellServer(self.host, listener, stopped=self.stopped.set)
        self.shell.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@pytest.fixture
def warm(host: Host) -> Warm:
    return Warm(host)


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """No engine is made in this process from here on."""

    def refuse(*_: object) -> None:
        raise AssertionError("an engine was made")

    monkeypatch.setattr(call_module, "make_engine", refuse)


def flags(settings: Settings) -> list[str]:
    fixed = ["-m", settings.model, "--device", "cpu", "--chunk-tokens", "512"]
    return [*fixed, "--evidence-tokens", "200", "--max-new-tokens", "4"]


def command(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    out, err, before = io.StringIO(), io.StringIO(), sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
    try:
        code = run(list(arguments), Console(out, err))
    finally:
        sys.stdin = before
    return code, out.getvalue(), err.getvalue()


def told(out: str) -> dict[str, Any]:
    """The object of `--json`, but for time and memory."""
    found: dict[str, Any] = json.loads(out)
    del found["timing"], found["memory"]
    return found


def timeless(err: str) -> list[str]:
    """The lines of standard error, but for those with seconds in them."""
    return [line for line in err.splitlines() if not re.search(r"\d s\b|MB|tokens/s", line)]


TYPED = b"A text about Marten's beacon. " * 20
CASES: dict[str, list[str]] = {
    "one": ["harbour.txt", QUESTION],
    "json": ["--json", "harbour.txt", QUESTION],
    "folder": ["--json", ".", "What is said of bees?"],
    "pages": ["--json", "--pages", "2", "pages.txt", "What is here?"],
    "section": ["--json", "--section", "Bees", "bees.md", "What do they eat?"],
    "sampled": ["--json", "--temperature", "1", "--seed", "3", "harbour.txt", QUESTION],
    "verbose": ["-v", "harbour.txt", QUESTION],
    "one bad": ["--json", "harbour.txt", "empty.txt", QUESTION],
    "missing": ["harbor.txt", QUESTION],
    "no page": ["--pages", "90", "pages.txt", QUESTION],
    "no section": ["--section", "Wasps", "bees.md", QUESTION],
    "damaged": ["broken.pdf", QUESTION],
    "standard input": ["--json", "-", QUESTION],
    "quiet": ["-q", "harbour.txt", QUESTION],
    "collection": ["@notes", "Which documents mention bees?"],
    "collection, json": ["--json", "@notes", "harbour.txt", QUESTION],
    "no stream": ["--no-stream", "--no-sources", "harbour.txt", QUESTION],
}


@pytest.fixture
def shelf(story: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = story.parent
    (folder / "pages.txt").write_text("A page about harbours. " * 9 + "\f" + "A page about bees and clover. " * 9)
    (folder / "bees.md").write_text("# Bees\n\nThey eat honey.\n\n# Ants\n\nThey eat leaves.\n")
    (folder / "empty.txt").write_text("")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing")
    (folder / "table.xlsx").write_bytes(b"PK")
    monkeypatch.chdir(folder)
    return folder


def test_all_output_is_the_same_through_a_warm_process(
    warm: Warm, settings: Settings, shelf: Path, request: pytest.FixtureRequest
) -> None:
    given, expected = flags(settings), {}
    model = ["-m", settings.model, "--chunk-tokens", "512"]
    assert command("collections", "add", *model, "notes", "pages.txt", "bees.md")[0] == 0
    for name in ("folder", "standard input", *CASES):  # the first two store the indexes
        expected[name] = command("ask", *given, *CASES[name], stdin=TYPED)
    request.getfixturevalue("never")
    with warm:
        for name in (*CASES, "json", "folder", "verbose"):  # the last ones of documents that are open already
            code, out, err = command("ask", *given, *CASES[name], stdin=TYPED)
            cold = expected[name]
            assert code == cold[0], name
            if "--json" in CASES[name] and code in (0, 3):
                assert told(out) == told(cold[1]), name
            else:
                assert out == cold[1], name
            assert timeless(err) == timeless(cold[2]), name


SEARCHES: dict[str, list[str]] = {
    "words": ["harbour.txt", "beacon"],
    "json": ["--json", ".", "bees honey"],
    "one bad": ["--json", "harbour.txt", "empty.txt", "beacon"],
    "pages": ["--json", "--pages", "2", "pages.txt", "clover"],
    "no page": ["--pages", "90", "pages.txt", "clover"],
    "missing": ["harbor.txt", "beacon"],
    "limit": ["--limit", "0", "harbour.txt", "beacon"],
    "score": ["--min-score", "1e9", "harbour.txt", "beacon"],
    "collection": ["--json", "@notes", "bees"],
    "model": ["--json", "--policy", "hybrid", "harbour.txt", "bees.md", "Who lights the beacon?"],
    "model, shown": ["-v", "--policy", "late", "bees.md", "honey"],
}
ELSEWHERE: dict[str, list[str]] = {
    "files": ["--files", ".", "bees"],
    "standard input": ["--json", "-", "beacon"],
    "anew": ["--json", "--reindex", "harbour.txt", "beacon"],
    "no serve": ["--json", "--no-serve", "harbour.txt", "beacon"],
}


def found(out: str) -> dict[str, Any]:
    """The object of `search --json`, but for time."""
    passages: dict[str, Any] = json.loads(out)
    del passages["searched_s"]
    return passages


def test_a_search_finds_the_same_through_a_warm_process(
    warm: Warm, settings: Settings, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHAREDLLM_CHUNK_TOKENS", "512")
    given = ["-m", settings.model, "--device", "cpu"]
    assert command("collections", "add", "-m", settings.model, "notes", "pages.txt", "bees.md")[0] == 0
    cases = SEARCHES | ELSEWHERE
    for words in cases.values():  # the first time documents are stored
        command("search", *given, *words, stdin=TYPED)
    expected = {name: command("search", *given, *words, stdin=TYPED) for name, words in cases.items()}
    with warm:
        for name, words in cases.items():
            before = warm.host.turns.done
            code, out, err = command("search", *given, *words, stdin=TYPED)
            assert (warm.host.turns.done > before) is (name in SEARCHES), name
            assert code == expected[name][0], name
            if "--json" in words and code in (0, 3):
                assert found(out) == found(expected[name][1]), name
            else:
                assert out == expected[name][1], name
            assert timeless(err) == timeless(expected[name][2]), name


def test_a_new_document_is_read_by_the_warm_process(warm: Warm, settings: Settings, shelf: Path, never: None) -> None:
    with warm:
        code, out, _ = command("ask", "--json", *flags(settings), "harbour.txt", QUESTION)
        assert code == 0
        assert json.loads(out)["index"]["text_hit"] is False
        assert told(command("ask", "--json", *flags(settings), "harbour.txt", QUESTION)[1])["index"]["text_hit"]


def test_another_model_and_no_serve_go_elsewhere(
    warm: Warm, settings: Settings, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ModelError("made here")

    monkeypatch.setattr(call_module, "make_engine", refuse)
    ask = ["ask", *flags(settings), "harbour.txt", QUESTION]
    assert command(*ask)[2].startswith("error: made here")
    with warm:
        assert command(*ask)[0] == 0
        assert command(*ask, "--no-serve")[0] == ModelError.exit_code
        assert command(*ask, "--dtype", "bfloat16")[0] == ModelError.exit_code
        assert command(*ask, "--index-dir", "elsewhere")[0] == ModelError.exit_code
        monkeypatch.setenv("SHAREDLLM_SERVE", "false")
        assert command(*ask)[0] == ModelError.exit_code


def test_a_chat_goes_through_a_warm_process(
    warm: Warm, settings: Settings, shelf: Path, request: pytest.FixtureRequest
) -> None:
    lines = f"{QUESTION}\n/docs\n/set\n/set max-new-tokens 3\nAnd when?\n/add bees.md\n/sources\n/set section Bees\n"
    lines += "What do they eat?\n/tree\n/set pages 9\n/drop harbour.txt\nWhat else?\n"
    chat = ["chat", *flags(settings), "harbour.txt"]
    command("ask", *flags(settings), "harbour.txt", "bees.md", QUESTION)  # stores the indexes
    cold = command(*chat, stdin=lines.encode())
    request.getfixturevalue("never")
    with warm:
        found = command(*chat, stdin=lines.encode())
    assert found[:2] == cold[:2]
    assert timeless(found[2]) == timeless(cold[2])


def test_leaving_stops_the_answer_in_the_other_process(
    warm: Warm, settings: Settings, story: Path, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()

    def asking(*_: Any, **__: Any) -> Any:
        def work(job: Job) -> Iterator[str]:
            try:
                while True:
                    yield "more "
                    time.sleep(0.01)
            finally:
                ended.set()

        return work

    with warm:
        engine = find_warm(settings, private_home, Silent(), own=lambda: pytest.fail("made here"))
        assert engine is not None
        library = engine.open([str(story)])
        monkeypatch.setattr(warm.host, "asking", asking)
        pieces = engine.ask(library, QUESTION)
        assert next(pieces) == "more "
        pieces.close()  # type: ignore[attr-defined]
        assert ended.wait(10)
        assert not warm.host.turns._running or warm.host.turns._running.stopped


def test_where_the_other_process_goes_an_engine_is_made_here(
    warm: Warm, settings: Settings, story: Path, private_home: Path
) -> None:
    from sharedllm_cli.engine import Engine

    made: list[Engine] = []

    def own() -> Engine:
        made.append(Engine(settings, home=private_home, reporter=Silent()))
        return made[-1]

    with warm:
        engine = find_warm(settings, private_home, Silent(), own=own)
        assert engine is not None
        library = engine.open([str(story)])
        first = [*engine.ask(library, QUESTION)][-1]
        assert made == []
    again = [*engine.ask(library, QUESTION)][-1]
    assert len(made) == 1
    assert isinstance(first, Answer)
    assert isinstance(again, Answer)
    assert first.answer == again.answer
    assert find_warm(settings, private_home, Silent(), own=own) is None


def test_a_process_that_ends_amid_an_answer_is_told(settings: Settings, private_home: Path) -> None:
    with bound(socket_path(settings, private_home)) as listener:
        engine = find_warm(settings, private_home, Silent(), own=lambda: pytest.fail("made here"))
        assert engine is not None
        connection, _ = listener.accept()
        pieces = engine.ask(type("Shelf", (), {"documents": []})(), QUESTION)
        threading.Timer(0.2, lambda: (connection.sendall(wire.line({"piece": "Old "})), connection.close())).start()
        assert next(pieces) == "Old "
        with pytest.raises(ResourceError, match="ended before the answer"):
            next(pieces)


def test_the_socket_is_for_this_user_alone(settings: Settings, private_home: Path) -> None:
    path = socket_path(settings, private_home)
    folder = run_folder(private_home)
    with bound(path):
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert [*listening(private_home)] == [path]
        connection = connect(path)
        assert connection is not None
        connection.close()
        with pytest.raises(UsageError, match="running already"), bound(path):
            pass
        path.chmod(0o666)
        assert connect(path) is None
        path.chmod(0o600)
        folder.chmod(0o755)
        assert connect(path) is None
        folder.chmod(0o700)
    assert not path.exists()
    assert connect(path) is None


def test_a_killed_process_s_socket_is_replaced(settings: Settings, private_home: Path) -> None:
    import socket

    path = socket_path(settings, private_home)
    path.parent.mkdir(mode=0o700)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    path.chmod(0o600)
    assert connect(path) is None
    with bound(path):
        connection = connect(path)
        assert connection is not None
        connection.close()
    path.parent.mkdir(mode=0o700)
    path.write_text("no socket")
    assert connect(path) is None


def test_a_home_too_deep_for_a_socket_has_it_elsewhere(settings: Settings, tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["deeper"] * 20)
    path = socket_path(settings, deep)
    assert len(os.fsencode(path)) <= 100
    with bound(path):
        connection = connect(path)
        assert connection is not None
        connection.close()
    assert not path.parent.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"nothing\n",
        b"[]\n",
        b'{"op": "eval"}\n',
        b'{"op": "ask"}\n',
        b'{"op": "ask", "question": "?", "settings": {}}\n',
        b'{"op": "open", "documents": 3, "folder": "/", "settings": {}}\n',
        b'{"op": "open", "documents": [], "folder": "/nowhere", "settings": {}}\n',
        b'{"op": "open", "documents": ["a"], "folder": "/", "settings": {"unknown": 1}}\n',
        b'{"op": "status", "stdin": "x"}\n',
        b'{"op": "status", "stdin": -5}\n',
        b"{" * 10_000 + b"\n",
        b"\xff\xfe\n",
    ],
)
def test_nonsense_is_refused_and_the_next_one_served(warm: Warm, settings: Settings, data: bytes) -> None:
    with warm:
        path = socket_path(settings, warm.host.home)
        connection = connect(path)
        assert connection is not None
        connection.settimeout(60)
        connection.sendall(data)
        with connection.makefile("rb") as file:
            line = file.readline()
        assert line == b"" or "error" in json.loads(line)
        connection.close()
        other = connect(path)
        assert other is not None
        found = WarmEngine(settings, warm.host.home, Silent(), lambda: pytest.fail("made"), other).request(
            {"op": "status"}
        )
        assert found["pid"] == os.getpid()


def test_pipes_and_devices_are_read_by_the_command_itself(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert can_open(["-", str(tmp_path), "missing.txt", "a\0b"])
    assert not can_open([str(tmp_path / "pipe")])
    assert not can_open(["/dev/fd/63"])


def test_errors_cross_the_socket_as_they_are() -> None:
    for problem in (UsageError("no", hint="yes"), ResourceError("full"), MemoryError("x"), OSError(28, "full", "/a")):
        found = wire.raised(json.loads(wire.line(wire.error(problem))))
        assert type(found) is type(problem)
        assert str(found) == str(problem)
        assert getattr(found, "hint", None) == getattr(problem, "hint", None)
    odd = wire.raised(wire.error(KeyError("k")))
    assert (type(odd).__name__, str(odd)) == ("KeyError", "'k'")


def test_a_keeping_question_lets_the_process_stay(warm: Warm, settings: Settings, shelf: Path) -> None:
    with warm:
        warm.shell.idle_seconds = 5.0
        engine = find_warm(settings, warm.host.home, Silent(), own=lambda: pytest.fail("made"), keep=600)
        assert engine is not None
        engine.request({"op": "status"})
        assert warm.shell.idle_seconds == 600
        assert replace(settings, serve=False) != settings


def test_a_source_of_a_collection_is_opened_in_this_process(warm: Warm, settings: Settings, shelf: Path) -> None:
    model = ["-m", settings.model, "--chunk-tokens", "512"]
    assert command("collections", "add", *model, "notes", "pages.txt", "bees.md")[0] == 0
    with warm:
        asked = ("ask", *flags(settings), "-q", "@notes", "Which documents mention bees?")
        code, _, err = command(*asked, "--report", "seen.html")
        assert (code, err) == (0, "")
        assert "clover" in (shelf / "seen.html").read_text("utf-8")
        code, _, err = command("ask", *flags(settings), "-q", "-", QUESTION, "--report", "typed.html", stdin=TYPED)
        assert code == 0, err
        assert (shelf / "typed.html").exists()
