"""A step of decoding that is recorded once and replayed: a CUDA graph.

A step of one token is hundreds of small kernels, and launching each takes longer than most of them run. A replayed
recording launches them at once. For that every tensor has to lie where it lay, so keys and values are written
into the buffers of the growing cache (`cache.py`) at a position that the device alone knows, and a mask hides the room
behind it. `FixedStep` is such a step and runs anywhere; `recorded_step` records it on CUDA and compares two replays
with the usual step (`UpperModel.decode_step`). Where they differ or recording fails, it gives the recording up.
Knows no document and no file.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from sharedllm_cli.memory import release
from sharedllm_cli.model.cache import GrowingLayer, is_growing, take_back
from sharedllm_cli.model.compat import Cache, CacheLayerMixin, DynamicCache, call_model
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.placement import is_spread
from sharedllm_cli.model.upper import UpperModel

LEAST_TOKENS = 16
"""An answer that may not be longer is not recorded: warming up, recording and comparing are some steps themselves."""
_WARM_UPS = 2
"""Steps before the recording, in which libraries choose kernels and take their memory."""
_COMPARED = 2
"""Replays that are compared with the usual step: the second shows that the recording moves on."""
_BOUND = 1e-2
"""By how much, relative to the largest logit, a replay may differ from the usual step."""


class _FixedLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """Keys and values in whole buffers [B, KV, S, D], written at a position [1] that all layers share."""

    is_sliding = False

    def __init__(self, keys: Tensor, values: Tensor, position: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys, self.values, self._position = keys, values, position
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing is left to do."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the keys and values [B, KV, 1, D] of one token; returns the whole buffers."""
        assert self.keys is not None
        assert self.values is not None
        self.keys.index_copy_(2, self._position, key_states)
        self.values.index_copy_(2, self._position, value_states)
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """The buffers' length: masks are made of it."""
        return self.get_max_length(), 0

    def get_seq_length(self) -> int:
        """Unknown on the CPU; position ids are given instead."""
        return 0

    def get_max_length(self) -> int:
        """The buffers' length."""
        assert self.keys is not None
        return int(self.keys.shape[2])

    def get_max_cache_shape(self) -> int:
        """The same by its name in earlier versions of transformers."""
        return self.get_max_length()


class FixedStep:
    """One token after the other through tensors that stay where they are.

    Goes on after what a growing cache holds, in its buffers, for up to `room` tokens; the cache is not to be used
    beside it. Nothing in a step asks the device for a number. The model's attention must take boolean masks (sdpa).
    """

    def __init__(self, upper: UpperModel, tree: TreeContext | None, cache: DynamicCache, room: int) -> None:
        self._upper, self._tree = upper, tree
        layers = [layer for layer in cache.layers if isinstance(layer, GrowingLayer)]
        buffers = [layer.reserve(room) for layer in layers]
        self._length = layers[0].get_seq_length()
        first = buffers[0][0]
        self._token = torch.zeros(1, dtype=torch.long, device=first.device)
        self._position = torch.full((1,), self._length, dtype=torch.long, device=first.device)
        self._places = torch.arange(first.shape[2], device=first.device)
        self._cache = Cache(layers=[_FixedLayer(keys, values, self._position) for keys, values in buffers])

    @torch.inference_mode()
    def run(self) -> Tensor:
        """Logits [vocabulary] after the token that was put in; the next one comes after it."""
        output = call_model(
            self._upper.model,
            self._token[None],
            self._cache,
            position_ids=self._position[None],
            attention_mask=(self._places <= self._position)[None, None, None],
            logits_to_keep=1,
            tree_context=self._tree,
        )
        self._position.add_(1)
        logits: Tensor = output.logits[0, -1]
        return logits

    def put(self, token: Tensor) -> None:
        """The token [1] that the next step reads, on the device."""
        self._token.copy_(token)

    def rewind(self) -> None:
        """Go back to where it began: what was written since is written over."""
        self._position.fill_(self._length)

    def __call__(self, token: Tensor) -> Tensor:
        """Logits [vocabulary] after the token [1]."""
        self.put(token)
        return self.run()


