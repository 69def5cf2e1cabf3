"""Hands tasks to the actors of a cluster, one at a time to each, and takes their answers as they come.

An actor that ends (killed, or its machine lost) is replaced, and its task is given to another one, once: a document
that ends two actors is a failure of its own.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from sharedllm_cli import __version__
from sharedllm_cli.cluster.running import Cluster, failed
from sharedllm_cli.errors import ResourceError, SharedLLMError, UsageError
from sharedllm_cli.progress import Reporter

MOST_DEATHS = 2
"""A task that ends so many actors is given up."""
MOST_FAILED_STARTS = 3
PATIENCE_SECONDS = 60.0
"""After so long without any actor the user hears that there is no room for one."""

Task = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """What an actor is and needs: its class (`actors.py`), the line it is made with, CPUs, GPUs, bytes of memory."""

    actor: type
    setup: str
    cpus: float
    gpus: float
    memory: int


@dataclass
class _Slot:
    """The place of one actor, and its task; `greeted`: it has said that it can work."""

    actor: Any
    greeted: bool = False
    task: Task | None = None


@dataclass
class _Work:
    """Tasks, and how many actors each has ended."""

    waiting: deque[Task]
    deaths: dict[str, int] = field(default_factory=dict)


class Crew:
    """Actors of one kind on a cluster, which share a folder with this process (`store`)."""

    def __init__(self, cluster: Cluster, kind: Kind, count: int, store: Path, reporter: Reporter) -> None:
        self._ray = cluster.ray
        self._kind = kind
        self._count = min(count, cluster.most(cpus=kind.cpus, gpus=kind.gpus, memory=kind.memory))
        self._store = store
        self._reporter = reporter
        self._failed_starts = 0

    def work(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, dict[str, Any] | None]]:
        """Every task with its answer, in the order in which they come; None where it ended two actors.

        Each task has a `path`. Closing the iterator, or an interruption, ends the actors. UsageError where they can't
        work: another release, or no sight of the store; ResourceError where none can be started.
        """
        if not tasks:
            return
        left = _Work(deque(tasks))
        with _marker(self._store) as marker:
            slots: dict[Any, _Slot] = {}
            try:
                for _ in range(min(self._count, len(tasks))):
                    self._start(slots, marker)
                yield from self._answers(slots, left, marker)
            finally:
                for slot in slots.values():
                    with suppress(Exception):
                        self._ray.kill(slot.actor, no_restart=True)

    def _answers(
        self, slots: dict[Any, _Slot], left: _Work, marker: str
    ) -> Iterator[tuple[Task, dict[str, Any] | None]]:
        told = False
        while slots:
            done, _ = self._ray.wait([*slots], num_returns=1, timeout=PATIENCE_SECONDS)
            if not done and not told and not any(slot.greeted for slot in slots.values()):
                told = True
                self._reporter.note("the cluster has had no room for a process for a minute; still waiting")
            for reference in done:
                slot = slots.pop(reference)
                task = slot.task
                try:
                    answer = json.loads(self._ray.get(reference))
                except self._ray.exceptions.RayTaskError as problem:
                    raise failed(problem) from problem
                except self._ray.exceptions.RayActorError as problem:
                    lost = self._lost(slot, left, problem)
                    if lost is not None:
                        yield lost, None
                    if left.waiting:
                        self._start(slots, marker)
                    continue
                if task is None:
                    self._check(slot, answer)
                else:
                    yield task, answer
                self._next(slots, slot, left)

    def _next(self, slots: dict[Any, _Slot], slot: _Slot, left: _Work) -> None:
        """Give an actor the next task; without one it goes."""
        if not left.waiting:
            self._ray.kill(slot.actor, no_restart=True)
            return
        slot.task = left.waiting.popleft()
        slots[slot.actor.do.remote(json.dumps(slot.task))] = slot

    def _lost(self, slot: _Slot, left: _Work, problem: Exception) -> Task | None:
        """An actor ended: its task goes back, or is returned where it has ended too many."""
        task = slot.task
        if task is None:
            self._failed_starts += 1
            if self._failed_starts >= MOST_FAILED_STARTS:
                raise failed(problem) from problem
            return None
        path = str(task["path"])
        left.deaths[path] = left.deaths.get(path, 0) + 1
        if left.deaths[path] >= MOST_DEATHS:
            return task
        left.waiting.appendleft(task)
        return None

    def _start(self, slots: dict[Any, _Slot], marker: str) -> None:
        kind = self._kind
        remote = self._ray.remote(kind.actor)
        options = remote.options(
            num_cpus=kind.cpus, num_gpus=kind.gpus, memory=kind.memory, max_restarts=0, max_task_retries=0
        )
        slot = _Slot(options.remote(kind.setup))
        slots[slot.actor.greet.remote(marker)] = slot

    def _check(self, slot: _Slot, greeting: dict[str, Any]) -> None:
        if greeting["version"] != __version__:
            raise UsageError(
                f"a machine of the cluster has sharedllm {greeting['version']}, this one {__version__}",
                hint="install the same release on all of them",
            )
        if not greeting["sees"]:
            raise UsageError(
                f"a machine of the cluster does not see the folder of indexes ({self._store})",
                hint="put it on a disk that all machines share, with --index-dir or SHAREDLLM_HOME",
            )
        if "error" in greeting:
            message, hint = greeting["error"]
            raise ResourceError(f"a process of the cluster can't load the model: {message}", hint=hint)
        slot.greeted = True
        self._failed_starts = 0


@contextmanager
def _marker(store: Path) -> Iterator[str]:
    """A file in the store by which a machine shows that it sees it."""
    try:
        store.mkdir(parents=True, exist_ok=True)
        marker = NamedTemporaryFile(dir=store, prefix=".seen-")  # noqa: SIM115
    except OSError as problem:
        raise _unwritable(store, problem) from problem
    with marker:
        yield marker.name


def _unwritable(store: Path, problem: OSError) -> SharedLLMError:
    return ResourceError(f"the folder of indexes {store} can't be written: {problem.strerror}")
