"""What each arm must do at least: operations and bytes, from the shapes alone (docs/architecture.md, "What it costs").

An operation is a multiplication or an addition of a matrix product; everything else (norms, rotations, softmax, the
search) is left out, so a floor is a floor. Bytes are those that must move whatever the kernels: weights once a pass,
keys and values once. Pure functions of integers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from sharedllm_cli.config import TreeConfig
from sharedllm_cli.context.tree import ChunkTree, chunk_lengths
from sharedllm_cli.lab.bench.encoder import EncoderShape
from sharedllm_cli.weights.facts import ModelFacts


@dataclass(frozen=True)
class Work:
    """Operations and bytes of one step."""

    operations: float
    bytes: float

    def seconds(self, rate: float, bandwidth: float) -> float:
        """The least time it takes where `rate` operations and `bandwidth` bytes a second can be had side by side."""
        return max(self.operations / rate, self.bytes / bandwidth)


@dataclass(frozen=True)
class Machine:
    """What this machine can do in the type of the computation: operations a second, bytes a second."""

    rate: float
    bandwidth: float

    def floor(self, steps: Iterable[Work]) -> float:
        """Seconds that steps, one after the other, take at least."""
        return sum(step.seconds(self.rate, self.bandwidth) for step in steps)


@dataclass(frozen=True)
class Base:
    """A base model as the counts see it: its shape, the bytes of a layer's weights, and of a number computed with."""

    facts: ModelFacts
    layer_bytes: float
    number_bytes: int

    @property
    def matrix(self) -> int:
        """P, the weights of a layer's matrices."""
        return self.facts.layer_matrices

    @property
    def pair(self) -> int:
        """Operations of one query with one key and its value in one layer: 4 · H · D."""
        return 4 * self.facts.attention_heads * self.facts.head_dim

    @property
    def key_value(self) -> int:
        """Numbers of one position's key and value in one layer: 2 · KV · D."""
        return 2 * self.facts.key_value_heads * self.facts.head_dim

    @property
    def head(self) -> Work:
        """The output matrix for one position."""
        weights = self.facts.vocabulary_size * self.facts.hidden_size
        return Work(2 * weights, weights * self.number_bytes)


@dataclass(frozen=True)
class Extent:
    """How much is read: T tokens of the document, R tokens of running text behind it."""

    tokens: int
    running: int


