"""One training run from its request to its adapter: what `sharedllm train` does.

Base model, data and the adapter that the run begins with are put together here; the loop is trainer.py's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from sharedllm_cli import __version__
from sharedllm_cli.answering.kinds import RULES
from sharedllm_cli.config import Injection, Settings
from sharedllm_cli.errors import UsageError
from sharedllm_cli.generation import prompt
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab import plots
from sharedllm_cli.lab.training.corpus import Documents, LeafScores, ScoresByPolicy, load_splits, pieces, spread
from sharedllm_cli.lab.training.objective import NextTokens, Samples, TrainedUpper
from sharedllm_cli.lab.training.question_samples import Mixture, QuestionSamples
from sharedllm_cli.lab.training.records import DataFile, Record
from sharedllm_cli.lab.training.sample import Sample
from sharedllm_cli.lab.training.sampled_trees import StoredTrees, TreeReader
from sharedllm_cli.lab.training.text_samples import ContinueSamples, MixedSamples
from sharedllm_cli.lab.training.trainer import METRICS, Ending, Pace, Schedule, Trainer
from sharedllm_cli.lab.training.validation import PLOT, Validation, draw
from sharedllm_cli.model.adapter import WEIGHTS_FILE, Adapter, model_shape
from sharedllm_cli.model.adapter_config import TARGETS, AdapterConfig, LowRankConfig, read_config
from sharedllm_cli.model.loading import BaseModel, load
from sharedllm_cli.model.lower import LowerModel
from sharedllm_cli.model.placement import choose_device
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import Reporter, Silent
from sharedllm_cli.retrieval.policies import policy

TREES = "trees"
"""The folder in a run's folder for the trees that it reads."""
OBJECTIVES = ("qa", "lm")
"""Of these `qa` alone can do without trees, and can have other samples among its own."""
_LIBRARIES = ("torch", "transformers", "accelerate", "safetensors")


