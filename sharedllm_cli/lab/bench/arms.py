"""The ways of reading that are timed against each other, each over the same base model and text.

An arm reads a document of T tokens and R tokens of running text and gives the first token (`cold`), where it has an
index does so from that (`indexed`), and then goes on token by token. What it must do at least, `bench.counts` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from sharedllm_cli.config import InjectionConfig
from sharedllm_cli.lab.bench import counts
from sharedllm_cli.lab.bench.counts import Base, Extent, Work
from sharedllm_cli.lab.bench.encoder import encoder_shape
from sharedllm_cli.lab.bench.encoder_decoder import EncoderDecoder
from sharedllm_cli.lab.bench.subject import Subject
from sharedllm_cli.lab.bench.texts import Reading
from sharedllm_cli.lab.bench.timing import Clock
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.streaming import SINKS, StreamingReader
from sharedllm_cli.model.upper import UpperModel

NAMES = ("sharedllm", "streaming", "encoder-decoder", "full")
BLOCKS = (256, 512, 1024)
"""Tokens that the streaming arm may read at once; the fastest is taken."""
Step = Callable[[int], int]
"""Takes the last token, gives the next one."""


@dataclass(frozen=True)
class Prefilled:
    """An answer that has begun: its first token, and what gives the next ones."""

    token: int
    step: Step


class Arm(Protocol):
    """One way of reading."""

    name: str
    variant: str

    @contextmanager
    def installed(self) -> Iterator[None]:
        """The model is this arm's own within; making its weights counts to no time."""

    def cold(self, reading: Reading, clock: Clock) -> Prefilled:
        """Read the document and the running text, to the first token."""

    def cold_steps(self, extent: Extent) -> list[Work]:
        """What `cold` must do at least."""

    def token_step(self, extent: Extent) -> Work:
        """What one token more must do at least."""

    def memory_bytes(self, extent: Extent) -> float:
        """What `cold` takes beside the base model: own weights, keys and values, and the largest intermediate."""


def label(arm: Arm) -> str:
    """An arm's name in a table and as a key."""
    return f"{arm.name} {arm.variant}".rstrip()


def document_ids(reading: Reading, device: torch.device) -> Tensor:
    """The document's token ids [T]."""
    return torch.from_numpy(reading.leaves.tokens.ids).long().to(device)


def running_ids(reading: Reading, device: torch.device) -> Tensor:
    """The running text's token ids [R]."""
    return torch.from_numpy(reading.running).long().to(device)


def closed_upper(subject: Subject) -> UpperModel:
    """The base model itself, as an upper model that reads no tree."""
    return UpperModel(subject.model, _adapter(subject, InjectionConfig(form="merged", lower_layers=1)))


def open_upper(subject: Subject, injection: InjectionConfig) -> UpperModel:
    """An upper model that reads the tree in all of its injected layers; untrained, which costs the same."""
    adapter = _adapter(subject, injection)
    for part in adapter.injections.values():
        gate: Any = part.gate
        gate.data.fill_(0.0 if injection.form == "merged" else 1.0)
    return UpperModel(subject.model, adapter)


def _adapter(subject: Subject, injection: InjectionConfig) -> Adapter:
    return Adapter.untrained(subject.model, subject.name, injection, subject.tree)


def greedy(logits: Tensor) -> int:
    """The likeliest token."""
    return int(logits.argmax())


def working_bytes(base: Base, tokens: float) -> float:
    """The largest intermediates of a layer over so many tokens at once: the MLP's inner states, some hidden ones."""
    return tokens * base.number_bytes * (3 * base.facts.intermediate_size + 6 * base.facts.hidden_size)


def cache_bytes(base: Base, tokens: float) -> float:
    """Keys and values of so many tokens in all layers."""
    return tokens * base.facts.layer_count * base.key_value * base.number_bytes


class Full:
    """The whole text in the context, in one pass."""

    name, variant = "full", ""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._base = subject.base
        self._upper: UpperModel | None = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        upper = self._upper = closed_upper(self._subject)
        try:
            yield
        finally:
            upper.remove()
            self._upper = None

    def cold(self, reading: Reading, clock: Clock) -> Prefilled:
        upper, device = self._upper, self._subject.placement.device
        assert upper is not None
        with clock.part("read"):
            cache = upper.cache()
            ids = torch.cat([document_ids(reading, device), running_ids(reading, device)])
            first = greedy(upper.decode_step(ids, None, cache))
        return Prefilled(
            first, lambda token: greedy(upper.decode_step(torch.tensor([token], device=device), None, cache))
        )

    def cold_steps(self, extent: Extent) -> list[Work]:
        return [counts.read_whole(self._base, extent.tokens + extent.running)]

    def token_step(self, extent: Extent) -> Work:
        return counts.next_token(self._base, self._base.facts.layer_count * (extent.tokens + extent.running))

    def memory_bytes(self, extent: Extent) -> float:
        tokens = extent.tokens + extent.running
        return cache_bytes(self._base, tokens) + working_bytes(self._base, tokens)


