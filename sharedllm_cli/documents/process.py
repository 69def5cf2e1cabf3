"""Documents read in a process of their own, which has limits of time, memory and output.

Whatever a hostile or broken file does to the libraries that parse it (crash, hang, take all memory) ends that process
alone; the document is an error in one line and the next one is read by a new process. One process reads many
documents. Short plain texts go through no library that parses: `readers.Probe` reads them itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import BinaryIO

from sharedllm_cli import errors
from sharedllm_cli.documents.pages import AttachedFile, Document
from sharedllm_cli.documents.process_frames import Frame, read_frame, unpacked, unpacked_files
from sharedllm_cli.documents.readers import Limits
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.durable import sha256_of_bytes
from sharedllm_cli.errors import DocumentError, ResourceError, SharedLLMError
from sharedllm_cli.progress import Reporter, Silent, Task

_LOOK_SECONDS = 0.5
_PACKAGE = Path(__file__).parents[1].parent
_RUN = "import sys; sys.path.append(sys.argv[1]); from sharedllm_cli.documents.process_child import serve; serve()"
_MEMORY_SIGNALS = frozenset({getattr(signal, "SIGKILL", None)})
_TIME_SIGNALS = frozenset({getattr(signal, "SIGXCPU", None)})
_AGAIN = "open it in a viewer and save it again"


class _EndedError(Exception):
    """The process ended, or had to be ended: `why` is `time`, `memory`, `output`, or what it ended with."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class ReaderProcess:
    """A running process that reads documents, one at a time. Raises ResourceError where none can be started."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        command = [sys.executable, "-P", "-c", _RUN, str(_PACKAGE), str(limits.memory_bytes)]
        # Threads of numeric libraries would take addresses, of which there is a limit.
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
            )
        except OSError as problem:
            raise ResourceError(
                f"no process could be started to read documents: {(problem.strerror or str(problem)).lower()}",
                hint="close other programs",
            ) from problem
        self._answers: SimpleQueue[Frame | str] = SimpleQueue()
        self._room = limits.output_bytes
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in: BinaryIO = self._process.stdin  # type: ignore[assignment]
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()

    def _listen(self, stream: BinaryIO) -> None:
        """Take what the process says, up to the bound of a request; the last thing is why there is no more."""
        why = "ended"
        try:
            while frame := read_frame(stream, self._room):
                self._room -= frame.size
                if self._room < 0:
                    raise OverflowError
                self._answers.put(frame)
        except OverflowError:
            why = "output"
        except Exception:  # whatever it says that is no frame
            why = "confused"
        self._answers.put(why)

    def ask(self, asked: Frame, told: Callable[[Frame], bool]) -> Frame:
        """Send a request and pass on to `told` what comes of it, until that is the last of it.

        Raises _EndedError where there is no answer; the process is gone then.
        """
        self._room = self.limits.output_bytes
        try:
            with suppress(BrokenPipeError):  # it has ended: the answers say why
                asked.write(self._in)
            return self._answered(told)
        except BaseException:
            self.kill()
            raise

    def _answered(self, told: Callable[[Frame], bool]) -> Frame:
        begun = sign = monotonic()
        while True:
            try:
                answer = self._answers.get(timeout=_LOOK_SECONDS)
            except Empty:
                now = monotonic()
                if now - sign > self.limits.step_seconds or now - begun > self.limits.whole_seconds:
                    raise _EndedError("time") from None
                if self._resident_bytes() > self.limits.memory_bytes:
                    raise _EndedError("memory") from None
                continue
            if isinstance(answer, str):
                raise _EndedError(self._ending() if answer == "ended" else answer)
            sign = monotonic()
            if sign - begun > self.limits.whole_seconds:
                raise _EndedError("time")
            if not told(answer):
                return answer

    def _resident_bytes(self) -> int:
        """What it takes of the memory; systems without a limit on addresses are held to this one."""
        import psutil

        with suppress(psutil.Error):
            return int(psutil.Process(self._process.pid).memory_info().rss)
        return 0

    def _ending(self) -> str:
        """Why it ended of itself."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1.0)
        code = self._process.returncode
        if code is None or code >= 0:
            return "confused" if not code else f"exit code {code}"
        number = signal.Signals(-code) if -code in {*signal.Signals} else -code
        if number in _MEMORY_SIGNALS:
            return "memory"
        return "time" if number in _TIME_SIGNALS else str(getattr(number, "name", number))

    @property
    def is_running(self) -> bool:
        """Whether it can be asked again."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it now, whatever it does."""
        self._process.kill()
        self.close()

    def close(self) -> None:
        """Let it end: it does so with its input."""
        with suppress(OSError):
            self._in.close()
        try:
            self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


_idle: list[ReaderProcess] = []
_idle_lock = threading.Lock()
_numbers = count()


def _taken(limits: Limits) -> ReaderProcess:
    """An idle process with these limits, or a new one."""
    with _idle_lock:
        while _idle:
            process = _idle.pop()
            if process.limits == limits and process.is_running:
                return process
            process.close()
    return ReaderProcess(limits)


def _given_back(process: ReaderProcess) -> None:
    with _idle_lock:
        if not _idle and process.is_running:
            _idle.append(process)
            return
    process.close()


def rest() -> None:
    """End the process that waits for the next document, if there is one."""
    with _idle_lock:
        waiting, _idle[:] = [*_idle], []
    for process in waiting:
        process.close()