@dataclass(frozen=True)
class Request:
    """What to train, on what, and where to.

    `hold_back` documents at the end of every file are never looked at (they are for measuring afterwards); the
    `validation` documents before them are never learned from, their loss is followed; of the others `documents` a file
    are learned from, all by default, and as many of the pieces that `lm` cuts long texts into.
    `start` is the folder of an adapter to go on from (its rank and layers stay); without one a new adapter is made.
    `gradient_checkpointing` trades work for memory; a run may be resumed with or without it. A new adapter
    reads the tree from `first_layer` on, None leaves it unread; `trees` is the folder of the trees that samples read,
    by default the run's own.
    """

    data: tuple[DataFile, ...]
    run: Path
    objective: str = "qa"
    start: Path | None = None
    first_layer: int | None = None
    trees: Path | None = None
    rank: int = 16
    hold_back: int = 5
    validation: int = 5
    validation_samples: int = 8
    skip_bad_lines: bool = False
    documents: int | None = None
    schedule: Schedule = field(default_factory=Schedule)
    pace: Pace = field(default_factory=Pace)
    mixture: Mixture = field(default_factory=Mixture)
    gradient_checkpointing: bool = False
    resume: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and the folder of its adapter."""

    ending: Ending
    adapter: Path
    steps: int
    targets: int
    tokens: int
    seconds: float


def run(request: Request, settings: Settings, *, home: Path, reporter: Reporter) -> Outcome:
    """Train an adapter as requested.

    Raises UsageError for an invalid request, DocumentError for data that can't be read, ModelError for a
    base model that can't be had, StoredIndexError for a damaged checkpoint.
    """
    _check(request, settings)
    if not is_main_process():
        reporter = Silent()
    splits = load_splits(
        request.data,
        hold_back=request.hold_back,
        validation=request.validation,
        skip_bad_lines=request.skip_bad_lines,
        reporter=reporter,
        most=request.documents,
    )
    base = _load(settings, home, reporter)
    adapter = starting_adapter(
        request.start, request.first_layer, base, settings, rank=request.rank, seed=request.schedule.seed
    )
    wanted = request.objective != "qa" or request.mixture.reads_trees
    if wanted and not adapter.reads_tree:
        raise UsageError("the adapter's gates are closed: no sample with a tree could teach it anything")
    upper = UpperModel(base.model, adapter)
    injection = adapter.config.injection
    lower = LowerModel(base.model, injection.lower_layers, injection.first_layer)
    store = IndexStore(request.trees or request.run / TREES, reporter)
    trees = TreeReader(upper, StoredTrees(store, base, lower, reporter))

    scores = ScoresByPolicy(settings.policy, base, lower)

    def samples(part: str, seed: int) -> Samples:
        files = [(weight, getattr(split, part)) for weight, split in splits if getattr(split, part)]
        most_pieces = request.documents if part == "training" else None
        return _samples(request, files, base, adapter.config, seed, most_pieces, scores)

    validation: list[Sample] = []
    if request.validation:
        unseen = samples("validation", request.schedule.seed + 1)
        validation = [unseen[number] for number in range(request.validation_samples)]
    trainer = Trainer(
        TrainedUpper(upper, gradient_checkpointing=request.gradient_checkpointing),
        NextTokens(request.objective, trees),
        samples("training", request.schedule.seed),
        request.run,
        request.schedule,
        pace=request.pace,
        validation=Validation(validation),
        provenance=_provenance(request, settings, base, adapter.config),
        reporter=reporter,
    )
    ending = _train(trainer, request, reporter)
    if is_main_process():
        plots.keep(request.run / PLOT, lambda: draw(request.run / METRICS), reporter)
    done = trainer.position
    return Outcome(ending, request.run / "adapter", done.step, done.targets, done.tokens, done.seconds)


def _train(trainer: Trainer, request: Request, reporter: Reporter) -> Ending:
    try:
        if request.resume and not trainer.resume():
            reporter.note(f"there is no checkpoint in {request.run}: training begins")
        return trainer.train()
    finally:
        trainer.leave()


def _load(settings: Settings, home: Path, reporter: Reporter) -> BaseModel:
    return load(
        settings.model,
        home=home,
        device=_own_device(settings.device),
        dtype=settings.dtype,
        quantize=_quantize(settings),
        attention="sdpa",  # the branches of a sample are kept apart by a mask, which flash attention does not take
        offline=settings.offline,
        reporter=reporter,
    )


def _samples(
    request: Request,
    files: Sequence[tuple[float, list[Record]]],
    base: BaseModel,
    config: AdapterConfig,
    seed: int,
    most_pieces: int | None,
    scores: LeafScores,
) -> Samples:
    """The samples of a request's objective over some documents; texts are cut into pieces, of which some are used."""
    mixture, tree = request.mixture, config.tree
    texts = None
    if request.objective == "lm" or mixture.text:
        cut = [(weight, spread(pieces(records), most_pieces)) for weight, records in files]
        read = Documents(cut, base.tokenizer, tree, paged=0.0, by_length=True)
        texts = ContinueSamples(read, seed=seed, mixture=mixture)
    if texts is not None and request.objective == "lm":
        return texts
    asking = [(weight, records) for weight, records in files if any(record.questions for record in records)]
    documents = Documents(asking if mixture.text else files, base.tokenizer, tree, paged=mixture.paged)
    questions = QuestionSamples(
        documents,
        base.tokenizer,
        seed=seed,
        window=base.window,
        mixture=mixture,
        scores=scores,
        kinds=config.kinds,
    )
    return questions if texts is None else MixedSamples(questions, texts, share=mixture.text, seed=seed)


def is_main_process() -> bool:
    """Whether this process is the only one or the first of those that `accelerate launch` or `torchrun` started."""
    return os.environ.get("RANK", "0") == "0"


def _quantize(settings: Settings) -> str:
    """Nothing by default on a CPU: packed weights are for a few tokens, and would be unpacked at every step."""
    by_default = settings.quantize == "auto" and choose_device(settings.device).type == "cpu"
    return "none" if by_default else settings.quantize


def _own_device(device: str) -> str:
    """The device asked for; where several processes share a machine's GPUs, each has its own."""
    rank = os.environ.get("LOCAL_RANK")
    if rank is not None and device in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{rank}"
    return device


