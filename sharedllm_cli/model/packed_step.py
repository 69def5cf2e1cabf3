"""A step of a few tokens through a whole packed model, as one graph of ONNX Runtime.

A step through transformers' layers is a thousand calls from Python, which take longer than the small models' products.
Here the tokens of an answer, its beams, or a short text whose cost is wanted go through all layers at once. Keys and
values lie in the growing cache (`cache.py`) and are read where they lie; a mask says what each token sees, and hides
the room behind. Only for families of Llama's plain structure, and only where no tree is read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sharedllm_cli.model.cache import GrowingLayer
from sharedllm_cli.model.compat import DynamicCache
from sharedllm_cli.model.cross_attention import LowRank
from sharedllm_cli.model.families import norm_epsilon, norm_weight
from sharedllm_cli.model.onnx_graph import CONTRIBUTED, Graph, product
from sharedllm_cli.model.packed import FEW_STATES, PackedLinear, PackedWeight

_PLAIN = ("LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer")
"""Decoder layers whose sums and norms are Llama's (Qwen3 norms queries and keys besides)."""

_GIVE_BACK_SECONDS = 0.05


def fits(model: Any) -> bool:
    """Whether a model is packed and of the plain structure."""
    layers = [_own(layer) for layer in model.model.layers]
    return isinstance(model.lm_head, PackedLinear) and all(
        type(getattr(layer, "wrapped", layer)).__name__ in _PLAIN for layer in layers
    )


