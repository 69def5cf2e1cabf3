"""The arm of this project: the document as preserved nodes of its tree, encoded now or gathered from an index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sharedllm_cli.config import RERANK_LEAVES, Injection, InjectionConfig, StoredDtype
from sharedllm_cli.context.search import search
from sharedllm_cli.context.tree import Node, chunk_lengths
from sharedllm_cli.index.encoding import ACCELERATOR_BATCH_TOKENS, CPU_BATCH_TOKENS
from sharedllm_cli.index.layout import LowerShape, predicted_bytes, slot_bytes
from sharedllm_cli.index.manifest import LeavesKey, TreesKey, text_hash
from sharedllm_cli.index.nodes import CompressedSource, LiveNodes, StoredNodes
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.bench import counts
from sharedllm_cli.lab.bench.counts import Extent, TreeCost, Work
from sharedllm_cli.lab.bench.subject import Reading, Subject
from sharedllm_cli.lab.bench.timed_arms import Prefilled, cache_bytes, greedy, open_upper, running_ids, working_bytes
from sharedllm_cli.lab.bench.timing import Clock
from sharedllm_cli.model.lower import CompressedNodes, LowerModel
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.reading.scoring import QuestionLeaves, score

_EXACT: dict[torch.dtype, StoredDtype] = {torch.bfloat16: "bfloat16", torch.float16: "float16"}


class SharedLLM:
    """`cold`: score, search, then encode the preserved nodes, or all chunks for them: each token is encoded once.

    `layers` read the tree, which holds no others; the lower model is everything up to the last of them, M layers.
    """

    name = "sharedllm"

    def __init__(
        self,
        subject: Subject,
        layers: range,
        store: IndexStore,
        *,
        injection: Injection = "merged",
        policy: str = "hybrid",
        stored_dtype: StoredDtype = "int8",
    ) -> None:
        self.layers = layers
        self.variant = f"M={layers.start}-{layers.stop}" if layers.start else f"M={layers.stop}"
        self._subject = subject
        self._base = subject.base
        self._store = store
        self._injection = InjectionConfig(form=injection, lower_layers=layers.stop, first_layer=layers.start)
        self._policy = policy
        self._stored_dtype = stored_dtype
        self._lower: LowerModel | None = None
        self._upper: UpperModel | None = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        self._lower = LowerModel(self._subject.model, self.layers.stop, self.layers.start)
        upper = self._upper = open_upper(self._subject, self._injection)
        try:
            yield
        finally:
            upper.remove()
            self._upper = self._lower = None

    # -- measured ----------------------------------------------------------------------------------------------------

    def cold(self, reading: Reading, clock: Clock) -> Prefilled:
        live = self._live(reading)
        nodes = self._search(reading, live, clock)
        with clock.part("encode"):
            kept = live.compressed(nodes)
        return self._read(reading, kept, clock)

    def build(self, reading: Reading, clock: Clock) -> None:
        """Build and store the trees: all levels, each token once a level, or each chunk once for all of them."""
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

    def indexed(self, reading: Reading, clock: Clock) -> Prefilled:
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

    def _read(self, reading: Reading, kept: CompressedNodes, clock: Clock) -> Prefilled:
        upper, device = self._upper, self._subject.placement.device
        assert upper is not None
        with clock.part("read"):
            tree = upper.context(kept, len(reading.leaves.trees), consume=True)
            cache = upper.cache()
            first = greedy(upper.decode_step(running_ids(reading, device), tree, cache))
        return Prefilled(
            first, lambda token: greedy(upper.decode_step(torch.tensor([token], device=device), tree, cache))
        )

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
            self.layers.stop,
            self._stored_dtype,
            subject.placement.quantize,
            self.layers.start,
        )

    # -- counted -----------------------------------------------------------------------------------------------------

    def cold_steps(self, extent: Extent) -> list[Work]:
        encoded = counts.encode(self._base, self._cost(extent), self.layers)
        return [self._scored(extent), encoded, self._read_step(extent)]

    def indexed_steps(self, extent: Extent) -> list[Work]:
        """What `indexed` must do at least: scores, the selected keys and values from disk to device, the reading."""
        slots = self._cost(extent).kept() * slot_bytes(self._shape, self._stored_dtype)
        gathered = Work(0.0, slots + self.tree_bytes(extent))
        return [self._scored(extent), gathered, self._read_step(extent)]

    def index_steps(self, extent: Extent) -> list[Work]:
        """What `build` must do at least."""
        cost = self._cost(extent)
        encoded = counts.encode(self._base, cost, self.layers, every=True)
        return [encoded, counts.node_vectors(self._base, cost), Work(0.0, self.index_bytes(extent))]

    def token_step(self, extent: Extent) -> Work:
        tree = len(self.layers) * self._cost(extent).kept()
        return counts.next_token(self._base, tree + self._base.facts.layer_count * extent.running)

    def tree_bytes(self, extent: Extent) -> float:
        """The selected keys and values, once."""
        return self._cost(extent).kept() * len(self.layers) * self._base.key_value * self._base.number_bytes

    def index_bytes(self, extent: Extent) -> int:
        """What the trees take on disk."""
        tree = self._subject.tree
        lengths = chunk_lengths(extent.tokens, tree.chunk_tokens)
        return predicted_bytes(lengths, tree, self._shape, self._stored_dtype)

    def memory_bytes(self, extent: Extent) -> float:
        on_cpu = self._subject.placement.device.type == "cpu"
        batch = min(CPU_BATCH_TOKENS if on_cpu else ACCELERATOR_BATCH_TOKENS, extent.tokens)
        # Keys are rotated where they lie, layer after layer: half of a layer's are kept beside meanwhile.
        tree = self.tree_bytes(extent) * (1 + 1 / (4 * len(self.layers)))
        kept = tree + cache_bytes(self._base, extent.running)
        return kept + working_bytes(self._base, max(batch, self._cost(extent).longest, extent.running))

    def _read_step(self, extent: Extent) -> Work:
        return counts.read_running(self._base, extent.running, self._cost(extent).kept(), len(self.layers))

    def _scored(self, extent: Extent) -> Work:
        """The first layer's attention over the leaves that the policy looks at; BM25 and the search count nothing."""
        leaf_tokens = self._subject.tree.chunk_tokens // 2**self._subject.tree.height
        looked_at = {"hybrid": min(RERANK_LEAVES * leaf_tokens, extent.tokens), "late": extent.tokens}
        return Work(2 * self._base.facts.attention_matrices * looked_at.get(self._policy, 0), 0.0)

    @property
    def _shape(self) -> LowerShape:
        facts = self._subject.facts
        return LowerShape(self.layers.stop, facts.key_value_heads, facts.head_dim, facts.hidden_size, self.layers.start)

    def _cost(self, extent: Extent) -> TreeCost:
        return TreeCost(extent.tokens, self._subject.tree)
