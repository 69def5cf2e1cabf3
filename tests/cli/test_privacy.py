"""What stays private: no command opens a socket, what is stored is the user's alone, what is deleted is gone."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sharedllm_cli.cli.app import COMMANDS, run
from sharedllm_cli.cli.terminal.console import Console

SECRET = "quetzalcoatl"
"""A word of the document that may be nowhere but in its index and in the answers."""
NETWORK = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
watching: list[list[str]] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if watching and event in NETWORK:
        watching[-1].append(f"{event} {arguments[1:]}")
        raise OSError("no sockets here")


sys.addaudithook(_watch)  # for good: such a hook can't be taken away, and does nothing while nobody watches


class Ran(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def sockets() -> Iterator[list[str]]:
    """What tried to reach the network; each attempt fails."""
    watching.append([])
    yield watching[-1]
    watching.pop()


@pytest.fixture
def call(
    tmp_path: Path, model_folder: Callable[..., Path], private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ran]:
    (tmp_path / "log.txt").write_text(f"The keeper {SECRET} lit the lamp at dusk.\n" * 40)
    (tmp_path / "notes.md").write_text(f"# Log\n\nThe keeper {SECRET} counted seven gulls.\n")
    monkeypatch.setenv("SHAREDLLM_OFFLINE", "1")
    monkeypatch.setenv("SHAREDLLM_MODEL", str(model_folder()))
    monkeypatch.setenv("SHAREDLLM_DEVICE", "cpu")
    monkeypatch.chdir(tmp_path)

    def called(*arguments: str, typed: str = "") -> Ran:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        out, err = io.StringIO(), io.StringIO()
        return Ran(run(list(arguments), Console(out, err)), out.getvalue(), err.getvalue())

    return called


CALLS: dict[str, list[tuple[str, ...]]] = {
    "search": [("search", "log.txt", "notes.md", "lamp")],
    "read": [("read", "notes.md"), ("read", "log.txt", "--outline")],
    "ask": [("ask", "log.txt", "Who lit the lamp?", "--max-new-tokens", "4")],
    "index": [("index", "log.txt", "notes.md"), ("index", "log.txt", "--grains", "fine")],
    "plan": [("plan", "log.txt")],
    "chat": [("chat", "notes.md", "--max-new-tokens", "4")],
    "indexes": [
        ("indexes", "list"),
        ("indexes", "show", "log.txt"),
        ("indexes", "verify"),
        ("indexes", "prune", "--yes"),
    ],
    "collections": [
        ("collections", "add", "shelf", "log.txt", "notes.md", "--workers", "1"),
        ("ask", "@shelf", "Which documents mention the lamp?"),
        ("collections", "update", "shelf"),
        ("collections", "list"),
        ("collections", "show", "shelf"),
    ],
    "config": [("config", "show"), ("config", "path")],
    "serve": [("serve", "--status")],
    "mcp": [("mcp", "--help")],
    "chats": [("chats", "list")],
    "models": [("models", "list")],
    "doctor": [("doctor",)],
    "eval": [("eval", "qa", "--help")],
    "train": [("train", "--help")],
    "bench": [("bench", "--help")],
}
"""Calls of every command; those of the lab need hours or data, and are the engine's work all the same.

