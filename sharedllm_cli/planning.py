"""What documents would take before any of it is done: tokens, disk, memory, minutes.

Floors (operations over the machine's measured matrix rate) times a measured factor; nothing is loaded but a tokenizer
that is already here, nothing is stored and nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import torch

from sharedllm_cli.answer import NotRead
from sharedllm_cli.config import FINE_TREE, RERANK_LEAVES, Settings, StoredDtype, TreeConfig
from sharedllm_cli.context.tree import chunk_lengths
from sharedllm_cli.documents import readers
from sharedllm_cli.documents.chunking import tokenize
from sharedllm_cli.documents.pages import Document
from sharedllm_cli.documents.readers import Limits, Probe
from sharedllm_cli.documents.sources import expand, told
from sharedllm_cli.errors import DocumentError, ResourceError, SharedLLMError
from sharedllm_cli.generation.decoding import LONGEST
from sharedllm_cli.index.encoding import ACCELERATOR_BATCH_TOKENS, CPU_BATCH_TOKENS
from sharedllm_cli.index.layout import LowerShape, predicted_bytes
from sharedllm_cli.index.manifest import LeavesKey, TreesKey, text_hash
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.model.adapter_config import (
    adapter_config,
    candidate_count,
    passage_budget,
    tree_config,
    tree_layers,
    wants_tree,
)
from sharedllm_cli.model.placement import ModelSizes, Placement, Room, free_bytes, model_sizes, place, spread
from sharedllm_cli.progress import Reporter
from sharedllm_cli.weights.facts import ModelFacts
from sharedllm_cli.weights.registry import describe, installed_folder
from sharedllm_cli.weights.tokenizer_files import read_tokenizer
from sharedllm_cli.weights.weight_files import weight_files, weights_hash

OVER_FLOOR = 1.5
"""Indexing and asking take about this many times their floors (docs/log/ has the measurement)."""
CHARACTERS_PER_TOKEN = 3.5
"""Guessed where the model's tokenizer is not here yet."""
_FRAME_TOKENS = 256
"""Room for question, system prompt and page marks beside the evidence."""
_PACKED_TWICE, _PACKED_BYTES = 1.7, 100_000_000
"""Measured: 371 MB for 151 MB of packed weights, 1,308 for 709 (the library and its graph among them)."""
_PROCESS_BYTES = 700 * 2**20
"""Python, torch and transformers before any weights."""


@dataclass(frozen=True)
class PlanRow:
    """One document's plan. `basis` says what the seconds and, if guessed, the tokens rest on.

    Of the memory, `batch_bytes` go to a batch of nodes while the index is built, `tree_bytes` to the keys and values
    that a question reads of the tree, `cache_bytes` to those of the prompt; `fits` and `where` say whether all
    of it has room.
    """

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
    batch_bytes: int = 0
    tree_bytes: int = 0
    cache_bytes: int = 0
    fits: bool = True
    where: str = ""


class Fit(NamedTuple):
    """Whether there is room, and in words how much of what."""

    fits: bool
    words: str


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
    """What all documents of a plan have in common.

    `layers`, the last of them M, are those that trees hold; `local` is None where the model is not here yet.
    """

    settings: Settings
    facts: ModelFacts
    placement: Placement
    tree: TreeConfig
    layers: range
    evidence_tokens: int
    candidates: int
    reads_tree: bool
    local: _LocalModel | None
    machine: _Machine


def plan_documents(
    arguments: Sequence[str],
    settings: Settings,
    home: Path,
    store: IndexStore,
    reporter: Reporter,
    probe: Probe | None = None,
) -> Plan:
    """Plan every document that the arguments name; raises the first failure where none could be read."""
    ground = _ground(settings, home)
    missing: list[tuple[str, DocumentError]] = []
    plan = Plan()
    passed_over: dict[str, list[NotRead]] = {}
    sources = expand(arguments, missing, passed_over)
    for argument, files in passed_over.items():
        reporter.warn(told(argument, files))
    for source in sources:
        try:
            known = probe if probe is not None and probe.source == source else None
            known = known or store.probe(source, settings.password, Limits.of(settings))
            rows = _rows(known, ground, store, reporter)
            plan.rows += [row for row in rows if row.name not in {one.name for one in plan.rows}]
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
    layers = tree_layers(settings, facts.name, facts.layer_count)
    evidence = passage_budget(settings, facts.name)
    local, machine = _local_model(settings, home), _measure(placement)
    adapter = adapter_config(settings, facts.name)
    # Without one the gates are closed: no question reads a tree.
    candidates, reads = candidate_count(settings, adapter), adapter is not None and wants_tree(settings, adapter)
    return _Ground(settings, facts, placement, tree, layers, evidence, candidates, reads, local, machine)


