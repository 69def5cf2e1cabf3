"""The upper model reads a prompt: prefill, the cost of given tokens in nats, and the answer's tokens.

Times the steps of a question (`Clock`). Knows no document and no route. `ask` and the evaluation read through it alike.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sharedllm_cli.answer import Timing
from sharedllm_cli.answering.question import Question
from sharedllm_cli.documents.chunking import plain_ids
from sharedllm_cli.generation import prompt as prompts
from sharedllm_cli.generation.decoding import Sampler, SuppressedSequence, reranked_tokens
from sharedllm_cli.generation.prompt import PassageText, Prompt
from sharedllm_cli.generation.refusal import as_model_says, refusal_ids, refuses
from sharedllm_cli.generation.stream import Finish, GeneratedToken, answer_pieces, decode_stream, stop_ids
from sharedllm_cli.memory import is_out_of_memory, release
from sharedllm_cli.model.adapter import AdapterDisabled
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.shared import SharedModel
from sharedllm_cli.model.upper import beam_steps
from sharedllm_cli.progress import Reporter

if TYPE_CHECKING:
    from sharedllm_cli.model.known_text import KnownText, KnownTextReader

VERDICTS = ("Yes", "No")
"""How an answer to a question of yes or no begins."""
_WITH_REASON = re.compile(rf"\s*(?P<verdict>{'|'.join(VERDICTS)})[.,:;]\s+(?P<reason>\S+\s+\S.*)", re.DOTALL)
LEAST_PREFIX = 1024
"""Prompts that have at least this many tokens in common share the prefill of them."""


Pieces = Iterator[tuple[str, Finish | None]]


@dataclass(frozen=True)
class Prefilled:
    """A prompt that the upper model has read, and the tree beside it.

    `logits` [vocabulary] follow the prompt, `cache` holds its keys and values, `seconds` went into reading it.
    `known_tokens` of it were not read: their keys and values were.
    """

    prompt: Prompt
    tree: TreeContext | None
    logits: Tensor
    cache: Any
    seconds: float
    known_tokens: int = 0

    def copy(self) -> Prefilled:
        """The same with a cache of its own, for an answer that others are to follow."""
        return replace(self, cache=copy.deepcopy(self.cache))


@dataclass(frozen=True)
class Refusal:
    """The refusal weighed as a whole: `nll`, its cost in nats, and whether it is `given`.

    `suppressed` keeps an answer from being the refusal. It serves one answer.
    """

    nll: float
    given: bool
    suppressed: SuppressedSequence


class SharedPrefix:
    """The prefix of the last long prompt, prefilled once for all prompts that begin like it. None reads a tree."""

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._cache: Any = None
        self._seconds = 0.0

    def take(self, ids: Sequence[int]) -> tuple[int, Any, float]:
        """How many of a prompt's tokens are known, a copy of the cache that holds them, and the seconds they took."""
        known = _common(self._ids, ids)
        if known < LEAST_PREFIX:
            self._ids, self._cache = [], None  # its keys and values make room for the next prompt's
            return 0, None, 0.0
        cache = copy.deepcopy(self._cache)
        cache.crop(known - len(self._ids))
        return known, cache, self._seconds * known / len(self._ids)

    def keep(self, ids: list[int], cache: Any, seconds: float) -> None:
        """Keep a prompt that was read from its beginning, unless it is short or a sliding window has forgotten it."""
        if len(ids) > LEAST_PREFIX and not any(layer.is_sliding for layer in cache.layers):
            self._ids, self._cache, self._seconds = ids, copy.deepcopy(cache), seconds


