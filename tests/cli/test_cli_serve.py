"""`serve`: what it refuses, what it prints, how it ends; and what `ask --keep` leaves behind."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_engine import Script, call

from sharedllm_cli.cli.call import open_call
from sharedllm_cli.cli.listening import granted_documents
from sharedllm_cli.cli.terminal.console import make_console
from sharedllm_cli.cli.warm import seconds_of
from sharedllm_cli.errors import UsageError
from sharedllm_cli.serving.sockets import has_sockets

ROOT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef"


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "sharedllm_cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a process wrote until its end, which it does not outlive the test without."""
    try:
        return process.communicate(timeout=120)
    finally:
        process.kill()


@pytest.fixture
def model(model_folder: Callable[..., Path]) -> list[str]:
    return ["-m", str(model_folder("llama", max_position_embeddings=8192)), "--device", "cpu", "--max-new-tokens", "3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0", "a.pdf"], "needs a token"),
        (["--token", "short", "a.pdf"], "at least 16"),
        (["--token-file", "missing", "a.pdf"], "can't be read"),
        (["--token", TOKEN, "--token-file", "x", "a.pdf"], "exclude each other"),
        (["missing.pdf"], "does not exist"),
        ([], "none is indexed"),
        (["--idle", "soon", "a.pdf"], "--idle must be a time"),
        (["--port", "70000", "a.pdf"], "65535"),
        (["--host", "203.0.113.7", "--token", TOKEN, "a.pdf"], "can't listen on 203.0.113.7"),
    ],
)
def test_what_can_t_be_served_is_refused_in_a_line(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uvicorn")

    def refuse(*_: Any, **__: Any) -> None:  # nothing here listens beyond this machine, whatever addresses it has
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    monkeypatch.setattr(socket, "create_server", refuse)
    ran = call(Script(), "serve", *arguments)
    assert ran.code in (2, 3)
    assert ran.err.startswith("error: ")
    assert message in ran.err
    assert ran.out == ""


def test_a_port_in_use_is_a_line() -> None:
    pytest.importorskip("uvicorn")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = call(Script(), "serve", "--port", str(taken.getsockname()[1]), "a.pdf")
    assert ran.code == 2
    assert "is in use" in ran.err
    assert ran.err.count("\n") == 2


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    ran = call(Script(), "serve", "a.pdf")
    assert ran.code == 2
    assert "pip install 'sharedllm-cli[serve]'" in ran.err


def test_times_are_read_as_people_write_them() -> None:
    assert [seconds_of(text, "--keep") for text in ("90", "90s", "10m", "2 h", "1d")] == [90, 90, 600, 7200, 86400]
    for text in ("", "m", "-1m", "0", "1.5h", "10 weeks", "9" * 20):
        with pytest.raises(UsageError):
            seconds_of(text, "--keep")


def test_nothing_runs() -> None:
    for flag in ("--status", "--stop"):
        ran = call(Script(), "serve", flag)
        assert (ran.code, ran.out) == (0, "")
        assert "no process is running" in ran.err


def test_a_server_answers_and_ends_with_ctrl_c(model: list[str], private_home: Path) -> None:
    pytest.importorskip("uvicorn")
    server = start("serve", *model, "--json", "--port", "0", "a.pdf")
    try:
        assert server.stdout is not None
        text = ""
        while "}" not in text:
            line = server.stdout.readline()
            assert line, server.stderr and server.stderr.read()
            text += line
        told = json.loads(text)
        assert told["documents"] == ["a.pdf"]
        with urllib.request.urlopen(f"{told['address']}v1/models", timeout=30) as response:
            assert json.load(response)["data"][0]["id"] == "sharedllm/a.pdf"
        if has_sockets():
            listed = json.loads(call(Script(), "serve", "--status", "--json").out)["running"]
            assert [one["address"] for one in listed] == [told["address"]]
    finally:
        server.send_signal(signal.SIGINT)
        _, err = ended(server)
    assert server.returncode == 130
    assert "Traceback" not in err
    assert not list((private_home / "run").glob("*"))


@pytest.mark.skipif(not has_sockets(), reason="this system has no Unix sockets")
def test_keep_leaves_a_process_that_answers_the_next_question(model: list[str]) -> None:
    ask = ["ask", "--json", *model, "a.pdf", "Who lights the lamp?"]
    out, err = ended(first := start(*ask[:-2], "--keep", "1m", *ask[-2:]))
    assert first.returncode == 0, err
    listed = json.loads(call(Script(), "serve", "--status", "--json").out)["running"]
    assert len(listed) == 1
    assert listed[0]["loaded"]
    try:
        again = call(Script(error=AssertionError("an engine was made")), *ask)
        assert again.code == 0
        assert json.loads(again.out)["answer"] == json.loads(out)["answer"]
    finally:
        stopped = call(Script(), "serve", "--stop").out
    assert stopped.startswith("stopped")
    assert json.loads(call(Script(), "serve", "--status", "--json").out) == {"running": []}
    for _ in range(200):  # it is another session's process: its parent is gone
        try:
            os.kill(listed[0]["pid"], 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the process did not end")


@pytest.mark.skipif(not has_sockets(), reason="this system has no Unix sockets")
def test_an_idle_process_ends(model: list[str], private_home: Path) -> None:
    server = start("serve", *model, "--shell-only", "--idle", "1s")
    _, err = ended(server)
    assert server.returncode == 0, err
    assert not list((private_home / "run").glob("*"))


def test_keep_and_no_serve_exclude_each_other() -> None:
    ran = call(Script(), "ask", "--keep", "1m", "--no-serve", "a.pdf", "Who?")
    assert ran.code == 2
    assert "exclude each other" in ran.err


def test_keep_names_where_serve_was_turned_off(private_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (private_home / "config.toml").write_text("serve = false\n")
    ran = call(Script(), "ask", "--keep", "1m", "a.pdf", "Who?")
    assert ran.code == 2
    assert f"--keep and serve = false in {private_home / 'config.toml'} exclude each other" in " ".join(ran.err.split())
    monkeypatch.setenv("SHAREDLLM_SERVE", "no")
    ran = call(Script(), "ask", "--keep", "1m", "a.pdf", "Who?")
    assert (ran.code, "--keep and SHAREDLLM_SERVE=no exclude each other" in ran.err) == (2, True)


def test_what_a_served_folder_holds_and_can_t_be_read_is_named(tmp_path: Path, private_home: Path) -> None:
    for name in ("letter.doc", "map.png", "old.zip"):
        (tmp_path / name).write_bytes(b"x")
    made = open_call(make_console({}), {})
    errors = made.console.err = io.StringIO()
    granted = granted_documents(made, [str(tmp_path)])
    assert granted.documents() == []
    text = " ".join(errors.getvalue().split())
    assert f"warning: the folder {tmp_path} contains no document" in text
    assert "letter.doc (Word), map.png (image), old.zip (archive)" in text
    (tmp_path / "note.txt").write_text("The lamp.")
    errors.seek(0)
    errors.truncate()
    assert len(granted_documents(made, [str(tmp_path)]).documents()) == 1
    text = " ".join(errors.getvalue().split())
    assert "contains no document" not in text
    assert "letter.doc (Word)" in text