# -- the tree --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TreeCost:
    """A document's preserved nodes (every token in exactly one) and all stored nodes (every token once a level).

    What runs through the lower model in one piece is for the tree's `encoding` to say: each node, or each chunk once.
    """

    tokens: int
    tree: TreeConfig

    @cached_property
    def _chunks(self) -> dict[int, int]:
        """How many chunks there are of each length."""
        lengths = chunk_lengths(self.tokens, self.tree.chunk_tokens)
        return {length: lengths.count(length) for length in set(lengths)}

    def _nodes(self, every: bool) -> Iterable[tuple[int, int, int]]:
        """Length, kept keys and number of the nodes: of all that are stored, or of those of one path down."""
        for length, count in self._chunks.items():
            tree = ChunkTree(length, self.tree)
            path = [(level, 2**level - 2) for level in range(1, tree.depth + 1)] + [(tree.depth, 2**tree.depth - 1)]
            for level, index in tree.stored_nodes() if every else path:
                yield tree.span(level, index).length, tree.kept_count(level, index), count

    def kept(self, *, every: bool = False) -> int:
        """S, the keys kept in each layer."""
        return sum(kept * count for _, kept, count in self._nodes(every))

    @property
    def whole_chunks(self) -> bool:
        """Whether chunks are encoded once, not nodes alone."""
        return self.tree.encoding == "chunk"

    def made(self, *, every: bool = False) -> int:
        """Positions whose keys and values are made in each layer: a chunk's own once, however many nodes keep them."""
        if not (every and self.whole_chunks):
            return self.kept(every=every)
        return sum(len(ChunkTree(length, self.tree).kept_by_any) * count for length, count in self._chunks.items())

    def stored(self) -> tuple[int, int]:
        """How many nodes an index holds, and the tokens of all of them."""
        nodes = [(length, count) for length, _, count in self._nodes(every=True)]
        return sum(count for _, count in nodes), sum(length * count for length, count in nodes)

    @property
    def longest(self) -> int:
        """Tokens of the longest piece that runs through the lower model."""
        return max(length for length, _ in self._stretches(every=True))

    def _stretches(self, every: bool) -> Iterable[tuple[int, int]]:
        """Length and number of what runs through the lower model in one piece."""
        if self.whole_chunks:
            return self._chunks.items()
        return ((length, count) for length, _, count in self._nodes(every))

    def encoded(self, *, every: bool = False) -> int:
        """Tokens run through the lower model."""
        return sum(length * count for length, count in self._stretches(every))

    def pairs(self, *, every: bool = False) -> int:
        """Query-key pairs of their causal attention, a layer."""
        return sum(length * (length + 1) // 2 * count for length, count in self._stretches(every))


def encode(base: Base, cost: TreeCost, layers: range, *, every: bool = False) -> Work:
    """Nodes through the lower model: its layers 1..M−1 whole, of layer M the kept keys and values alone.

    `layers` are those that read, up to M: what lies below them is run, and none of its keys are kept. `every` counts
    all levels of an index, h passes over the document (one, where chunks are encoded), else the preserved nodes, one
    pass.
    """
    whole = max(1, layers.stop - 1)  # the first layer is always run whole: a node encoded alone has its vector there
    made = cost.made(every=every)
    projected = 2 * base.facts.hidden_size * base.key_value * made
    operations = whole * (2 * base.matrix * cost.encoded(every=every) + base.pair * cost.pairs(every=every)) + projected
    written = made * base.key_value * len(layers) * base.number_bytes
    return Work(operations, whole * base.layer_bytes + written)


def node_vectors(base: Base, cost: TreeCost) -> Work:
    """The vectors that an index stores where chunks are encoded once; those of nodes encoded alone fall out of that.

    Each node's last token through the first layer, with a query over the node: the chunk's run has its keys and values.
    """
    if not cost.whole_chunks:
        return Work(0.0, 0.0)
    nodes, tokens = cost.stored()
    others = base.matrix - base.facts.hidden_size * base.key_value
    return Work(2 * others * nodes + base.pair * tokens, 0.0)


def read_running(base: Base, running: int, tree_keys: int = 0, reading_layers: int = 0) -> Work:
    """The running text through all layers to its last logits; `tree_keys` are read in so many of them."""
    layers = base.facts.layer_count
    pairs = layers * running * (running + 1) // 2 + reading_layers * running * tree_keys
    operations = 2 * base.matrix * layers * running + base.pair * pairs + base.head.operations
    keys = reading_layers * tree_keys + layers * running
    return Work(operations, layers * base.layer_bytes + base.head.bytes + keys * base.key_value * base.number_bytes)


def next_token(base: Base, keys: int) -> Work:
    """One more token: `keys` counts the keys that it sees in all layers together."""
    operations = 2 * base.matrix * base.facts.layer_count + base.pair * keys + base.head.operations
    weights = base.facts.layer_count * base.layer_bytes + base.head.bytes
    return Work(operations, weights + keys * base.key_value * base.number_bytes)


# -- the other arms --------------------------------------------------------------------------------------------------


def read_whole(base: Base, tokens: int) -> Work:
    """The whole text in one context, to its last logits."""
    return read_running(base, tokens)


def read_streaming(base: Base, tokens: int, window: int) -> Work:
    """The whole text through all layers, each token seeing at most `window` keys (sinks among them)."""
    layers = base.facts.layer_count
    beyond = max(0, tokens - window)
    within = tokens - beyond
    pairs = within * (within + 1) // 2 + beyond * window
    operations = layers * (2 * base.matrix * tokens + base.pair * pairs) + base.head.operations
    written = layers * tokens * base.key_value * base.number_bytes
    return Work(operations, layers * base.layer_bytes + base.head.bytes + written)


def encode_bidirectional(base: Base, encoder: EncoderShape, tokens: int) -> Work:
    """The encoder over the document's chunks, and every decoder layer's keys and values of its output."""
    lengths = chunk_lengths(tokens, encoder.chunk_tokens)
    pairs = sum(length * length for length in lengths)
    layers = base.facts.layer_count
    matrices = encoder.layers * encoder.layer_weights + layers * encoder.hidden * base.key_value
    operations = 2 * matrices * tokens + encoder.layers * 4 * encoder.hidden * pairs
    written = layers * tokens * base.key_value
    return Work(operations, (matrices + written) * base.number_bytes)


def read_cross(base: Base, extent: Extent) -> Work:
    """The running text through the decoder, each layer of which also looks at all of the encoder's output."""
    own = read_running(base, extent.running)
    layers, facts = base.facts.layer_count, base.facts
    projections = 2 * facts.hidden_size * facts.attention_heads * facts.head_dim * layers
    operations = 2 * projections * extent.running + base.pair * layers * extent.running * extent.tokens
    moved = projections + layers * extent.tokens * base.key_value
    return Work(own.operations + operations, own.bytes + moved * base.number_bytes)


def next_cross_token(base: Base, extent: Extent) -> Work:
    """One more token of the encoder-decoder."""
    layers, facts = base.facts.layer_count, base.facts
    own = next_token(base, layers * (extent.running + extent.tokens))
    projections = 2 * facts.hidden_size * facts.attention_heads * facts.head_dim * layers
    return Work(own.operations + 2 * projections, own.bytes + projections * base.number_bytes)