class Reader:
    """Reads prompts for one question, and decodes.

    `timed`: wait for the device after a prefill, so that `Prefilled.seconds` are those of the work.
    """

    timed = False

    def __init__(self, shared: SharedModel, question: Question, reporter: Reporter) -> None:
        self._shared = shared
        self._question = question
        self._reporter = reporter
        self._disabled: AdapterDisabled | None = None
        self._refusal_ids = refusal_ids(shared.base.tokenizer)

    @property
    def adapter_disabled(self) -> bool:
        return self._disabled is not None

    def disable_adapter(self) -> bool:
        """Read and decode with the base model alone from now on; False where there is no memory for it."""
        try:
            self._disabled = self._shared.adapter.disabled()
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
        if self._disabled is None:
            release()
        return self._disabled is not None

    def prompt(self, passages: Sequence[PassageText] = ()) -> Prompt:
        """The prompt of the question with some passages, with room left for the answer.

        Of the base model alone it has another rule and no history: an overview stands alone.
        """
        base, question = self._shared.base, self._question
        return prompts.build(
            base.tokenizer,
            window=base.window,
            max_new_tokens=question.answer_tokens,
            question=question.text,
            passages=passages,
            history=() if self._disabled else as_model_says(question.history),
            system=question.settings.system,
            rule=prompts.RULE_OF_THE_WHOLE if self._disabled else question.rule,
        )

    def prefill(self, prompt: Prompt, tree: TreeContext | None = None, prefix: SharedPrefix | None = None) -> Prefilled:
        """Read a prompt and the tree beside it; ResourceError where memory does not suffice.

        `prefix`: what this prompt has in common with those before it is not read again (only without a tree).
        """
        upper, started = self._shared.upper, perf_counter()
        ids = prompt.token_ids
        known, held, spent = prefix.take(ids) if prefix else (0, None, 0.0)
        token_ids = torch.tensor(ids[known:], device=self._shared.base.device)
        with self._disabled or nullcontext():
            if held is None:
                logits, cache = upper.prefill(token_ids, tree, self._reporter)
            else:
                logits, cache = upper.decode_step(token_ids, tree, held), held
        if self.timed:
            Sampler()(logits)  # waits for the device, so that the seconds are those of the work
        seconds = spent + perf_counter() - started
        if prefix is not None and not known:
            prefix.keep(ids, cache, seconds)
        return Prefilled(prompt, tree, logits, cache, seconds)

    def prefill_known(
        self, prompt: Prompt, reader: KnownTextReader, known: Callable[[], KnownText | None]
    ) -> Prefilled:
        """Read a prompt of which `known` gives some tokens' keys and values; all of it where that gives none."""
        started = perf_counter()
        found = None if self._disabled else known()
        if found is None:
            return self.prefill(prompt)
        logits, cache = reader.prefill(prompt.token_ids, found)
        if self.timed:
            Sampler()(logits)
        return Prefilled(prompt, None, logits, cache, perf_counter() - started, len(found.places))

    def score(self, prefilled: Prefilled, ids: Sequence[int]) -> list[float]:
        """The cost in nats of each of some tokens, after those before it and the prompt."""
        with self._disabled or nullcontext():
            return self._shared.upper.token_nlls(prefilled.logits, ids, prefilled.tree, prefilled.cache)

    def refusal(self, prefilled: Prefilled) -> Refusal:
        """Weigh the refusal as a whole, by the question's threshold."""
        costs = self.score(prefilled, self._refusal_ids)
        given = refuses(sum(costs), self._question.refuse_from)
        return Refusal(sum(costs), given, SuppressedSequence(self._refusal_ids, costs))

    def without_prior(self, prefilled: Prefilled) -> Prefilled:
        """The same, with yes and no weighed by what the passages add to the question.

        A model says yes more readily than no whatever it reads. So the logits of both are moved by what sets them apart
        where the question stands alone, without a passage (Zhao et al. 2021, "Calibrate Before Use", arXiv 2102.09690).
        """
        yes, no = self._verdict_ids
        if yes == no:
            return prefilled
        logits = prefilled.logits.clone()
        logits[yes] -= self._prior / 2
        logits[no] += self._prior / 2
        return replace(prefilled, logits=logits)

    @cached_property
    def _verdict_ids(self) -> tuple[int, int]:
        yes, no = (plain_ids(self._shared.base.tokenizer, verdict)[0] for verdict in VERDICTS)
        return yes, no

    @cached_property
    def _prior(self) -> float:
        """How far yes is above no where the question stands alone."""
        return self._yes_above_no(self.prompt())

    def _yes_above_no(self, prompt: Prompt) -> float:
        logits, (yes, no) = self.prefill(prompt).logits, self._verdict_ids
        return float(logits[yes] - logits[no])

    def with_verdict_by_reason(self, pieces: Pieces) -> Pieces:
        """An answer of yes or no with its reason, all at once: with the verdict that the reason gives.

        The verdict is decoded before its reason. Weighed by the reason alone, as the only passage, it is right more
        often (docs/log/2026-12.md).
        """
        written = list(pieces)
        text = "".join(piece for piece, _ in written)
        found, (yes, no) = _WITH_REASON.fullmatch(text), self._verdict_ids
        if found is not None and yes != no:
            prompt = self.prompt([PassageText("", None, None, found["reason"])])
            if prompt.passages:  # the window has room for the reason
                given = self._yes_above_no(prompt) > self._prior
                text = text[: found.start("verdict")] + VERDICTS[not given] + text[found.end("verdict") :]
                written = [(text if place == 0 else "", finish) for place, (_, finish) in enumerate(written)]
        yield from written

    def begins_refusal(self, prefilled: Prefilled) -> bool:
        """Whether the likeliest token is the refusal's first."""
        return Sampler()(prefilled.logits) == self._refusal_ids[0]

    def beams(self, prefilled: Prefilled, suppressed: SuppressedSequence | None) -> list[GeneratedToken] | None:
        """The tokens of the best of several candidate answers; None where one is decoded token by token instead."""
        base, question, width = self._shared.base, self._question, self._question.beams
        if width == 1:
            return None
        try:
            return reranked_tokens(
                beam_steps(self._shared.upper, prefilled.tree, prefilled.cache),
                prefilled.logits,
                width,
                base.tokenizer,
                question=question.text,
                passages=prefilled.prompt.passage_texts,
                stop_ids=stop_ids(base.model.generation_config, base.tokenizer),
                stop_texts=prefilled.prompt.stop_texts,
                max_new_tokens=question.settings.max_new_tokens,
                suppressed=suppressed,
            )
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
        # Outside of the handler, so that the beams are gone.
        release()
        self._reporter.note(f"not enough memory to compare {width} answers; writing the likeliest")
        return None

    def stream(self, prefilled: Prefilled, suppressed: SuppressedSequence | None) -> Iterator[GeneratedToken]:
        """The tokens of an answer, one after the other, as the settings sample them. The cache grows with it."""
        base, settings = self._shared.base, self._question.settings
        stops = stop_ids(base.model.generation_config, base.tokenizer)
        sampler = Sampler(settings.temperature, settings.top_p, settings.seed, suppressed)
        with self._disabled or nullcontext():
            step = self._step(prefilled)
        return decode_stream(step, prefilled.logits, sampler, stops, settings.max_new_tokens)

    def text(self, prefilled: Prefilled, tokens: Iterable[GeneratedToken]) -> Iterator[tuple[str, Finish | None]]:
        """One pair a token: the text that is final with it, and at the last one why it is the last."""
        return answer_pieces(tokens, self._shared.base.tokenizer, prefilled.prompt.stop_texts)

    def _step(self, prefilled: Prefilled) -> Callable[[Tensor], Tensor]:
        """A decode step: the next logits after a token; recorded where that was asked for and can be done."""
        upper, settings = self._shared.upper, self._question.settings
        step: Callable[[Tensor], Tensor] | None = None
        if settings.cuda_graphs:
            from sharedllm_cli.model.recorded import LEAST_TOKENS, recorded_step

            if settings.max_new_tokens >= LEAST_TOKENS:
                likeliest = prefilled.logits.argmax()[None]
                step, why_not = recorded_step(
                    upper, prefilled.tree, prefilled.cache, likeliest, settings.max_new_tokens
                )
                if step is None:
                    self._reporter.note(f"{why_not}; going on without")

        def plain(token: Tensor) -> Tensor:
            return upper.decode_step(token, prefilled.tree, prefilled.cache)

        return (step or plain) if self._disabled is None else _within(self._disabled, step or plain)


