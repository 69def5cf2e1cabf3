"""`eval compare`: what finished runs of `eval qa`, or of `eval retrieval`, say of each other, question by question.

Reads what the runs left on the disk, and nothing else: an arm (a policy) of some runs against one of others (two
adapters, two settings, two arms asked in different runs), paired over the questions that both answered. Knows no model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharedllm_cli.errors import DocumentError, UsageError
from sharedllm_cli.lab.evaluation import metrics
from sharedllm_cli.lab.evaluation.arm_table import METRICS as ANSWER_METRICS
from sharedllm_cli.lab.evaluation.arm_table import ArmTable
from sharedllm_cli.lab.evaluation.runner import (
    CONFIG,
    METRICS,
    MISPLACED,
    PREDICTIONS,
    finished_lines,
    interval_json,
    read_config,
)

ANSWERS, RETRIEVAL = "eval qa", "eval retrieval"
_RECALLS = ("recall_at_1", "recall_at_8")
_BESIDE_THE_POINT = frozenset({"arms", "policies", "data", "command"})
"""Settings that runs may differ in without making other answers; of the data see `_configured`."""


@dataclass(frozen=True)
class Side:
    """An arm of some runs, whose questions are put together; one that several of them asked counts once.

    Of runs of `eval retrieval` the arm is a policy.
    """

    runs: tuple[Path, ...]
    arm: str


def kind_of(run: Path) -> str:
    """Which of the commands made a run; DocumentError for a folder that neither did."""
    return str(_config(run)["command"])


def compare(one: Side, other: Side, *, seed: int = 0) -> dict[str, Any]:
    """What `one` has more than `other`; the object of `eval compare --json`.

    Raises DocumentError for a folder that holds no run of either command, or data files of one name that are not the
    same; UsageError where answers would be compared with themselves or with searches, or the sides answered no question
    in common.
    """
    if one.arm == other.arm and (shared := {run.resolve() for run in one.runs} & {run.resolve() for run in other.runs}):
        raise UsageError(
            f"{one.arm} of {min(shared)} would be compared with itself",
            hint="give other runs with --against, or another --against-arm",
        )
    kinds = list(dict.fromkeys(kind_of(run) for run in (*one.runs, *other.runs)))
    if len(kinds) > 1:
        raise UsageError(f"a run of `{kinds[0]}` can't be compared with one of `{kinds[1]}`")
    first, second = _Lines(one), _Lines(other)
    _check_same_files(first, second)
    compared = _compared if kinds == [ANSWERS] else _searched
    answered = [key for key in first.answered() if key in second.answered()]
    for key in answered:
        _check_same_question(key, first, second)
    if not answered:
        raise UsageError(
            "the runs answered no question in common", hint="they have to be asked of the same data, joined alike"
        )
    files = list(dict.fromkeys(first.file_of(key) for key in answered))
    found = {
        "arm": one.arm,
        "against": other.arm,
        "runs": [str(run) for run in one.runs],
        "against_runs": [str(run) for run in other.runs],
        "not_compared": [len(side.lines) - len(answered) for side in (first, second)],
        "unfinished": [str(run) for run in dict.fromkeys((*one.runs, *other.runs)) if not (run / METRICS).is_file()],
        "configured": _configured(first, second),
        "command": kinds[0],
        **compared(first, second, answered, seed),
    }
    if len(files) > 1:
        found["files"] = {
            file: compared(first, second, [key for key in answered if first.file_of(key) == file], seed)
            for file in files
        }
    return found


class _Lines:
    """The predictions of a side by their questions' keys, and how its runs were configured."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.lines: dict[str, dict[str, Any]] = {}
        self.configs = [_config(run) for run in side.runs]
        arms: set[str] = set()
        for run in side.runs:
            for key, line in dict(finished_lines(run / PREDICTIONS)).items():
                if "recall" in line:
                    arms.update(line["recall"])
                    if side.arm in line["recall"]:
                        self._add(key, line, run)
                else:
                    arms.add(str(line.get("arm")))
                    if line.get("arm") == side.arm:
                        self._add(key.split(" ", 1)[1], line, run)
        if not self.lines:
            raise UsageError(
                f"no question was answered by the arm {side.arm!r}",
                hint=f"the runs have {', '.join(sorted(arms)) or 'none'}",
            )

    def _add(self, key: str, line: dict[str, Any], run: Path) -> None:
        kept = self.lines.setdefault(key, line)
        if _question(kept) != _question(line):
            raise DocumentError(f"{run} asks something else under the key {key!r} than the runs before it")
        if not _fitted(kept):  # its document did not fit there
            self.lines[key] = line

    def answered(self) -> list[str]:
        """The questions whose document fitted."""
        return [key for key, line in self.lines.items() if _fitted(line)]

    def files(self) -> dict[str, list[dict[str, Any]]]:
        """What each data file of the runs was, by its name."""
        found: dict[str, list[dict[str, Any]]] = {}
        for config in self.configs:
            for file in config["data"]["files"]:
                found.setdefault(file["file"], []).append(file)
        return found

    def file_of(self, key: str) -> str:
        """The data file that a question was drawn from."""
        asked = key.removeprefix(MISPLACED)
        return max((name for name in self.files() if asked.startswith(f"{name}:")), key=len, default="")


