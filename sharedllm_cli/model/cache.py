"""The keys and values of a prompt while an answer grows behind it.

transformers' own cache lays every new token's keys behind the others by copying them all: at 4,000 tokens of the
default model 92 MB a token are read and written for 23 kB that are new. Here they lie in a buffer with room for
more. Knows no tree.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sharedllm_cli.model.compat import DynamicCache, DynamicLayer

ROOM = 64
"""Positions by which a full buffer grows: everything is copied once in this many tokens."""


class GrowingLayer(DynamicLayer):
    """A layer's keys and values, [B, KV, S, D] each, as views of buffers that are longer.

    What has been handed out stays as it was: a position is written once, except that `crop` gives those it takes away
    to be written again. Where gradients are recorded nothing is written in place. `stored`: the type in which they are
    held, where that is not the type in which they come.
    """

    def __init__(self, *, stored: torch.dtype | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)  # type: ignore[no-untyped-call]
        self.stored = stored
        self._buffers: tuple[Tensor, Tensor] | None = None
        self._views: tuple[Tensor | None, Tensor | None] = (None, None)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Learn type, device and shape from the first keys and values [B, KV, Q, D]."""
        kind = self.stored or key_states.dtype
        self.dtype, self.device = kind, key_states.device
        self.keys, self.values = key_states[:, :, :0].to(kind), value_states[:, :, :0].to(kind)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Lay keys and values [B, KV, Q, D] behind those that are here; returns them all, in the new ones' type."""
        if self.stored not in (None, key_states.dtype):
            return self._update_stored(key_states, value_states)
        if torch.is_grad_enabled() or not self._alike(key_states):
            joined: tuple[Tensor, Tensor] = super().update(key_states, value_states, *args, **kwargs)
            return joined
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        after = before + key_states.shape[2]
        buffers = self._buffers
        if buffers is None or not self._may_write(buffers[0], after):
            buffers = (_longer(self.keys, after - before), _longer(self.values, after - before))
        for buffer, states in zip(buffers, (key_states, value_states), strict=True):
            buffer[:, :, before:after] = states
        self.keys, self.values = (buffer[:, :, :after] for buffer in buffers)
        self._buffers, self._views = buffers, (self.keys, self.values)
        return self.keys, self.values

    def _update_stored(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """`update` with states of another type than the stored one. Those of a prompt are all there is: no copy."""
        first = self.get_seq_length() == 0
        held = self.update(keys.to(self.stored), values.to(self.stored))
        return (keys, values) if first else (held[0].to(keys.dtype), held[1].to(values.dtype))

    def reserve(self, room: int) -> tuple[Tensor, Tensor]:
        """The buffers of keys and values [B, KV, S + room or more, D], to be written behind what the layer holds."""
        assert self.keys is not None
        assert self.values is not None
        length = self.get_seq_length()
        if self._buffers is None or not self._may_write(self._buffers[0], length + room):
            self._buffers = (_longer(self.keys, room), _longer(self.values, room))
            self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)
            self._views = (self.keys, self.values)
        for buffer in self._buffers:
            buffer[:, :, length:] = 0  # what a mask hides is still multiplied by zero, which numbers alone survive
        return self._buffers

    def fork(self) -> GrowingLayer:
        """A layer that holds the same and goes on in the same room; what this one holds stays as it is.

        Of the two only one may go on at a time: what was laid behind is written over by the other.
        """
        other = GrowingLayer(stored=self.stored)
        if self.is_initialized:
            assert self.keys is not None
            assert self.values is not None
            other.lazy_initialization(self.keys, self.values)
            other.keys, other.values = self.keys, self.values
            other._buffers, other._views = self._buffers, self._views
        return other

    def _may_write(self, buffer: Tensor, after: int) -> bool:
        """Whether the buffer holds what the layer holds (it may have been reordered or repeated) and has room."""
        own = self.keys is self._views[0] and self.values is self._views[1]
        writable = torch.is_inference_mode_enabled() or not buffer.is_inference()
        return own and writable and buffer.shape[2] >= after

    def _alike(self, states: Tensor) -> bool:
        """Whether states have batch and type of those that are here: anything else is transformers' to refuse."""
        return self.keys is None or (self.keys.shape[0] == states.shape[0] and self.keys.dtype == states.dtype)

    def crop(self, tokens_to_remove: int) -> None:
        """Remove tokens from the end; `tokens_to_remove` is their number, negative."""
        own = self.keys is self._views[0] and self.values is self._views[1]
        super().crop(tokens_to_remove)
        if own:
            self._views = (self.keys, self.values)

    def reset(self) -> None:
        """Forget everything."""
        self._buffers, self._views = None, (None, None)
        super().reset()


def _longer(held: Tensor | None, room: int) -> Tensor:
    """A buffer that begins with what is held, [B, KV, S, D], and has that room and more."""
    assert held is not None
    batch, groups, length, width = held.shape
    buffer = held.new_empty(batch, groups, length + room + ROOM, width)
    buffer[:, :, :length] = held
    return buffer


def growing_cache(config: Any, stored: torch.dtype | None = None) -> DynamicCache:
    """An empty cache for a model; layers with a sliding window, which hold no more than that, are transformers' own."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer(stored=stored) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def is_growing(cache: DynamicCache) -> bool:
    """Whether all of a cache's layers hold all that they were given, in buffers with room for more."""
    return all(isinstance(layer, GrowingLayer) for layer in cache.layers)


def fork(cache: DynamicCache) -> DynamicCache:
    """A growing cache that goes on from another (`GrowingLayer.fork`) and copies nothing until the room is used up."""
    other = DynamicCache()
    other.layers = [layer.fork() for layer in cache.layers if isinstance(layer, GrowingLayer)]
    return other


def take_back(cache: DynamicCache, length: int) -> None:
    """Leave `length` positions in every layer: a step that broke off in between has reached some of them only."""
    for layer in cache.layers:
        assert isinstance(layer, GrowingLayer)
        if (more := layer.get_seq_length() - length) > 0:
            layer.crop(-more)