class Clock:
    """Times the steps of one question. Building trees counts apart from the first token."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._started = perf_counter()
        self._decoding_from = 0.0

    def _seconds(self) -> float:
        return perf_counter() - self._started

    def searched(self, index_s: float, search_s: float) -> None:
        """Note what building trees and the search took; reading the tree counts to the first token alone."""
        self._timing.index_s, self._timing.search_s = index_s, search_s

    def decoding(self, pieces: Pieces) -> Pieces:
        """Count the pieces, one a token, as they pass."""
        self._decoding_from = self._seconds()
        for piece in pieces:
            if not self._timing.new_tokens:
                self._timing.first_token_s = self._seconds() - self._timing.index_s
            self._timing.new_tokens += 1
            yield piece

    def written(self, *, at_once: bool = False) -> None:
        """The answer is written. The tokens of compared answers come `at_once`: comparing them took the time."""
        timing = self._timing
        timing.total_s = self._seconds()
        timing.first_token_s = timing.first_token_s or timing.total_s
        spent = timing.total_s - (self._decoding_from if at_once else timing.index_s + timing.first_token_s)
        timing.tokens_per_s = (timing.new_tokens - 1) / spent if timing.new_tokens > 1 else 0.0


def _within(disabled: AdapterDisabled, step: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A step with the adapter disabled, which ends with it: a caller may do other things between two tokens."""

    def inside(token: Tensor) -> Tensor:
        with disabled:
            return step(token)

    return inside


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with; the last one of `other` is never among them, since its logits are wanted."""
    most = min(len(one), len(other) - 1)
    return next((place for place in range(most) if one[place] != other[place]), most)
