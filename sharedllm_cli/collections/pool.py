"""Several processes that read documents into one store. Only paths and lines of JSON pass to and from them.

A document that ends its process, or takes too long, fails by itself; another process takes the place of the one that
ended. Each writes what one process alone would write, so the store is the same whatever their number.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from sharedllm_cli.config import TreeConfig
from sharedllm_cli.documents.readers import Limits
from sharedllm_cli.documents.sources import SourceFile

COMMAND = ("-m", "sharedllm_cli.collections.worker")
MOST_SECONDS = 900.0
"""A document that takes longer is given up."""
WORKER_BYTES = 400_000_000
"""A process that reads takes some 200 MB, and a long PDF as much again."""
LEAST_LIMIT = 2_000_000_000
FEW_FILES = 16
"""One more process is started for each so many files: starting it takes as long as reading them."""


@dataclass(frozen=True)
class Setup:
    """What every process is told first: where documents go, and what cuts them into leaves."""

    store: str
    tokenizer: str
    tokenizer_hash: str
    tree: TreeConfig
    password: str | None = None
    limits: Limits = field(default_factory=Limits)


def worker_count(files: int, wanted: int | None = None) -> int:
    """How many processes read some files: `wanted`, else one a physical core as far as free memory goes."""
    if wanted is None:
        cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
        with suppress(AttributeError):  # not on every system
            cores = min(cores, len(os.sched_getaffinity(0)))
        free = psutil.virtual_memory().available // WORKER_BYTES
        wanted = max(1, min(cores, free, 1 + files // FEW_FILES))
    return max(1, min(wanted, files))


def setup_line(setup: Setup, workers: int) -> str:
    """What one of some processes of this machine is told first: the setup and its share of the memory."""
    share = max(LEAST_LIMIT, int(psutil.virtual_memory().available) // workers)
    return json.dumps({**asdict(setup), "memory": share})


def failed(name: str, path: str, why: str, hint: str | None = None) -> dict[str, Any]:
    """What is known of a file that could not be read, as `worker.read_one` gives it."""
    return {"path": path, "stamp": [], "documents": [], "error": f"{name}: {why}", "hint": hint}


def read_all(sources: Sequence[SourceFile], setup: Setup, workers: int) -> Iterator[dict[str, Any]]:
    """Read files, and give what is known of each as it is done (`worker.read_one`), in no particular order.

    Closing the iterator, or an interruption, ends the processes; what they have stored stays.
    """
    if not sources:
        return
    tasks: queue.SimpleQueue[SourceFile] = queue.SimpleQueue()
    for source in sources:
        tasks.put(source)
    answers: queue.SimpleQueue[dict[str, Any] | BaseException] = queue.SimpleQueue()
    line = setup_line(setup, workers)
    readers = [_Reader(line, tasks, answers) for _ in range(workers)]
    try:
        for reader in readers:
            reader.start()
        for _ in sources:
            answer = answers.get()
            if isinstance(answer, BaseException):
                raise answer
            yield answer
    finally:
        for reader in readers:
            reader.stop()


class _Reader(threading.Thread):
    """Feeds one process with files until there are no more."""

    def __init__(self, setup: str, tasks: queue.SimpleQueue[SourceFile], answers: queue.SimpleQueue[Any]) -> None:
        super().__init__(daemon=True)
        self._tasks = tasks
        self._answers = answers
        self._process = ReadingProcess(setup)
        self._stopped = False

    def run(self) -> None:
        try:
            while not self._stopped:
                try:
                    source = self._tasks.get_nowait()
                except queue.Empty:
                    break
                self._answers.put(self._process.read(source.name, str(source.path)))
        except BaseException as problem:
            self._answers.put(problem)
        finally:
            self._process.end()

    def stop(self) -> None:
        """End the process, in the middle of a document where there is one: what it writes is whole or not there."""
        self._stopped = True
        self._process.kill()
        if self.is_alive():
            self.join(10.0)


class ReadingProcess:
    """One process that reads documents (`worker.py`); another one takes its place where it ended.

    `setup` is the line that it is told first (`setup_line`).
    """

    def __init__(self, setup: str) -> None:
        self._setup = setup
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[bytes] | None = None

    def kill(self) -> None:
        """End the process at once, also from another thread."""
        process = self._process
        if process is not None:
            with suppress(OSError):
                process.kill()

    def read(self, name: str, path: str) -> dict[str, Any]:
        """What is known of a file once it was read, as `worker.read_one`; an error of the file where that ended it."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Timer(MOST_SECONDS, process.kill)
        late.start()
        line = ""
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps({"name": name, "path": path}) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
        finally:
            in_time = late.is_alive()
            late.cancel()
        if line.endswith("\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        code, said = process.wait(), self._last_words()
        self.end()
        why = f"it took longer than {MOST_SECONDS:g} seconds" if not in_time else f"reading it ended a process ({code})"
        return failed(name, path, why, said or None)

    def _start(self) -> subprocess.Popen[str]:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        package = Path(__file__).parents[2]
        paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-P", *COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(self._setup + "\n")
            self._process.stdin.flush()
        return self._process

    def _last_words(self) -> str:
        """The last line that the process wrote on standard error."""
        if self._errors is None:
            return ""
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - 4000))
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:200] if lines else ""

    def end(self) -> None:
        """Let the process end; the next file is read by another one."""
        process, self._process = self._process, None
        if process is not None:
            for stream in (process.stdin, process.stdout):
                with suppress(OSError):
                    if stream is not None:
                        stream.close()
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
        if self._errors is not None:
            self._errors.close()
            self._errors = None
