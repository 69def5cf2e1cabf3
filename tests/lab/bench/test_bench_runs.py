"""A run of `bench`: whose turn it is, what is left out, and what is told of what was measured."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import torch

from sharedllm_cli.cli.app import run as command
from sharedllm_cli.cli.terminal.console import Console
from sharedllm_cli.config import Settings
from sharedllm_cli.errors import UsageError
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.bench import runner
from sharedllm_cli.lab.bench.arms import Prefilled
from sharedllm_cli.lab.bench.counts import Extent, Machine, Work
from sharedllm_cli.lab.bench.measure import Turns
from sharedllm_cli.lab.bench.request import Request, make_arms
from sharedllm_cli.lab.bench.resident import Job, resident_peak
from sharedllm_cli.lab.bench.subject import Subject
from sharedllm_cli.lab.bench.texts import Reading
from sharedllm_cli.lab.bench.timing import Clock, Samples
from sharedllm_cli.progress import Silent

MACHINE = Machine(1e12, 1e12)
SMALL = ("--lengths", "200", "--running-tokens", "16", "--new-tokens", "2", "--repeats", "1", "--encoder", "2x64x4x128")


class FakeArm:
    """Tells when it was its turn; `cost` operations, `memory` bytes."""

    variant = ""

    def __init__(
        self, name: str, turns: list[str], cost: float = 0.0, memory: float = 0.0, fails: bool = False
    ) -> None:
        self.name = name
        self._turns = turns
        self._cost = cost
        self._memory = memory
        self._fails = fails

    @contextmanager
    def installed(self) -> Iterator[None]:
        yield

    def cold(self, reading: Reading, clock: Clock) -> Prefilled:
        self._turns.append(self.name)
        if self._fails:
            raise torch.OutOfMemoryError("CUDA out of memory")
        with clock.part("read"):
            pass
        return Prefilled(0, lambda token: token)

    def cold_steps(self, extent: Extent) -> list[Work]:
        return [Work(self._cost, 0.0)]

    def token_step(self, extent: Extent) -> Work:
        return Work(1.0, 1.0)

    def memory_bytes(self, extent: Extent) -> float:
        return self._memory


class Counted:
    def __init__(self) -> None:
        self.done = 0

    def advance(self, amount: int) -> None:
        self.done += amount


def test_arms_take_turns_within_each_repetition(subject: Subject) -> None:
    turns: list[str] = []
    task = Counted()
    arms: list[Any] = [FakeArm(name, turns) for name in "abc"]
    Turns(subject, Request((64,), repeats=2), MACHINE, arms, task, math.inf).measure(64)
    assert "".join(turns) == "abc" * 3
    assert task.done == 9


def test_what_can_t_be_had_is_left_out_with_its_reason_and_the_rest_goes_on(subject: Subject) -> None:
    turns: list[str] = []
    arms: list[Any] = [
        FakeArm("slow", turns, cost=3e12),
        FakeArm("large", turns, memory=1e18),
        FakeArm("bursting", turns, fails=True),
        FakeArm("fine", turns, cost=1e12),
    ]
    request = Request((64,), repeats=2, max_seconds=2.0)
    _, measured = Turns(subject, request, MACHINE, arms, Counted(), math.inf).measure(64)
    reasons = {one.arm.name: one.left_out for one in measured}
    assert reasons["slow"] == "would take at least 3 s"
    assert "are free" in str(reasons["large"])
    assert reasons["bursting"] == "ran out of memory"
    assert reasons["fine"] is None
    assert turns == ["bursting", "fine", "fine", "fine"]
    assert len(measured[3].cold.clocks) == 2


def test_nothing_is_begun_that_would_end_after_the_deadline(subject: Subject) -> None:
    arms: list[Any] = [FakeArm("long", [], cost=1e15), FakeArm("short", [])]
    turns = Turns(subject, Request((64,), repeats=1), MACHINE, arms, Counted(), perf_counter() + 60)
    _, measured = turns.measure(64)
    assert [one.left_out for one in measured] == ["the time was up", None]


def test_other_errors_are_not_taken_for_a_lack_of_memory(subject: Subject) -> None:
    class Broken(FakeArm):
        def cold(self, reading: Reading, clock: Clock) -> Prefilled:
            raise RuntimeError("wrong shapes")

    arms: list[Any] = [Broken("broken", [])]
    with pytest.raises(RuntimeError, match="wrong shapes"):
        Turns(subject, Request((64,)), MACHINE, arms, Counted(), math.inf).measure(64)


def test_samples_tell_their_median_spread_and_share_of_the_floor() -> None:
    samples = Samples()
    for seconds, highest in ((4.0, 7), (1.0, 9), (2.0, None)):
        clock = Clock(lambda: None)
        clock.parts = {"encode": seconds / 2, "read": seconds / 2}
        samples.add(clock, highest)
    told = samples.told(Machine(10.0, 5.0), [Work(10.0, 1.0), Work(0.0, 1.0)])
    assert told["seconds"] == 2.0
    assert told["spread"] == 1.5
    assert told["parts"] == {"encode": 1.0, "read": 1.0}
    assert told["floor_s"] == pytest.approx(1.2)
    assert told["share_of_floor"] == pytest.approx(0.6)
    assert told["peak_bytes"] == 9
    assert told["operations"] == 10.0


@pytest.mark.parametrize(
    "changes",
    [
        *({"arms": ("other",)}, {"arms": ()}, {"lengths": ()}, {"lengths": (0,)}),
        *({"layers": ((0, 0),)}, {"layers": ((3, 3),)}, {"layers": ((-1, 3),)}),
    ],
)
def test_a_request_that_can_t_be_meant_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Request(**{"lengths": (8,), **changes})


def test_an_m_beyond_the_model_is_refused(subject: Subject, tmp_path: Path) -> None:
    request = Request((8,), arms=("sharedllm",), layers=((2, 5),))
    with pytest.raises(UsageError, match="2-5 is more than the model's 4 layers"):
        make_arms(subject, request, Settings(), IndexStore(tmp_path, Silent()))


def test_a_process_of_its_own_tells_the_peak_of_an_arm(tmp_path: Path) -> None:
    request = Request((128,), arms=("sharedllm",), shape="tiny", layers=((1, 3),), running_tokens=8)
    job = Job(request, Settings(device="cpu", chunk_tokens=64, encoding="chunk"), tmp_path, tmp_path, 128)
    highest = resident_peak(job, "sharedllm M=1-3", "cold")
    assert highest is not None
    assert 2**26 < highest < 2**33
    assert json.dumps(asdict(job), default=str)


# -- the command ------------------------------------------------------------------------------------------------------


def call(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = command(
        ["bench", "--random-weights", "tiny", "--chunk-tokens", "64", "--device", "cpu", *arguments], Console(out, err)
    )
    return code, out.getvalue(), err.getvalue()


def test_a_run_measures_every_arm_and_sets_it_against_the_others(tmp_path: Path) -> None:
    file = tmp_path / "runs" / "bench.json"
    code, out, err = call(*SMALL, "--lower-layers", "2,4", "--no-memory", "--out", str(file), "--json")
    assert code == 0, err
    found = json.loads(out)
    assert json.loads(file.read_text("utf-8")) == found
    arms = found["lengths"]["200"]["arms"]
    others = ["streaming", "encoder-decoder 2x64x4x128", "full"]
    assert list(arms) == ["sharedllm M=2", "sharedllm M=4", *others]
    for told in arms.values():
        assert told["cold"]["seconds"] > 0
        assert told["token"]["tokens_per_s"] > 0
    for name in ("sharedllm M=2", "sharedllm M=4"):
        told = arms[name]
        assert set(told["cold"]["parts"]) == {"search", "encode", "read"}
        assert told["indexed"]["seconds"] > 0
        assert told["index"]["operations"] > told["cold"]["operations"] - told["indexed"]["operations"]
        for other, ratio in told["against"].items():
            assert ratio["measured"] == pytest.approx(arms[other]["cold"]["seconds"] / told["cold"]["seconds"])
            predicted = arms[other]["cold"]["operations"] / told["cold"]["operations"]
            assert ratio["predicted"] == pytest.approx(predicted)
            assert ratio["share"] == pytest.approx(ratio["measured"] / ratio["predicted"])
        assert list(told["against"]) == others
    assert found["text"] == "made-up words"
    assert found["machine"]["operations_per_s"] > 0


def test_a_table_shows_what_was_measured_and_what_was_left_out() -> None:
    code, out, err = call(*SMALL, "--arms", "sharedllm,streaming", "--no-memory")
    assert code == 0, err
    assert "sharedllm M=2" in out
    assert "Predicted" in out
    code, out, _ = call(*SMALL, "--arms", "full,streaming", "--no-memory", "--max-seconds", "1e-12")
    assert code == 0
    assert "would take at least" in out


def test_counting_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "open_subject", None)
    code, out, err = call("--count", "--lengths", "1000", "--lower-layers", "2", "--json")
    assert code == 0, err
    arms = json.loads(out)["lengths"]["1000"]["arms"]
    against = arms["sharedllm M=2"]["against"]
    assert against["full"] == pytest.approx(arms["full"]["cold"] / arms["sharedllm M=2"]["cold"])
    code, out, _ = call("--count", "--lengths", "1000")
    assert "FLOP" in out


def test_every_flag_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def keep(request: Any, settings: Any, **others: Any) -> Any:
        seen.append((request, settings))
        return {"lengths": {}}

    monkeypatch.setattr(runner, "bench", keep)
    flags = ["--lengths", "1, 2", "--arms", "full", "--lower-layers", "3,2-4", "--text", "a.txt"]
    flags += [
        "--running-tokens",
        "5",
        "--new-tokens",
        "6",
        "--window",
        "7",
        "--block",
        "8",
        "--encoder",
        "base,cepe",
        "--repeats",
        "9",
    ]
    flags += ["--max-seconds", "10", "--no-memory", "--policy", "right", "--stored-dtype", "float16"]
    flags += ["--encoding", "chunk", "--json"]
    code, _, err = call(*flags)
    assert code == 0, err
    ((request, settings),) = seen
    assert request == Request(
        (1, 2),
        ("full",),
        shape="tiny",
        text=Path("a.txt"),
        layers=((0, 3), (2, 4)),
        running_tokens=5,
        new_tokens=6,
        repeats=9,
        window=7,
        block=8,
        encoders=("base", "cepe"),
        max_seconds=10.0,
        memory=False,
    )
    assert (settings.policy, settings.stored_dtype, settings.chunk_tokens) == ("right", "float16", 64)
    assert settings.encoding == "chunk"


@pytest.mark.parametrize(
    "flags", [("--lengths", "many"), ("--arms", "other"), ("--random-weights", "huge"), ("--lower-layers", "9")]
)
def test_a_mistake_is_one_line_and_exit_code_2(flags: tuple[str, str]) -> None:
    code, out, err = call("--count", *flags)
    assert code == 2
    assert not out
    assert err.startswith("error: ")