def held_by_system(limits: Limits) -> list[str]:
    """Which limits the system holds the reading process to: `memory`, `time on the CPU`.

    Time, output and, every half second, memory are watched by the parent besides. Raises DocumentError where the
    process does not answer.
    """
    process = _taken(limits)
    try:
        answer = process.ask(Frame({"do": "limits"}), lambda frame: False)
    except _EndedError as ended:
        raise DocumentError(f"the process that reads documents failed ({ended.why})") from ended
    process.close()
    return [str(name) for name in answer.head["held"]]


class _Told:
    """Passes progress and remarks of the process on to a reporter."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._open: tuple[AbstractContextManager[Task], Task] | None = None

    def __call__(self, frame: Frame) -> bool:
        """Whether it was such a message."""
        head = frame.head
        if "task" in head:
            self.end()
            description, total, unit = head["task"]
            manager = self._reporter.task(str(description), int(total), str(unit))
            self._open = (manager, manager.__enter__())
        elif "advance" in head:
            if self._open:
                self._open[1].advance(int(head["advance"]))
        elif "finished" in head:
            self.end()
        elif "warn" in head:
            self._reporter.warn(str(head["warn"]))
        elif "note" in head:
            self._reporter.note(str(head["note"]))
        else:
            return False
        return True

    def end(self) -> None:
        """Close the display of work that ended, or broke off by the exception that is on its way."""
        if self._open:
            manager, self._open = self._open[0], None
            manager.__exit__(*sys.exc_info())


class Reading:
    """One document, opened and read in a process of its own; `files` are those that it carries, once it was read."""

    def __init__(self, source: SourceFile, password: str | None, limits: Limits) -> None:
        self._opened_by: ReaderProcess | None = None
        self.files: tuple[AttachedFile, ...] = ()
        self._source = source
        self._password = password
        self._limits = limits
        self._number = next(_numbers)

    def open(self, data: bytes) -> None:
        """As `Probe.open`; the process waits for `read`."""
        self._ask("open", data, Silent(), keep=True)

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.let_go()

    def let_go(self) -> None:
        """Give the process that waits for `read` to other documents."""
        process, self._opened_by = self._opened_by, None
        if process is not None:
            _given_back(process)

    def read(self, data: bytes, reporter: Reporter) -> Document:
        """As `Probe.read`; DocumentError too where reading takes more than the limits, or crashes."""
        answer = self._ask("read", data, reporter)
        path = None if self._source.path is None else str(self._source.path)
        try:
            document, files = unpacked(answer.blobs, self._source.name, path, sha256_of_bytes(data))
        except (ValueError, TypeError, KeyError, LookupError) as problem:
            raise self._problem("confused") from problem
        self.files = tuple(files)
        return document

    def attached(self, data: bytes) -> tuple[AttachedFile, ...]:
        """The documents that a PDF carries."""
        answer = self._ask("attached", data, Silent())
        return tuple(unpacked_files(answer.head["files"], answer.blobs))

    def _ask(self, wanted: str, data: bytes, reporter: Reporter, *, keep: bool = False) -> Frame:
        """The answer to a request. Raises the process's own DocumentError, or one that says how it ended."""
        process, self._opened_by = self._opened_by, None
        opened = process is not None and process.is_running
        if process is None or not opened:
            process = _taken(self._limits)
        head = {
            "do": wanted,
            "number": self._number,
            "name": self._source.name,
            "path": None if self._source.path is None else str(self._source.path),
            "password": self._password,
            "cpu_seconds": int(self._limits.whole_seconds),
            "ocr": self._limits.ocr,
        }
        told = _Told(reporter)
        try:
            answer = process.ask(Frame(head, [] if opened else [data]), told)
        except _EndedError as ended:
            raise self._problem(ended.why) from ended
        finally:
            told.end()
        if "fault" in answer.head:
            process.kill()
            raise self._problem("memory" if answer.head["fault"] == "memory" else str(answer.head.get("type")))
        if "error" in answer.head:
            _given_back(process)
            raise self._error(answer)
        if keep:
            self._opened_by = process
        else:
            _given_back(process)
        return answer

    def _error(self, answer: Frame) -> SharedLLMError:
        head = answer.head
        self.files = tuple(unpacked_files(head["files"], answer.blobs))
        kind = getattr(errors, str(head["error"]), DocumentError)
        if not (isinstance(kind, type) and issubclass(kind, SharedLLMError)):
            kind = DocumentError
        return kind(str(head["message"]), hint=None if head["hint"] is None else str(head["hint"]))

    def _problem(self, why: str) -> DocumentError:
        """The one line that says why a document could not be read."""
        name, limits = self._source.name, self._limits
        if why == "time":
            return DocumentError(
                f"{name} can't be read: no end of it within {_words(limits.step_seconds)} a step",
                hint="it may be made so that no reader ends; a larger --read-seconds lets it go on",
            )
        if why in ("memory", "output"):
            what = "memory" if why == "memory" else "text"
            most = limits.memory_bytes if why == "memory" else limits.output_bytes
            return DocumentError(
                f"{name} can't be read: it takes more than {most / 2**30:.3g} GiB of {what}",
                hint="it may be made to fill a machine; a larger --read-memory lets it go on",
            )
        if why == "confused":
            return DocumentError(f"{name} can't be read: its reader gave no answer", hint=_AGAIN)
        return DocumentError(f"{name} can't be read: its reader failed ({why})", hint=_AGAIN)


def _words(seconds: float) -> str:
    return f"{seconds:g} second{'' if seconds == 1 else 's'}"
