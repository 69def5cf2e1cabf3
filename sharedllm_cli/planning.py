"""What documents would take before any of it is done: tokens, disk, memory, minutes.

Floors (operations over the machine's measured matrix rate) times a measured factor; nothing is loaded but a tokenizer
that is already here, nothing is stored and nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from sharedllm_cli.config import LATE_LAYERS, RERANK_LEAVES, Settings, StoredDtype, TreeConfig
from sharedllm_cli.context.tree import chunk_lengths
from sharedllm_cli.documents import readers
from sharedllm_cli.documents.chunking import tokenize
from sharedllm_cli.documents.sources import SourceFile, expand
from sharedllm_cli.errors import DocumentError, SharedLLMError
from sharedllm_cli.index.layout import LowerShape, predicted_bytes
from sharedllm_cli.index.manifest import LeavesKey, TreesKey, text_hash
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.model.adapter_config import lower_layers, tree_config
from sharedllm_cli.model.checkpoint import weight_files
from sharedllm_cli.model.facts import ModelFacts
from sharedllm_cli.model.loading import weights_hash
from sharedllm_cli.model.placement import Placement, place
from sharedllm_cli.model.references import describe
from sharedllm_cli.model.registry import installed_folder
from sharedllm_cli.model.tokenizer_files import read_tokenizer
from sharedllm_cli.progress import Reporter

OVER_FLOOR = 1.5
"""Indexing and asking take about this many times their floors (docs/log.md has the measurement)."""
CHARACTERS_PER_TOKEN = 3.5
"""Guessed where the model's tokenizer is not here yet."""
_FRAME_TOKENS = 256
"""Room for question, system prompt and page marks beside the evidence."""
_QUANTIZED_BYTES = {"8bit": 1.0, "4bit": 0.52}
"""Bytes of one weight of the layers' matrices; embeddings and norms stay in the type of the computation."""
_PROCESS_BYTES = 700 * 2**20
"""Python, torch and transformers before any weights."""


@dataclass(frozen=True)
class PlanRow:
    """One document's plan. `basis` says what the seconds and, if guessed, the tokens rest on."""

    name: str
    pages: int
    tokens: int
    chunks: int
    index_bytes: int
    weights_bytes: int
    memory_bytes: int
    index_seconds: float
    question_seconds: float
    indexed: bool
    basis: str


@dataclass
class Plan:
    """Plans of the documents that could be read, and why the others could not."""

    rows: list[PlanRow] = field(default_factory=list)
    failures: list[tuple[str, SharedLLMError]] = field(default_factory=list)


@dataclass(frozen=True)
class _LocalModel:
    tokenizer: Any
    tokenizer_hash: str
    weights_hash: str


@dataclass(frozen=True)
class _Machine:
    operations_per_second: float
    basis: str


@dataclass(frozen=True)
class _Ground:
    """What all documents of a plan have in common; `layers` is M, `local` None where the model is not here yet."""

    settings: Settings
    facts: ModelFacts
    placement: Placement
    tree: TreeConfig
    layers: int
    local: _LocalModel | None
    machine: _Machine


def plan_documents(
    arguments: Sequence[str], settings: Settings, home: Path, store: IndexStore, reporter: Reporter
) -> Plan:
    """Plan every document that the arguments name; raises the first failure where none could be read."""
    ground = _ground(settings, home)
    missing: list[tuple[str, DocumentError]] = []
    plan = Plan()
    for source in expand(arguments, missing):
        try:
            plan.rows.append(_row(source, ground, store, reporter))
        except DocumentError as failure:
            plan.failures.append((source.name, failure))
    plan.failures += missing
    if not plan.rows and plan.failures:
        raise plan.failures[0][1]
    return plan


def _ground(settings: Settings, home: Path) -> _Ground:
    facts = describe(settings.model, home, offline=settings.offline)
    placement = place(
        facts, device=settings.device, dtype=settings.dtype, quantize=settings.quantize, attention=settings.attention
    )
    tree = tree_config(settings, facts.name)
    layers = lower_layers(settings, facts.name, facts.layer_count)
    return _Ground(settings, facts, placement, tree, layers, _local_model(settings, home), _measure(placement))


