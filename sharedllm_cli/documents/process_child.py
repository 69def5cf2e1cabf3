"""The process that reads documents: started by `process.py`, it answers until its standard input ends.

It limits itself before it reads anything: its memory, its files, and its time on the CPU, where the system has limits.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO

from sharedllm_cli import errors
from sharedllm_cli.documents.pages import AttachedFile
from sharedllm_cli.documents.process_frames import Frame, packed, packed_files, read_frame
from sharedllm_cli.documents.readers import Probe
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.errors import SharedLLMError

_MOST_INPUT = 1 << 40
_ENOUGH_SECONDS = 3600
_MOST_WRITTEN = 4 << 20
"""Bytes of a file that it may write: Python keeps what it compiled, nothing else is written."""


def _limit(name: str, value: int, *, soft_only: bool = False) -> bool:
    """Set one of the system's limits; whether it has it."""
    try:
        import resource

        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (allowed, hard if soft_only else allowed))
    except (ImportError, AttributeError, ValueError, OSError):
        return False
    return True


def _limit_seconds(seconds: int) -> None:
    """So many seconds of the CPU from now on, should nobody be left to end this process."""
    used = os.times()
    _limit("RLIMIT_CPU", int(used.user + used.system) + seconds, soft_only=True)


class _Relay:
    """A reporter whose progress and remarks go to the parent."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    @contextmanager
    def task(self, description: str, total: int, unit: str) -> Iterator[_Relay]:
        """Tell of work that begins and ends."""
        self._say(task=[description, total, unit])
        yield self
        self._say(finished=True)

    def advance(self, amount: int) -> None:
        """Tell that `amount` more units are done."""
        self._say(advance=amount)

    def note(self, text: str) -> None:
        """Pass a remark on."""
        self._say(note=text)

    def warn(self, text: str) -> None:
        """Pass a warning on."""
        self._say(warn=text)

    def detail(self, title: str, text: str) -> None:
        """Leave out what is long: nothing that reads a file gives any."""

    def _say(self, **head: Any) -> None:
        Frame(head).write(self._out)


class _Reader:
    """Answers one request after another; the document that was opened last stays open."""

    def __init__(self, out: BinaryIO, held: Sequence[str]) -> None:
        self._out = out
        self._held = list(held)
        self._number = -1
        self._probe: Probe | None = None

    def answer(self, asked: Frame) -> Frame:
        """What came of a request; a fault where it could not be answered."""
        head = asked.head
        if head["do"] == "limits":
            return Frame({"done": "limits", "held": self._held})
        _limit_seconds(head["cpu_seconds"])
        if head["number"] != self._number or self._probe is None:
            source = SourceFile(head["name"], None if head["path"] is None else Path(head["path"]))
            self._number = head["number"]
            self._probe = Probe(source, password=head["password"], data=asked.blobs[0], ocr=head["ocr"])
        probe = self._probe
        try:
            return self._done(head["do"], probe)
        except SharedLLMError as problem:
            told = {"error": type(problem).__name__, "message": problem.message, "hint": problem.hint}
            return _with_files(told, probe.attachments)
        except MemoryError:
            return Frame({"fault": "memory"})
        except Exception as problem:  # a library may raise anything for a damaged file
            return Frame({"fault": "failed", "type": type(problem).__name__[:80]})

    def _done(self, wanted: str, probe: Probe) -> Frame:
        if wanted == "open":
            probe.open()
            return Frame({"done": "open"})
        self._probe = None  # its pages are read once
        if wanted == "attached":
            return _with_files({"done": "attached"}, probe.attached_files())
        document = probe.read(_Relay(self._out))
        return Frame({"done": "read"}, packed(document, probe.attachments))


def _with_files(head: dict[str, Any], files: tuple[AttachedFile, ...]) -> Frame:
    return Frame({**head, "files": [file.name for file in files]}, packed_files(files))


def serve() -> None:
    """Answer requests on standard input until it ends, which it does with the parent, however that one ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    memory = int(sys.argv[2])
    out = os.fdopen(os.dup(1), "wb")
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints is no frame
    held = ["memory"] if _limit("RLIMIT_AS", memory) else []
    held += ["time on the CPU"] if _limit("RLIMIT_CPU", _ENOUGH_SECONDS, soft_only=True) else []
    _limit("RLIMIT_CORE", 0)
    _limit("RLIMIT_FSIZE", _MOST_WRITTEN)
    asked: SimpleQueue[Frame] = SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, asked), daemon=True).start()
    reader = _Reader(out, held)
    while True:
        answer = reader.answer(asked.get())
        answer.write(out)
        if answer.head.get("fault") == "memory":
            os._exit(errors.ResourceError.exit_code)  # what lacked memory once is in no state to go on


def _listen(stream: BinaryIO, asked: SimpleQueue[Frame]) -> None:
    """Take requests; at the end of them the process ends, even amid a page that never does."""
    try:
        while frame := read_frame(stream, _MOST_INPUT):
            asked.put(frame)
    finally:
        os._exit(0)