class _Recorded:
    """A recorded step. What it returns is written over by the next one, on the same stream."""

    def __init__(self, step: FixedStep, graph: Any, logits: Tensor) -> None:
        self._step, self._graph, self._logits = step, graph, logits

    def __call__(self, token: Tensor) -> Tensor:
        """Logits [vocabulary] after the token [1]."""
        self._step.put(token)
        self._graph.replay()
        return self._logits

    @torch.inference_mode()
    def differs(self, token: Tensor, expected: Tensor) -> float:
        """By how much replays of one token [1] differ from `expected` [n, vocabulary], relative to its largest."""
        self._step.rewind()
        self._logits.fill_(torch.nan)  # a replay that does nothing must not be taken for one that gives the same
        found = torch.stack([self(token).clone() for _ in expected])
        self._step.rewind()
        return float((found - expected).abs().max() / expected.abs().max())


def why_not_recorded(upper: UpperModel, cache: DynamicCache) -> str:
    """Why a step can't be recorded; nothing where it can: on one CUDA device, without windows, by torch's attention."""
    model = upper.model
    if model.device.type != "cuda":
        return "the model is not on a CUDA device"
    if is_spread(model):
        return "the model is spread over several devices"
    if not is_growing(cache):
        return "the model's attention has a sliding window"
    kernel = model.config._attn_implementation
    return "" if kernel == "sdpa" else f"{kernel} takes no masks (--attention sdpa does)"


def recorded_step(
    upper: UpperModel, tree: TreeContext | None, cache: DynamicCache, first: Tensor, room: int
) -> tuple[_Recorded | None, str]:
    """A recorded step that goes on after the cache, or None; and why there is none.

    first: the token [1] that comes next, which the recording is tried with; room: tokens to come. Where there is none
    the cache is as it was, and the usual step goes on with it.
    """
    if why_not := why_not_recorded(upper, cache):
        return None, f"a step was not recorded: {why_not}"
    recorded: _Recorded | None = None
    length, before = cache.get_seq_length(), torch.cuda.current_stream(first.device)
    try:
        # The current device, too: torch records on it, wherever the tensors lie.
        with torch.cuda.device(first.device):
            expected = torch.stack([upper.decode_step(first, tree, cache).clone() for _ in range(_COMPARED)])
            cache.crop(-_COMPARED)
            recorded = _record(FixedStep(upper, tree, cache, room), first)
            error = recorded.differs(first, expected)
        if error <= _BOUND:
            return recorded, ""
        why_not = f"a recorded step differed from the usual one by {error:.1e}"
    except Exception as problem:  # whatever a driver or a kernel has against being recorded must not cost the answer
        said = (str(problem).splitlines() or [""])[0][:200]
        why_not = f"a step could not be recorded ({type(problem).__name__}: {said})"
    # Outside of the handler, so that the failed attempt's tensors are gone.
    recorded = None
    _settle(first.device, before)
    take_back(cache, length)
    release()
    return None, why_not


def _record(step: FixedStep, first: Tensor) -> _Recorded:
    """Warm up on a stream of its own, as recording asks for, and record on it."""
    side = torch.cuda.Stream(first.device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream(first.device))
    with torch.cuda.stream(side):
        for _ in range(_WARM_UPS):
            step.rewind()
            step(first)
    torch.cuda.current_stream(first.device).wait_stream(side)
    step.rewind()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        logits = step.run()
    return _Recorded(step, graph, logits)


def _settle(device: torch.device, before: Any) -> None:
    """Wait for whatever a failed recording left under way, and go back to the stream that was current."""
    with suppress(RuntimeError):
        torch.cuda.synchronize(device)
    torch.cuda.set_stream(before)
