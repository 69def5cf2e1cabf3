"""The adapter: every parameter that is not the base model's, and its folder on disk.

It holds the injections of the injected layers and, where it was trained with them, low-rank additions to the top N−M
layers (docs/method.md §5) and to injected layers, where they act in the upper model alone. The bottom M layers' own
keys and values are never altered: stored trees rest on them.
A folder is `adapter.json` (configuration, base, provenance) and `adapter.safetensors`.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sharedllm_cli.config import InjectionConfig, TreeConfig
from sharedllm_cli.durable import replacing
from sharedllm_cli.errors import ModelError, SharedLLMError
from sharedllm_cli.model.adapter_config import (
    ATTENTION_TARGETS,
    CONFIG_FILE,
    TARGETS,
    AdapterConfig,
    LowRankConfig,
    read_config,
)
from sharedllm_cli.model.compat import PreTrainedModel, decoder_layer
from sharedllm_cli.model.cross_attention import AdditiveInjection, LowRank, MergedInjection
from sharedllm_cli.model.packed import PackedLinear
from sharedllm_cli.model.placement import layer_device

WEIGHTS_FILE = "adapter.safetensors"
MOST_WEIGHT = 1e6
"""Far above any trained number: a larger one is damage, and would make every activation infinite."""
_MOST_COPIED_BYTES = 256 * 2**20
"""Merging additions of shared layers takes copies of their weights: they take at most this many bytes."""


def model_shape(model: PreTrainedModel) -> tuple[int, int, int, int, int]:
    """Layers, hidden size, heads, key/value heads and head dimension of a base model."""
    config: Any = model.config
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return (
        config.num_hidden_layers,
        config.hidden_size,
        config.num_attention_heads,
        config.num_key_value_heads,
        head_dim,
    )


class LowRankLinear(nn.Module):
    """A linear map of the top layers with its low-rank addition."""

    def __init__(self, wrapped: Any, addition: LowRank) -> None:
        super().__init__()
        self.wrapped = wrapped
        self.addition = addition

    def forward(self, states: Tensor) -> Tensor:
        """states: [..., inputs]; returns [..., outputs]."""
        output: Tensor
        if isinstance(self.wrapped, PackedLinear) and not torch.is_grad_enabled():
            # Unpacked rows take the addition with them, which costs a prompt less than products of its own.
            output = self.wrapped(states, None if self.addition.disabled else self.addition)
        else:
            output = self.wrapped(states) + self.addition(states)
        return output


class AdapterDisabled:
    """A context (`with`) in which an adapter's low-rank weights add nothing. It can be entered repeatedly, not nested.

    Where weights are merged it holds copies without the additions. They differ from the base model's by at most two
    roundings of their type. After the context the merged weights are back.
    """

    def __init__(self, additions: Sequence[LowRank], merged: Sequence[tuple[Any, LowRank]]) -> None:
        self._additions = additions
        self._linears = [linear for linear, _ in merged]
        self._merged = [linear.weight for linear in self._linears]
        self._plain = [_plus(linear.weight, addition, -1.0) for linear, addition in merged]

    def __enter__(self) -> None:
        self._set(True, self._plain)

    def __exit__(self, *_: object) -> None:
        self._set(False, self._merged)

    def _set(self, disabled: bool, weights: Sequence[nn.Parameter]) -> None:
        for addition in self._additions:
            addition.disabled = disabled
        for linear, weight in zip(self._linears, weights, strict=True):
            linear.weight = weight


class Adapter(nn.Module):
    """The adapter's parameters, built for one base model; zeros and closed gates until loaded or trained."""

    def __init__(self, model: PreTrainedModel, config: AdapterConfig) -> None:
        super().__init__()
        _check_fit(model, config)
        self.config = config
        layers: Any = model.model.layers
        self.injections = nn.ModuleDict()
        self.low_rank = nn.ModuleDict()
        self._merged: list[tuple[Any, LowRank]] = []
        dtype = model.model.norm.weight.dtype
        for place in config.injection.layers:
            layer = getattr(layers[place], "wrapped", layers[place])
            injection = (
                MergedInjection(layer, config.injection)
                if config.injection.form == "merged"
                else AdditiveInjection(layer, config.injection, dtype)
            )
            self.injections[str(place)] = injection.to(layer_device(layer))
        if config.low_rank is not None:
            self._add_low_rank(config.low_rank, [decoder_layer(layer) for layer in layers])
        self.eval()

    def _add_low_rank(self, low_rank: LowRankConfig, layers: Sequence[Any]) -> None:
        def additions(layer: Any, targets: Iterable[str]) -> dict[str, LowRank]:
            device = layer_device(layer)
            scale = low_rank.alpha / low_rank.rank
            linears = {target: _linear(layer, target) for target in targets}
            return {
                target: LowRank(linear.in_features, linear.out_features, low_rank.rank, scale).to(device)
                for target, linear in linears.items()
            }

        for place in (*low_rank.layers, *low_rank.shared_layers):
            self.low_rank[str(place)] = nn.ModuleDict(additions(layers[place], low_rank.targets))

    @staticmethod
    def untrained(
        model: PreTrainedModel,
        base: str,
        injection: InjectionConfig,
        tree: TreeConfig,
        *,
        weights_hash: str | None = None,
    ) -> Adapter:
        """An adapter without effect for a base model: the tree is not read until it is trained."""
        adapter = Adapter(model, AdapterConfig(base, model_shape(model), injection, tree, base_weights=weights_hash))
        adapter.copy_projections(model)
        return adapter

    def copy_projections(self, model: PreTrainedModel) -> None:
        """Start additive injections from their layers' own norms and projections (docs/method.md §4)."""
        layers: Any = model.model.layers
        for place, injection in self.injections.items():
            if isinstance(injection, AdditiveInjection):
                layer = layers[int(place)]
                injection.copy_from(decoder_layer(layer))

    @torch.no_grad()
    def open_gates(self, value: float) -> None:
        """Set all gates to a finite value: they are read from, and can learn."""
        for injection in self._injections():
            injection.gate.fill_(value)

    def take_over(self, other: Adapter) -> None:
        """Start from another adapter's low-rank weights, whichever of its layers read the tree.

        Raises ModelError where one of them has no place here: nothing that was learned is dropped silently.
        """
        own = self.state_dict()
        learned = {name: tensor for name, tensor in other.state_dict().items() if name.startswith("low_rank.")}
        for name, tensor in learned.items():
            if name not in own or own[name].shape != tensor.shape:
                raise ModelError(
                    f"{name} of the adapter to go on from has no place in the new one",
                    hint="give it the same rank, and low-rank weights on all of its layers",
                )
        self.load_state_dict({**own, **learned})

    def disabled(self) -> AdapterDisabled:
        """A context that disables the low-rank weights, merged ones too: without a tree the model is then its base.

        It copies merged weights: RuntimeError or MemoryError where memory does not suffice.
        """
        return AdapterDisabled([module for module in self.modules() if isinstance(module, LowRank)], self._merged)

    def low_rank_hash(self) -> str:
        """SHA-256, in hex, of the low-rank weights and their scale: what they do to a text's keys and values."""
        digest = hashlib.sha256()
        for name, module in sorted(self.low_rank.named_modules()):
            if isinstance(module, LowRank):
                digest.update(f"{name} {module.scale}".encode())
                for weights in (module.down, module.up):
                    digest.update(weights.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def gate_values(self) -> dict[str, float]:
        """Lowest, mean and highest open gate; empty where all are closed."""
        gates = [injection.gate.detach().float().view(-1) for injection in self._injections() if injection.is_open]
        if not gates:
            return {}
        flat = torch.cat(gates)
        flat = flat[torch.isfinite(flat)]
        return {"gate_low": float(flat.min()), "gate_mean": float(flat.mean()), "gate_high": float(flat.max())}

    def _injections(self) -> Iterator[AdditiveInjection | MergedInjection]:
        for injection in self.injections.values():
            assert isinstance(injection, AdditiveInjection | MergedInjection)
            yield injection

    @property
    def open_layers(self) -> list[int]:
        """The injected layers whose gate is open, bottom first."""
        return [int(place) for place, injection in self.injections.items() if injection.is_open]

    @property
    def reads_tree(self) -> bool:
        """Whether some gate is open."""
        return bool(self.open_layers)

    @property
    def trained(self) -> bool:
        """Whether the configuration has a provenance."""
        return self.config.trained is not None

    def attach_low_rank(self, layers: nn.ModuleList) -> None:
        """Put the low-rank additions into their layers; injected ones get a view of their own to hold them."""
        for _, addition, owner, name in self._places(layers):
            setattr(owner, name, LowRankLinear(getattr(owner, name), addition))

    def merge_low_rank(self, layers: nn.ModuleList) -> None:
        """Add the low-rank additions to the layers' own weights, where those are floating-point numbers.

        The same maps without extra computation, for decoding alone. It can't be undone. Layers of the lower
        model keep their weights: their view gets others, a copy each, where all of these take little memory. Quantized
        and spilled weights get their additions attached instead.
        """
        copies = self._copied_bytes(layers) <= _MOST_COPIED_BYTES
        for place, addition, owner, name in self._places(layers):
            linear = getattr(owner, name)
            shared = place < self.config.injection.lower_layers
            # A spilled weight lies elsewhere until it is computed with; a hook of accelerate's knows the module that it
            # was made for, and no copy of it.
            alone = type(linear) is not nn.Linear or linear.weight.is_meta or (shared and hasattr(linear, "_hf_hook"))
            if alone or (shared and not copies):
                setattr(owner, name, LowRankLinear(linear, addition))
                continue
            merged = _plus(linear.weight, addition, 1.0)
            if shared:
                linear = copy.copy(linear)
                linear._parameters = dict(linear._parameters)
                setattr(owner, name, linear)
            linear.weight = merged
            self._merged.append((linear, addition))

    def _copied_bytes(self, layers: nn.ModuleList) -> int:
        """What copies of all shared linear maps with additions would take."""
        shared = self.config.low_rank.shared_layers if self.config.low_rank else ()
        linears = [_linear(layers[place].wrapped, target) for place in shared for target in self._targets]
        return sum(linear.weight.nbytes for linear in linears if type(linear) is nn.Linear)

    @property
    def _targets(self) -> tuple[str, ...]:
        return self.config.low_rank.targets if self.config.low_rank else ()

    def _places(self, layers: nn.ModuleList) -> Iterator[tuple[int, LowRank, Any, str]]:
        """Every addition with its layer's number and the module and name of its linear map in the upper model."""
        for number, additions in self.low_rank.items():
            place = int(number)
            layer: Any = layers[place]
            if place < self.config.injection.lower_layers and layer.own is layer.wrapped:
                layer.__dict__["own"] = _view(layer.wrapped)
            assert isinstance(additions, nn.ModuleDict)
            for target, addition in additions.items():
                owner, name = _owner(getattr(layer, "own", layer), target)
                assert isinstance(addition, LowRank)
                yield place, addition, owner, name

    def detach_low_rank(self, layers: nn.ModuleList) -> None:
        """Take them out again."""
        for place, _, owner, name in list(self._places(layers)):
            if place >= self.config.injection.lower_layers:
                setattr(owner, name, getattr(owner, name).wrapped)
        for place in self.config.low_rank.shared_layers if self.config.low_rank else ():
            layer: Any = layers[place]
            layer.__dict__["own"] = layer.wrapped

    def save(self, folder: Path, *, trained: Mapping[str, Any] | None = None) -> None:
        """Write the folder, each file beside and renamed; `trained` becomes the adapter's provenance."""
        config = self.config if trained is None else replace(self.config, trained=dict(trained))
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        with replacing(folder / CONFIG_FILE) as text, replacing(folder / WEIGHTS_FILE) as weights:
            save_file(tensors, weights)
            text.write_text(json.dumps(config.to_json(), indent=2) + "\n", encoding="utf-8")

    @staticmethod
    def load(folder: Path, model: PreTrainedModel) -> Adapter:
        """Read an adapter's folder for a base model; ModelError where it is damaged or made for another shape."""
        adapter = Adapter(model, read_config(folder))
        try:
            tensors = load_file(folder / WEIGHTS_FILE)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"the adapter's weights in {folder} can't be read: {error}") from error
        expected = adapter.state_dict()
        _check_names(expected, tensors, folder)
        for name, tensor in tensors.items():
            if tensor.shape != expected[name].shape:
                raise ModelError(f"{name} of the adapter in {folder} has shape {tuple(tensor.shape)}")
            closed = tensor.isneginf() if name.endswith(".gate") else False
            if not bool(((tensor.abs() <= MOST_WEIGHT) | closed).all()):  # a NaN is not
                raise ModelError(f"{name} of the adapter in {folder} holds values that no training gives")
        adapter.load_state_dict(tensors)
        return adapter


