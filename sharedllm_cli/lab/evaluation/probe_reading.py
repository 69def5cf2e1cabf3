"""One document's trees at every grain of a probe, and the loss of gold answers that is read with them.

The uniform grains are cut from one encoding: every chunk runs alone through all layers of the lower model, once, and
each ratio α keeps one of every α of its keys. The grain `tree` is the real tree, searched for the question.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sharedllm_cli.context.search import search
from sharedllm_cli.context.tree import Node, kept_positions
from sharedllm_cli.index.nodes import LiveNodes
from sharedllm_cli.lab.evaluation.probe_cells import TREE, Ratio
from sharedllm_cli.lab.evaluation.scoring import DocumentScorer
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.lower import CompressedNodes
from sharedllm_cli.model.shared import SharedModel
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.reading.library import OpenDocument


@dataclass(frozen=True)
class Posed:
    """A question as running text and its gold answer, both token ids; `text` is the question alone, for the search."""

    text: str
    prompt_ids: list[int]
    answer_ids: list[int]


class ProbedDocument:
    """A document whose keys and values can be read at several ratios; each is computed once, when first asked for."""

    def __init__(self, opened: OpenDocument, shared: SharedModel, ratios: Collection[Ratio], policy: str) -> None:
        self.opened = opened
        self._shared = shared
        self._ratios = [ratio for ratio in ratios if ratio != TREE]
        self._policy = policy
        self._scorer = DocumentScorer(opened, shared)
        self._known: dict[Node, tuple[Tensor, Tensor]] = {}

    def context(self, ratio: Ratio, posed: Sequence[Posed]) -> TreeContext:
        """What the open layers read for these questions; a uniform ratio is the same for all of them."""
        if ratio != TREE:
            return self._rotated(self._uniform[ratio])
        return TreeContext.side_by_side([self._rotated(self._searched(one.text)) for one in posed])

    def _rotated(self, nodes: CompressedNodes) -> TreeContext:
        context = self._shared.upper.context(nodes, self.opened.chunks)
        assert context is not None  # a probe's gates are open, and no document is empty
        return context

    @cached_property
    def _uniform(self) -> dict[int, CompressedNodes]:
        """Keys and values at every uniform ratio, of all layers that may read; chunks are the nodes, encoded alone."""
        leaves, lower = self.opened.leaves, self._shared.lower
        keys: list[Tensor] = []
        values: list[Tensor] = []
        places: dict[int, list[np.ndarray]] = {ratio: [] for ratio in self._ratios}
        first_slot = 0
        for start, tree in zip(leaves.chunk_starts, leaves.trees, strict=True):
            kept = {ratio: kept_positions(tree.length, ratio) for ratio in self._ratios}
            union = np.unique(np.concatenate(list(kept.values())))
            ids = torch.from_numpy(leaves.tokens.ids[start : start + tree.length]).long()
            encoded = lower.encode(ids.unsqueeze(0), torch.from_numpy(union))
            keys.append(encoded.keys[0])
            values.append(encoded.values[0])
            for ratio, positions in kept.items():
                places[ratio].append(first_slot + np.searchsorted(union, positions))
            first_slot += len(union)
        whole_keys, whole_values = torch.cat(keys, dim=2), torch.cat(values, dim=2)
        found = {}
        for ratio, by_chunk in places.items():
            slots = torch.from_numpy(np.concatenate(by_chunk)).to(whole_keys.device)
            chunks = torch.tensor(np.repeat(np.arange(len(by_chunk)), [len(part) for part in by_chunk]))
            keys_here, values_here = whole_keys[:, :, slots], whole_values[:, :, slots]
            found[ratio] = CompressedNodes(keys_here, values_here, chunks, lower.first_layer)
        return found

    def _searched(self, question: str) -> CompressedNodes:
        """The preserved nodes of the real tree for a question (docs/method.md §2)."""
        trees = self.opened.leaves.trees
        nodes = search(trees, self._scorer(question, self._policy).nodes)
        counts = [trees[node.chunk].kept_count(node.level, node.index) for node in nodes]
        missing = [(node, count) for node, count in zip(nodes, counts, strict=True) if node not in self._known]
        if missing:
            found = LiveNodes(self._shared.lower, self.opened.leaves).compressed([node for node, _ in missing])
            sizes = [count for _, count in missing]
            parts = zip(torch.split(found.keys, sizes, dim=2), torch.split(found.values, sizes, dim=2), strict=True)
            self._known.update(zip((node for node, _ in missing), parts, strict=True))
        chunks = torch.tensor(np.repeat([node.chunk for node in nodes], counts))
        keys, values = (torch.cat([self._known[node][part] for node in nodes], dim=2) for part in (0, 1))
        return CompressedNodes(keys, values, chunks, self._shared.lower.first_layer)


def through_layers(context: TreeContext, layers: Collection[int]) -> TreeContext:
    """The same tree, read by these layers alone: an injected layer without keys is the layer as it came."""
    keys = {layer: keys for layer, keys in context.keys.items() if layer in layers}
    return replace(context, keys=keys, values={layer: context.values[layer] for layer in keys})


@torch.inference_mode()
def answer_losses(upper: UpperModel, posed: Sequence[Posed], tree: TreeContext | None) -> list[float]:
    """Mean negative log-likelihood in nats of each gold answer's tokens, all questions in one batch.

    Running texts are padded on the right, where causal attention hides the padding without a mask.
    """
    texts = [[*one.prompt_ids, *one.answer_ids[:-1]] for one in posed]
    length = max(map(len, texts))
    ids = torch.tensor([[*text, *[0] * (length - len(text))] for text in texts], device=upper.model.device)
    first = min(len(one.prompt_ids) for one in posed) - 1
    logits = upper.forward(ids, tree, logits_to_keep=length - first)
    losses = []
    for row, one in zip(logits, posed, strict=True):
        start = len(one.prompt_ids) - 1 - first
        said = row[start : start + len(one.answer_ids)].float()
        gold = torch.tensor(one.answer_ids, device=row.device)
        losses.append(float(torch.nn.functional.cross_entropy(said, gold)))
    return losses
