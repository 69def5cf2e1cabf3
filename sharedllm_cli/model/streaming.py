"""Reading a text of any length through attention sinks and a sliding window: what the method is compared with.

StreamingLLM (Xiao et al., "Efficient Streaming Language Models with Attention Sinks", arXiv 2309.17453): the first few
tokens of the text, the sinks, and the most recent ones stay in a rolling cache; positions are places in that cache, not
in the text. Knows no document, no tree and no file.

Tokens are read in blocks, and that is exact: every token sees the sinks and the `window` last tokens, itself among
them, at the distances that one token after another would have given, so the size of a block changes the rounding alone.
Among recent tokens distances are those of the text. The sinks are right before the window, wherever it is; as the
tokens of a block see them at the same distance from different places, each finds a copy of their keys of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sharedllm_cli.errors import UsageError
from sharedllm_cli.model.attention import rotate
from sharedllm_cli.model.compat import as_taken, call_model, decoder_layer, heeds_masks
from sharedllm_cli.model.families import projected, turns_alike
from sharedllm_cli.model.lower import sliding_window
from sharedllm_cli.model.placement import computing_device
from sharedllm_cli.model.upper import UpperModel

SINKS, BLOCK = 4, 256
"""Tokens at the text's beginning that stay (the paper's number), and tokens read at once."""


@dataclass(frozen=True)
class Frame:
    """The position of everything while one block is read; the same in all layers.

    Counted in tokens: `first` is the text's place of the block's first token, `shift` what is taken from a place to
    make it a position. Queries and keys of the block are at `positions` [b]; kept recent keys are turned by `turns`
    [R] positions; the sinks are seen in `copies` copies, each a position further. `seen` [b, copies · S + R + b].
    """

    first: int
    shift: int
    positions: Tensor
    turns: Tensor
    copies: int
    seen: Tensor


class _Layer:
    """What one layer keeps: keys as they came, rotated by the position at which they were read, and values."""

    def __init__(self) -> None:
        self.sinks: tuple[Tensor, Tensor] | None = None
        self.recent: tuple[Tensor, Tensor] | None = None


class RollingCache:
    """Keys and values of the sinks and of the window, [1, KV, …, D] a layer; takes the place of transformers' caches.

    Nothing is rotated twice: a key that has moved is turned from what it was when it came, by the difference, so that
    rounding does not add up over the text.
    """

    def __init__(self, rotary: Any, sinks: int, window: int) -> None:
        self.sinks = sinks
        self.window = window
        self.tokens = 0
        self._rotary: nn.Module = rotary
        self._layers: dict[int, _Layer] = {}
        self._read_at = np.zeros(0, dtype=np.int64)
        self._frame: Frame | None = None
        self._positions = self._read_at
        self._turn: tuple[Tensor, Tensor] | None = None
        self._copies: tuple[Tensor, Tensor] | None = None

    def begin(self, length: int, device: torch.device) -> Frame:
        """The positions of a block of `length` tokens (at most the window) and of all that is kept."""
        # Reckoned and remembered on the cpu: a GPU that is asked back has to be waited for.
        last = self.sinks + self.window - 1  # a query's position in a full cache
        shift = max(0, self.tokens - last)
        places = np.arange(self.tokens, self.tokens + length)
        recent = len(self._read_at)
        kept = np.arange(self.tokens - recent, self.tokens)
        beyond = (places - last).clip(min=0) - shift  # how much further than they were the sinks would be
        copies = max(1, int(beyond[-1]) + 1) if self.tokens else 0
        sinks = min(self.sinks, self.tokens)
        own_copy = (beyond[:, None] == np.arange(copies)[None, :]).repeat(sinks, axis=1)
        distance = places[:, None] - np.concatenate([kept, places])[None, :]
        # A sink that is read in this very block is within the window, since blocks are no longer than it.
        inside = (distance >= 0) & (distance < self.window)
        positions, turns = places - shift, kept - shift - self._read_at
        frame = Frame(
            self.tokens,
            shift,
            torch.from_numpy(positions).to(device),
            torch.from_numpy(turns).to(device),
            copies,
            torch.from_numpy(np.concatenate([own_copy, inside], axis=1)).to(device),
        )
        self._frame, self._positions = frame, positions
        self._turn = self._rotation(frame.turns) if turns.any() else None
        further = torch.arange(1, max(1, copies), device=device).repeat_interleave(sinks)
        self._copies = self._rotation(further) if len(further) else None
        return frame

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """All keys and values that the block's tokens may see: copies of the sinks, kept recent ones, their own.

        keys, values: [1, KV, b, D], keys rotated by the frame's positions. What stays is kept for the next block.
        """
        frame, kept = self._frame, self._layers.setdefault(layer, _Layer())
        assert frame is not None, "a block begins before its layers are run"
        parts = []
        if kept.sinks is not None:
            sinks, sink_values = kept.sinks
            parts.append((sinks, sink_values))
            if self._copies is not None:
                times = (1, 1, frame.copies - 1, 1)
                parts.append((_turned(sinks.repeat(times), self._copies), sink_values.repeat(times)))
        if kept.recent is not None:
            recent, recent_values = kept.recent
            parts.append((recent if self._turn is None else _turned(recent, self._turn), recent_values))
        parts.append((keys, values))
        self._keep(kept, keys, values, frame.first)
        return torch.cat([key for key, _ in parts], dim=2), torch.cat([value for _, value in parts], dim=2)

    def end(self) -> None:
        """The block has been read by all layers."""
        frame = self._frame
        assert frame is not None
        fresh = self._positions[max(0, self.sinks - frame.first) :]
        self._read_at = np.concatenate([self._read_at, fresh])[-self._room :] if self._room else self._read_at
        self.tokens = frame.first + len(frame.positions)
        self._frame = None

    @property
    def _room(self) -> int:
        """Recent tokens that the next one may still see beside itself."""
        return self.window - 1

    def _keep(self, kept: _Layer, keys: Tensor, values: Tensor, first: int) -> None:
        missing = max(0, self.sinks - first)
        if missing and keys.shape[2]:
            kept.sinks = _joined(kept.sinks, (keys[:, :, :missing], values[:, :, :missing]))
        fresh = (keys[:, :, missing:], values[:, :, missing:])
        if self._room and fresh[0].shape[2]:
            joined = _joined(kept.recent, fresh)
            # Copied, so that what has left the window is freed.
            kept.recent = (joined[0][:, :, -self._room :].clone(), joined[1][:, :, -self._room :].clone())

    def _rotation(self, turns: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine [1, n, D] in float32 of some positions forwards or backwards, without a scaling's factor."""
        numbers = torch.zeros(1, dtype=torch.float32, device=turns.device)
        cosine, sine = self._rotary(numbers, turns.abs()[None])
        factor = float(getattr(self._rotary, "attention_scaling", 1.0) or 1.0)
        return cosine / factor, sine * turns.sign()[None, :, None] / factor


