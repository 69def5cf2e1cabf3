"""Every name by which transformers and this room hand things to each other: the only file that knows them.

transformers passes by keyword and renames between minor releases (5.24: the cache of a decoder layer, `past_key_values`
before, is `cache`). What goes in is named as the called function's own signature names it; what comes in is looked up
with `[…]`. A name that is not there is a `ModelError` with the versions in it, never a value that is silently None.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache as remembered
from importlib import metadata
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from sharedllm_cli.errors import ModelError
from sharedllm_cli.model.sparing import sparing

with sparing():
    from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache, PreTrainedModel
    from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer
    from transformers.initialization import no_init_weights
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask, sdpa_mask

__all__ = [
    "AttentionInterface",
    "AttentionMaskInterface",
    "Cache",
    "CacheLayerMixin",
    "DynamicCache",
    "DynamicLayer",
    "LayerInputs",
    "PreTrainedModel",
    "call_model",
    "causal_mask_of",
    "decoder_layer",
    "incompatible",
    "layer_inputs",
    "layer_keywords",
    "no_init_weights",
    "sdpa_attention_forward",
    "sdpa_mask",
]

CACHE_NAMES = ("cache", "past_key_values")
"""What transformers calls a cache, the newest name first (`cache` since 5.24)."""
LIBRARIES = ("transformers", "torch")


def incompatible(what: str) -> ModelError:
    """The error of a library that does not do what this release was written for; names the versions."""
    versions = ", ".join(f"{library} {metadata.version(library)}" for library in LIBRARIES)
    return ModelError(
        f"this release does not fit the installed libraries ({versions}): {what}",
        hint="reinstall sharedllm, which brings the versions it was tested with",
    )


@remembered
def cache_name(function: Callable[..., Any]) -> str:
    """The keyword by which a function of transformers takes a cache. Raises ModelError where it takes none."""
    taken = inspect.signature(function).parameters
    found = [name for name in CACHE_NAMES if name in taken]
    if not found:
        raise incompatible(f"{function.__qualname__} takes no {' or '.join(CACHE_NAMES)}")
    return found[0]


def decoder_layer(layer: Any) -> Any:
    """The layer of transformers within a layer that this tool has wrapped."""
    return getattr(layer, "wrapped", layer)


def call_model(model: Any, token_ids: Tensor, cache: Any, **others: Any) -> Any:
    """A model's (or its decoder's) output for tokens [B, Q] that go on after what the cache holds, which grows by them.

    `others` are keywords that every release knows by one name (`attention_mask`, `position_ids`, `logits_to_keep`), and
    those of this tool's own layers, which transformers passes through.
    """
    named = {cache_name(type(model).forward): cache, "use_cache": cache is not None}
    return model(input_ids=token_ids, **named, **others)


def layer_keywords(
    layer: Any, *, mask: Tensor | None, positions: Tensor, rotation: tuple[Tensor, Tensor], cache: Cache | None = None
) -> dict[str, Any]:
    """What a decoder layer is called with besides its hidden states, as its model calls it.

    mask: [B or 1, 1, Q, S] or None; positions: [B or 1, Q]; rotation: cosine and sine [B or 1, Q, D].
    """
    return {
        "attention_mask": mask,
        "position_ids": positions,
        "position_embeddings": rotation,
        cache_name(type(decoder_layer(layer)).forward): cache,
    }


class LayerInputs(NamedTuple):
    """What a decoder layer was called with: cosine and sine, its mask or None, the cache or None."""

    rotation: tuple[Tensor, Tensor]
    mask: Tensor | None
    cache: Any


def layer_inputs(layer: Any, arguments: Mapping[str, Any]) -> LayerInputs:
    """What this tool reads of the keywords that a decoder layer was called with; ModelError where one is missing."""
    name = cache_name(type(decoder_layer(layer)).forward)
    try:
        return LayerInputs(arguments["position_embeddings"], arguments["attention_mask"], arguments[name])
    except KeyError as missing:
        _not_given(type(decoder_layer(layer)).__name__, missing.args[0], arguments)


def _not_given(layer: str, missing: str, arguments: Mapping[str, Any]) -> NoReturn:
    raise incompatible(f"{layer} is called without {missing} (with {', '.join(sorted(arguments))})") from None


def causal_mask_of(config: Any, hidden: Tensor, positions: Tensor, *, windowed: bool) -> Any:
    """transformers' own mask for a text [B, l, hidden] without a cache: causal, and within its window if `windowed`.

    None where its attention needs none.
    """
    make = create_sliding_window_causal_mask if windowed else create_causal_mask
    named = {cache_name(make): None}
    return make(config=config, inputs_embeds=hidden, attention_mask=None, position_ids=positions, **named)


@contextmanager
def heeds_masks(model: Any) -> Iterator[None]:
    """A kernel that takes a mask of its own in place of flash-attn, which takes none."""
    kernel = model.config._attn_implementation
    if not str(kernel).startswith("flash"):
        yield
        return
    model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(kernel)


def as_taken(model: Any, seen: Tensor, dtype: torch.dtype) -> Tensor:
    """`seen` (boolean [..., Q, S], True = seen) as the model's attention wants it: eager adds masks to its logits."""
    if model.config._attn_implementation != "eager":
        return seen
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)
