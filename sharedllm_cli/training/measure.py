"""Measure an adapter's answers: on held-out training documents while choosing, on a whole file afterwards.

The prompts are those of `ask` with BM25 evidence. Knows no command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharedllm_cli.config import TreeConfig
from sharedllm_cli.context import evidence, lexical
from sharedllm_cli.generation import prompt
from sharedllm_cli.generation.prompt import PassageText
from sharedllm_cli.model.loading import BaseModel
from sharedllm_cli.progress import Reporter
from sharedllm_cli.reading.sources import passage_text
from sharedllm_cli.training.dataset import QuestionSamples
from sharedllm_cli.training.located import locate
from sharedllm_cli.training.records import Record
from sharedllm_cli.training.scoring import Scores, greedy_answers, score

MAX_NEW_TOKENS = 48


@dataclass(frozen=True)
class Posed:
    """A question as the model is given it, its accepted answers, and whether the passages answer it."""

    question: str
    token_ids: list[int]
    answers: tuple[str, ...]
    answerable: bool


def held_out(samples: QuestionSamples, base: BaseModel, *, answerable: int, unanswerable: int) -> list[Posed]:
    """The first questions of each kind that the samples of unseen documents ask, at most two of each of a sample."""
    left = {True: answerable, False: unanswerable}
    posed: list[Posed] = []
    number = 0
    while any(left.values()):
        case = samples.case(number)
        number += 1
        for kind in (True, False):
            for asked in [one for one in case.asked if one.answerable is kind][: min(2, left[kind])]:
                left[kind] -= 1
                ids = _prompt(base, asked.question, case.passages)
                posed.append(Posed(asked.question, ids, asked.answers, kind))
    return posed


def whole_file(
    records: Sequence[Record], base: BaseModel, tree: TreeConfig, *, evidence_tokens: int, limit: int, seed: int
) -> list[Posed]:
    """Questions of a data file, drawn over all its documents, each with the BM25 evidence that `ask` would give it."""
    pairs = [(record, question) for record in records for question in record.questions]
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:limit]
    located: dict[str, Any] = {}
    posed = []
    for place in sorted(chosen.tolist()):
        record, question = pairs[place]
        if record.doc_id not in located:
            located[record.doc_id] = locate(record, base.tokenizer, tree, paged=False)
        document = located[record.doc_id]
        scores = lexical.scores(question.question, [document.leaves.lexical]).values
        chosen_passages = evidence.select(scores, [document.tokens], evidence_tokens)
        texts = [piece for passage in chosen_passages for piece in passage_text(document.opened, passage)]
        posed.append(Posed(question.question, _prompt(base, question.question, texts), question.answers, True))
    return posed


def measure(base: BaseModel, posed: Sequence[Posed], reporter: Reporter, *, batch: int = 8) -> tuple[Scores, list[str]]:
    """Scores and answers of a base model, with whatever adapter is in place."""
    with reporter.task("Answering", len(posed), "questions") as task:
        answers = greedy_answers(
            base.model,
            base.tokenizer,
            [one.token_ids for one in posed],
            max_new_tokens=MAX_NEW_TOKENS,
            batch=batch,
            done=task.advance,
        )
    scores = score(answers, [one.answers for one in posed], [one.answerable for one in posed])
    return scores, answers


def _prompt(base: BaseModel, question: str, passages: Sequence[PassageText]) -> list[int]:
    built = prompt.build(
        base.tokenizer, window=base.window, max_new_tokens=MAX_NEW_TOKENS, question=question, passages=passages
    )
    return built.token_ids
