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
from sharedllm_cli.model.placement import place
from sharedllm_cli.model.references import describe
from sharedllm_cli.model.registry import installed_folder
from sharedllm_cli.model.tokenizer_files import read_tokenizer
from sharedllm_cli.progress import Reporter

OVER_FLOOR = 1.6
"""Indexing takes this many times its floor (docs/log.md has the measurement)."""
CHARACTERS_PER_TOKEN = 3.5
"""Guessed where the model's tokenizer is not here yet."""
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
    quantize: str


@dataclass(frozen=True)
class _Machine:
    operations_per_second: float
    basis: str


def plan_documents(
    arguments: Sequence[str], settings: Settings, home: Path, store: IndexStore, reporter: Reporter
) -> Plan:
    """Plan every document that the arguments name; raises the first failure where none could be read."""
    facts = describe(settings.model, home, offline=settings.offline)
    tree = tree_config(settings, facts.name)
    layers = lower_layers(settings, facts.name, facts.layer_count)
    local = _local_model(settings, facts, home)
    machine = _measure()
    missing: list[tuple[str, DocumentError]] = []
    plan = Plan()
    for source in expand(arguments, missing):
        try:
            plan.rows.append(_row(source, settings, facts, tree, layers, local, machine, store, reporter))
        except DocumentError as failure:
            plan.failures.append((source.name, failure))
    plan.failures += missing
    if not plan.rows and plan.failures:
        raise plan.failures[0][1]
    return plan


def _row(
    source: SourceFile,
    settings: Settings,
    facts: ModelFacts,
    tree: TreeConfig,
    layers: int,
    local: _LocalModel | None,
    machine: _Machine,
    store: IndexStore,
    reporter: Reporter,
) -> PlanRow:
    content_hash, data = readers.content_hash(source)
    document = store.read_text(content_hash) or readers.read(
        source, password=settings.password, reporter=reporter, data=data
    )
    basis = machine.basis
    indexed = False
    stored: StoredDtype = settings.stored_dtype  # type: ignore[assignment]
    if local is None:
        tokens = round(len(document.text) / CHARACTERS_PER_TOKEN)
        basis += "; tokens guessed from characters, since the model is not here yet"
    else:
        tokens = len(tokenize(document.text, local.tokenizer))
        leaves = LeavesKey(text_hash(document), local.tokenizer_hash, tree)
        key = TreesKey(leaves, facts.name, local.weights_hash, layers, stored, local.quantize)
        indexed = store.has_trees(content_hash, key)
    lengths = chunk_lengths(tokens, tree.chunk_tokens)
    shape = LowerShape(layers, facts.key_value_heads, facts.head_dim, facts.hidden_size)
    per_layer = layer_parameters(facts)
    passes = 2 * per_layer * layers * tree.height
    weights = facts.parameter_count * _bytes_of_weight(settings)
    running = settings.evidence_tokens + 256
    search = min(RERANK_LEAVES * tree.chunk_tokens // 2**tree.height, tokens) * LATE_LAYERS
    question = 2 * per_layer * (running * facts.layer_count + search)
    kept = tokens // 8 * 2 * layers * facts.key_value_heads * facts.head_dim * 4
    cache = (running + settings.max_new_tokens) * 2 * facts.layer_count * facts.key_value_heads * facts.head_dim * 4
    return PlanRow(
        name=source.name,
        pages=len(document.pages),
        tokens=tokens,
        chunks=len(lengths),
        index_bytes=predicted_bytes(lengths, tree, shape, stored),
        weights_bytes=weights,
        memory_bytes=_PROCESS_BYTES + weights + 2 * kept + cache,
        index_seconds=OVER_FLOOR * tokens * passes / machine.operations_per_second,
        question_seconds=OVER_FLOOR * question / machine.operations_per_second,
        indexed=indexed,
        basis=basis,
    )


def layer_parameters(facts: ModelFacts) -> int:
    """Weights of one decoder layer's matrices, each a multiplication and an addition a token."""
    queries, keys = facts.attention_heads * facts.head_dim, facts.key_value_heads * facts.head_dim
    return 2 * facts.hidden_size * (queries + keys) + 3 * facts.hidden_size * facts.intermediate_size


def _bytes_of_weight(settings: Settings) -> int:
    return 2 if settings.dtype in ("bfloat16", "float16") else 4


def _local_model(settings: Settings, facts: ModelFacts, home: Path) -> _LocalModel | None:
    """What of the model is on this machine, None where it is not: planning fetches and converts nothing."""
    folder = installed_folder(settings.model, home) or Path(settings.model).expanduser()
    if not folder.is_dir():
        return None
    placement = place(
        facts, device=settings.device, dtype=settings.dtype, quantize=settings.quantize, attention=settings.attention
    )
    tokenizer, tokenizer_hash = read_tokenizer(folder)
    return _LocalModel(tokenizer, tokenizer_hash, weights_hash(folder, weight_files(folder), home), placement.quantize)


def _measure() -> _Machine:
    """Rate of float32 matrix products of a layer's size on this processor, operations a second."""
    import torch

    left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)
    rates = []
    for _ in range(6):
        started = perf_counter()
        left @ right
        rates.append(2 * 1024**3 / (perf_counter() - started))
    rate = max(rates)
    return _Machine(rate, f"matrix products at {rate / 1e9:,.0f} GFLOP/s on this processor")
