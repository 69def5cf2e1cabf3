"""One piece of work at a time, in turn: a bounded fair queue, and the one thread in which a model is used.

Knows nothing of models and documents. Callers take turns: one with a hundred waiting questions does not delay another
with one by more than the question that is running, nor take all the places in the queue. Work that is stopped leaves
the queue, or ends at its next step.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from sharedllm_cli.errors import ResourceError

MOST_WAITING = 256
"""So much work waits at most; more is refused at once."""
MOST_SECONDS = 600.0
"""So long one piece of work may run, and so long it may wait, unless it is given other limits."""


class BusyError(ResourceError):
    """Too much work is waiting, or this has waited or run too long."""


class StoppedError(BaseException):
    """Raised within work whose caller has gone or whose time is over. Like an interrupt, it is no `Exception`."""


@dataclass
class Job:
    """One piece of work: `work` yields what is delivered, piece by piece, then comes an `Ended`."""

    work: Callable[[Job], Iterator[Any]]
    deliver: Callable[[Any], None]
    caller: str = ""
    seconds: float | None = MOST_SECONDS
    stopped: bool = False
    asked_at: float = field(default_factory=time.monotonic)
    begun_at: float | None = None

    @property
    def overdue(self) -> bool:
        """Whether it has run for longer than it may."""
        return None not in (self.begun_at, self.seconds) and time.monotonic() - self.begun_at > self.seconds  # type: ignore[operator]

    def check(self) -> None:
        """StoppedError where nobody waits for this work any more; called wherever it can end."""
        if self.stopped or self.overdue:
            raise StoppedError


@dataclass(frozen=True)
class Ended:
    """The end of a job: its error, or None."""

    error: BaseException | None = None


class Turns:
    """A thread that does one job after another; callers with work waiting take turns."""

    def __init__(self, *, most_waiting: int = MOST_WAITING) -> None:
        self._most_waiting = most_waiting
        self._waiting: OrderedDict[str, deque[Job]] = OrderedDict()
        self._changed = threading.Condition()
        self._running: Job | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        self.idle_since = time.monotonic()
        self.done = 0

    def __len__(self) -> int:
        """How much work waits or runs."""
        with self._changed:
            return sum(map(len, self._waiting.values())) + (self._running is not None)

    def submit(self, job: Job) -> Job:
        """Queue a job. Raises BusyError where too much work waits already, most of it this caller's.

        Where most is another's, the newest of that caller's jobs ends with the error instead.
        """
        busy = BusyError(f"{self._most_waiting} questions are waiting already", hint="ask again later")
        given_up = None
        with self._changed:
            if self._closed:
                raise BusyError("the server is ending")
            if sum(map(len, self._waiting.values())) >= self._most_waiting:
                most = max(self._waiting.values(), key=len)
                if len(most) <= len(self._waiting.get(job.caller, ())) + 1:
                    raise busy
                given_up = most.pop()
            self._waiting.setdefault(job.caller, deque()).append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="sharedllm-turns", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        if given_up is not None:
            given_up.deliver(Ended(busy))
        return job

    def stop(self, job: Job) -> None:
        """Take a job out of the queue, or let it end at its next step. A job that has ended stays as it is."""
        with self._changed:
            job.stopped = True
            own = self._waiting.get(job.caller)
            if own is None or job not in own:
                return
            own.remove(job)
            if not own:
                del self._waiting[job.caller]
        job.deliver(Ended())

    def close(self, wait_seconds: float = 10.0) -> None:
        """Stop the running job, refuse those that wait, and end the thread."""
        with self._changed:
            self._closed = True
            left = [job for jobs in self._waiting.values() for job in jobs]
            self._waiting.clear()
            if self._running is not None:
                self._running.stopped = True
            self._changed.notify_all()
            thread = self._thread
        for job in left:
            job.deliver(Ended(BusyError("the server is ending")))
        if thread is not None and thread is not threading.current_thread():
            thread.join(wait_seconds)

    def _next(self) -> Job | None:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            caller, jobs = next(iter(self._waiting.items()))
            job = jobs.popleft()
            if jobs:
                self._waiting.move_to_end(caller)
            else:
                del self._waiting[caller]
            self._running = job
            return job

    def _work(self) -> None:
        while (job := self._next()) is not None:
            error = self._run(job)
            with self._changed:
                self._running = None
                self.idle_since = time.monotonic()
                self.done += 1
            job.deliver(Ended(error))
            del job, error  # or the last answer would be kept until the next question

    def _run(self, job: Job) -> BaseException | None:
        waited = time.monotonic() - job.asked_at
        if job.seconds is not None and waited > job.seconds:
            return BusyError(f"this question has waited for {waited:.0f} seconds", hint="ask again later")
        job.begun_at = time.monotonic()
        pieces = None
        try:
            job.check()
            pieces = job.work(job)
            for piece in pieces:
                job.deliver(piece)
                job.check()
        except StoppedError:
            return None if job.stopped else BusyError(f"stopped after {job.seconds:.0f} seconds")
        except Exception as error:
            return error
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()
        return None


class Running(Iterator[Any]):
    """The pieces of a job, for a thread that waits for them. Closing it stops the job."""

    def __init__(
        self,
        turns: Turns,
        work: Callable[[Job], Iterator[Any]],
        *,
        caller: str = "",
        seconds: float | None = MOST_SECONDS,
    ) -> None:
        self._turns = turns
        self._pieces: SimpleQueue[Any] = SimpleQueue()
        self._ended = False
        self._job = turns.submit(Job(work, self._pieces.put, caller, seconds))

    def __next__(self) -> Any:
        if self._ended:
            raise StopIteration
        piece = self._pieces.get()
        if isinstance(piece, Ended):
            self._ended = True
            if piece.error is not None:
                raise piece.error
            raise StopIteration
        return piece

    def close(self) -> None:
        """Stop the job. From another thread, too: whoever waits for a piece then gets no more."""
        self._turns.stop(self._job)

    def __del__(self) -> None:
        if hasattr(self, "_job") and not self._ended:
            self.close()


async def pieces_of(
    turns: Turns,
    work: Callable[[Job], Iterator[Any]],
    *,
    caller: str = "",
    seconds: float | None = MOST_SECONDS,
) -> AsyncIterator[Any]:
    """The pieces of a job, for an event loop: no thread waits for them. Closing it stops the job."""
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[Any] = asyncio.Queue()

    def deliver(piece: Any) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

    job = turns.submit(Job(work, deliver, caller, seconds))
    try:
        while not isinstance(piece := await pieces.get(), Ended):
            yield piece
        if piece.error is not None:
            raise piece.error
    finally:
        turns.stop(job)
