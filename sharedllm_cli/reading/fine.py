"""The fine grain of opened documents: every token's keys and values in all layers, stored once and read for a question.

docs/method.md §10. They are stored as trees are, of chunks whose two halves keep every position (ratio 1), computed by
the whole model with its adapter behind the head of the prompt. A prompt's passages are looked up token by token: what
is a token of a passage and stored is known, all else of the prompt is read as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from sharedllm_cli.config import FINE_TREE, Settings, StoredDtype
from sharedllm_cli.durable import sha256_of_bytes
from sharedllm_cli.generation.prompt import Prompt, head_ids
from sharedllm_cli.index.leaves import Leaves, recut
from sharedllm_cli.index.manifest import LeavesKey, TreesKey, canonical_json
from sharedllm_cli.index.nodes import StoredNodes
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.model.known_text import KnownText, KnownTextReader, WholeModel
from sharedllm_cli.model.shared import SharedModel
from sharedllm_cli.progress import Reporter
from sharedllm_cli.reading.evidence import Evidence
from sharedllm_cli.reading.library import OpenDocument


class FineGrain:
    """The stored keys and values of documents' texts for one model, adapter and system prompt."""

    def __init__(self, store: IndexStore, shared: SharedModel, settings: Settings, reporter: Reporter) -> None:
        self._store = store
        self._shared = shared
        self._stored_dtype: StoredDtype = settings.stored_dtype  # type: ignore[assignment]
        self._system = settings.system
        self._reporter = reporter
        self._cut: dict[str, Leaves] = {}

    @cached_property
    def head(self) -> list[int]:
        """The tokens that every prompt begins with."""
        return head_ids(self._shared.base.tokenizer, self._system)

    @cached_property
    def reader(self) -> KnownTextReader:
        """What reads a prompt of which something is stored."""
        return KnownTextReader(self._shared.upper, self.head)

    @cached_property
    def _made_by(self) -> str:
        shaped = {"head": self.head, "low_rank": self._shared.adapter.low_rank_hash()}
        return sha256_of_bytes(canonical_json(shaped))

    @property
    def why_not(self) -> str | None:
        """Why this model can't read a stored text; None where it can."""
        fits = KnownTextReader.fits(self._shared.upper)
        return None if fits else f"{self._shared.base.name} has a sliding window and reads every passage as text"

    def key(self, opened: OpenDocument) -> TreesKey:
        """What identifies the fine grain of a document."""
        base = self._shared.base
        leaves = LeavesKey(opened.leaves_key.text_hash, opened.leaves_key.tokenizer_hash, FINE_TREE)
        layers = base.layer_count
        return TreesKey(
            leaves, base.name, base.weights_hash, layers, self._stored_dtype, base.quantize_of(layers), 0, self._made_by
        )

    def find(self, opened: OpenDocument) -> StoredNodes | None:
        """What is stored; None where nothing is. StoredIndexError where it is damaged."""
        base, key = self._shared.base, self.key(opened)
        leaves = self._leaves(opened)
        return self._store.open_trees(opened.content_hash, key, leaves, device=base.device, dtype=base.dtype)

    def build_missing(self, opened: OpenDocument) -> bool:
        """Compute and store what is missing; whether anything was. ResourceError where disk or memory is short."""
        lower = WholeModel(self._shared.upper, self.head)
        key, leaves = self.key(opened), self._leaves(opened)
        return self._store.build_missing_trees(opened.content_hash, key, leaves, lower, self._reporter)

    def known(self, prompt: Prompt, evidence: Evidence, documents: Sequence[OpenDocument]) -> KnownText | None:
        """The tokens of a prompt that are stored, with their keys and values; None where none is."""
        places: list[np.ndarray] = []
        keys: list[torch.Tensor] = []
        values: list[torch.Tensor] = []
        stores: dict[int, StoredNodes | None] = {}
        reached = 0
        for passage in evidence.held:
            opened = documents[passage.document]
            if passage.document not in stores:
                stores[passage.document] = self.find(opened)
            stored = stores[passage.document]
            wanted = opened.leaves.tokens.ids[passage.first_token : passage.end_token].tolist()
            if stored is None:
                continue
            for run in runs(prompt.token_ids, wanted, reached):
                reached = run.start + run.length
                first = passage.first_token + run.token
                states = _gathered(stored, self._leaves(opened), first, first + run.length)
                places.append(np.arange(run.start, reached))
                keys.append(states[0])
                values.append(states[1])
        if not places:
            return None
        return KnownText(torch.from_numpy(np.concatenate(places)), torch.cat(keys, dim=2), torch.cat(values, dim=2))

    def _leaves(self, opened: OpenDocument) -> Leaves:
        if opened.content_hash not in self._cut:
            self._cut[opened.content_hash] = recut(opened.leaves, FINE_TREE)
        return self._cut[opened.content_hash]


def _gathered(stored: StoredNodes, leaves: Leaves, first: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values [L, KV, S, D] of the tokens `[first, end)` of a document."""
    spans = leaves.leaf_spans
    numbers = np.flatnonzero((spans[:, 0] < end) & (spans[:, 1] > first)).tolist()
    found = stored.compressed([leaves.leaf_node(number) for number in numbers])
    start = first - int(spans[numbers[0], 0])
    window = slice(start, start + end - first)
    return found.keys[:, :, window], found.values[:, :, window]


LEAST_RUN = 8
"""Fewer tokens in a row that agree may agree by chance."""


class Run(NamedTuple):
    """Tokens `[start, start + length)` of a prompt that are those from `token` on of what was looked for."""

    start: int
    token: int
    length: int


def runs(prompt: Sequence[int], wanted: Sequence[int], start: int = 0) -> list[Run]:
    """The runs of at least `LEAST_RUN` equal tokens of a passage within a prompt, in the order of both.

    A passage's first and last words may be other tokens in the prompt than in the document, and a long passage has page
    marks within. So the longest run is looked for first, and the others on either side of it: another passage may hold
    the same few words. What is found begins at `start` or later.
    """
    blocks = SequenceMatcher(None, prompt[start:], wanted, autojunk=False).get_matching_blocks()
    return [Run(start + place, token, length) for place, token, length in blocks if length >= LEAST_RUN]