def _check(request: Request, settings: Settings) -> None:
    if request.objective not in OBJECTIVES:
        raise UsageError(f"unknown objective {request.objective!r}", hint=f"choose one of {', '.join(OBJECTIVES)}")
    if request.objective == "qa" and policy(settings.policy).node_vectors:
        raise UsageError(f"--policy {settings.policy} can't be trained with", hint="choose hybrid, bm25, late or right")
    if request.mixture.text and request.objective != "qa":
        raise UsageError("--text-share is for --objective qa alone")
    if not request.data:
        raise UsageError("there is nothing to train on", hint="give one or more files with --data")
    if request.rank < 1 or request.hold_back < 0 or request.validation < 0:
        raise UsageError("the rank must be at least 1, numbers of documents at least 0")
    if not request.resume and (request.run / "checkpoints").is_dir():
        raise UsageError(
            f"{request.run} holds a training run already", hint="go on with it by --resume, or choose another folder"
        )


def _provenance(request: Request, settings: Settings, base: BaseModel, config: AdapterConfig) -> Mapping[str, Any]:
    """What makes the run what it is: recorded in the adapter, and equal in every resumed part of it."""
    rules = {"rules": dict(RULES)} if config.kinds else {"rule": prompt.RULE}
    return {
        "base": {"name": base.name, "weights": base.weights_hash, "dtype": str(base.dtype), "quantize": base.quantize},
        "data": [
            {"file": file.path.name, "weight": file.weight, "sha256": file.fingerprint()} for file in request.data
        ],
        # An adapter learns to answer this very prompt: changed words make it another one's.
        "prompt": {"system": prompt.SYSTEM, **rules, "refusal": prompt.NOT_IN_DOCUMENT},
        "parents": parents(request.start),
        "hold_back": request.hold_back,
        "validation": request.validation,
        "documents": request.documents,
        "policy": settings.policy,
        "mixture": asdict(request.mixture),
        "first_layer": request.first_layer,
        "rank": request.rank,
        "versions": {"sharedllm-cli": __version__} | {name: version(name) for name in _LIBRARIES},
    }


OPEN_GATE: Mapping[Injection, float] = {"merged": 0.0, "additive": 0.3}
"""Where the gates of a new adapter that reads the tree begin: a bias on its logits, or an angle of tanh."""


def starting_adapter(
    start: Path | None, first_layer: int | None, base: BaseModel, settings: Settings, *, rank: int, seed: int
) -> Adapter:
    """A new adapter, or the one to go on from; of one that reads no tree the low-rank weights are taken over.

    A new one learns the rules of the kinds of questions. One to go on from keeps the rules that it learned.
    """
    before = None if start is None else Adapter.load(start, base.model)
    if before is not None and (first_layer is None or before.reads_tree):
        return before
    kinds = before is None or before.config.kinds
    adapter = new_adapter(base, settings, rank=rank, seed=seed, first_layer=first_layer, kinds=kinds)
    if before is not None:
        adapter.take_over(before)
    return adapter


def new_adapter(
    base: BaseModel, settings: Settings, *, rank: int, seed: int, first_layer: int | None, kinds: bool
) -> Adapter:
    """An adapter with low-rank weights on every layer above the lower model's, and on those that read the tree.

    `first_layer` is the lowest layer that reads; without it the gates stay closed. In the merged form each head has a
    gate, and the layers that read have low-rank weights in the upper model.
    """
    injection = settings.injection_config(base.layer_count)
    layers = tuple(range(injection.lower_layers, base.layer_count))
    shared: tuple[int, ...] = ()
    if first_layer is not None:
        injection = replace(injection, first_layer=first_layer)
        if injection.form == "merged":
            injection = replace(injection, gates="head")
            shared = tuple(injection.layers)
    if not layers and not shared:
        raise UsageError(
            "the lower model takes all layers: none is left to be trained", hint="choose a smaller --lower-layers"
        )
    config = AdapterConfig(
        base.name,
        model_shape(base.model),
        injection,
        settings.tree_config(),
        LowRankConfig(rank, 2.0 * rank, layers, TARGETS, shared),
        base_weights=base.weights_hash,
        kinds=kinds,
    )
    torch.manual_seed(seed)
    adapter = Adapter(base.model, config)
    if first_layer is not None:
        adapter.copy_projections(base.model)
        adapter.open_gates(OPEN_GATE[injection.form])
    return adapter


def parents(folder: Path | None) -> list[str]:
    """The SHA-256 of the weights that a run begins with and of those before them, the last first."""
    if folder is None:
        return []
    weights = (folder / WEIGHTS_FILE).read_bytes()
    return [hashlib.sha256(weights).hexdigest(), *(read_config(folder).trained or {}).get("parents", [])]