def _row(source: SourceFile, ground: _Ground, store: IndexStore, reporter: Reporter) -> PlanRow:
    settings, facts, tree, layers = ground.settings, ground.facts, ground.tree, ground.layers
    content_hash, data = readers.content_hash(source)
    document = store.read_text(content_hash) or readers.read(
        source, password=settings.password, reporter=reporter, data=data
    )
    basis = ground.machine.basis
    indexed = False
    stored: StoredDtype = settings.stored_dtype  # type: ignore[assignment]
    if ground.local is None:
        tokens = round(len(document.text) / CHARACTERS_PER_TOKEN)
        basis += "; tokens guessed from characters, since the model is not here yet"
    else:
        tokens = len(tokenize(document.text, ground.local.tokenizer))
        leaves = LeavesKey(text_hash(document), ground.local.tokenizer_hash, tree)
        quantize = ground.placement.quantize
        key = TreesKey(leaves, facts.name, ground.local.weights_hash, layers, stored, quantize)
        indexed = store.has_trees(content_hash, key)
    lengths = chunk_lengths(tokens, tree.chunk_tokens)
    shape = LowerShape(layers, facts.key_value_heads, facts.head_dim, facts.hidden_size)
    passes = 2 * layer_parameters(facts) * layers * tree.passes
    weights = weights_bytes(facts, ground.placement)
    return PlanRow(
        name=source.name,
        pages=len(document.pages),
        tokens=tokens,
        chunks=len(lengths),
        index_bytes=predicted_bytes(lengths, tree, shape, stored),
        weights_bytes=weights,
        memory_bytes=_PROCESS_BYTES + weights + _question_bytes(ground, tokens),
        index_seconds=OVER_FLOOR * tokens * passes / ground.machine.operations_per_second,
        question_seconds=OVER_FLOOR * _question_operations(ground, tokens) / ground.machine.operations_per_second,
        indexed=indexed,
        basis=basis,
    )


def layer_parameters(facts: ModelFacts) -> int:
    """Weights of one decoder layer's matrices, each a multiplication and an addition a token."""
    queries, keys = facts.attention_heads * facts.head_dim, facts.key_value_heads * facts.head_dim
    return 2 * facts.hidden_size * (queries + keys) + 3 * facts.hidden_size * facts.intermediate_size


def _question_operations(ground: _Ground, tokens: int) -> int:
    """The running text through all layers, and the re-ranked leaves through the first few."""
    running = ground.settings.evidence_tokens + _FRAME_TOKENS
    leaf_tokens: int = ground.tree.chunk_tokens // 2**ground.tree.height
    ranked = min(RERANK_LEAVES * leaf_tokens, tokens) * min(LATE_LAYERS, ground.layers)
    return 2 * layer_parameters(ground.facts) * (running * ground.facts.layer_count + ranked)


def _question_bytes(ground: _Ground, tokens: int) -> int:
    """Keys and values of a question: the tree's (as read and as rotated), and the running text's of all layers."""
    facts, settings = ground.facts, ground.settings
    position: int = 2 * facts.key_value_heads * facts.head_dim * ground.placement.dtype.itemsize
    kept = int(tokens / ground.tree.overall_ratio) * ground.layers
    running = settings.evidence_tokens + _FRAME_TOKENS + settings.max_new_tokens
    return position * (2 * kept + running * facts.layer_count)


def weights_bytes(facts: ModelFacts, placement: Placement) -> int:
    """Bytes of the base model's weights: the layers' matrices as quantised, all else in the computation's type."""
    matrices = layer_parameters(facts) * facts.layer_count
    plain: int = placement.dtype.itemsize
    of_one = _QUANTIZED_BYTES.get(placement.quantize, plain)
    return int(matrices * of_one) + plain * (facts.parameter_count - matrices)


def _local_model(settings: Settings, home: Path) -> _LocalModel | None:
    """What of the model is on this machine, None where it is not: planning fetches and converts nothing."""
    folder = installed_folder(settings.model, home) or Path(settings.model).expanduser()
    if not folder.is_dir():
        return None
    tokenizer, tokenizer_hash = read_tokenizer(folder)
    return _LocalModel(tokenizer, tokenizer_hash, weights_hash(folder, weight_files(folder), home))


def _measure(placement: Placement) -> _Machine:
    rate = matrix_rate(placement)
    where = "this processor" if placement.device.type == "cpu" else str(placement.device)
    return _Machine(rate, f"matrix products at {rate / 1e9:,.0f} GFLOP/s on {where}")


def matrix_rate(placement: Placement) -> float:
    """Rate of matrix products of a layer's size where and in which type the model would run, operations a second.

    The best of several: what the machine can do, not what it does beside other work.
    """
    import torch

    size = 1024 if placement.device.type == "cpu" else 8192  # asking a GPU for a number must not count
    square = torch.randn(size, size, device=placement.device, dtype=placement.dtype)
    rates = []
    for _ in range(6):
        started = perf_counter()
        float((square @ square)[0, 0])  # a number is asked for, so that a GPU has to finish
        rates.append(2 * size**3 / (perf_counter() - started))
    return max(rates)