def _check_names(expected: Iterable[str], found: Iterable[str], folder: Path) -> None:
    missing, strange = set(expected) - set(found), set(found) - set(expected)
    if missing or strange:
        name, what = (min(missing), "lacks") if missing else (min(strange), "holds an unknown")
        raise ModelError(f"the adapter in {folder} {what} {name}")


def _check_fit(model: PreTrainedModel, config: AdapterConfig) -> None:
    shape = model_shape(model)
    if tuple(config.shape) != shape:
        raise ModelError(
            f"the adapter was made for {config.base}, a model of another shape",
            hint=f"its layers, hidden size, heads are {config.shape}, the model's {shape}",
        )
    if config.injection.lower_layers > shape[0]:
        raise ModelError(f"the adapter's M = {config.injection.lower_layers} is more than the {shape[0]} layers")
    if config.injection.form == "additive" and (config.injection.gates == "head" or config.text_bias is not None):
        raise ModelError("gates for each head, and a bias on them, exist in the merged form only")
    if config.low_rank is not None:
        _check_low_rank(config.low_rank, config.injection, shape[0])


def _check_low_rank(low_rank: LowRankConfig, injection: InjectionConfig, layers: int) -> None:
    strange = set(low_rank.targets) - set(TARGETS)
    if strange:
        raise ModelError(f"low-rank weights on {min(strange)} are not known")
    for place in (*low_rank.layers, *low_rank.shared_layers):
        if not 0 <= place < layers:
            raise ModelError(f"low-rank weights on layer {place} of a model with {layers} layers")
    shared = [place for place in low_rank.layers if place < injection.lower_layers]
    shared += [place for place in low_rank.shared_layers if place not in injection.layers]
    if shared:
        raise ModelError(
            f"low-rank weights on layer {min(shared)}, which the lower model shares, would make stored trees stale",
            hint="those of injected layers belong into shared_layers: they act in the upper model alone",
        )