def _turned(keys: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cosine, sine = (part.to(keys.device) for part in rotation)  # a spread model's layers lie on several devices
    return rotate(keys.float(), cosine, sine).to(keys.dtype)


def _joined(before: tuple[Tensor, Tensor] | None, fresh: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    if before is None:
        return fresh
    return torch.cat([before[0], fresh[0]], dim=2), torch.cat([before[1], fresh[1]], dim=2)


class StreamingReader:
    """One text, read by the upper model without a tree: as much as one likes, then logits of what comes next.

    `window`: tokens that a token sees, itself among them, beside the sinks. The adapter's weights stay on. Raises
    UsageError where sinks, window and block go past the positions that the model was trained for, or the window is
    wider than the model's own sliding one.
    """

    def __init__(self, upper: UpperModel, *, window: int, sinks: int = SINKS, block: int = BLOCK) -> None:
        if window < 1 or sinks < 0 or block < 1:
            raise ValueError(f"a window of {window} tokens, {sinks} sinks and blocks of {block} can't be read")
        self._model: Any = upper.model
        self._decoder: Any = upper.model.model
        self.block = min(block, window)
        _check(self._model, window, sinks + window + self.block)
        self._cache = RollingCache(self._decoder.rotary_emb, sinks, window)

    @property
    def tokens_read(self) -> int:
        """Tokens of the text that were read so far."""
        return self._cache.tokens

    @torch.inference_mode()
    def read(self, token_ids: Tensor, *, keep: int = 1, advance: Callable[[int], None] | None = None) -> Tensor:
        """Read on: tokens [n] that follow those read before; logits [min(keep, n), vocabulary] after the last of them.

        `advance` gets the number of tokens read, block by block. Logits of other tokens are never computed.
        """
        states: list[Tensor] = []
        with heeds_masks(self._model):
            for start in range(0, len(token_ids), self.block):
                block = token_ids[start : start + self.block]
                hidden = self._hidden(block)
                wanted = keep - (len(token_ids) - start - len(block))
                if wanted > 0:
                    states.append(hidden[-wanted:])
                if advance is not None:
                    advance(len(block))
            if not states:
                return torch.zeros(0, self._model.config.vocab_size, dtype=torch.float32, device=self._model.device)
            return projected(self._model, torch.cat(states))

    def _hidden(self, block: Tensor) -> Tensor:
        """Final states [b, hidden] of a block."""
        device = computing_device(self._decoder.embed_tokens)
        frame = self._cache.begin(len(block), device)
        mask = as_taken(self._model, frame.seen[None, None], self._decoder.norm.weight.dtype)
        output = call_model(
            self._decoder,
            block.to(device)[None],
            self._cache,
            attention_mask=mask,
            position_ids=frame.positions[None],
            tree_context=None,
        )
        self._cache.end()
        hidden: Tensor = output.last_hidden_state[0]
        return hidden


def _check(model: Any, window: int, positions: int) -> None:
    trained = int(model.config.max_position_embeddings)
    if positions > trained:
        raise UsageError(
            f"sinks, window and block take {positions} positions, but the model knows {trained}",
            hint="choose a narrower window",
        )
    if not turns_alike(model):
        raise UsageError("the model's layers turn their keys in different ways, which this reading does not do")
    layers = [decoder_layer(layer) for layer in model.model.layers]
    own = min((sliding_window(layer.self_attn) or window for layer in layers), default=window)
    if own < window:
        raise UsageError(f"the model itself sees {own} tokens back, fewer than a window of {window}")
