"""Tasks over actors that end, refuse or can't start, with a Ray that is made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sharedllm_cli import __version__
from sharedllm_cli.cluster.running import Cluster, checked_address
from sharedllm_cli.cluster.spreading import Crew, Kind
from sharedllm_cli.errors import ResourceError, UsageError
from sharedllm_cli.progress import Silent


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class RayActorError(RayError):
    pass


class MadeUpRay:
    """Runs a method when its result is fetched; `ends` says whether a call ends its actor."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError, RayActorError=RayActorError)

    def __init__(self, ends: Callable[[str], bool] = lambda path: False) -> None:
        self.ends = ends
        self.started = 0
        self.done: list[str] = []

    def remote(self, kind: type) -> Any:
        return SimpleNamespace(options=lambda **needs: SimpleNamespace(remote=self._made(kind)))

    def _made(self, kind: type) -> Callable[[str], Any]:
        def made(setup: str) -> Any:
            self.started += 1
            actor = kind(setup)
            return SimpleNamespace(
                greet=SimpleNamespace(remote=lambda marker: self._call(lambda: actor.greet(marker))),
                do=SimpleNamespace(remote=lambda line: self._call(lambda: self._do(actor, line))),
            )

        return made

    def _do(self, actor: Any, line: str) -> str:
        path = json.loads(line)["path"]
        if self.ends(path):
            raise RayActorError("it ended")
        self.done.append(path)
        return str(actor.do(line))

    def _call(self, run: Callable[[], str]) -> Any:
        reference = SimpleNamespace(run=run)
        return _Hashable(reference)

    def wait(self, references: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return references[:1], references[1:]

    def get(self, reference: Any) -> str:
        return str(reference.of.run())

    def kill(self, actor: Any, no_restart: bool) -> None:
        pass


class _Hashable:
    def __init__(self, of: Any) -> None:
        self.of = of


class Echo:
    """An actor that answers with what it is asked."""

    greeting: dict[str, Any] = {"version": __version__, "sees": True}  # noqa: RUF012

    def __init__(self, setup: str) -> None:
        pass

    def greet(self, marker: str) -> str:
        return json.dumps({**self.greeting, "sees": self.greeting["sees"] and Path(marker).is_file()})

    def do(self, line: str) -> str:
        return line


def crew(ray: MadeUpRay, store: Path, actor: type = Echo, count: int = 2) -> Crew:
    cluster = Cluster(ray, cpus=4, gpus=0, memory=10**9, machines=1)
    return Crew(cluster, Kind(actor, "{}", 1, 0, 10**8), count, store, Silent())


TASKS = [{"path": f"{number}.txt"} for number in range(7)]


def test_every_task_is_done_once(tmp_path: Path) -> None:
    ray = MadeUpRay()
    answers = {task["path"]: answer for task, answer in crew(ray, tmp_path).work(TASKS)}
    assert answers == {task["path"]: task for task in TASKS}
    assert sorted(ray.done) == sorted(answers)
    assert ray.started == 2
    assert list(tmp_path.iterdir()) == []


def test_a_task_whose_actor_ended_is_done_by_another_one(tmp_path: Path) -> None:
    ended: list[str] = []

    def ends(path: str) -> bool:
        ended.append(path)
        return path == "3.txt" and ended.count("3.txt") == 1

    ray = MadeUpRay(ends)
    answers = [(task["path"], answer) for task, answer in crew(ray, tmp_path).work(TASKS)]
    assert sorted(path for path, _ in answers) == sorted(task["path"] for task in TASKS)
    assert all(answer is not None for _, answer in answers)
    assert ray.started == 3


def test_a_task_that_ends_two_actors_is_a_failure_of_its_own(tmp_path: Path) -> None:
    ray = MadeUpRay(lambda path: path == "3.txt")
    answers = {task["path"]: answer for task, answer in crew(ray, tmp_path).work(TASKS)}
    assert [path for path, answer in answers.items() if answer is None] == ["3.txt"]
    assert len(answers) == len(TASKS)


def test_all_actors_may_end_on_the_last_tasks(tmp_path: Path) -> None:
    ray = MadeUpRay(lambda path: True)
    answers = {task["path"]: answer for task, answer in crew(ray, tmp_path).work(TASKS[:3])}
    assert answers == dict.fromkeys(["0.txt", "1.txt", "2.txt"])


@pytest.mark.parametrize(
    ("greeting", "error", "said"),
    [
        ({"version": "0.0.0", "sees": True}, UsageError, "has sharedllm 0.0.0"),
        ({"version": __version__, "sees": False}, UsageError, "does not see the folder of indexes"),
        ({"version": __version__, "sees": True, "error": ["no weights", "pull them"]}, ResourceError, "no weights"),
    ],
)
def test_an_actor_that_can_not_work_is_an_error(
    greeting: dict[str, Any], error: type[Exception], said: str, tmp_path: Path
) -> None:
    class Unable(Echo):
        pass

    Unable.greeting = greeting
    ray = MadeUpRay()
    with pytest.raises(error, match=said):
        list(crew(ray, tmp_path, Unable).work(TASKS))
    assert ray.done == []


def test_actors_that_never_start_are_an_error(tmp_path: Path) -> None:
    class Broken(Echo):
        def greet(self, marker: str) -> str:
            raise RayActorError("no module named sharedllm_cli")

    with pytest.raises(ResourceError, match="no module named sharedllm_cli"):
        list(crew(MadeUpRay(), tmp_path, Broken).work(TASKS))


def test_there_are_no_more_actors_than_have_room(tmp_path: Path) -> None:
    ray = MadeUpRay()
    list(crew(ray, tmp_path, count=64).work(TASKS))
    assert ray.started == 4
    cluster = Cluster(ray, cpus=4, gpus=0, memory=10**6, machines=1)
    with pytest.raises(ResourceError, match="one process needs"):
        Crew(cluster, Kind(Echo, "{}", 1, 0, 10**8), 2, tmp_path, Silent())


@pytest.mark.parametrize("where", ["local", "auto", "ray://head:10001", "10.0.0.5:6379", "[::1]:6379"])
def test_addresses_are_taken(where: str) -> None:
    assert checked_address(where) == where


@pytest.mark.parametrize("where", ["", "locale", "head", "http://head:8265", "ray://head", "ray://a b:1"])
def test_other_words_are_refused(where: str) -> None:
    with pytest.raises(UsageError, match="--cluster must be"):
        checked_address(where)
