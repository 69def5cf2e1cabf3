"""A running Ray: one of this machine, started for a command and stopped with it, or one that is there already.

One of this machine (`local`) listens on the loopback address alone, under a random token; neither Ray's report of usage
nor its dashboard is on, and what it writes beside lies in a private folder that goes with it. Nothing here knows
documents. docs/scale.md has what was tried.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharedllm_cli.errors import ResourceError, SharedLLMError, UsageError

LOCAL, AUTO = "local", "auto"
_ADDRESS = re.compile(r"(?:ray://)?(?:[\w.-]+|\[[0-9a-fA-F:]+\]):\d{1,5}")
_OBJECT_STORE_BYTES = 80 * 2**20
"""The least that Ray takes: no object of any size passes through it."""
MOST_STARTS = 3
_SHORTEST_TEMPORARY = "/tmp"
_LONGEST_TEMPORARY = 40
"""Characters of a folder in which Ray's sockets fit, whose paths have at most 107."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_enable_metrics_collection": "0",
}
_TOKEN = secrets.token_hex(32)
"""Of every Ray that this process starts, which reads it once."""
_LOOPBACK = {
    # Despite its name it holds on Linux, too. With it on, Ray replaces 127.0.0.1 by the machine's address, and its
    # servers listen on all addresses.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
}


@dataclass(frozen=True)
class Cluster:
    """A Ray that this process is connected to, and what its machines have together."""

    ray: Any
    cpus: int
    gpus: int
    memory: int
    machines: int

    def most(self, *, cpus: float, gpus: float, memory: int) -> int:
        """How many actors with these needs have room. ResourceError where not one has."""
        rooms = [int(self.cpus // cpus), int(self.memory // memory)]
        rooms += [int(self.gpus // gpus)] if gpus else []
        if min(rooms) < 1:
            has = f"{self.cpus} CPUs, {self.gpus} GPUs and {self.memory / 1e9:.1f} GB"
            raise ResourceError(
                f"one process needs {cpus:g} CPUs, {gpus:g} GPUs and {memory / 1e9:.1f} GB; Ray has {has}"
            )
        return min(rooms)


def checked_address(where: str) -> str:
    """What --cluster names: `local`, `auto` or an address; UsageError for anything else."""
    if where in (LOCAL, AUTO) or _ADDRESS.fullmatch(where):
        return where
    raise UsageError(f"--cluster must be local, auto or an address like ray://head:10001, got {where!r}")


@contextmanager
def running(where: str) -> Iterator[Cluster]:
    """Be connected to a Ray: `local` starts one and stops it at the end, `auto` and an address find one.

    UsageError where Ray is not installed or none is found, ResourceError where it fails.
    """
    checked_address(where)
    # A server that has just been ended may still write there.
    place = tempfile.TemporaryDirectory(prefix="sharedllm-", dir=_temporary_root(), ignore_cleanup_errors=True)
    with place as folder:
        added = dict(_QUIET)
        if where == LOCAL:
            # Processes of a cluster elsewhere find the package where it is installed there.
            package = str(Path(__file__).parents[2])
            paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
            added |= _LOOPBACK | {"RAY_AUTH_TOKEN": _TOKEN, "PYTHONPATH": os.pathsep.join(paths)}
        with _environment(added):
            ray = _imported()
            try:
                _connect(ray, where, folder)
                yield _described(ray)
            except ray.exceptions.RayError as problem:
                raise failed(problem) from problem
            finally:
                with suppress(Exception):
                    ray.shutdown()


def failed(problem: Exception) -> SharedLLMError:
    """What Ray raises, as ours."""
    line = next((line for line in str(problem).splitlines() if line.strip()), type(problem).__name__)
    return ResourceError(f"Ray failed: {line.strip()[:200]}", hint="what was finished is kept; run the command again")


def _imported() -> Any:
    try:
        import ray
    except ImportError:
        raise UsageError(
            "--cluster needs the library Ray", hint='install it with: pip install "sharedllm-cli[cluster]"'
        ) from None
    logging.getLogger("ray").setLevel(logging.ERROR)
    return ray


def _connect(ray: Any, where: str, folder: str) -> None:
    common = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.ERROR}
    try:
        if where == LOCAL:
            _start(ray, folder, common)
        else:
            ray.init(address=where, **common)
    except SharedLLMError:
        raise
    except (ConnectionError, TimeoutError, ValueError) as problem:
        hint = "start one with `ray start --head` (docs/scale.md), or use --cluster local" if where == AUTO else None
        raise UsageError(f"no Ray was found at {where!r}: {str(problem).splitlines()[0][:200]}", hint=hint) from problem
    except Exception as problem:  # Ray raises the bare class where a server of its own does not start
        raise failed(problem) from problem


def _start(ray: Any, folder: str, common: dict[str, Any]) -> None:
    """Start a Ray on the loopback address. It waits 30 s for its servers: a busy machine may need another try."""
    for attempt in range(MOST_STARTS):
        try:
            ray.init(
                address="local",
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _node_ip_address="127.0.0.1",
                _temp_dir=folder,
                **common,
            )
            break
        except Exception as problem:
            ray.shutdown()
            if attempt + 1 == MOST_STARTS or "timed out" not in str(problem):
                raise
    address = ray.util.get_node_ip_address()
    if not address.startswith("127."):
        raise ResourceError(
            f"Ray would listen on {address}, beyond this machine: another part of this process loaded it"
        )


def _described(ray: Any) -> Cluster:
    has = ray.cluster_resources()
    machines = sum(1 for node in ray.nodes() if node["Alive"])
    return Cluster(ray, int(has.get("CPU", 0)), int(has.get("GPU", 0)), int(has.get("memory", 0)), machines)


def _temporary_root() -> str | None:
    """Where the private folder lies: the system's place for it, unless that is too deep for a socket."""
    deep = len(tempfile.gettempdir()) > _LONGEST_TEMPORARY and sys.platform != "win32"
    return _SHORTEST_TEMPORARY if deep else None


@contextmanager
def _environment(added: dict[str, str]) -> Iterator[None]:
    """Variables of the environment, which Ray and its processes read, for as long as it runs."""
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
