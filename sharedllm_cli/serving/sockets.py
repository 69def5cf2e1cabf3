"""Where a warm process listens for the shell: a Unix socket of this user's in the home folder, one for each model.

A socket's name is a hash of everything that decides which model is loaded, so whoever finds one needs not ask what it
has. Imports nothing heavy: a command looks here before it loads anything. Where the system has no such sockets, there
are none.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path

from sharedllm_cli import __version__
from sharedllm_cli.config import OF_A_QUESTION, Settings
from sharedllm_cli.durable import make_private_folder
from sharedllm_cli.errors import UsageError
from sharedllm_cli.home import run_folder

PROTOCOL = 2
SUFFIX = ".sock"
CONNECT_SECONDS = 2.0
_PLACES = ("model", "adapter", "index_dir")
_OF_NO_MODEL = frozenset({"save", "serve", *OF_A_QUESTION}) - {"tree"}


def fixed_settings() -> list[str]:
    """The settings that a loaded model can't change. `tree` is one: loading says whether it fits the adapter."""
    return [knob.name for knob in fields(Settings) if knob.name not in _OF_NO_MODEL]


def has_sockets() -> bool:
    """Whether this system has Unix sockets that Python can use."""
    return hasattr(socket, "AF_UNIX") and hasattr(os, "getuid")


def socket_path(settings: Settings, home: Path) -> Path:
    """Where the warm process for these settings listens, if there is one."""
    facts: dict[str, object] = {name: getattr(settings, name) for name in fixed_settings()}
    for name in _PLACES:
        facts[name] = _whole(facts[name])
    facts |= {"version": __version__, "protocol": PROTOCOL, "home": str(home), "package": str(Path(__file__).parent)}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()
    return run_folder(home) / f"{digest[:16]}{SUFFIX}"


def listening(home: Path) -> Iterator[Path]:
    """The sockets in a home's folder, whether or not anybody still listens there."""
    folder = run_folder(home)
    if has_sockets() and _is_ours(folder, stat.S_ISDIR):
        yield from sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)


def connect(path: Path) -> socket.socket | None:
    """A connection to the warm process of this user at a socket; None where there is none."""
    if not (has_sockets() and _is_ours(path.parent, stat.S_ISDIR) and _is_ours(path, stat.S_ISSOCK)):
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(CONNECT_SECONDS)
        connection.connect(str(path))
        connection.settimeout(None)
    except OSError:
        connection.close()
        return None
    if not same_user(connection):
        connection.close()
        return None
    return connection


@contextmanager
def bound(path: Path) -> Iterator[socket.socket]:
    """Listen at a socket, which this user alone can reach; it is removed at the end.

    A socket that a killed process left is replaced. UsageError where another process listens there, or the folder is
    not this user's own.
    """
    make_private_folder(path.parent)
    if not _is_ours(path.parent, stat.S_ISDIR):
        with suppress(OSError):
            path.parent.chmod(0o700)
    if not _is_ours(path.parent, stat.S_ISDIR):
        raise UsageError(f"{path.parent} is open to other users", hint=f"chmod 700 {path.parent}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    beside = path.with_name(f".{path.stem}.{os.getpid()}")
    try:
        # Bound beside and renamed: of two that begin at once the later one is found, and neither is open to others.
        before = os.umask(0o177)
        try:
            try:
                listener.bind(str(beside))
            except FileNotFoundError:  # a process that ended meanwhile took the folder with it
                make_private_folder(path.parent)
                listener.bind(str(beside))
        finally:
            os.umask(before)
        listener.listen(64)
        if (other := connect(path)) is not None:
            other.close()
            raise UsageError("a warm process for this model is running already", hint="sharedllm serve --status")
        os.replace(beside, path)
        own = os.lstat(path).st_ino
        yield listener
        with suppress(OSError):
            if os.lstat(path).st_ino == own:
                path.unlink()
    finally:
        listener.close()
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()  # unless another process listens there


def same_user(connection: socket.socket) -> bool:
    """Whether the process at the other end is this user's, as far as the system tells."""
    if hasattr(socket, "SO_PEERCRED"):
        _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return bool(user == os.getuid())
    if sys.platform == "darwin":  # struct xucred: version, user, …
        with suppress(OSError):
            _, user = struct.unpack("2I", connection.getsockopt(0, 0x001, 76)[:8])
            return bool(user == os.getuid())
    return True  # the folder and the socket are closed to others


def _is_ours(path: Path, kind: object) -> bool:
    """Whether a path is what it should be, no link, this user's, and open to nobody else."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return False
    right = kind(status.st_mode) if callable(kind) else False
    return bool(right) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def _whole(text: object) -> object:
    """A path as a whole path where it leads somewhere; a name as it is."""
    if not isinstance(text, str):
        return text
    with suppress(OSError, RuntimeError, ValueError):
        path = Path(text).expanduser()
        if path.exists():
            return str(path.resolve())
    return text
