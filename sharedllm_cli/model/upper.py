"""The upper model: the whole base model, whose bottom layers read the context tree.

docs/method.md §4. Each injected decoder layer is wrapped; the wrapper hands straight through to the layer as it came
wherever there is nothing to read, so that a closed gate is exactly the base model. Several answers can go on from one
prompt, a token of each at a time (`beam_steps`). Knows no document, no text and no file.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sharedllm_cli.errors import ResourceError
from sharedllm_cli.memory import is_out_of_memory, release
from sharedllm_cli.model import cross_attention
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.cache import fork, growing_cache, is_growing
from sharedllm_cli.model.compat import (
    DynamicCache,
    PreTrainedModel,
    as_taken,
    call_model,
    heeds_masks,
    incompatible,
    layer_inputs,
)
from sharedllm_cli.model.cross_attention import AdditiveInjection, MergedInjection, TreeContext
from sharedllm_cli.model.families import after_attention, after_mlp
from sharedllm_cli.model.lower import CompressedNodes
from sharedllm_cli.model.packed import PackedLinear
from sharedllm_cli.model.packed_step import PackedStep, fits, takes
from sharedllm_cli.model.placement import layer_device
from sharedllm_cli.progress import Reporter

_SHORTEST_PIECE = 16
_CHECKED_TOKENS, _CHECKED_KEYS = 6, 8
"""Tokens of text and keys of the tree that `check_reading` compares: the text must weigh beside the tree."""
_BOUNDS = {torch.float64: 1e-6, torch.float32: 1e-3}
_ROUNDING = 0.05
"""By how much, relative to its length, a state may differ between the two: this for half precision and quantized
weights."""
Step = Callable[[Tensor, Tensor], Tensor]
"""`step(tokens, parents)`: logits [N, vocabulary] after the tokens [N], each of which goes on from a beam [N] of the
step before. Before the first step there is one beam, number 0: the prompt alone."""


class InjectedLayer(nn.Module):
    """A decoder layer that reads the tree when it is given one, and is the layer as it came when it is not.

    `wrapped` is the layer that the lower model shares; `own` is what the upper model computes with: the same layer, or
    a view of it that holds low-rank additions of the adapter, which the lower model never sees.

    The tree arrives as the keyword `tree_context`, which transformers passes through to every layer; there is no state
    here that could outlive a question.
    """

    def __init__(self, wrapped: Any, place: int, injection: AdditiveInjection | MergedInjection) -> None:
        super().__init__()
        self.wrapped = wrapped
        self.__dict__["own"] = wrapped  # not a submodule: its weights are those of `wrapped` and of the adapter
        self.place = place
        self.injection = injection
        if hasattr(wrapped, "attention_type"):  # read by some families' forward to choose the layer's mask
            self.attention_type = wrapped.attention_type

    def forward(self, hidden_states: Tensor, *, tree_context: TreeContext | None = None, **arguments: Any) -> Tensor:
        """hidden_states: [B, Q, hidden]; the other arguments are the wrapped layer's own."""
        injection = self.injection
        tree = tree_context if tree_context is not None and self.place in tree_context.keys else None
        layer: Any = self.own
        if tree is None and layer is self.wrapped:
            plain: Tensor = layer(hidden_states, **arguments)
            return plain
        device = layer_device(layer)
        hidden_states = hidden_states.to(device)
        if tree is None:
            viewed: Tensor = layer(hidden_states, **_moved(arguments, device))
            return viewed
        tree = tree.on(device)
        normed = layer.input_layernorm(hidden_states)
        if isinstance(injection, MergedInjection):
            (cosine, sine), mask, cache = layer_inputs(layer, arguments)
            attended = injection(
                normed,
                layer.self_attn,
                tree,
                self.place,
                (cosine.to(device), sine.to(device)),
                None if mask is None else mask.to(device),
                cache,
            )
            hidden_states = after_attention(layer, hidden_states, attended)
        else:
            attended, _ = layer.self_attn(hidden_states=normed, **arguments)
            hidden_states = after_attention(layer, hidden_states, attended)
            hidden_states = hidden_states + injection(hidden_states, tree, self.place)
        return after_mlp(layer, hidden_states)


