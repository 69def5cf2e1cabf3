"""What each threshold of refusal would have done with the answers of a run: how a threshold is chosen.

On training data, that is: a threshold chosen on the questions that it is measured by says nothing. Knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT
from sharedllm_cli.generation.refusal import refuses
from sharedllm_cli.lab.evaluation import metrics

THRESHOLDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7)


def operating_points(
    lines: Sequence[Mapping[str, Any]],
) -> list[dict[str, float | None]]:
    """For each threshold: the shares of answerable and of unanswerable questions refused, and the F1 of the answerable.

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
    return {
        "refused": _mean(refused[True]),
        "unanswerable_refused": _mean(refused[False]),
        "f1": _mean(scores),
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
