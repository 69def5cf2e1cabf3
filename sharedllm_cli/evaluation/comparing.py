"""`eval compare`: what finished runs of `eval qa` say of each other, question by question.

Reads what the runs left on the disk, and nothing else: an arm of some runs against an arm of others (two adapters, two
settings, two arms asked in different runs), paired over the questions that both answered. Knows no model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharedllm_cli.errors import DocumentError, UsageError
from sharedllm_cli.evaluation import metrics
from sharedllm_cli.evaluation.arm_table import METRICS, ArmTable
from sharedllm_cli.evaluation.questions import MISPLACED
from sharedllm_cli.evaluation.runner import CONFIG, PREDICTIONS, finished_lines, interval_json, read_config

COMMAND = "eval qa"
_BESIDE_THE_POINT = frozenset({"arms", "data", "command"})
"""What runs may differ in without making other answers; that the questions are the same is checked one by one."""


@dataclass(frozen=True)
class Side:
    """An arm of some runs, whose questions are put together; one that several of them asked counts once."""

    runs: tuple[Path, ...]
    arm: str


def compare(one: Side, other: Side, *, seed: int = 0) -> dict[str, Any]:
    """What `one` has more than `other`; the object of `eval compare --json`.

    Raises DocumentError for a folder that holds no run of `eval qa` or that asked something else under the same key,
    UsageError where a side would be compared with itself or the sides have no question in common.
    """
    if one == other:
        raise UsageError(
            f"{one.arm} would be compared with itself", hint="give other runs with --against, or another --against-arm"
        )
    first, second = _Lines(one), _Lines(other)
    common = [key for key in first.lines if key in second.lines]
    for key in common:
        _check_same_question(key, first, second)
    if not common:
        raise UsageError(
            "the runs have no question in common", hint="they have to be asked of the same data, joined alike"
        )
    files = list(dict.fromkeys(name for name in (first.file_of(key) for key in common)))
    found = {
        "arm": one.arm,
        "against": other.arm,
        "runs": [str(run) for run in one.runs],
        "against_runs": [str(run) for run in other.runs],
        "not_compared": [len(first.lines) - len(common), len(second.lines) - len(common)],
        "configured": _configured(first, second),
        **_compared(first, second, common, seed),
    }
    if len(files) > 1:
        found["files"] = {
            file: _compared(first, second, [key for key in common if first.file_of(key) == file], seed)
            for file in files
        }
    return found


class _Lines:
    """The predictions of a side by their questions' keys, and how its runs were configured."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.lines: dict[str, dict[str, Any]] = {}
        self.configs = [_config(run) for run in side.runs]
        for run in side.runs:
            for key, line in _of_arm(run, side.arm):
                kept = self.lines.setdefault(key, line)
                if _question(kept) != _question(line):
                    raise DocumentError(f"{run} asks {line['question']!r} where another run asks {kept['question']!r}")
        if not self.lines:
            arms = sorted({arm for run in side.runs for arm in _arms(run)})
            raise UsageError(
                f"no question was answered by the arm {side.arm!r}", hint=f"the runs have {', '.join(arms) or 'none'}"
            )

    def file_of(self, key: str) -> str:
        """The data file that a question was drawn from."""
        names = {file["file"] for config in self.configs for file in config["data"]["files"]}
        asked = key.removeprefix(MISPLACED)
        return max((name for name in names if asked.startswith(f"{name}:")), key=len, default="")


def _config(run: Path) -> dict[str, Any]:
    if not (run / CONFIG).is_file():
        raise DocumentError(f"{run} holds no run", hint=f"give a folder that `sharedllm {COMMAND} --out` wrote")
    config = read_config(run)
    if config.get("command") != COMMAND:
        raise DocumentError(f"{run} holds a run of {config.get('command')!r}", hint=f"give runs of {COMMAND}")
    return config


def _of_arm(run: Path, arm: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, line in finished_lines(run / PREDICTIONS):
        if line.get("arm") == arm:
            yield key.split(" ", 1)[1], line


def _arms(run: Path) -> set[str]:
    return {str(line.get("arm")) for _, line in finished_lines(run / PREDICTIONS)}


def _question(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return line["question"], line["answers"], line["answerable"]


def _check_same_question(key: str, first: _Lines, second: _Lines) -> None:
    one, other = first.lines[key], second.lines[key]
    if _question(one) != _question(other):
        raise DocumentError(
            f"the runs were not asked of the same data: {one['question']!r} and {other['question']!r} have one key"
        )


def _configured(first: _Lines, second: _Lines) -> dict[str, list[Any]]:
    """Everything in which the sides' runs are configured otherwise, by its path: the values of either side."""
    sides = [[dict(_flat(config)) for config in lines.configs] for lines in (first, second)]
    paths = list(dict.fromkeys(path for side in sides for config in side for path in config))
    found: dict[str, list[Any]] = {}
    for path in paths:
        values = [_distinct(config.get(path) for config in side) for side in sides]
        if values[0] != values[1] or len(values[0]) > 1:
            found[path] = [value[0] if len(value) == 1 else value for value in values]
    return found


def _flat(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if not path and name in _BESIDE_THE_POINT:
            continue
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{name} ")
        else:
            yield f"{path}{name}", value


def _distinct(values: Iterator[Any]) -> list[Any]:
    return list({json.dumps(value, sort_keys=True): value for value in values}.values())


def _compared(first: _Lines, second: _Lines, keys: Sequence[str], seed: int) -> dict[str, Any]:
    """Means of both sides over the questions that both answered, and the paired differences."""
    given = [key for key in keys if None not in (first.lines[key]["answer"], second.lines[key]["answer"])]
    tables = [ArmTable(lines.side.arm, [lines.lines[key] for key in given], seed, None) for lines in (first, second)]
    answerable = [key for key in given if first.lines[key]["answerable"]]
    unanswerable = [key for key in given if not first.lines[key]["answerable"]]
    found: dict[str, Any] = {"n": len(answerable), "n_unanswerable": len(unanswerable)}
    for metric in METRICS:
        (values, weights), (others, _) = (table.values(metric, answerable) for table in tables)
        found[metric] = _paired(values, others, weights, seed)
    for name, asked in (("refused", answerable), ("unanswerable_refused", unanswerable)):
        values, others = (
            [float(metrics.refused(lines.lines[key]["answer"])) for key in asked] for lines in (first, second)
        )
        found[name] = _paired(values, others, None, seed)
    return found


def _paired(
    values: Sequence[float], others: Sequence[float], weights: Sequence[float] | None, seed: int
) -> dict[str, Any] | None:
    if not values or len(values) != len(others):
        return None
    return {
        "arm": interval_json(metrics.estimate(values, weights, seed=seed)),
        "against": interval_json(metrics.estimate(others, weights, seed=seed)),
        "difference": interval_json(metrics.difference(values, others, weights, seed=seed)),
    }
