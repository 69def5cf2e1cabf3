"""A question's readings, one after the other until one is not met with a refusal, as `ask` does it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT
from sharedllm_cli.lab.evaluation.answering import Answered, Answerer
from sharedllm_cli.lab.evaluation.arms import Read


@dataclass(frozen=True)
class Outcome:
    """All readings in their order, with the seconds from the question to the first token of the last one's answer."""

    all: tuple[tuple[Read, Answered], ...]
    first_token_s: float

    @property
    def told(self) -> Answered:
        """The reading that finds a refusal least likely: the one that answers, where any does."""
        return max((found for _, found in self.all), key=lambda found: found.refusal_nll)

    @property
    def no_term_matches(self) -> bool:
        """Nothing is put before the model: `ask` answers without it."""
        return self.all[0][0].no_term_matches

    @property
    def answer(self) -> str:
        return NOT_IN_DOCUMENT if self.no_term_matches else self.told.answer

    @property
    def evidence_tokens(self) -> int:
        return sum(read.prompt.evidence_tokens for read, _ in self.all)

    def facts(self) -> dict[str, Any]:
        """What a line of predictions tells of it."""
        told = self.told
        facts: dict[str, Any] = {
            "answer": self.answer,
            "otherwise": NOT_IN_DOCUMENT if self.no_term_matches else told.otherwise,
            "nll": told.nll,
            "refusal_nll": told.refusal_nll,
            "otherwise_nll": told.otherwise_nll,
            "first_token_s": self.first_token_s,
            "prompt_tokens": sum(len(read.prompt.token_ids) for read, _ in self.all),
            "evidence_tokens": self.evidence_tokens,
            "tree_keys": self.all[0][0].tree_keys,
        }
        if len(self.all) > 1:
            facts["readings"] = [
                {
                    "nll": found.nll,
                    "refusal_nll": found.refusal_nll,
                    "otherwise": found.otherwise,
                    "otherwise_nll": found.otherwise_nll,
                    "evidence_tokens": read.prompt.evidence_tokens,
                }
                for read, found in self.all
            ]
        return facts


def answer(answerer: Answerer, question: str, reads: Iterator[Read], gold_ids: Sequence[int]) -> Outcome | None:
    """Answer a question from its readings; None where there is none, since the document does not fit."""
    done: list[tuple[Read, Answered]] = []
    started, spent = perf_counter(), 0.0
    for read in reads:
        spent += perf_counter() - started
        prompt = read.prompt
        found = answerer.answer(
            prompt.token_ids,
            read.tree,
            gold_ids,
            prompt.stop_texts,
            question=question,
            passages=prompt.passage_texts,
            shared=read.shared,
        )
        done.append((read, found))
        if not read.no_term_matches:
            spent += found.first_token_s
        if read.no_term_matches or not answerer.refuses(found):
            break
        started = perf_counter()
    return Outcome(tuple(done), spent) if done else None