def _moved(arguments: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """A layer's arguments where the layer is: a model may be spread over several devices."""

    def moved(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(moved(one) for one in value)
        return value.to(device) if isinstance(value, Tensor) else value

    return {name: moved(value) for name, value in arguments.items()}


class UpperModel:
    """A base model with an adapter in place: what decodes the answer."""

    def __init__(self, model: PreTrainedModel, adapter: Adapter, *, merge: bool = False) -> None:
        """Put the adapter into the model; `merge` adds its low-rank weights into the layers' own, for good."""
        self.model: Any = model
        self.adapter = adapter
        self._layers: nn.ModuleList = self.model.model.layers
        for place in adapter.config.injection.layers:
            injection = adapter.injections[str(place)]
            assert isinstance(injection, AdditiveInjection | MergedInjection)
            self._layers[place] = InjectedLayer(self._layers[place], place, injection)
        self._merged = merge
        self._reading_checked = False
        if merge:
            adapter.merge_low_rank(self._layers)
        else:
            adapter.attach_low_rank(self._layers)
        self._step = PackedStep(self.model, adapter) if merge and fits(self.model) else None

    def remove(self) -> None:
        """Take the adapter out again: the base model is left exactly as it came. RuntimeError after merging."""
        if self._merged:
            raise RuntimeError("merged low-rank weights can't be taken out again")
        self.adapter.detach_low_rank(self._layers)
        for place in self.adapter.config.injection.layers:
            layer = self._layers[place]
            assert isinstance(layer, InjectedLayer)
            self._layers[place] = layer.wrapped

    @property
    def reads_tree(self) -> bool:
        """Whether some gate is open: else no tree has to be built, searched or read."""
        return self.adapter.reads_tree

    def context(
        self, nodes: CompressedNodes, chunk_count: int, *, closed_too: bool = False, consume: bool = False
    ) -> TreeContext | None:
        """The preserved nodes ready to be read by the layers whose gates are open; None where none is.

        nodes: keys and values of the injected layers or more; chunk_count: n, over all documents of the question.
        `closed_too` includes layers with a closed gate, which training needs; with `consume` the nodes are used up.
        """
        layers = self.adapter.config.injection.layers if closed_too else self.adapter.open_layers
        if not layers or nodes.chunks.numel() == 0:
            return None
        rotary = self.model.model.rotary_emb
        dtype = self.model.model.norm.weight.dtype
        devices = {place: layer_device(self._wrapped(place)) for place in layers}
        reading = {place: self._wrapped(place) for place in layers}
        return cross_attention.tree_context(nodes, chunk_count, rotary, reading, devices, dtype, consume=consume)

    def check_reading(self, tree: TreeContext) -> None:
        """ModelError where the installed libraries don't read a tree as this release was written for; looks once."""
        if not self._reading_checked:
            check_reading(self.model, self.cache(), tree)
            self._reading_checked = True

    def _wrapped(self, place: int) -> Any:
        layer = self._layers[place]
        return layer.wrapped if isinstance(layer, InjectedLayer) else layer

    def cache(self, *, stepped: bool = False) -> DynamicCache:
        """An empty cache for the prompt's own keys and values.

        `stepped`: steps of a packed model may follow, which read float32: held so, nothing is converted at each.
        """
        return growing_cache(self.model.config, torch.float32 if stepped and self._step is not None else None)

    def forward(
        self, token_ids: Tensor, tree: TreeContext | None, cache: DynamicCache | None = None, *, logits_to_keep: int = 0
    ) -> Tensor:
        """Logits of the prompt's next tokens.

        token_ids: [B, Q], going on after what the cache holds; returns [B, logits_to_keep or Q, vocabulary].
        """
        if tree is None and cache is not None and len(token_ids) == 1 and self.steps_through(cache, token_ids.shape[1]):
            held, count = cache.get_seq_length(), token_ids.shape[1]
            seen = torch.ones(count, held + count, dtype=torch.bool).tril(held)
            return self.step(token_ids[0], torch.arange(held, held + count), seen, cache)[None, -logits_to_keep:]
        output = call_model(self.model, token_ids, cache, logits_to_keep=logits_to_keep, tree_context=tree)
        logits: Tensor = output.logits
        return logits

    def prepare(self) -> None:
        """Begin, beside other work, with what decoding will need."""
        if self._step is not None:
            self._step.prepare()

    def steps_through(self, cache: DynamicCache, count: int) -> bool:
        """Whether so many tokens behind what the cache holds go through a packed model in one step."""
        return self._step is not None and not torch.is_grad_enabled() and takes(cache, count)

    def step(self, token_ids: Tensor, positions: Tensor, seen: Tensor, cache: DynamicCache) -> Tensor:
        """Such a step (`packed_step.py`): logits [n, vocabulary] after the tokens [n], each of which sees what it may.

        positions: [n]; seen: boolean [n, S + n]. The cache of S tokens grows by n.
        """
        assert self._step is not None
        return self._step(token_ids, positions, seen, cache)

    @torch.inference_mode()
    def token_nlls(self, first: Tensor, ids: Sequence[int], tree: TreeContext | None, cache: Any) -> list[float]:
        """The cost in nats of each of some tokens, after those before it and the prompt that the cache holds.

        first: logits [vocabulary] after the prompt. The cache holds that text again afterwards.
        """
        if not ids:
            return []
        logits, wanted = first[None], torch.tensor(list(ids), device=first.device)
        if len(ids) > 1:
            # A sliding window's cache has forgotten what it would go back to.
            sliding = any(layer.is_sliding for layer in cache.layers)
            own = copy.deepcopy(cache) if sliding else cache
            logits = torch.cat([logits, self.forward(wanted[None, :-1], tree, own)[0]])
            if not sliding:
                cache.crop(1 - len(ids))  # a negative count removes tokens
        costs = torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="none")
        return [float(cost) for cost in costs.tolist()]

    def prefill(
        self, token_ids: Tensor, tree: TreeContext | None, reporter: Reporter | None = None
    ) -> tuple[Tensor, DynamicCache]:
        """Logits [vocabulary] after a prompt [Q], and the cache that holds it.

        Where memory does not suffice for all of it at once it is read in pieces, half as long each time, which gives
        the same; ResourceError where a short piece is still too much.
        """
        if self._step is not None:
            self._step.wait()  # both would compute on all cores, and wait for each other
        piece = len(token_ids)
        while True:
            cache = self.cache(stepped=tree is None)
            try:
                for part in torch.split(token_ids, piece):
                    logits = self.decode_step(part, tree, cache)
                return logits, cache
            except (RuntimeError, MemoryError) as problem:
                if not is_out_of_memory(problem):
                    raise
            # Outside of the handler, so that the failed attempt's tensors are gone.
            del cache
            release()
            piece //= 2
            if piece < _SHORTEST_PIECE:
                raise ResourceError(
                    f"not enough memory to read a prompt of {len(token_ids)} tokens",
                    hint="use fewer --evidence-tokens, --no-tree, --quantize 4bit or a smaller --model",
                )
            if reporter is not None:
                reporter.note(f"not enough memory for {len(token_ids)} tokens at once; reading {piece} at a time")

    @torch.inference_mode()
    def decode_step(self, token_ids: Tensor, tree: TreeContext | None, cache: DynamicCache) -> Tensor:
        """Logits [vocabulary] after the last of the tokens [Q], without gradients; the cache grows by Q."""
        return self.forward(token_ids.unsqueeze(0), tree, cache, logits_to_keep=1)[0, -1]


def beam_steps(upper: UpperModel, tree: TreeContext | None, cache: DynamicCache) -> Step:
    """The step function of beams that continue a prompt; `cache` holds the prompt and is left as it is.

    While it is in use, nothing else may be written behind the prompt: beams write into the same buffers.
    """
    beams = _OneText(upper, tree, cache) if is_growing(cache) else _Copies(upper, tree, cache)
    return beams.step


class _OneText:
    """Beams one after the other behind the prompt, whose keys and values are held and read once.

    A mask keeps each beam's own words from the others. Shapes: N beams, S tokens of the text and all beams.
    """

    def __init__(self, upper: UpperModel, tree: TreeContext | None, cache: DynamicCache) -> None:
        self._upper, self._tree = upper, tree
        self._cache = fork(cache)
        self._position = cache.get_seq_length()
        self._seen: Tensor | None = None  # [N, S]: what the beams of the last step see

    @torch.inference_mode()
    def step(self, tokens: Tensor, parents: Tensor) -> Tensor:
        count, device = len(tokens), tokens.device
        before = torch.ones(1, self._position, dtype=torch.bool, device=device) if self._seen is None else self._seen
        own = torch.eye(count, dtype=torch.bool, device=device)
        self._seen = torch.cat([before[parents], own], dim=1)
        positions = torch.full((count,), self._position, device=device)
        self._position += 1
        if self._tree is None and self._upper.steps_through(self._cache, count):
            return self._upper.step(tokens, positions, self._seen, self._cache)
        model = self._upper.model
        with heeds_masks(model):
            output = call_model(
                model,
                tokens[None],
                self._cache,
                position_ids=positions[None],
                attention_mask=as_taken(model, self._seen[None, None], model.model.norm.weight.dtype),
                tree_context=self._tree,
            )
        logits: Tensor = output.logits[0]
        return logits


class _Copies:
    """Beams side by side, each with a copy of all keys and values: a layer with a sliding window forgets some."""

    def __init__(self, upper: UpperModel, tree: TreeContext | None, cache: DynamicCache) -> None:
        self._upper, self._tree = upper, tree
        self._before = cache
        self._cache: DynamicCache | None = None

    @torch.inference_mode()
    def step(self, tokens: Tensor, parents: Tensor) -> Tensor:
        if self._cache is None:  # only now: often there is nothing to weigh
            self._cache = copy.deepcopy(self._before)
        self._cache.reorder_cache(parents)  # type: ignore[arg-type]  # it asks for a LongTensor, which this is
        return self._upper.forward(tokens[:, None], self._tree, self._cache, logits_to_keep=1)[:, -1]


@torch.inference_mode()
def check_reading(model: Any, cache: Any, tree: TreeContext) -> None:
    """ModelError where a tree is not read, or one cached step differs from the same step without a cache.

    A decoder layer is called by transformers. Where that calls it otherwise than this release was written for, it may
    not see the tree, or not what the prompt's earlier tokens left in the cache, and would answer all the same.
    Runs the first layer and the lowest one that reads, as the model runs its layers, four times over a few tokens.
    cache: an empty one, to be used up.
    """
    decoder, tree = model.model, tree.first(_CHECKED_KEYS)
    ids = torch.arange(_CHECKED_TOKENS, device=model.device)[None]

    def states(tokens: Tensor, cache: Any, tree: TreeContext | None) -> Tensor:
        state: Tensor = call_model(decoder, tokens, cache, tree_context=tree).last_hidden_state[0, -1]
        return state.float()

    layers, count = decoder.layers, model.config.num_hidden_layers
    # The first layer stays: transformers asks its cache how long the text is.
    decoder.layers = nn.ModuleList([layers[place] for place in sorted({0, min(tree.keys)})])
    model.config.num_hidden_layers = len(decoder.layers)
    try:
        whole = states(ids, None, tree)
        plain = states(ids, None, None)
        states(ids[:, :-1], cache, tree)
        stepped = states(ids[:, -1:], cache, tree)
    finally:
        decoder.layers, model.config.num_hidden_layers = layers, count
    if torch.equal(whole, plain):
        raise incompatible("the decoder layers don't see the tree")
    error = float((stepped - whole).norm() / whole.norm())
    exact = {} if isinstance(model.lm_head, PackedLinear) else _BOUNDS
    if not error <= exact.get(decoder.norm.weight.dtype, _ROUNDING):
        raise incompatible(f"a step with a cache differs from the same step without one by {error:.1%}")
