"""A prompt of which the keys and values of some tokens are known: only its other tokens are run.

docs/method.md §10. Known keys are rotated by the places of their tokens in the prompt and laid into the cache first.
The other tokens go through the model behind them, each with its own position and a mask that shows it what stands
before it in the prompt. The cache then holds the whole prompt, and what follows (beams, the packed step, scoring) is as
after any prompt. Knows no document and no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sharedllm_cli.model.attention import rotate
from sharedllm_cli.model.cache import GrowingLayer, is_growing
from sharedllm_cli.model.compat import DynamicCache, as_taken, call_model, decoder_layer, heeds_masks
from sharedllm_cli.model.families import Rotations
from sharedllm_cli.model.lower import EncodedNodes, LowerModel
from sharedllm_cli.model.packed import FEW_STATES
from sharedllm_cli.model.placement import layer_device
from sharedllm_cli.model.upper import UpperModel

_MOST_STEPPED = 96
"""So many tokens go through a packed model in steps; of more, unpacking the weights once costs less."""


@dataclass(frozen=True)
class KnownText:
    """Tokens of a prompt whose keys and values are known.

    `places`: [S], ascending, the tokens' places in the prompt; `keys`, `values`: [L, KV, S, D] of all L layers, keys
    without rotation.
    """

    places: Tensor
    keys: Tensor
    values: Tensor


class WholeModel(LowerModel):
    """All layers of a model with its adapter, which encode a text as it stands behind the head of a prompt.

    The head is what every prompt begins with: a text's first tokens attend to it, as they do when a prompt is read, and
    nothing of it is kept.
    """

    def __init__(self, upper: UpperModel, head: Sequence[int]) -> None:
        layers = upper.model.model.layers
        super().__init__(upper.model, len(layers))
        self._layers = [getattr(layer, "own", layer) for layer in layers]
        self._head = torch.tensor(list(head), dtype=torch.long)

    def encode(self, token_ids: Tensor, kept: Tensor) -> EncodedNodes:
        """Keys and values of texts [B, l] behind the head, at the kept positions [k] of the text."""
        head = self._head.to(token_ids.device).expand(len(token_ids), -1)
        return super().encode(torch.cat([head, token_ids], dim=1), kept + len(self._head))

    def last_token_vectors(self, token_ids: Tensor) -> Tensor:
        """Zeros: no policy looks for a node of the fine grain by its vector."""
        return torch.zeros(len(token_ids), self.hidden_size)


class KnownTextReader:
    """Reads prompts of which something is known, and remembers what it computed for their common head."""

    def __init__(self, upper: UpperModel, head: Sequence[int]) -> None:
        self._upper = upper
        self._head = list(head)

    @staticmethod
    def fits(upper: UpperModel) -> bool:
        """Whether every layer's cache holds all that it is given: one with a sliding window forgets."""
        return is_growing(upper.cache())

    @torch.inference_mode()
    def prefill(self, token_ids: Sequence[int], known: KnownText) -> tuple[Tensor, DynamicCache]:
        """Logits [vocabulary] after a prompt, and the cache that holds it; the prompt's last token is never known."""
        upper, model = self._upper, self._upper.model
        ids = torch.tensor(list(token_ids), device=model.device)
        places = known.places.to(model.device)
        headed = list(token_ids[: len(self._head)]) == self._head
        head = len(self._head) if headed else 0
        cache = upper.cache()
        self._lay(cache, known, places, head)
        unknown = torch.ones(len(ids), dtype=torch.bool, device=model.device)
        unknown[places], unknown[:head] = False, False
        rest = unknown.nonzero()[:, 0]
        before = torch.cat([torch.arange(head, device=model.device), places])
        return self._run(ids[rest], rest, torch.cat([before, rest]), cache), cache

    def _lay(self, cache: DynamicCache, known: KnownText, places: Tensor, head: int) -> None:
        """Lay the head's keys and values, then the known ones, into an empty cache."""
        model = self._upper.model
        dtype = model.model.norm.weight.dtype
        rotations = Rotations(model.model.rotary_emb, known.keys, places[None])
        growing = (layer for layer in cache.layers if isinstance(layer, GrowingLayer))
        for place, (layer, held) in enumerate(zip(model.model.layers, growing, strict=True)):
            cosine, sine = rotations.of(layer)
            keys = rotate(known.keys[place][None].to(cosine.dtype), cosine, sine)
            states = [keys, known.values[place][None]]
            if head:
                states = [
                    torch.cat([one.to(two), two], 2) for one, two in zip(self._head_states[place], states, strict=True)
                ]
            device = layer_device(decoder_layer(layer))
            keys, values = (one.to(device, dtype) for one in states)
            held.update(keys, values)

    def _run(self, ids: Tensor, positions: Tensor, all_places: Tensor, cache: DynamicCache) -> Tensor:
        """The other tokens: logits [vocabulary] after the last one. A few go through a packed model's own steps."""
        upper, model = self._upper, self._upper.model
        seen = all_places[None] <= positions[:, None]
        if len(ids) <= _MOST_STEPPED and upper.steps_through(cache, min(len(ids), FEW_STATES)):
            logits = torch.empty(0)
            for start in range(0, len(ids), FEW_STATES):
                part = slice(start, start + FEW_STATES)
                end = cache.get_seq_length() + len(ids[part])
                logits = upper.step(ids[part], positions[part], seen[part, :end], cache)[-1]
            return logits
        with heeds_masks(model):
            output = call_model(
                model,
                ids[None],
                cache,
                position_ids=positions[None],
                attention_mask=as_taken(model, seen[None, None], model.model.norm.weight.dtype),
                logits_to_keep=1,
            )
        last: Tensor = output.logits[0, -1]
        return last

    @cached_property
    def _head_states(self) -> list[tuple[Tensor, Tensor]]:
        """The head's keys and values by layer, computed apart, so that the first prompt is read as every later one."""
        cache = self._upper.cache()
        model = self._upper.model
        call_model(model, torch.tensor([self._head], device=model.device), cache, logits_to_keep=1)
        layers = [layer for layer in cache.layers if isinstance(layer, GrowingLayer)]
        return [(layer.keys, layer.values) for layer in layers if layer.keys is not None and layer.values is not None]