@torch.no_grad()
def _plus(weight: Tensor, addition: LowRank, sign: float) -> nn.Parameter:
    """A weight [outputs, inputs] with a low-rank addition added, or taken off with a sign of −1."""
    product = (addition.up.float() @ addition.down.float()) * (sign * addition.scale)
    return nn.Parameter((weight.float() + product.to(weight.device)).to(weight.dtype), requires_grad=False)


def _view(layer: Any) -> Any:
    """A decoder layer whose linear maps can be replaced without changing the layer; everything else is shared."""
    view = _shallow(layer)
    view.self_attn, view.mlp = _shallow(layer.self_attn), _shallow(layer.mlp)
    return view


def _shallow(module: Any) -> Any:
    view = copy.copy(module)
    view._modules = dict(module._modules)
    # Where a model is spread over devices, hooks hold on to the module that they were made for.
    for name in ("forward", "_hf_hook", "_old_forward"):
        view.__dict__.pop(name, None)
    return view


def _owner(layer: Any, target: str) -> tuple[Any, str]:
    return (layer.self_attn if target in ATTENTION_TARGETS else layer.mlp), target


def _linear(layer: Any, target: str) -> Any:
    owner, name = _owner(layer, target)
    linear = getattr(owner, name, None)
    if linear is None:
        raise SharedLLMError(f"layer has no {target}")
    return linear.wrapped if isinstance(linear, LowRankLinear) else linear
