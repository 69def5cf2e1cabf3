"""Warm processes of this user: found for a question, left behind by one (`ask --keep`), listed and stopped."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import sharedllm_cli
from sharedllm_cli.cli.call import Call
from sharedllm_cli.config import Settings, environment_name, flag
from sharedllm_cli.errors import ResourceError, UsageError
from sharedllm_cli.serving.shell_client import WarmEngine
from sharedllm_cli.serving.sockets import connect, fixed_settings, has_sockets, listening, socket_path

STARTING_SECONDS = 30.0
_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
SERVE_VARIABLE = environment_name(next(knob for knob in fields(Settings) if knob.name == "serve"))
_PLACES = ("model", "adapter", "index_dir")


def seconds_of(text: str, option: str) -> float:
    """A time as users write it (`90s`, `10m`, `2h`); UsageError for anything else."""
    match = re.fullmatch(r"(\d{1,7})\s*(s|m|min|h|d|)", text.strip())
    if match is None or not int(match[1]):
        raise UsageError(f"{option} must be a time such as 90s, 10m or 2h, got {text!r:.80}")
    return float(match[1]) * _UNITS[match[2]]


def keep_engine(call: Call, documents: Sequence[str], keep: str) -> WarmEngine | None:
    """The warm process for a question, started where there is none, which stays for so long (`10m`).

    None where the question is to be answered in this process.
    """
    seconds = seconds_of(keep, "--keep")
    found = call.warm_engine(documents, seconds)
    if found is not None:
        return found
    if not call.settings.serve:
        raise UsageError(f"--keep and {_no_serve(call)} exclude each other")
    if not has_sockets():
        call.console.warn("this system has no Unix sockets: nothing stays loaded")
        return None
    with call.console.waiting("starting"):
        _start(call, seconds)
    return call.warm_engine(documents, seconds)


def _no_serve(call: Call) -> str:
    """What keeps a call from asking another process, by where it was written."""
    origin = call.resolved.origins["serve"]
    if origin == "environment":
        return f"{SERVE_VARIABLE}={os.environ.get(SERVE_VARIABLE, '')}"
    return f"serve = false in {call.config_path}" if origin == "file" else "--no-serve"


def _start(call: Call, seconds: float) -> None:
    """Start a warm process and wait until it listens; ResourceError where it does not."""
    path = socket_path(call.settings, call.home)
    arguments = ["serve", "--shell-only", "--idle", f"{seconds:.0f}s", *_flags(call)]
    package = str(Path(sharedllm_cli.__file__).parents[1])
    found = os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([package, found] if found else [package])}
    process = subprocess.Popen(
        [sys.executable, "-m", "sharedllm_cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=os.path.abspath(os.sep),  # it keeps no folder busy
        env=environment,
        start_new_session=True,  # Ctrl-C here is not meant for it
    )
    ends = time.monotonic() + STARTING_SECONDS
    while time.monotonic() < ends:
        if (connection := connect(path)) is not None:
            connection.close()
            return
        if process.poll() is not None and (connection := connect(path)) is None:
            break
        time.sleep(0.02)
    raise ResourceError("no process could be left behind", hint="`sharedllm serve --shell-only` says why")


def _flags(call: Call) -> Iterator[str]:
    """The flags that give another process the same model: what this call was given, and paths from the root."""
    knobs = {knob.name: knob for knob in fields(Settings)}
    for name in fixed_settings():
        value = getattr(call.settings, name)
        if value is None or (call.resolved.origins[name] in ("environment", "file", "default") and name not in _PLACES):
            continue
        if isinstance(value, bool):
            yield flag(knobs[name]) if value else f"--no-{flag(knobs[name])[2:]}"
            continue
        if name in _PLACES:
            with suppress(OSError, RuntimeError, ValueError):
                path = Path(value).expanduser()
                value = str(path.absolute()) if path.exists() or name == "index_dir" else value
        yield from (flag(knobs[name]), str(value))


def running(call: Call) -> list[dict[str, Any]]:
    """What the warm processes of this user's home say of themselves."""
    found = []
    for path in listening(call.home):
        status = _asked(call, path, "status")
        if status is None:
            with suppress(OSError):
                path.unlink()  # whoever listened there was killed
        else:
            found.append({**status, "socket": str(path)})
    return found


def stop_all(call: Call) -> list[dict[str, Any]]:
    """End the warm processes of this user's home, and wait until they have ended."""
    stopped = running(call)
    for process in stopped:
        path = Path(process["socket"])
        _asked(call, path, "stop")
        ends = time.monotonic() + STARTING_SECONDS
        while path.exists() and time.monotonic() < ends:
            time.sleep(0.02)
    return stopped


def _asked(call: Call, path: Path, operation: str) -> dict[str, Any] | None:
    connection = connect(path)
    if connection is None:
        return None
    connection.settimeout(STARTING_SECONDS)
    found = WarmEngine(call.settings, call.home, call.console, call.engine, connection).request({"op": operation})
    return found if isinstance(found, dict) else None