What `serve` and `mcp` listen on is in tests/serving.
"""


def test_no_command_reaches_the_network(call: Callable[..., Ran], sockets: list[str]) -> None:
    assert set(CALLS) >= set(COMMANDS), "name a call of the new command"
    for command, calls in CALLS.items():
        for arguments in calls:
            ran = call(*arguments, typed="Who lit the lamp?\n/quit\n" if command == "chat" else "")
            assert ran.code == 0, (arguments, ran.err)
            assert sockets == [], arguments


def test_the_watch_sees_an_attempt(sockets: list[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one, pytest.raises(OSError, match="no sockets"):
        one.connect(("127.0.0.1", 9))
    assert len(sockets) == 1


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_all_that_is_stored_is_the_users_alone(call: Callable[..., Ran], private_home: Path) -> None:
    before = os.umask(0)
    try:
        for command in ("search", "ask", "index", "chat", "collections", "indexes"):
            for arguments in CALLS[command]:
                assert call(*arguments, typed="Who lit the lamp?\n/save kept\n/quit\n").code == 0
    finally:
        os.umask(before)
    found = [path for path in private_home.rglob("*") if not path.is_symlink()]
    files = {path.stat().st_mode & 0o777 for path in found if path.is_file()}
    folders = {path.stat().st_mode & 0o777 for path in found if path.is_dir()}
    assert files == {0o600}
    assert folders == {0o700}


def test_rm_leaves_nothing_of_a_document(call: Callable[..., Ran], private_home: Path) -> None:
    for arguments in CALLS["search"] + CALLS["index"] + CALLS["collections"]:
        assert call(*arguments).code == 0
    assert call("collections", "rm", "shelf", "--yes").code == 0
    assert len([*private_home.glob("indexes/log-*/trees-*")]) == 2, "trees and the fine grain, a folder each"
    holding = [path for path in private_home.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert holding
    assert call("indexes", "rm", "log.txt", "notes.md", "--yes").code == 0
    left = [path for path in private_home.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert [path for path in left if SECRET.encode() in path.read_bytes()] == []
    assert [path for path in (private_home / "indexes").iterdir() if path.suffix != ".lock"] == []


def test_a_collection_forgets_the_words_of_a_document_that_is_gone(
    call: Callable[..., Ran], private_home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / "kept.md").write_text("# The lamp\n\nIt burns at dusk.\n")
    gone = [folder / f"quarantine{number}.md" for number in range(8)]
    for number, path in enumerate(gone):
        path.write_text(f"# Zanzibar parcel {number}\n\nWords of the ledger, {number}.\n")
    assert call("collections", "add", "shelf", str(folder), "--workers", "1").code == 0

    def holding(*words: bytes) -> list[Path]:
        """Files that hold one of these, in whatever capitals."""
        files = [path for path in private_home.rglob("*") if path.is_file()]
        return [path for path in files if any(word in path.read_bytes().lower() for word in words)]

    assert holding(b"zanzibar parcel")
    for path in gone:
        path.unlink()
    assert call("collections", "update", "shelf", "--workers", "1").code == 0
    assert call("indexes", "rm", *(path.name for path in gone), "--yes").code == 0
    assert holding(b"zanzibar parcel", b"quarantine") == []
    assert call("collections", "update", "shelf", "--rebuild", "--workers", "1").code == 0
    assert holding(b"zanzibar", b"parcel", b"ledger") == []  # single words in the full text, too
    assert call("search", "@shelf", "lamp").code == 0


DAMAGED: dict[str, Callable[[Path], None]] = {
    "an index": lambda home: next(home.rglob("bundle.safetensors")).write_bytes(b"x" * 500),
    "usage": lambda home: next(home.rglob("bundle.safetensors")).with_name("usage.json").write_text("{"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_errors_say_nothing_of_a_document_but_its_name(what: str, call: Callable[..., Ran], private_home: Path) -> None:
    assert call("search", "log.txt", "lamp").code == 0
    DAMAGED[what](private_home)
    for arguments in (("search", "log.txt", "lamp"), ("search", "log.txt", "lamp", "--verbose"), ("indexes", "verify")):
        ran = call(*arguments)
        assert ran.code == 5
        assert "log" in ran.err
        assert SECRET not in ran.err


def mail(attached: str) -> bytes:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "The lease", "ann@example.org", "ben@example.org"
    message.set_content("The lease is attached.")
    message.add_attachment(attached, filename="lease.txt")
    return message.as_bytes()


@pytest.mark.parametrize("how", ["rm", "prune"])
def test_what_a_document_carries_goes_with_it(how: str, call: Callable[..., Ran], private_home: Path) -> None:
    Path("letter.eml").write_bytes(mail(f"{SECRET} pays the rent. " * 9))
    assert call("search", "letter.eml", "rent").code == 0
    names = {entry["name"] for entry in json.loads(call("indexes", "list", "--json").out)["indexes"]}
    assert names >= {"letter.eml", "letter.eml › lease.txt"}
    if how == "prune":
        Path("letter.eml").unlink()
    assert call("indexes", *({"rm": ("rm", "letter.eml")}.get(how, (how,))), "--yes").code == 0
    left = [path for path in private_home.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert [path for path in left if SECRET.encode() in path.read_bytes()] == []


def test_a_mail_takes_no_index_from_the_file_that_it_carries(call: Callable[..., Ran]) -> None:
    text = "Ann pays the rent on Mondays. " * 9
    Path("letter.eml").write_bytes(mail(text))
    Path("own.txt").write_text(text + "\n")
    assert call("search", "own.txt", "rent").code == 0
    assert call("search", "letter.eml", "rent").code == 0
    names = {entry["name"] for entry in json.loads(call("indexes", "list", "--json").out)["indexes"]}
    assert names >= {"letter.eml", "own.txt"}
    assert call("indexes", "rm", "letter.eml", "--yes").code == 0
    names = {entry["name"] for entry in json.loads(call("indexes", "list", "--json").out)["indexes"]}
    assert names == {"own.txt"}