class PackedStep:
    """The step of one model with its adapter. The graph is made beside other work, such as the search."""

    def __init__(self, model: Any, adapter: nn.Module) -> None:
        self._model = model
        self._additions = [module for module in adapter.modules() if isinstance(module, LowRank)]
        self._session: Any = None
        self._failure: BaseException | None = None
        self._names: list[str] = []
        self._making: threading.Thread | None = None

    def prepare(self) -> None:
        """Begin to make the graph, unless that has begun."""
        if self._making is None:
            # Not a daemon, which would be torn down inside the library.
            self._making = threading.Thread(target=self._make, name="packed step")
            self._making.start()

    def _make(self) -> None:
        try:
            graph = _StepGraph(self._model)
            self._names = graph.results
            with self._giving_back():
                self._session = graph.graph.opened()
        except BaseException as problem:  # raised where the step is wanted
            self._failure = problem

    @contextmanager
    def _giving_back(self) -> Iterator[None]:
        """The library makes its own copy of every weight meanwhile: let the pages of the file go as they were read."""
        modules = (module for module in self._model.modules() if isinstance(module, PackedWeight))
        files = {module.file for module in modules if module.file is not None}
        made = threading.Event()

        def watch() -> None:
            while not made.wait(_GIVE_BACK_SECONDS):
                for file in files:
                    file.give_back()

        watching = threading.Thread(target=watch, name="pages of weights")
        watching.start()
        try:
            yield
        finally:
            made.set()
            watching.join()
            for file in files:
                file.give_back()

    def wait(self) -> None:
        """Return when the graph is made; raises what went wrong."""
        self.prepare()
        assert self._making is not None
        self._making.join()
        if self._failure is not None:
            raise self._failure

    @torch.inference_mode()
    def __call__(self, token_ids: Tensor, positions: Tensor, seen: Tensor, cache: DynamicCache) -> Tensor:
        """Logits [n, vocabulary] after each of n tokens; the cache grows by them.

        token_ids, positions: [n]. seen: boolean [n, S + n], what each token sees of the S that the cache holds and of
        these.
        """
        self.wait()
        added = not any(addition.disabled for addition in self._additions)
        decoder, count = self._model.model, len(token_ids)
        states = decoder.embed_tokens(token_ids[None])
        cosine, sine = decoder.rotary_emb(states, positions[None])
        held = cache.get_seq_length()
        buffers = [layer.reserve(count) for layer in _growing(cache)]
        room = buffers[0][0].shape[2]
        hidden = torch.full((count, room + count), float("-inf"))
        hidden[:, :held] = torch.where(seen[:, :held], 0.0, float("-inf"))
        hidden[:, room:] = torch.where(seen[:, held:], 0.0, float("-inf"))
        given = {
            "states": _array(states[0]),
            "cosine": _array(cosine[0]),
            "sine": _array(sine[0]),
            "mask": _array(hidden.repeat(self._group, 1)),
            "added": np.array([1.0 if added else 0.0], dtype=np.float32),
            "sizes": np.array([room, count], dtype=np.int64),
        }
        for place, (keys, values) in enumerate(buffers):
            given[f"keys{place}"] = _array(keys[0])
            given[f"values{place}"] = _array(values[0])
        logits, *found = self._session.run(self._names, given)
        for place, layer in enumerate(_growing(cache)):
            new = (torch.from_numpy(one)[None].to(buffers[place][0].dtype) for one in found[2 * place : 2 * place + 2])
            layer.update(*new)
        return torch.from_numpy(logits).to(states.dtype)

    @property
    def _group(self) -> int:
        config = self._model.config
        return int(config.num_attention_heads // config.num_key_value_heads)


def takes(cache: Any, count: int) -> bool:
    """Whether so many tokens behind what a cache holds are a step."""
    return count <= FEW_STATES and cache is not None and cache.get_seq_length() > 0 and _all_growing(cache)


def _all_growing(cache: Any) -> bool:
    return all(
        isinstance(layer, GrowingLayer) and layer.keys is not None and len(layer.keys) == 1 for layer in cache.layers
    )


def _growing(cache: Any) -> list[GrowingLayer]:
    return list(cache.layers)


def _array(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.to(torch.float32).contiguous().numpy()
    return array


def _own(layer: Any) -> Any:
    """What the upper model computes a layer with."""
    return getattr(layer, "own", layer)


class _StepGraph:
    """The graph: n tokens' states in; logits, keys and values out (`results`). H heads of width D, G a key's."""

    def __init__(self, model: Any) -> None:
        self.graph = graph = Graph()
        config, layers = model.config, [_own(layer) for layer in model.model.layers]
        self._width = int(layers[0].self_attn.head_dim)
        self._heads, self._groups = int(config.num_attention_heads), int(config.num_key_value_heads)
        states = graph.input("states", ("n", int(config.hidden_size)))
        for name in ("cosine", "sine"):
            graph.input(name, ("n", self._width))
        graph.input("mask", ("queries", "keys"))
        graph.input("added", (1,))
        graph.input("sizes", (2,), "int64")
        self._shape_of: dict[tuple[int, ...], str] = {}
        self.results = ["logits"]
        for place, layer in enumerate(layers):
            for name in (f"keys{place}", f"values{place}"):
                graph.input(name, (self._groups, "room", self._width))
            states = self._layer(place, layer, states)
        states = self._norm(model.model.norm, states)
        head = model.lm_head.packed
        logits = product(graph, states, head.bits, head.parts)
        graph.node("Identity", logits, name="logits")
        graph.output("logits", ("n", head.rows))

    def _layer(self, place: int, layer: Any, states: str) -> str:
        graph, attention, mlp = self.graph, layer.self_attn, layer.mlp
        normed = self._norm(layer.input_layernorm, states)
        query, key, value = self._maps(normed, attention.q_proj, attention.k_proj, attention.v_proj)
        queries = self._turned(self._by_head(query, self._heads, getattr(attention, "q_norm", None)))
        keys = self._turned(self._by_head(key, self._groups, getattr(attention, "k_norm", None)), f"new_keys{place}")
        values = self._by_head(value, self._groups, name=f"new_values{place}")
        for name in (keys, values):
            graph.output(name, (self._groups, "n", self._width))
            self.results.append(name)
        attended = self._attended(attention, place, queries, keys, values)
        states = graph.node("Add", states, *self._maps(attended, attention.o_proj))
        gate, up = self._maps(self._norm(layer.post_attention_layernorm, states), mlp.gate_proj, mlp.up_proj)
        inner = graph.node("Mul", graph.node("QuickGelu", gate, domain=CONTRIBUTED, alpha=1.0), up)  # SiLU
        after: str = graph.node("Add", states, *self._maps(inner, mlp.down_proj))
        return after

    def _attended(self, attention: Any, place: int, queries: str, keys: str, values: str) -> str:
        """Attention over the room of the cache and the new tokens: [n, H · D]."""
        graph, scaling = self.graph, float(attention.scaling)
        # The heads that read one key are rows of one product; the softmax spans both parts.
        rows = graph.node("Reshape", queries, self._shape(self._groups, -1, self._width))
        before = graph.node("FusedMatMul", rows, f"keys{place}", domain=CONTRIBUTED, transB=1, alpha=scaling)
        among = graph.node("FusedMatMul", rows, keys, domain=CONTRIBUTED, transB=1, alpha=scaling)
        logits = graph.node("Add", graph.node("Concat", before, among, axis=-1), "mask")
        weights = graph.node("Softmax", logits, axis=-1)
        old, new = graph.node("Split", weights, "sizes", outputs=2, axis=-1)
        read = graph.node("Add", graph.node("MatMul", old, f"values{place}"), graph.node("MatMul", new, values))
        heads = graph.node("Reshape", read, self._shape(self._heads, -1, self._width))
        turned = graph.node("Transpose", heads, perm=(1, 0, 2))
        found: str = graph.node("Reshape", turned, self._shape(-1, self._heads * self._width))
        return found

    def _by_head(self, found: str, heads: int, norm: Any = None, name: str = "") -> str:
        """Queries, keys or values of the tokens, [heads, n, D]."""
        found = self.graph.node("Reshape", found, self._shape(-1, heads, self._width))
        if norm is not None:
            found = self._norm(norm, found)
        turned: str = self.graph.node("Transpose", found, name=name, perm=(1, 0, 2))
        return turned

    def _turned(self, states: str, name: str = "") -> str:
        """Rotated by the positions: x · cos + (−x₂, x₁) · sin."""
        graph = self.graph
        first, second = graph.node("Split", states, outputs=2, axis=-1, num_outputs=2)
        other = graph.node("Concat", graph.node("Neg", second), first, axis=-1)
        found: str = graph.node("Add", graph.node("Mul", states, "cosine"), graph.node("Mul", other, "sine"), name=name)
        return found

    def _norm(self, norm: Any, states: str) -> str:
        weight = self.graph.weight(norm_weight(norm).detach().float().numpy())
        found: str = self.graph.node(
            "SimplifiedLayerNormalization", states, weight, axis=-1, epsilon=norm_epsilon(norm), stash_type=1
        )
        return found

    def _maps(self, states: str, *linears: Any) -> list[str]:
        """Linear maps of the same states, with what the adapter adds to them: its small products are one for all."""
        graph, added = self.graph, [linear.addition for linear in linears if hasattr(linear, "addition")]
        smalls = iter(self._smalls(states, added) if added else ())
        found: list[str] = []
        for linear in linears:
            own: PackedLinear = getattr(linear, "wrapped", linear)
            packed, bias = own.packed, None if own.bias is None else own.bias.float().numpy()
            output = product(graph, states, packed.bits, packed.parts, bias)
            if hasattr(linear, "addition"):
                # Not "Gemm", which turns its weights at every call; a lone row has a kernel of its own here.
                up = (linear.addition.up.detach().float() * linear.addition.scale).T.contiguous().numpy()
                output = graph.node("Add", output, graph.node("MatMul", next(smalls), graph.weight(up)))
            found.append(output)
        return found

    def _smalls(self, states: str, added: Sequence[LowRank]) -> tuple[str, ...]:
        """The states in the few dimensions of each addition, zero while the adapter is disabled: [n, rank] each."""
        down = torch.cat([addition.down.detach().float() for addition in added])
        small = self.graph.node("MatMul", states, self.graph.weight(down.T.contiguous().numpy()))
        small = self.graph.node("Mul", small, "added")
        if len(added) == 1:
            return (small,)
        ranks = self._shape(*(len(addition.down) for addition in added))
        parts: tuple[str, ...] = self.graph.node("Split", small, ranks, outputs=len(added), axis=-1)
        return parts

    def _shape(self, *sizes: int) -> str:
        """The name of a shape; each is a weight once."""
        if sizes not in self._shape_of:
            self._shape_of[sizes] = self.graph.weight(np.array(sizes, dtype=np.int64))
        return self._shape_of[sizes]