class Streaming:
    """The whole text through all layers in blocks, each token seeing the sinks and a window.

    `window` and `block` are narrowed to the positions that the model was trained for.
    """

    name, variant = "streaming", ""

    def __init__(self, subject: Subject, window: int, block: int = BLOCKS[0]) -> None:
        self._subject = subject
        self._base = subject.base
        # Positions are places in the rolling cache: sinks, window and block fit the model's own window.
        self.block = min(block, max(1, subject.facts.window // 4))
        self.window = min(window, subject.facts.window - SINKS - self.block)
        self._upper: UpperModel | None = None

    @staticmethod
    def fastest(subject: Subject, window: int) -> Streaming:
        """With the block that reads fastest on this machine: the size of a block changes nothing else."""
        ids = torch.arange(2 * max(BLOCKS)) % subject.facts.vocabulary_size
        tried: dict[float, Streaming] = {}
        for block in BLOCKS:
            arm = Streaming(subject, window, block)
            with arm.installed():
                assert arm._upper is not None
                StreamingReader(arm._upper, window=arm.window, block=arm.block).read(ids[: arm.block])
                clock = Clock(subject.synchronise)
                with clock.part("read"):
                    StreamingReader(arm._upper, window=arm.window, block=arm.block).read(ids)
            tried[clock.seconds] = arm
        return tried[min(tried)]

    @contextmanager
    def installed(self) -> Iterator[None]:
        upper = self._upper = closed_upper(self._subject)
        try:
            yield
        finally:
            upper.remove()
            self._upper = None

    def cold(self, reading: Reading, clock: Clock) -> Prefilled:
        assert self._upper is not None
        device = self._subject.placement.device
        with clock.part("read"):
            reader = StreamingReader(self._upper, window=self.window, block=self.block)
            ids = torch.cat([document_ids(reading, device), running_ids(reading, device)])
            first = greedy(reader.read(ids)[-1])
        return Prefilled(first, lambda token: greedy(reader.read(torch.tensor([token], device=device))[-1]))

    def cold_steps(self, extent: Extent) -> list[Work]:
        return [counts.read_streaming(self._base, extent.tokens + extent.running, self.window + SINKS)]

    def token_step(self, extent: Extent) -> Work:
        keys = min(self.window + SINKS, extent.tokens + extent.running)
        return counts.next_token(self._base, self._base.facts.layer_count * keys)

    def memory_bytes(self, extent: Extent) -> float:
        kept = self.window + SINKS * (self.block + 1) + self.block
        return cache_bytes(self._base, kept) + working_bytes(self._base, self.block)


class EncoderDecoderArm:
    """A bidirectional encoder over the document, read by a cross-attention in every decoder layer."""

    name = "encoder-decoder"

    def __init__(self, subject: Subject, variant: str) -> None:
        self._subject = subject
        self._base = subject.base
        self.variant = variant
        self.shape = encoder_shape(variant, subject.facts)
        self._model: EncoderDecoder | None = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        model = self._model = EncoderDecoder(self._subject, self.shape)
        try:
            yield
        finally:
            model.remove()
            self._model = None

    def cold(self, reading: Reading, clock: Clock) -> Prefilled:
        model, device = self._model, self._subject.placement.device
        assert model is not None
        with clock.part("encode"):
            encoded = model.encode(document_ids(reading, device))
        with clock.part("read"):
            logits, cache = model.read(running_ids(reading, device), encoded)
            first = greedy(logits)

        def step(token: int) -> int:
            return greedy(model.read(torch.tensor([token], device=device), encoded, cache)[0])

        return Prefilled(first, step)

    def cold_steps(self, extent: Extent) -> list[Work]:
        base = self._base
        return [counts.encode_bidirectional(base, self.shape, extent.tokens), counts.read_cross(base, extent)]

    def token_step(self, extent: Extent) -> Work:
        return counts.next_cross_token(self._base, extent)

    def memory_bytes(self, extent: Extent) -> float:
        facts, shape = self._base.facts, self.shape
        cross = 2 * facts.hidden_size * facts.attention_heads * facts.head_dim + shape.hidden * self._base.key_value
        weights = shape.layers * shape.layer_weights + shape.hidden * facts.vocabulary_size + facts.layer_count * cross
        kept = cache_bytes(self._base, extent.tokens + extent.running)
        return weights * self._base.number_bytes + kept + working_bytes(self._base, extent.running)


def predicted_ratio(ours: Sequence[Work], theirs: Sequence[Work]) -> float:
    """How many times our operations theirs are."""
    return sum(step.operations for step in theirs) / sum(step.operations for step in ours)