def _rows(probe: Probe, ground: _Ground, store: IndexStore, reporter: Reporter) -> list[PlanRow]:
    """The plan of a document, and of those that it carries; DocumentError where none of them can be read."""
    found: list[PlanRow] = []
    failure: DocumentError | None = None
    try:
        document = _read(probe, store, reporter)
        attachments = document.attachments
        found.append(_row(probe, document, ground, store))
    except DocumentError as problem:  # a portfolio's cover may have no text of its own
        failure, attachments = problem, probe.attachments
    for file in attachments:
        inner = probe.carried(file)
        try:
            found.append(_row(inner, _read(inner, store, reporter), ground, store))
        except DocumentError as problem:
            reporter.warn(f"{problem.message}: the attachment is not read")
    if failure is not None and not found:
        raise failure
    return found


def _read(probe: Probe, store: IndexStore, reporter: Reporter) -> Document:
    """A document as stored, or read now."""
    document = store.read_text(probe.content_hash)
    if document is None:
        return probe.read(reporter)
    for warning in readers.named(document, probe.source).warnings:
        reporter.warn(warning)
    return document


def _row(probe: Probe, document: Document, ground: _Ground, store: IndexStore) -> PlanRow:
    settings, facts, tree, layers = ground.settings, ground.facts, ground.tree, ground.layers
    source, content_hash = probe.source, probe.content_hash
    basis = ground.machine.basis
    indexed = False
    stored: StoredDtype = settings.stored_dtype  # type: ignore[assignment]
    if ground.local is None:
        tokens = round(len(document.text) / CHARACTERS_PER_TOKEN)
        basis += "; tokens estimated from characters, since the model is not installed yet"
    else:
        tokens = len(tokenize(document.text, ground.local.tokenizer))
        leaves = LeavesKey(text_hash(document), ground.local.tokenizer_hash, tree)
        quantize = ground.placement.quantize
        key = TreesKey(leaves, facts.name, ground.local.weights_hash, layers.stop, stored, quantize, layers.start)
        indexed = store.has_trees(content_hash, key)
    lengths = chunk_lengths(tokens, tree.chunk_tokens)
    shape = LowerShape(layers.stop, facts.key_value_heads, facts.head_dim, facts.hidden_size, layers.start)
    passes = 2 * facts.layer_matrices * layers.stop * tree.passes
    weights = weights_bytes(facts, ground.placement)
    tree_memory, cache_memory = _question_bytes(ground, tokens)
    working = max(batch_bytes(facts, ground.placement), tree_memory + cache_memory)
    room = fit(facts, ground.placement, working)
    return PlanRow(
        name=source.name,
        pages=document.page_count,
        tokens=tokens,
        chunks=len(lengths),
        index_bytes=predicted_bytes(lengths, tree, shape, stored) + _fine_bytes(ground, tokens),
        weights_bytes=weights,
        memory_bytes=_PROCESS_BYTES + weights + working,
        index_seconds=OVER_FLOOR * tokens * (passes + _fine_passes(ground)) / ground.machine.operations_per_second,
        question_seconds=OVER_FLOOR * _question_operations(ground, tokens) / ground.machine.operations_per_second,
        indexed=indexed,
        basis=basis,
        batch_bytes=batch_bytes(facts, ground.placement),
        tree_bytes=tree_memory,
        cache_bytes=cache_memory,
        fits=room.fits,
        where=room.words,
    )


def _fine_bytes(ground: _Ground, tokens: int) -> int:
    """Bytes of every token's keys and values in all layers, where the settings ask for the fine grain."""
    if ground.settings.grains != "fine":
        return 0
    facts, stored = ground.facts, ground.settings.stored_dtype
    shape = LowerShape(facts.layer_count, facts.key_value_heads, facts.head_dim, facts.hidden_size)
    return predicted_bytes(chunk_lengths(tokens, FINE_TREE.chunk_tokens), FINE_TREE, shape, stored)  # type: ignore[arg-type]


def _fine_passes(ground: _Ground) -> int:
    """Operations a token of reading a document once through all layers, where the settings ask for the fine grain."""
    facts = ground.facts
    return 2 * facts.layer_matrices * facts.layer_count if ground.settings.grains == "fine" else 0


def _question_operations(ground: _Ground, tokens: int) -> int:
    """The prompt through all layers, and the re-ranked leaves through the attention of the first."""
    running = ground.evidence_tokens + _FRAME_TOKENS
    leaf_tokens: int = ground.tree.chunk_tokens // 2**ground.tree.height
    ranked = min(RERANK_LEAVES * leaf_tokens, tokens)
    prompt = ground.facts.layer_matrices * ground.facts.layer_count * running
    return 2 * (prompt + ground.facts.attention_matrices * ranked)


