"""`eval retrieval`: how often a policy has the leaf that holds the answer's words among its best.

Documents are cut and leaves scored by the code that `ask` uses; no index is written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import numpy as np

from sharedllm_cli.config import POLICIES, Settings
from sharedllm_cli.lab.evaluation.metrics import difference, estimate
from sharedllm_cli.lab.evaluation.provenance import data_facts, model_facts, program_facts
from sharedllm_cli.lab.evaluation.questions import (
    Asked,
    JoinedDocument,
    Questions,
    Selection,
    opened,
    select,
)
from sharedllm_cli.lab.evaluation.runner import Run, check_named
from sharedllm_cli.lab.evaluation.scoring import DocumentScorer
from sharedllm_cli.model.shared import SharedModel, load_shared
from sharedllm_cli.progress import Reporter
from sharedllm_cli.reading.library import OpenDocument

RECALL_AT = (1, 8)


@dataclass(frozen=True)
class Request(Questions):
    """Which policies are asked what. Without `out` nothing is written."""

    policies: tuple[str, ...] = ("hybrid", "bm25")
    out: Path | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_named("policy", "--policies", self.policies, POLICIES)


def retrieval(request: Request, settings: Settings, *, home: Path, reporter: Reporter) -> dict[str, Any]:
    """Ask, score and count; returns the object of `eval retrieval --json`.

    Raises DocumentError for data that can't be read or hold no question whose answer's place is known, UsageError for
    an invalid request, ModelError for a base model that can't be had.
    """
    documents = request.documents(reporter)
    selection = select(
        documents,
        limit=request.limit,
        seed=request.seed,
        wanted=lambda place, asked: bool(answer_span(asked, documents[place].text)),
    )
    shared = load_shared(settings, home, reporter)
    config = {
        "command": "eval retrieval",
        "policies": list(request.policies),
        "data": data_facts(request.data, request.joining, limit=request.limit, seed=request.seed),
        "model": model_facts(shared, settings),
        **program_facts(),
    }
    run = Run(request.out, config, resume=request.resume)
    with reporter.task("Searching", len(selection.chosen), "questions") as task:
        for place, asked in selection.by_document():
            _ask_document(run, documents[place], asked, request.policies, shared)
            task.advance(len(asked))
    metrics = _metrics(run, selection, request)
    run.finish(metrics)
    return metrics


def _ask_document(
    run: Run,
    document: JoinedDocument,
    asked: Sequence[Asked],
    policy_names: Sequence[str],
    shared: SharedModel,
) -> None:
    left = [one for one in asked if one.key not in run]
    if not left:
        return
    base = shared.base
    found = opened(document, base.tokenizer, base.tokenizer_hash, shared.tree)
    scorer = DocumentScorer(found, shared, many_questions=True)
    for one in left:
        gold = gold_leaves(found, answer_span(one, document.text))
        recalls = {name: _recalls(scorer(one.text, name).leaves[0], gold) for name in policy_names}
        leaves = found.leaves.leaf_count
        run.add(one.key, {"question": one.text, "gold": sorted(gold), "leaves": leaves, "recall": recalls})


def _recalls(scores: np.ndarray, gold: frozenset[int]) -> dict[str, float]:
    return {f"recall_at_{k}": recall_at(scores, gold, k) for k in RECALL_AT}


def _metrics(run: Run, selection: Selection, request: Request) -> dict[str, Any]:
    """Recall of every policy with its interval; n counts the questions, which are the same for all."""
    lines = [run[asked.key] for _, asked in selection.chosen]
    found: dict[str, dict[str, Any]] = {}
    for name in request.policies:
        found[name] = {"n": len(lines)}
        for k in RECALL_AT:
            made = estimate([line["recall"][name][f"recall_at_{k}"] for line in lines], seed=request.seed)
            assert made is not None
            found[name][f"recall_at_{k}"] = made.mean
            found[name][f"recall_at_{k}_interval"] = [made.low, made.high]
    asked = sum(len(document.asked) for document in selection.documents)
    return {
        "policies": found,
        "differences": [_difference(lines, one, other, request.seed) for one, other in combinations(found, 2)],
        "questions": {"asked": len(lines), "answer_found_once": selection.candidates, "in_data": asked},
        "documents": {"asked": len({place for place, _ in selection.chosen}), "in_data": len(selection.documents)},
        "leaves_per_document": float(np.mean([line["leaves"] for line in lines])),
    }


def _difference(lines: Sequence[dict[str, Any]], policy: str, against: str, seed: int) -> dict[str, Any]:
    """What a policy finds more often than another: the mean over the same questions, redrawn in pairs."""
    found: dict[str, Any] = {"policy": policy, "against": against, "n": len(lines)}
    for k in RECALL_AT:
        values = [[line["recall"][name][f"recall_at_{k}"] for line in lines] for name in (policy, against)]
        made = difference(*values, seed=seed)
        assert made is not None
        found[f"recall_at_{k}"] = {"mean": made.mean, "interval": [made.low, made.high]}
    return found


def answer_span(asked: Asked, text: str) -> tuple[tuple[int, int], ...]:
    """The spans of characters that hold the answer: the data's evidence, else where the answer stands, if only once.

    Of several accepted answers the first that occurs exactly once counts: whole words, whatever white space and case,
    and within the question's own document (in one joined to it the same words answer something else). Nothing where the
    question is unanswerable or no answer occurs exactly once.
    """
    if asked.evidence:
        return asked.evidence
    for answer in asked.answers if asked.answerable else ():
        words = answer.rstrip(".").split()
        if not words:
            continue
        pattern = r"\s+".join(map(re.escape, words))
        matches = re.finditer(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE)
        first, second = next(matches, None), next(matches, None)
        own = asked.within or (0, len(text))
        if first is not None and second is None and own[0] <= first.start() < own[1]:
            return (first.span(),)
    return ()


def gold_leaves(opened: OpenDocument, spans: tuple[tuple[int, int], ...]) -> frozenset[int]:
    """The leaves that hold the spans: those more than half inside one, else the one with the most of it."""
    leaves, text = opened.leaves, opened.document
    places = np.array([leaves.leaf_characters(leaf, text) for leaf in range(leaves.leaf_count)], dtype=np.int64)
    found: set[int] = set()
    for start, end in spans:
        shared = np.minimum(places[:, 1], end) - np.maximum(places[:, 0], start)
        inside = np.flatnonzero(2 * shared > places[:, 1] - places[:, 0])
        found.update(inside.tolist() or [int(shared.argmax())])
    return frozenset(found)


def recall_at(scores: np.ndarray, gold: frozenset[int], k: int) -> float:
    """How likely one of the gold leaves is among the k best; 0 or 1 but for ties, whose order is left to chance.

    `scores` [leaves]. With all scores equal and one gold leaf it is k out of the number of leaves.
    """
    best = max(float(scores[leaf]) for leaf in gold)
    above, tied = int((scores > best).sum()), int((scores == best).sum())
    golden = sum(float(scores[leaf]) == best for leaf in gold)
    places = min(k - above, tied)
    if places <= 0:
        return 0.0
    return 1.0 - comb(tied - golden, places) / comb(tied, places)
