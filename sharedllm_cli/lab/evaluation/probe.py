"""`models probe`: where and how finely a tree is worth reading, before anything is trained or while it is.

Every question is answered with its own document's tree, with another document's, and with none, by the merged form with
open gates (b = 0: native attention, docs/method.md §4) on some layers. What the wrong tree costs more than the right
one is the gap: how much of the document is really read. What the right one costs more than none is harm, or its lack
gain.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sharedllm_cli.answering.kinds import rule_for
from sharedllm_cli.config import LayerSpan, Settings
from sharedllm_cli.context.search import search
from sharedllm_cli.context.tree import Node, kept_positions
from sharedllm_cli.documents.chunking import plain_ids, tokenize
from sharedllm_cli.errors import DocumentError, UsageError
from sharedllm_cli.generation import prompt
from sharedllm_cli.index.nodes import LiveNodes
from sharedllm_cli.lab.evaluation.probe_results import RATIOS, TREE, Cell, Ratio, default_spans, draw, gaps
from sharedllm_cli.lab.evaluation.provenance import data_facts, model_facts, program_facts
from sharedllm_cli.lab.evaluation.questions import Asked, JoinedDocument, Joining, opened, read_joined
from sharedllm_cli.lab.evaluation.runner import Run
from sharedllm_cli.lab.evaluation.scoring import DocumentScorer
from sharedllm_cli.lab.training.records import DataFile
from sharedllm_cli.model.adapter_config import UNTRAINED
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.lower import CompressedNodes
from sharedllm_cli.model.shared import SharedModel, load_shared
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import Reporter
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.weights.registry import describe


@dataclass(frozen=True)
class Posed:
    """A question as prompt and its gold answer, both token ids; `text` is the question alone, for the search."""

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

    Prompts are padded on the right, where causal attention hides the padding without a mask.
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


@dataclass(frozen=True)
class Request:
    """What is probed with which questions. Layers are spans [first, end) counted from the bottom, so that M = end.

    `layers` are read at `at_ratio`, `ratios` in `at_layers`; None chooses by the number of layers. An `adapter` is
    probed as it was trained, in its own layers alone. `tokens`: documents are cut to so many.
    """

    data: tuple[DataFile, ...]
    layers: tuple[LayerSpan, ...] | None = None
    ratios: tuple[Ratio, ...] = RATIOS
    at_ratio: Ratio = 4
    at_layers: LayerSpan | None = None
    adapter: Path | None = None
    limit: int = 48
    per_document: int = 2
    tokens: int = 2048
    seed: int = 0
    last: int | None = None
    out: Path | None = None
    resume: bool = False
    skip_bad_lines: bool = False

    def __post_init__(self) -> None:
        if not self.data:
            raise UsageError("there is nothing to ask", hint="give one or more files with --data")
        if self.adapter is not None and (self.layers or self.at_layers):
            raise UsageError("an adapter is probed in its own layers", hint="leave out --layers and --at-layers")
        for name, values in (("--layers", self.layers or ()), ("--ratios", self.ratios)):
            if len(set(values)) < len(values):
                raise UsageError(f"{name} names one twice")
        if not self.ratios and (self.layers == () or self.adapter is not None):
            raise UsageError("there is nothing to read", hint="name some --ratios or --layers")


@dataclass(frozen=True)
class _Drawn:
    """A document, cut where it is too long, and the questions that are asked of it."""

    document: JoinedDocument
    asked: tuple[Asked, ...]
    cut: bool


def probe(request: Request, settings: Settings, *, home: Path, reporter: Reporter) -> dict[str, Any]:
    """Measure the gap of every cell; returns the object of `models probe --json`.

    Interrupted (KeyboardInterrupt), it returns what was measured so far with `interrupted` true; where that is nothing,
    the interrupt goes on. Raises DocumentError for data that can't be read or hold too little, UsageError for a request
    that is invalid, ModelError for a model or adapter that can't be had.
    """
    joining = Joining.of(len(request.data), (1,), (request.last,))
    documents = read_joined(request.data, joining, skip_bad_lines=request.skip_bad_lines, reporter=reporter)
    settings, by_layers, by_ratios = _planned(request, settings, home)
    shared = load_shared(settings, home, reporter)
    if request.adapter is None:
        _open_gates(shared)
    elif not shared.upper.reads_tree:
        raise UsageError("the adapter reads no tree: all of its gates are closed")
    else:
        by_layers, by_ratios = _own_cells(request, shared)
    cells = tuple(dict.fromkeys([*by_layers, *by_ratios]))
    drawn = _draw(documents, request, shared.base.tokenizer)
    config = {
        "command": "models probe",
        "cells": [cell.key for cell in cells],
        "data": data_facts(
            request.data,
            joining,
            limit=request.limit,
            per_document=request.per_document,
            tokens=request.tokens,
            seed=request.seed,
        ),
        "model": model_facts(shared, settings),
        "policy": settings.policy,
        **program_facts(),
    }
    run = Run(request.out, config, resume=request.resume)
    interrupted = _measured(run, drawn, cells, shared, settings.policy, reporter)
    lines = [[run[asked.key] for asked in one.asked if asked.key in run] for one in drawn]
    found = gaps([document for document in lines if document], by_layers, by_ratios, request.seed)
    found["interrupted"] = interrupted
    run.finish(found)
    if request.out is not None:
        draw(request.out, found, reporter)
    return found


def _planned(request: Request, settings: Settings, home: Path) -> tuple[Settings, list[Cell], list[Cell]]:
    """The settings that load the model with all layers open, and the cells; UsageError for layers that it lacks."""
    if request.adapter is not None:
        return replace(settings, adapter=str(request.adapter)), [], []
    count = describe(settings.model, home, offline=settings.offline).layer_count
    spans = default_spans(count) if request.layers is None else request.layers
    at_layers = request.at_layers or (0, count)
    for first, end in (*spans, at_layers):
        if end > count:
            raise UsageError(f"layers {first}-{end} end above the model's {count} layers")
    settings = replace(settings, adapter=UNTRAINED, injection="merged", lower_layers=count)
    by_layers = [Cell(span, tuple(range(*span)), request.at_ratio) for span in spans]
    return settings, by_layers, [Cell(at_layers, tuple(range(*at_layers)), ratio) for ratio in request.ratios]


def _own_cells(request: Request, shared: SharedModel) -> tuple[list[Cell], list[Cell]]:
    """The cells of an adapter: its open layers at every ratio."""
    layers = tuple(shared.adapter.open_layers)
    return [], [Cell((layers[0], layers[-1] + 1), layers, ratio) for ratio in request.ratios]


@torch.no_grad()
def _open_gates(shared: SharedModel) -> None:
    """Native attention to the tree in every layer; which of them read is decided by what they are given."""
    for injection in shared.adapter.injections.values():
        injection.gate.zero_()  # type: ignore[operator]


def _draw(documents: Sequence[JoinedDocument], request: Request, tokenizer: Any) -> list[_Drawn]:
    """Documents in a drawn order, each with some of its questions, until there are `limit`; at least two documents.

    Raises DocumentError where the data hold too little.
    """
    random = np.random.default_rng(request.seed)
    drawn: list[_Drawn] = []
    left = request.limit
    most = min(request.per_document, max(1, request.limit // 2))
    for place in random.permutation(len(documents)).tolist():
        document, cut = _cut(documents[place], tokenizer, request.tokens)
        fit = [one for one in document.asked if one.answerable and _may_stand(one, document, documents[place])]
        chosen = sorted(random.permutation(len(fit))[: min(left, most)].tolist())
        if chosen:
            drawn.append(_Drawn(document, tuple(fit[number] for number in chosen), cut))
            left -= len(chosen)
        if not left:
            break
    if len(drawn) < 2:
        raise DocumentError(
            f"the gap needs questions of two documents, and there are those of {len(drawn)}",
            hint="give more --data, a larger --limit, or more --tokens",
        )
    return drawn


def _cut(document: JoinedDocument, tokenizer: Any, tokens: int) -> tuple[JoinedDocument, bool]:
    found = tokenize(document.text, tokenizer)
    if len(found) <= tokens:
        return document, False
    return replace(document, text=document.text[: int(found.ends[tokens - 1])]), True


def _may_stand(asked: Asked, kept: JoinedDocument, whole: JoinedDocument) -> bool:
    """Whether the kept part may answer: not where the evidence or an answer's own words stand beyond it alone."""
    if asked.evidence:
        return all(end <= len(kept.text) for _, end in asked.evidence)
    words = [answer.rstrip(".").lower() for answer in asked.answers]
    stands = [any(one in text.lower() for one in words) for text in (kept.text, whole.text)]
    return stands[0] or not stands[1]


