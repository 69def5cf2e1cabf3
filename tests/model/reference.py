"""An independent float64 account of the method, written plainly: loops, one token and one head at a time.

It shares no code with the package: numpy, the model's weights by name, and the equations of docs/method.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Reference:
    """A base model of a Llama family as numbers, with random injections."""

    weights: dict[str, np.ndarray]
    layers: int
    heads: int
    key_value_heads: int
    head_dim: int
    eps: float
    theta: float
    window: int | None = None
    form: str = "merged"
    first_layer: int = 0
    lower_layers: int = 1
    injected: dict[str, np.ndarray] = field(default_factory=dict)

    @staticmethod
    def of(model: Any) -> Reference:
        config = model.config
        weights = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
        parameters = getattr(config, "rope_parameters", None) or {}
        return Reference(
            weights,
            config.num_hidden_layers,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim if getattr(config, "head_dim", None) else config.hidden_size // config.num_attention_heads,
            config.rms_norm_eps,
            float(parameters.get("rope_theta", 10000.0)),
        )

    # -- pieces -----------------------------------------------------------------------------------------------------

    def norm(self, vector: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return vector / math.sqrt(float((vector * vector).mean()) + self.eps) * weight

    def rotate(self, vector: np.ndarray, position: int) -> np.ndarray:
        half = self.head_dim // 2
        turned = np.empty_like(vector)
        for i in range(half):
            angle = position * self.theta ** (-2 * i / self.head_dim)
            cosine, sine = math.cos(angle), math.sin(angle)
            turned[i] = vector[i] * cosine - vector[i + half] * sine
            turned[i + half] = vector[i + half] * cosine + vector[i] * sine
        return turned

    def project(self, layer: int, name: str, vector: np.ndarray) -> np.ndarray:
        """Heads of q, k or v: [heads, D], with bias and head norm where the family has them."""
        prefix = f"model.layers.{layer}.self_attn.{name}"
        flat = self.weights[f"{prefix}_proj.weight"] @ vector
        if f"{prefix}_proj.bias" in self.weights:
            flat = flat + self.weights[f"{prefix}_proj.bias"]
        heads = flat.reshape(-1, self.head_dim)
        if f"{prefix}_norm.weight" in self.weights:
            heads = np.stack([self.norm(head, self.weights[f"{prefix}_norm.weight"]) for head in heads])
        return heads

    def mlp(self, layer: int, vector: np.ndarray) -> np.ndarray:
        prefix = f"model.layers.{layer}.mlp"
        gate = self.weights[f"{prefix}.gate_proj.weight"] @ vector
        up = self.weights[f"{prefix}.up_proj.weight"] @ vector
        return self.weights[f"{prefix}.down_proj.weight"] @ (gate / (1 + np.exp(-gate)) * up)

    def output_projection(self, layer: int, heads: np.ndarray) -> np.ndarray:
        flat = self.weights[f"model.layers.{layer}.self_attn.o_proj.weight"] @ heads.reshape(-1)
        bias = self.weights.get(f"model.layers.{layer}.self_attn.o_proj.bias")
        return flat if bias is None else flat + bias

    def head_output(
        self, query: np.ndarray, own: list[tuple[np.ndarray, np.ndarray]], biased: list[tuple[float, np.ndarray]]
    ) -> np.ndarray:
        """One head: softmax over its own (key, value) pairs and over given (logit, value) pairs."""
        logits = [float(query @ key) / math.sqrt(self.head_dim) for key, _ in own] + [logit for logit, _ in biased]
        values = [value for _, value in own] + [value for _, value in biased]
        top = max(logits)
        weights = [math.exp(logit - top) for logit in logits]
        return sum(weight * value for weight, value in zip(weights, values, strict=True)) / sum(weights)

    # -- lower model ------------------------------------------------------------------------------------------------

    def encode_node(self, tokens: list[int], ratio: int) -> list[tuple[list[np.ndarray], list[np.ndarray]]]:
        """For each layer of the lower model: kept keys (unrotated) and values, each a list of [KV, D]."""
        positions = [min((i + 1) * ratio, len(tokens)) - 1 for i in range(math.ceil(len(tokens) / ratio))]
        hidden = [self.weights["model.embed_tokens.weight"][token] for token in tokens]
        kept = []
        for layer in range(self.lower_layers):
            weight = self.weights[f"model.layers.{layer}.input_layernorm.weight"]
            normed = [self.norm(state, weight) for state in hidden]
            keys = [self.project(layer, "k", state) for state in normed]
            values = [self.project(layer, "v", state) for state in normed]
            kept.append(([keys[p] for p in positions], [values[p] for p in positions]))
            hidden = self.run_layer(layer, hidden, None, 0)
        return kept

    # -- upper model ------------------------------------------------------------------------------------------------

    def run_layer(
        self,
        layer: int,
        hidden: list[np.ndarray],
        tree: list[tuple[int, np.ndarray, np.ndarray]] | None,
        chunk_count: int,
    ) -> list[np.ndarray]:
        """One decoder layer over a whole sequence; `tree` holds (chunk, key [KV, D], value [KV, D])."""
        prefix = f"model.layers.{layer}"
        group = self.heads // self.key_value_heads
        normed = [self.norm(state, self.weights[f"{prefix}.input_layernorm.weight"]) for state in hidden]
        queries = [self.project(layer, "q", state) for state in normed]
        keys = [self.project(layer, "k", state) for state in normed]
        values = [self.project(layer, "v", state) for state in normed]
        result = []
        for t, state in enumerate(hidden):
            first = 0 if self.window is None else max(0, t - self.window + 1)
            heads = []
            for head in range(self.heads):
                shared = head // group
                own = [(self.rotate(keys[s][shared], s), values[s][shared]) for s in range(first, t + 1)]
                biased: list[tuple[float, np.ndarray]] = []
                if tree is not None and self.form == "merged":
                    gate = self.injected[f"{layer}.gate"]
                    bias = float(gate[head % len(gate)]) if len(gate) > 1 else float(gate[0])
                    turned = self.rotate(queries[t][head], chunk_count)
                    for chunk, key, value in tree:
                        logit = float(turned @ self.rotate(key[shared], chunk)) / math.sqrt(self.head_dim)
                        biased.append((logit + bias, value[shared]))
                heads.append(self.head_output(self.rotate(queries[t][head], t), own, biased))
            state = state + self.output_projection(layer, np.stack(heads))
            if tree is not None and self.form == "additive":
                state = state + self.cross_attention(layer, state, tree, chunk_count)
            result.append(
                state + self.mlp(layer, self.norm(state, self.weights[f"{prefix}.post_attention_layernorm.weight"]))
            )
        return result

    def cross_attention(
        self, layer: int, state: np.ndarray, tree: list[tuple[int, np.ndarray, np.ndarray]], chunk_count: int
    ) -> np.ndarray:
        """tanh(g) · CrossAttn(norm(h), K, V) with the injection's own parameters."""
        own = {name.split(".", 1)[1]: value for name, value in self.injected.items() if name.startswith(f"{layer}.")}
        flat = own["query"] @ self.norm(state, own["norm"])
        if "query_bias" in own:
            flat = flat + own["query_bias"]
        queries = flat.reshape(-1, self.head_dim)
        if "query_norm" in own:
            queries = np.stack([self.norm(query, own["query_norm"]) for query in queries])
        group = self.heads // self.key_value_heads
        heads = [
            self.head_output(
                self.rotate(queries[head], chunk_count),
                [(self.rotate(key[head // group], chunk), value[head // group]) for chunk, key, value in tree],
                [],
            )
            for head in range(self.heads)
        ]
        read = own["output"] @ np.stack(heads).reshape(-1)
        return math.tanh(float(own["gate"])) * read

    def logits(
        self, tokens: list[int], tree: list[list[tuple[int, np.ndarray, np.ndarray]]], chunk_count: int
    ) -> np.ndarray:
        """[len(tokens), vocabulary]; `tree[j]` is what layer j reads, for j below M."""
        hidden = [self.weights["model.embed_tokens.weight"][token] for token in tokens]
        for layer in range(self.layers):
            reads = self.first_layer <= layer < self.lower_layers
            hidden = self.run_layer(layer, hidden, tree[layer] if reads else None, chunk_count)
        final = [self.norm(state, self.weights["model.norm.weight"]) for state in hidden]
        return np.stack(final) @ self.weights["lm_head.weight"].T


def split(tokens: list[int], height: int) -> dict[tuple[int, int], list[int]]:
    """All nodes of a chunk by (level, index): halves of halves, the left half rounded down."""
    nodes = {(0, 0): tokens}
    for level in range(height):
        for index in range(2**level):
            parent = nodes[level, index]
            half = len(parent) // 2
            nodes[level + 1, 2 * index] = parent[:half]
            nodes[level + 1, 2 * index + 1] = parent[half:]
    return nodes


def preserved(scores: list[float], height: int) -> list[tuple[int, int]]:
    """(level, index) of a chunk's preserved nodes for its leaves' scores: the unchosen child of every step."""
    kept: list[tuple[int, int]] = []
    index = 0
    for level in range(1, height + 1):
        width = 2 ** (height - level)
        left, right = 2 * index, 2 * index + 1
        best_left = max(scores[left * width : (left + 1) * width])
        best_right = max(scores[right * width : (right + 1) * width])
        chosen, other = (left, right) if best_left > best_right else (right, left)
        kept.append((level, other))
        if level == height:
            kept.append((level, chosen))
        index = chosen
    return sorted(kept, key=lambda node: node[1] * 2 ** (height - node[0]))