def _question_bytes(ground: _Ground, tokens: int) -> tuple[int, int]:
    """Keys and values of a question: the tree's, and the prompt's, with those of the likely answers behind it."""
    facts, settings, placement = ground.facts, ground.settings, ground.placement
    position: int = 2 * facts.key_value_heads * facts.head_dim
    number = placement.dtype.itemsize
    held = 4 if placement.packed and not ground.reads_tree else number  # `UpperModel.cache`
    kept = int(tokens / ground.tree.overall_ratio) * len(ground.layers) if ground.reads_tree else 0
    text = ground.evidence_tokens + _FRAME_TOKENS
    running = text + settings.max_new_tokens
    if ground.candidates > 1:
        # All of it twice while room is made for them (`model/cache.py`).
        running += text + 2 * ground.candidates * min(LONGEST, settings.max_new_tokens)
    return number * position * kept, held * position * running * facts.layer_count


def weights_bytes(facts: ModelFacts, placement: Placement) -> int:
    """Bytes of the base model's weights: the layers' matrices as quantised, all else in the computation's type.

    Packed ones lie in memory twice: in the mapped file, and in the order in which a step reads them.
    """
    size = facts.weights_bytes(placement.dtype.itemsize, placement.quantize)
    return int(_PACKED_TWICE * size) + _PACKED_BYTES if placement.packed else size


def batch_bytes(facts: ModelFacts, placement: Placement) -> int:
    """Bytes of one batch of nodes on its way through a layer: states, projections and the widest part, the MLP's."""
    tokens = CPU_BATCH_TOKENS if placement.device.type == "cpu" else ACCELERATOR_BATCH_TOKENS
    heads = facts.attention_heads + 2 * facts.key_value_heads
    numbers = 4 * facts.hidden_size + 2 * heads * facts.head_dim + 3 * facts.intermediate_size
    size: int = tokens * numbers * placement.dtype.itemsize
    return size


def encoding_bytes(settings: Settings, home: Path) -> int:
    """Bytes that a process takes which encodes trees: Python, the weights and a batch. Raises ModelError."""
    facts = describe(settings.model, home, offline=settings.offline)
    placement = place(
        facts, device=settings.device, dtype=settings.dtype, quantize=settings.quantize, attention=settings.attention
    )
    return _PROCESS_BYTES + weights_bytes(facts, placement) + batch_bytes(facts, placement)


def fit(facts: ModelFacts, placement: Placement, working_bytes: int) -> Fit:
    """Whether the weights and what is computed beside them fit the free memory of where the model would run."""
    sizes = model_sizes(facts, placement.quantize, placement.dtype)
    cpu = free_bytes(torch.device("cpu"))
    if placement.gpus:
        rooms = [Room(str(gpu), free_bytes(gpu)) for gpu in placement.gpus]
        return fit_gpus(sizes, working_bytes, rooms, cpu)
    needed = _PROCESS_BYTES + weights_bytes(facts, placement) + working_bytes
    text = f"{needed / 1e9:.1f} GB of {cpu / 1e9:.1f} GB free on {placement.device}"
    return Fit(True, text) if needed <= cpu else Fit(False, f"needs {text}")


def fit_gpus(sizes: ModelSizes, working_bytes: int, gpus: Sequence[Room], cpu: int) -> Fit:
    """The same for GPUs with this much free memory: on one, over several, spilled to the CPU's, or not at all."""
    try:
        found = spread(sizes, gpus, cpu)
    except ResourceError as problem:
        return Fit(False, problem.message)
    first = next(room for room in gpus if room.device in found.layers or room.device in found.device_map.values())
    if list(found.device_map) != [""]:
        return Fit(True, f"{sizes.whole / 1e9:.1f} GB of weights, more than one GPU holds: {found.words()}")
    needed = sizes.whole + working_bytes
    text = f"{needed / 1e9:.1f} GB of {first.free / 1e9:.1f} GB free on {first.device}"
    return Fit(needed <= first.free, text if needed <= first.free else f"needs {text}: smaller batches will be tried")


def _local_model(settings: Settings, home: Path) -> _LocalModel | None:
    """What of the model is on this machine, None where it is not: planning fetches and converts nothing."""
    folder = installed_folder(settings.model, home) or Path(settings.model).expanduser()
    if not folder.is_dir():
        return None
    tokenizer, tokenizer_hash = read_tokenizer(folder)
    return _LocalModel(tokenizer, tokenizer_hash, weights_hash(folder, weight_files(folder), home))


def _measure(placement: Placement) -> _Machine:
    rate = matrix_rate(placement)
    where = "this CPU" if placement.device.type == "cpu" else str(placement.device)
    return _Machine(rate, f"matrix products at {rate / 1e9:,.0f} GFLOP/s on {where}")


def matrix_rate(placement: Placement) -> float:
    """Rate of matrix products of a layer's size where and in which type the model would run, operations a second.

    The best of several: what the machine can do, not what it does beside other work.
    """
    size = 1024 if placement.device.type == "cpu" else 8192  # asking a GPU for a number must not count
    square = torch.randn(size, size, device=placement.device, dtype=placement.dtype)
    rates = []
    for _ in range(6):
        started = perf_counter()
        float((square @ square)[0, 0])  # a number is asked for, so that a GPU has to finish
        rates.append(2 * size**3 / (perf_counter() - started))
    return max(rates)
