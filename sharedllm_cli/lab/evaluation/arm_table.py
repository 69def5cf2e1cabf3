"""What an arm of `eval qa` answered, as numbers: its means, and how two arms differ over the same questions.

Made of the lines of predictions alone, so that runs can be compared long after they ended. Knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT
from sharedllm_cli.generation.refusal import refuses
from sharedllm_cli.lab.evaluation import metrics
from sharedllm_cli.lab.evaluation.runner import interval_json

METRICS = ("f1", "em", "holds", "rouge_l", "answer_nll")


class ArmTable:
    """What an arm answered, question by question; a question whose document did not fit is not among them."""

    def __init__(self, name: str, lines: Sequence[dict[str, Any]], seed: int) -> None:
        self.name = name
        self._seed = seed
        self._given = [line for line in lines if line["answer"] is not None]
        self._missing = len(lines) - len(self._given)
        self.scores = {line["key"].split(" ", 1)[1]: _scores(line) for line in self._given if line["answerable"]}

    def values(self, metric: str, keys: Sequence[str] | None = None) -> tuple[list[float], list[float] | None]:
        """A metric's values for some questions, and their weights where the mean is one a token."""
        chosen = [self.scores[key] for key in (self.scores if keys is None else keys)]
        values = [line[metric] for line in chosen if line[metric] is not None]
        return values, [line["gold_tokens"] for line in chosen] if metric == "answer_nll" else None

    def metrics(self) -> dict[str, Any]:
        """The arm's means with their intervals, its refusals, and what each threshold of refusal would have done."""
        return {**self.summary(), "thresholds": operating_points(self._given)}

    def summary(self) -> dict[str, Any]:
        """The arm's means with their intervals, refusals of both kinds of questions, and how many did not fit."""
        found: dict[str, Any] = {"n": len(self.scores)}
        for metric in METRICS:
            made = metrics.estimate(*self.values(metric), seed=self._seed)
            found[metric] = made and made.mean
            found[f"{metric}_interval"] = made and [made.low, made.high]
        seconds = metrics.estimate([line["first_token_s"] for line in self._given], seed=self._seed)
        found["first_token_s"] = seconds and seconds.mean
        found["refused"] = self._refused(answerable=True)
        lost = sum(not line["answerable"] for line in self._given)
        found["unanswerable"] = {"n": lost, "refused": self._refused(answerable=False)}
        return {**found, "did_not_fit": self._missing}

    def _refused(self, *, answerable: bool) -> float | None:
        """The share of answers that are the fixed sentence."""
        return _mean([metrics.refused(line["answer"]) for line in self._given if line["answerable"] is answerable])


def _scores(line: dict[str, Any]) -> dict[str, Any]:
    answer, gold = line["answer"], line["answers"]
    return {
        "f1": metrics.f1(answer, gold),
        "em": metrics.exact_match(answer, gold),
        "holds": metrics.holds(answer, gold),
        "rouge_l": metrics.rouge_l(answer, gold),
        "answer_nll": line["nll"] / line["gold_tokens"],
        "gold_tokens": line["gold_tokens"],
    }


def difference(one: ArmTable, other: ArmTable, seed: int) -> dict[str, Any]:
    """What an arm has more than another, over the questions that both answered."""
    keys = [key for key in one.scores if key in other.scores]
    found: dict[str, Any] = {"arm": one.name, "against": other.name, "n": len(keys)}
    for metric in METRICS:
        (values, weights), (others, _) = one.values(metric, keys), other.values(metric, keys)
        found[metric] = interval_json(metrics.difference(values, others, weights, seed=seed))
    return found


THRESHOLDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7)


def operating_points(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, float | None]]:
    """For each threshold: the shares of answerable and of unanswerable questions refused, and the F1 of the answerable.

    How a threshold is chosen; on training data, since one chosen on the questions that it is measured by says nothing.
    `lines` are predictions with their `refusal_nll` and what is answered `otherwise`, below the threshold.
    """
    return [{"refuse_from": threshold, **_point(lines, threshold)} for threshold in THRESHOLDS]


def _point(lines: Sequence[Mapping[str, Any]], threshold: float) -> dict[str, float | None]:
    refused: dict[bool, list[bool]] = {True: [], False: []}
    scores = []
    for line in lines:
        answer = NOT_IN_DOCUMENT if refuses(line["refusal_nll"], threshold) else line["otherwise"]
        refused[line["answerable"]].append(metrics.refused(answer))
        if line["answerable"]:
            scores.append(metrics.f1(answer, line["answers"]))
    return {"refused": _mean(refused[True]), "unanswerable_refused": _mean(refused[False]), "f1": _mean(scores)}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