def _measured(
    run: Run, drawn: Sequence[_Drawn], cells: Sequence[Cell], shared: SharedModel, policy: str, reporter: Reporter
) -> bool:
    """Measure what the run lacks, document by document; True where it was interrupted after the first one."""
    measurement = _Measurement(drawn, cells, shared, policy)
    readings = 1 + 2 * len(cells)
    try:
        with reporter.task("Probing", sum(len(one.asked) for one in drawn) * readings, "readings") as task:
            for place, one in enumerate(drawn):
                if all(asked.key in run for asked in one.asked):
                    task.advance(len(one.asked) * readings)
                    continue
                for key, line in measurement.ask(place, task.advance).items():
                    if key not in run:
                        run.add(key, line)
    except KeyboardInterrupt:
        if not any(asked.key in run for one in drawn for asked in one.asked):
            raise
        return True
    return False


class _Measurement:
    def __init__(self, drawn: Sequence[_Drawn], cells: Sequence[Cell], shared: SharedModel, policy: str) -> None:
        self._drawn = drawn
        self._cells = cells
        self._shared = shared
        self._policy = policy
        self._documents: dict[int, ProbedDocument] = {}

    def ask(self, place: int, advance: Callable[[int], None]) -> dict[str, dict[str, Any]]:
        """Ask a document's questions in every way; a line of predictions for each, by its key."""
        one, upper = self._drawn[place], self._shared.upper
        # The wrong tree is the next document's, which is asked next; the last one has that of the one before it.
        other = place + 1 if place + 1 < len(self._drawn) else place - 1
        self._documents = {kept: found for kept, found in self._documents.items() if kept in (place, other)}
        trees = {"right": self._document(place), "wrong": self._document(other)}
        posed = [self._posed(asked) for asked in one.asked]
        closed = answer_losses(upper, posed, None)
        advance(len(posed))
        read: list[dict[str, dict[str, float]]] = [{} for _ in posed]
        for ratio in dict.fromkeys(cell.ratio for cell in self._cells):
            for name, document in trees.items():
                context = document.context(ratio, posed)
                for cell in (cell for cell in self._cells if cell.ratio == ratio):
                    losses = answer_losses(upper, posed, through_layers(context, cell.layers))
                    for of, loss in zip(read, losses, strict=True):
                        of.setdefault(cell.key, {})[name] = loss
                    advance(len(posed))
                keys = context.key_counts().expand(len(posed)).tolist()
                for of, count in zip(read, keys, strict=True):
                    for cell in (cell for cell in self._cells if cell.ratio == ratio):
                        of[cell.key][f"{name}_keys"] = int(count)
        facts = {"document": one.document.name, "document_tokens": trees["right"].opened.tokens, "cut": one.cut}
        return {
            asked.key: {
                "question": asked.text,
                "answer": asked.answers[0],
                "gold_tokens": len(how.answer_ids),
                **facts,
                "closed": loss,
                "cells": cells,
            }
            for asked, how, loss, cells in zip(one.asked, posed, closed, read, strict=True)
        }

    def _document(self, place: int) -> ProbedDocument:
        if place not in self._documents:
            base = self._shared.base
            found = opened(self._drawn[place].document, base.tokenizer, base.tokenizer_hash, self._shared.tree)
            ratios = {cell.ratio for cell in self._cells}
            self._documents[place] = ProbedDocument(found, self._shared, ratios, self._policy)
        return self._documents[place]

    def _posed(self, asked: Asked) -> Posed:
        base = self._shared.base
        gold = plain_ids(base.tokenizer, asked.answers[0])
        rule = rule_for(asked.text) if self._shared.adapter.config.kinds else prompt.RULE
        built = prompt.build(
            base.tokenizer, window=base.window, max_new_tokens=len(gold), question=asked.text, rule=rule
        )
        return Posed(asked.text, built.token_ids, gold)
