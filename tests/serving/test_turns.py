"""One piece of work at a time: in turn, bounded, and gone when nobody waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sharedllm_cli.serving.turns import BusyError, Job, Running, Turns, pieces_of


class Gate:
    """Work that waits until it is let go, so that a test can fill the queue behind it."""

    def __init__(self) -> None:
        self.begun, self.go, self.closed = threading.Event(), threading.Event(), threading.Event()

    def __call__(self, job: Job) -> Iterator[str]:
        try:
            self.begun.set()
            yield "first"
            assert self.go.wait(10)
            yield "second"
        finally:
            self.closed.set()


def noting(log: list[str], name: str) -> Any:
    def work(job: Job) -> Iterator[str]:
        log.append(name)
        yield name

    return work


def test_callers_take_turns_whoever_came_first() -> None:
    turns, gate, log = Turns(), Gate(), list[str]()
    first = Running(turns, gate)
    assert next(first) == "first"
    many = [Running(turns, noting(log, f"a{number}"), caller="a") for number in range(3)]
    other = Running(turns, noting(log, "b"), caller="b")
    gate.go.set()
    assert [list(one) for one in [*many, other]] == [["a0"], ["a1"], ["a2"], ["b"]]
    assert log == ["a0", "b", "a1", "a2"]


def test_closing_stops_what_runs_and_what_waits() -> None:
    turns, gate, log = Turns(), Gate(), list[str]()
    running = Running(turns, gate)
    waiting = Running(turns, noting(log, "waiting"))
    behind = Running(turns, noting(log, "behind"))
    assert next(running) == "first"
    waiting.close()
    assert list(waiting) == []
    running.close()
    gate.go.set()
    assert list(behind) == ["behind"]
    assert gate.closed.is_set()
    assert log == ["behind"]


def test_a_forgotten_iterator_stops_its_work() -> None:
    turns, gate = Turns(), Gate()
    running = Running(turns, gate)
    assert next(running) == "first"
    del running
    gate.go.set()
    assert gate.closed.wait(10)


def test_too_much_work_is_refused_and_the_rest_done() -> None:
    turns, gate, log = Turns(most_waiting=1), Gate(), list[str]()
    running = Running(turns, gate)
    assert next(running) == "first"
    kept = Running(turns, noting(log, "kept"))
    with pytest.raises(BusyError, match="1 questions are waiting"):
        Running(turns, noting(log, "refused"))
    gate.go.set()
    assert [*running, *kept] == ["second", "kept"]


def test_a_caller_who_fills_the_queue_leaves_room_for_another() -> None:
    turns, gate, log = Turns(most_waiting=4), Gate(), list[str]()
    running = Running(turns, gate)
    assert next(running) == "first"
    many = [Running(turns, noting(log, f"a{number}"), caller="a") for number in range(4)]
    with pytest.raises(BusyError):
        Running(turns, noting(log, "a4"), caller="a")
    others = [Running(turns, noting(log, f"b{number}"), caller="b") for number in range(2)]
    for newest in many[2:]:
        with pytest.raises(BusyError, match="4 questions are waiting"):
            next(newest)
    with pytest.raises(BusyError):  # each has half
        Running(turns, noting(log, "b2"), caller="b")
    gate.go.set()
    assert [list(one) for one in [*many[:2], *others]] == [["a0"], ["a1"], ["b0"], ["b1"]]
    assert log == ["a0", "b0", "a1", "b1"]


def test_work_that_takes_too_long_ends_with_an_error() -> None:
    def endless(job: Job) -> Iterator[str]:
        while True:
            yield "more"

    pieces = Running(Turns(), endless, seconds=0.05)
    with pytest.raises(BusyError, match="stopped after"):
        for _ in pieces:
            pass


def test_an_error_reaches_its_caller_alone() -> None:
    def broken(job: Job) -> Iterator[str]:
        yield "a"
        raise ValueError("broken")

    turns, log = Turns(), list[str]()
    failing, after = Running(turns, broken), Running(turns, noting(log, "after"))
    assert next(failing) == "a"
    with pytest.raises(ValueError, match="broken"):
        next(failing)
    assert list(after) == ["after"]
    assert list(failing) == []


def test_an_event_loop_gets_the_same_pieces_and_stops_by_closing() -> None:
    turns, gate = Turns(), Gate()

    async def take() -> list[str]:
        pieces = pieces_of(turns, gate)
        first = await anext(pieces)
        await pieces.aclose()  # type: ignore[attr-defined]
        gate.go.set()
        return [first, *[piece async for piece in pieces_of(turns, noting([], "next"))]]

    assert asyncio.run(take()) == ["first", "next"]
    assert gate.closed.is_set()


def test_a_closed_queue_refuses_and_ends() -> None:
    turns, gate, log = Turns(), Gate(), list[str]()
    running = Running(turns, gate)
    waiting = Running(turns, noting(log, "waiting"))
    assert next(running) == "first"
    gate.go.set()
    turns.close()
    with pytest.raises(BusyError, match="ending"):
        list(waiting)
    with pytest.raises(BusyError, match="ending"):
        Running(turns, noting(log, "late"))
    assert log == []
