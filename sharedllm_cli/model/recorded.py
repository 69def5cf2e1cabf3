"""A step of decoding that is recorded once and replayed: a CUDA graph.

A step of one token is hundreds of small kernels, and telling a GPU of each takes longer than most of them run. Replayed
from a recording they are told of at once. For that every tensor has to lie where it lay, so keys and values are written
into the buffers of the growing cache (`cache.py`) at a position that the device alone knows, and a mask hides the room
behind it. `FixedStep` is such a step and runs anywhere; `recorded_step` records it on CUDA, compares its first replay
with what the step gave unrecorded, and gives it up where they differ or recording fails. Knows no document and no file.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from sharedllm_cli.memory import release
from sharedllm_cli.model.cache import GrowingLayer
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.spreading import is_spread
from sharedllm_cli.model.upper import UpperModel

LEAST_TOKENS = 16
"""Recording costs about as much as four steps; shorter answers don't earn it back."""
_WARM_UPS = 2
"""Steps before the recording, in which libraries choose kernels and take their memory."""
_BOUND = 1e-2
"""By how much, relative to the largest logit, a replay may differ from the step itself."""


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
        assert self.keys is not None
        return self.keys.shape[2], 0

    def get_seq_length(self) -> int:
        """Unknown on the processor; position ids are given instead."""
        return 0

    def get_max_length(self) -> int:
        """The buffers' length."""
        assert self.keys is not None
        return int(self.keys.shape[2])


class FixedStep:
    """One token after the other through tensors that stay where they are.

    Goes on after what a growing cache holds, in its buffers, for up to `room` tokens; the cache is not to be used
    beside it. Nothing in a step asks the device for a number.
    """

    def __init__(self, upper: UpperModel, tree: TreeContext | None, cache: Cache, room: int) -> None:
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
        output = self._upper.model(
            input_ids=self._token[None],
            position_ids=self._position[None],
            attention_mask=(self._places <= self._position)[None, None, None],
            past_key_values=self._cache,
            use_cache=True,
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


def can_record(upper: UpperModel, cache: Cache) -> bool:
    """Whether a step can be recorded: one CUDA device, no sliding window, an attention that takes masks."""
    model = upper.model
    growing = all(isinstance(layer, GrowingLayer) for layer in cache.layers)
    masks = model.config._attn_implementation in ("sdpa", "eager")
    return bool(model.device.type == "cuda" and growing and masks and not is_spread(model))


def recorded_step(
    upper: UpperModel, tree: TreeContext | None, cache: Cache, first: Tensor, room: int
) -> tuple[_Recorded | None, str]:
    """A recorded step that goes on after the cache, or None; and why there is none.

    first: the token [1] that comes next, which the recording is tried with; room: tokens to come. Where recording
    fails the cache is as it was, and the usual step goes on with it.
    """
    step = FixedStep(upper, tree, cache, room)
    try:
        side = torch.cuda.Stream(first.device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(first.device))
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                step.rewind()
                expected = step(first).clone()
        torch.cuda.current_stream(first.device).wait_stream(side)
        step.rewind()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = step.run()
        recorded = _Recorded(step, graph, logits)
        step.rewind()
        found = recorded(first)
        step.rewind()
        error = float((found - expected).abs().max() / expected.abs().max())
    except Exception as problem:  # whatever a driver or a kernel has against being recorded must not cost the answer
        release()
        return None, f"a step could not be recorded ({type(problem).__name__}: {str(problem).splitlines()[0][:200]})"
    if not error <= _BOUND:
        return None, f"a recorded step differed from the step itself by {error:.1e}"
    return recorded, ""