def _config(run: Path) -> dict[str, Any]:
    hint = f"give a folder that `sharedllm {ANSWERS} --out` or `sharedllm {RETRIEVAL} --out` wrote"
    if not (run / CONFIG).is_file():
        raise DocumentError(f"{run} holds no run", hint=hint)
    config = read_config(run)
    if config.get("command") not in (ANSWERS, RETRIEVAL):
        raise DocumentError(f"{run} holds a run of {config.get('command')!r}", hint=hint)
    try:
        if all(isinstance(file["file"], str) for file in config["data"]["files"]):
            return config
    except (KeyError, TypeError):
        pass
    raise DocumentError(f"{run / CONFIG} does not name the data that were asked", hint=hint)


def _fitted(line: Mapping[str, Any]) -> bool:
    return "recall" in line or line["answer"] is not None


def _question(line: Mapping[str, Any]) -> tuple[Any, ...]:
    # Which leaves hold the answer is no part of a searched one: they may be cut otherwise.
    return line["question"], line.get("answers"), line.get("answerable")


def _check_same_files(first: _Lines, second: _Lines) -> None:
    ours, theirs = first.files(), second.files()
    for name in ours.keys() & theirs.keys():
        if len({file.get("sha256") for file in (*ours[name], *theirs[name])}) > 1:
            raise DocumentError(f"{name} is not the same file in all runs: its SHA-256 differs")


def _check_same_question(key: str, first: _Lines, second: _Lines) -> None:
    if _question(first.lines[key]) != _question(second.lines[key]):
        raise DocumentError(f"the runs were not asked of the same data: the key {key!r} has other words on either side")


def _configured(first: _Lines, second: _Lines) -> dict[str, list[Any]]:
    """Everything in which the sides' runs are configured otherwise, by its path: the values of either side.

    Of the data how their documents are joined, which makes other documents of the same questions.
    """
    sides = [[dict(_flat(config)) for config in lines.configs] for lines in (first, second)]
    paths = list(dict.fromkeys(path for side in sides for config in side for path in config))
    found: dict[str, list[Any]] = {}
    for path in paths:
        # A run that lacks a data file was not asked of it, which is no setting.
        told = [[config for config in side if path in config or not path.startswith("data ")] for side in sides]
        values = [_distinct(config.get(path) for config in side) for side in told]
        if all(values) and (values[0] != values[1] or len(values[0]) > 1):
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
    if not path:
        for file in config["data"]["files"]:
            yield from ((f"data {file['file']} {how}", file.get(how)) for how in ("join", "last", "titles"))


def _distinct(values: Iterator[Any]) -> list[Any]:
    return list({json.dumps(value, sort_keys=True): value for value in values}.values())


def _compared(first: _Lines, second: _Lines, keys: Sequence[str], seed: int) -> dict[str, Any]:
    """Means of both sides over some questions that both answered, and the paired differences of what was answered."""
    tables = [ArmTable(lines.side.arm, [lines.lines[key] for key in keys], seed) for lines in (first, second)]
    answerable = [key for key in keys if first.lines[key]["answerable"]]
    unanswerable = [key for key in keys if not first.lines[key]["answerable"]]
    found: dict[str, Any] = {"n": len(answerable), "n_unanswerable": len(unanswerable)}
    for metric in ANSWER_METRICS:
        (values, weights), (others, other_weights) = (table.values(metric, answerable) for table in tables)
        # Tokens of another tokenizer are no common measure.
        found[metric] = _paired(values, others, weights, seed) if weights == other_weights else None
    for name, asked in (("refused", answerable), ("unanswerable_refused", unanswerable)):
        values, others = (
            [float(metrics.refused(lines.lines[key]["answer"])) for key in asked] for lines in (first, second)
        )
        found[name] = _paired(values, others, None, seed)
    return found


def _searched(first: _Lines, second: _Lines, keys: Sequence[str], seed: int) -> dict[str, Any]:
    """The same for searches: how often the leaf that holds the answer is among the best."""
    found: dict[str, Any] = {"n": len(keys)}
    for metric in _RECALLS:
        values, others = (
            [float(lines.lines[key]["recall"][lines.side.arm][metric]) for key in keys] for lines in (first, second)
        )
        found[metric] = _paired(values, others, None, seed)
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
