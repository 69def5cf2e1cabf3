"""One set of weights in two roles: the base model, its adapter, and the lower and upper model cut from them.

docs/method.md §1. Chooses the adapter (the user's, the one shipped for the base model, or an untrained one).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sharedllm_cli.answer import ModelUse
from sharedllm_cli.config import Settings, TreeConfig
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.adapter_config import adapter_folder, candidate_count, tree_config, tree_layers, wants_tree
from sharedllm_cli.model.loading import BaseModel, load
from sharedllm_cli.model.lower import LowerModel
from sharedllm_cli.model.placement import Room, free_bytes, model_sizes
from sharedllm_cli.model.sentence_encoder import PulledEncoder
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import Reporter


@dataclass(frozen=True)
class SharedModel:
    """A loaded base model with its adapter in place; `encoder` is the sentence encoder, where one was pulled."""

    base: BaseModel
    upper: UpperModel
    lower: LowerModel
    adapter_name: str | None
    tree: TreeConfig
    encoder: PulledEncoder | None = None

    @property
    def adapter(self) -> Adapter:
        """The adapter that is in place."""
        return self.upper.adapter

    def reads_tree(self, settings: Settings) -> bool:
        """Whether questions read the tree: some gate is open, and the user or else the adapter wants it read."""
        return self.upper.reads_tree and wants_tree(settings, self.adapter.config)

    def passage_budget(self, settings: Settings) -> int:
        """Tokens of verbatim passages: the user's, else the adapter's."""
        return settings.passage_budget(self.adapter.config.evidence_tokens)

    def refuse_from(self, settings: Settings) -> float | None:
        """The probability at which the answer is "The document does not say.": the user's, else the adapter's.

        None leaves it to decoding: at 1, or where the user's own system prompt may ask for other words.
        """
        if settings.refuse_from is not None:
            return settings.refuse_from if settings.refuse_from < 1 else None
        return None if settings.system else self.adapter.config.refuse_from

    def candidates(self, settings: Settings) -> int:
        """Number of candidate answers to compare (`adapter_config.candidate_count`)."""
        return candidate_count(settings, self.adapter.config)

    def extractive_only(self, settings: Settings) -> bool:
        """Whether the adapter learned only to answer in few words of a passage, or that the document does not say.

        A question about the whole document then goes to the base model, and a yes/no question gets a quote. Where the
        user gives a system prompt or a threshold, the adapter answers every question.
        """
        config = self.adapter.config
        own = settings.system is not None or settings.refuse_from is not None
        return config.low_rank is not None and config.refuse_from is not None and not own

    @property
    def answers_by_kind(self) -> bool:
        """Whether the kind of a question decides the form of its answer: not for an adapter that learned one form."""
        config = self.adapter.config
        return config.kinds or config.low_rank is None

    @cached_property
    def lower_replicas(self) -> list[LowerModel]:
        """Copies of the lower model on the other GPUs that have room for one: they share the building of an index."""
        base = self.base
        if base.spread is not None:
            return []
        sizes = model_sizes(base.facts, base.quantize, base.dtype)
        needed = sizes.ends + sizes.layer * self.lower.lower_layers
        others = [gpu for gpu in base.gpus if gpu != base.device]
        return [self.lower.replica(gpu) for gpu in others if Room(str(gpu), free_bytes(gpu)).usable >= needed]


def load_shared(settings: Settings, home: Path, reporter: Reporter) -> SharedModel:
    """Load base model and adapter once; raises ModelError, UsageError or ResourceError."""
    base = load(
        settings.model,
        home=home,
        device=settings.device,
        dtype=settings.dtype,
        quantize=settings.quantize,
        attention=settings.attention,
        offline=settings.offline,
        reporter=reporter,
    )
    folder = adapter_folder(settings, base.name)
    tree = tree_config(settings, base.name)
    if folder is None:
        injection = settings.injection_config(base.layer_count)
        adapter = Adapter.untrained(base.model, base.name, injection, tree, weights_hash=base.weights_hash)
    else:
        adapter = Adapter.load(folder, base.model)
        if adapter.config.base_weights not in (None, base.weights_hash):
            reporter.warn(f"the adapter was trained on other weights of {adapter.config.base} than those loaded")
    layers = tree_layers(settings, base.name, base.layer_count)
    lower = LowerModel(base.model, layers.stop, layers.start)
    upper = UpperModel(base.model, adapter, merge=True)
    name = None if folder is None else folder.name
    shared = SharedModel(base, upper, lower, name, tree, PulledEncoder.of(home, base.device))
    if shared.reads_tree(settings) and (other := _other_than_trained(tree, adapter.config.tree)):
        reporter.warn(f"the adapter was trained on other trees than these settings build: {other}")
    return shared


def _other_than_trained(tree: TreeConfig, trained: TreeConfig) -> str:
    """Which settings of the tree differ from those that the adapter was trained with; empty where none does."""
    pairs = (
        ("--chunk-tokens", tree.chunk_tokens, trained.chunk_tokens),
        ("--tree-height", tree.height, trained.height),
        ("--ratios", ",".join(map(str, tree.ratios)), ",".join(map(str, trained.ratios))),
        ("--encoding", tree.encoding, trained.encoding),
    )
    return "; ".join(f"{name} {now} instead of {then}" for name, now, then in pairs if now != then)


def model_use(shared: SharedModel) -> ModelUse:
    """The model as `ask --json` reports it."""
    return ModelUse(
        base=shared.base.name,
        adapter=shared.adapter_name,
        trained=shared.adapter.trained,
        reads_tree=shared.upper.reads_tree,
        quantize=shared.base.quantize,
        device=str(shared.base.device),
    )
