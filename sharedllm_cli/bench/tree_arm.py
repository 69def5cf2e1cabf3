"""The arm of this project: the document as preserved nodes of its tree, encoded now or gathered from an index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sharedllm_cli.bench import counts
from sharedllm_cli.bench.arms import Begun, cache_bytes, greedy, open_upper, running_ids, working_bytes
from sharedllm_cli.bench.counts import Extent, TreeCost, Work
from sharedllm_cli.bench.subject import Subject
from sharedllm_cli.bench.texts import Reading
from sharedllm_cli.bench.timing import Clock
from sharedllm_cli.config import LATE_LAYERS, RERANK_LEAVES, Injection, InjectionConfig, StoredDtype
from sharedllm_cli.context.search import search
from sharedllm_cli.context.tree import Node
from sharedllm_cli.index.encoding import ACCELERATOR_BATCH_TOKENS, CPU_BATCH_TOKENS
from sharedllm_cli.index.manifest import LeavesKey, TreesKey, text_hash
from sharedllm_cli.index.nodes import CompressedSource, LiveNodes, StoredNodes
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.model.lower import CompressedNodes, LowerModel
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.reading.scoring import QuestionLeaves, score

_EXACT: dict[torch.dtype, StoredDtype] = {torch.bfloat16: "bfloat16", torch.float16: "float16"}


class SharedLLM:
    """`cold`: score, search, then encode the preserved nodes alone, so that each token is encoded once."""

    name = "sharedllm"

    def __init__(
        self,
        subject: Subject,
        lower_layers: int,
        store: IndexStore,
        *,
        injection: Injection = "merged",
        policy: str = "hybrid",
        stored_dtype: StoredDtype = "int8",
    ) -> None:
        self.lower_layers = lower_layers
        self.variant = f"M={lower_layers}"
        self._subject = subject
        self._base = subject.base
        self._store = store
        self._injection = InjectionConfig(form=injection, lower_layers=lower_layers)
        self._policy = policy
        self._stored_dtype = stored_dtype
        self._lower: LowerModel | None = None
        self._upper: UpperModel | None = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        self._lower = LowerModel(self._subject.model, self.lower_layers)
        upper = self._upper = open_upper(self._subject, self._injection)
        try:
            yield
        finally:
            upper.remove()
            self._upper = self._lower = None

    # -- measured ----------------------------------------------------------------------------------------------------

    def cold(self, reading: Reading, clock: Clock) -> Begun:
        live = self._live(reading)
        nodes = self._search(reading, live, clock)
        with clock.part("encode"):
            kept = live.compressed(nodes)
        return self._read(reading, kept, clock)

    def build(self, reading: Reading, clock: Clock) -> None:
        """Build and store the trees: all levels, each token once a level."""
        placement, document = self._subject.placement, reading.document
        self._store.write_text(document)
        with clock.part("build"):
            self._store.build_trees(
                document.content_hash,
                self._key(reading),
                reading.leaves,
                self.lower,
                device=placement.device,
                dtype=placement.dtype,
            )

    def indexed(self, reading: Reading, clock: Clock) -> Begun:
        """Read from the index that `build` stored, to the first token."""
        with clock.part("open"):
            stored = self._stored(reading)
        nodes = self._search(reading, stored, clock)
        with clock.part("gather"):
            kept = stored.compressed(nodes)
        return self._read(reading, kept, clock)

    def _search(self, reading: Reading, nodes: CompressedSource, clock: Clock) -> list[Node]:
        leaves = reading.leaves
        with clock.part("search"):
            source = QuestionLeaves(reading.question, reading.question_ids, [leaves], self.lower, lambda: nodes, [None])
            return search(leaves.trees, score(source, [leaves], self._policy).nodes)

    def _read(self, reading: Reading, kept: CompressedNodes, clock: Clock) -> Begun:
        upper, device = self._upper, self._subject.placement.device
        assert upper is not None
        with clock.part("read"):
            tree = upper.context(kept, len(reading.leaves.trees), consume=True)
            cache = upper.cache()
            first = greedy(upper.infer(running_ids(reading, device), tree, cache))
        return Begun(first, lambda token: greedy(upper.infer(torch.tensor([token], device=device), tree, cache)))

    @property
    def lower(self) -> LowerModel:
        """The lower model, while this arm is installed."""
        assert self._lower is not None
        return self._lower

    def _live(self, reading: Reading) -> LiveNodes:
        # Nothing is rounded: the type in which the numbers travel is the one they were computed in.
        return LiveNodes(self.lower, reading.leaves, stored_dtype=_EXACT.get(self._subject.placement.dtype, "float32"))

    def _stored(self, reading: Reading) -> StoredNodes:
        placement, document = self._subject.placement, reading.document
        stored = self._store.open_trees(
            document.content_hash,
            self._key(reading),
            reading.leaves,
            device=placement.device,
            dtype=placement.dtype,
        )
        assert stored is not None, "the index was built before"
        return stored

    def _key(self, reading: Reading) -> TreesKey:
        subject = self._subject
        leaves = LeavesKey(text_hash(reading.document), "bench", subject.tree)
        return TreesKey(
            leaves,
            subject.name,
            subject.weights,
            self.lower_layers,
            self._stored_dtype,
            subject.placement.quantize,
        )

    # -- counted -----------------------------------------------------------------------------------------------------

    def cold_steps(self, extent: Extent) -> list[Work]:
        encoded = counts.encode(self._base, self._cost(extent), self.lower_layers)
        return [self._scored(extent), encoded, self._read_step(extent)]

    def indexed_steps(self, extent: Extent) -> list[Work]:
        """What `indexed` must do at least: scores, the selected keys and values from disk to device, the reading."""
        width = 1 if self._stored_dtype == "int8" else 4 if self._stored_dtype == "float32" else 2
        numbers = self._cost(extent).kept() * self.lower_layers * self._base.key_value
        gathered = Work(0.0, numbers * (width + self._base.number_bytes))
        return [self._scored(extent), gathered, self._read_step(extent)]

    def index_steps(self, extent: Extent) -> list[Work]:
        """What `build` must do at least."""
        return [counts.encode(self._base, self._cost(extent), self.lower_layers, every=True)]

    def token_step(self, extent: Extent) -> Work:
        tree = self.lower_layers * self._cost(extent).kept()
        return counts.next_token(self._base, tree + self._base.facts.layer_count * extent.running)

    def tree_bytes(self, extent: Extent) -> float:
        """The selected keys and values, once."""
        return self._cost(extent).kept() * self.lower_layers * self._base.key_value * self._base.number_bytes

    def memory_bytes(self, extent: Extent) -> float:
        on_cpu = self._subject.placement.device.type == "cpu"
        batch = min(CPU_BATCH_TOKENS if on_cpu else ACCELERATOR_BATCH_TOKENS, extent.tokens)
        kept = 2 * self.tree_bytes(extent) + cache_bytes(self._base, extent.running)
        return kept + working_bytes(self._base, max(batch, extent.running))

    def _read_step(self, extent: Extent) -> Work:
        return counts.read_running(self._base, extent.running, self._cost(extent).kept(), self.lower_layers)

    def _scored(self, extent: Extent) -> Work:
        """Late interaction's layer over the leaves that the policy looks at; BM25 and the search count nothing."""
        leaf_tokens = self._subject.tree.chunk_tokens // 2**self._subject.tree.height
        looked_at = {"hybrid": min(RERANK_LEAVES * leaf_tokens, extent.tokens), "late": extent.tokens}
        layers = min(LATE_LAYERS, self.lower_layers)
        return Work(2 * self._base.matrix * layers * looked_at.get(self._policy, 0), 0.0)

    def _cost(self, extent: Extent) -> TreeCost:
        return TreeCost(extent.tokens, self._subject.tree)
