"""`eval needle`: a fact planted in a long text, asked for; by length of the text, depth of the fact and arm.

Whether the passages before the model held the planted sentence is counted apart from whether the model answered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from sharedllm_cli.config import Settings
from sharedllm_cli.documents.chunking import plain_ids
from sharedllm_cli.errors import UsageError
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab import plots
from sharedllm_cli.lab.evaluation.answers import INDEXES
from sharedllm_cli.lab.evaluation.arms import ARMS, Arm, DocumentReader, measurable
from sharedllm_cli.lab.evaluation.metrics import proportion, refused
from sharedllm_cli.lab.evaluation.needle_texts import KINDS, Fact, Haystack, Stretch, draw_fact, most_tokens, read_text
from sharedllm_cli.lab.evaluation.provenance import data_facts, model_facts, program_facts, reading_facts
from sharedllm_cli.lab.evaluation.questions import JoinedDocument, opened
from sharedllm_cli.lab.evaluation.runner import Run, check_named
from sharedllm_cli.lab.training.records import DataFile
from sharedllm_cli.model.adapter_config import UNTRAINED
from sharedllm_cli.model.shared import SharedModel, load_shared
from sharedllm_cli.progress import Reporter

LENGTHS = (2048, 8192, 32768, 131072)
DEPTHS = (0.0, 25.0, 50.0, 75.0, 100.0)
_SEAM = 8
"""Tokens kept free in a stretch: where a sentence is put in, the words beside it may take some more."""


@dataclass(frozen=True)
class Request:
    """What is planted where, and which arms are asked. `trees`: where trees are kept; without it none outlives its use.

    `lengths` in tokens of the document with its fact, `depths` in percent of it; `trials` facts for each pair of them.
    """

    texts: tuple[Path, ...]
    out: Path
    lengths: tuple[int, ...] = LENGTHS
    depths: tuple[float, ...] = DEPTHS
    trials: int = 5
    arms: tuple[str, ...] = ("sharedllm", "tree", "tree-wrong", "bm25", "closed")
    seed: int = 0
    adapter: bool = True
    trees: Path | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        if not self.texts:
            raise UsageError("there is no text to plant facts in", hint="give one or more files with --text")
        if not self.lengths or len(set(self.lengths)) < len(self.lengths) or min(self.lengths) < 1:
            raise UsageError("--lengths must be different positive numbers of tokens")
        if not self.depths or len(set(self.depths)) < len(self.depths):
            raise UsageError("--depths names no depth, or one twice")
        if not all(0 <= depth <= 100 for depth in self.depths):
            raise UsageError("--depths are percent of the document, 0 to 100")
        if self.trials < 1:
            raise UsageError(f"--trials must be at least 1, got {self.trials}")
        check_named("arm", "--arms", self.arms, ARMS)


@dataclass(frozen=True)
class Cell:
    """One document to be asked: its length, the depth of its fact, and which of the trials it is."""

    length: int
    depth: float
    trial: int

    def key(self, arm: str) -> str:
        """The name of an arm's answer in the predictions."""
        return f"{arm} {self.length} {self.depth:g} {self.trial}"


def needle(request: Request, settings: Settings, *, home: Path, reporter: Reporter) -> dict[str, Any]:
    """Plant, ask and count; returns the object of `eval needle --json`.

    Raises DocumentError for a text that can't be read, UsageError for an invalid request (a length that the
    text does not reach) or leaves no arm, ModelError for a model that can't be had, ResourceError for a full disk.
    """
    if not request.adapter:
        settings = replace(settings, adapter=UNTRAINED)
    text = read_text(request.texts, reporter=reporter)
    shared = load_shared(settings, home, reporter)
    haystack = Haystack(text, shared.base.tokenizer)
    if len(haystack) < max(request.lengths):
        raise UsageError(
            f"the text has {len(haystack):,} tokens, fewer than the length {max(request.lengths):,}",
            hint="give more files with --text, or shorter --lengths",
        )
    arms, left_out = measurable(request.arms, shared, settings, documents=2, reporter=reporter)
    run = Run(request.out, _config(request, shared, settings), resume=request.resume)
    search = _Search(run, request, haystack, text.lower(), shared, settings, reporter)
    total = len(request.lengths) * len(request.depths) * request.trials * len(arms)
    with reporter.task("Answering", total, "answers") as task:
        for length, trial in product(request.lengths, range(request.trials)):
            for _ in search.ask_stretch(length, trial, arms):
                task.advance(1)
    found = _metrics(run, request, arms, left_out)
    run.finish(found)
    for arm in arms:
        grid = _picture(request, arm.name, found["arms"][arm.name])
        plots.keep(request.out / f"needle-{arm.name}.png", grid, reporter)
    return found


def _config(request: Request, shared: SharedModel, settings: Settings) -> dict[str, Any]:
    files = tuple(DataFile(path) for path in request.texts)
    return {
        "command": "eval needle",
        "arms": list(request.arms),
        "lengths": list(request.lengths),
        "depths": list(request.depths),
        "data": data_facts(files, trials=request.trials, seed=request.seed),
        "model": model_facts(shared, settings),
        "settings": reading_facts(shared, settings),
        **program_facts(),
    }


class _Search:
    def __init__(
        self,
        run: Run,
        request: Request,
        haystack: Haystack,
        forbidden: str,
        shared: SharedModel,
        settings: Settings,
        reporter: Reporter,
    ) -> None:
        self._run = run
        self._request = request
        self._haystack = haystack
        self._forbidden = forbidden
        self._shared = shared
        self._settings = settings
        self._store = IndexStore(request.trees or request.out / INDEXES, reporter)
        self._reporter = reporter

    def ask_stretch(self, length: int, trial: int, arms: Sequence[Arm]) -> Iterator[None]:
        """Plant a fact at every depth of one stretch of text, each in a document of its own; yields after each answer.

        The stretch is drawn by length and trial, the fact by the depth, too: neither by what else is asked.
        """
        cells = [Cell(length, depth, trial) for depth in self._request.depths]
        stretch = self._stretch(length, trial)
        wrong = _Reading(self, f"stretch of {length}", self._haystack.text(stretch))
        for cell in cells:
            fact = self._fact(cell)
            planted = self._haystack.plant(stretch, fact.sentence, cell.depth)
            right = _Reading(self, cell.key("needle"), planted.text)
            for arm in arms:
                key = cell.key(arm.name)
                if key not in self._run:
                    reader = wrong.reader if arm.wrong else right.reader
                    document = {"length": cell.length, "depth": cell.depth, "stands_at": round(planted.depth, 2)}
                    self._run.add(key, {**document, **self._answered(reader, arm, fact)})
                yield
            right.close()
        wrong.close()

    def opened_reader(self, name: str, text: str) -> DocumentReader:
        """A document of the run, cut into leaves."""
        base = self._shared.base
        document = opened(JoinedDocument(name, text, ()), base.tokenizer, base.tokenizer_hash, self._shared.tree)
        return DocumentReader(document, self._shared, self._settings, self._store, self._reporter)

    def forget(self, reader: DocumentReader) -> None:
        """Delete a document's trees, unless they are to be shared."""
        if self._request.trees is None:
            self._store.discard(reader.opened.content_hash)

    def _fact(self, cell: Cell) -> Fact:
        random = np.random.default_rng([self._request.seed, cell.length, round(cell.depth * 1000), cell.trial])
        return draw_fact(random, _kind(cell.trial), self._forbidden)

    def _stretch(self, length: int, trial: int) -> Stretch:
        """A stretch that has `length` tokens, or a few less, with any fact of the trial's kind in it."""
        tokenizer = self._shared.base.tokenizer
        room = _SEAM + most_tokens(_kind(trial), lambda text: len(plain_ids(tokenizer, text)))
        if length < 2 * room:
            raise UsageError(f"a document of {length} tokens has no room for a planted fact of {room}")
        random = np.random.default_rng([self._request.seed, length, trial])
        return self._haystack.stretch(length - room, random)

    def _answered(self, reader: DocumentReader, arm: Arm, fact: Fact) -> dict[str, Any]:
        """One line of predictions; its `answer` is None where the document does not fit."""
        gold = plain_ids(self._shared.base.tokenizer, fact.value)
        line: dict[str, Any] = {
            "arm": arm.name,
            "kind": fact.kind,
            "sentence": fact.sentence,
            "question": fact.question,
            "value": fact.value,
            "document_tokens": reader.opened.tokens,
        }
        read = arm.read(reader, fact.question, max(self._settings.max_new_tokens, len(gold)))
        if read is None:
            return {**line, "answer": None}
        found = reader.answer(read, gold)
        return {
            **line,
            "answer": found.answer,
            "answered": fact.answered_by(found.answer),
            "held": fact.stands_in(read.prompt.text),
            "nll": found.nll,
            "gold_tokens": len(gold),
            "evidence_tokens": found.evidence_tokens,
            "tree_keys": found.tree_keys,
        }


def _kind(trial: int) -> str:
    """Kinds of facts take turns."""
    return KINDS[trial % len(KINDS)]


class _Reading:
    """A document that is cut into leaves when it is first read, and whose trees go when it is closed."""

    def __init__(self, search: _Search, name: str, text: str) -> None:
        self._search = search
        self._name = name
        self._text = text
        self._reader: DocumentReader | None = None

    @property
    def reader(self) -> DocumentReader:
        if self._reader is None:
            self._reader = self._search.opened_reader(self._name, self._text)
        return self._reader

    def close(self) -> None:
        if self._reader is not None:
            self._search.forget(self._reader)


def _metrics(run: Run, request: Request, arms: Sequence[Arm], left_out: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {arm.name: _arm_metrics(run, request, arm.name) for arm in arms}
    found |= {name: {"n": 0, "left_out": reason} for name, reason in left_out.items()}
    return {
        "lengths": list(request.lengths),
        "depths": list(request.depths),
        "trials": request.trials,
        "arms": {name: found[name] for name in request.arms},
    }


def _arm_metrics(run: Run, request: Request, arm: str) -> dict[str, Any]:
    cells, lines = [], []
    for length, depth in product(request.lengths, request.depths):
        there = [run[Cell(length, depth, trial).key(arm)] for trial in range(request.trials)]
        cells.append({"length": length, "depth": depth, **_counted(there)})
        lines += there
    kinds = {kind: [line for line in lines if line["kind"] == kind] for kind in KINDS}
    by_kind = {kind: _counted(of) for kind, of in kinds.items() if of}
    return {**_counted(lines), "did_not_fit": _missing(lines), "kinds": by_kind, "cells": cells}


def _missing(lines: Sequence[dict[str, Any]]) -> int:
    return sum(line["answer"] is None for line in lines)


def _counted(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Shares of the answers with Wilson's intervals, and the value's negative log-likelihood in nats a token.

    `held` is None for an arm that reads no passages.
    """
    given = [line for line in lines if line["answer"] is not None]
    found: dict[str, Any] = {"n": len(given)}
    passages = any(line["evidence_tokens"] for line in given)
    for name, counted in (("answered", True), ("held", passages)):
        share = proportion([line[name] for line in given]) if counted else None
        found[name] = share and share.mean
        found[f"{name}_interval"] = share and [share.low, share.high]
    tokens = sum(line["gold_tokens"] for line in given)
    found["answer_nll"] = math.fsum(line["nll"] for line in given) / tokens if tokens else None
    found["refused"] = sum(refused(line["answer"]) for line in given) / len(given) if given else None
    return found


def _picture(request: Request, arm: str, of: dict[str, Any]) -> Callable[[], bytes]:
    """The heat map of an arm: depths below each other, lengths side by side."""
    shares = {(cell["length"], cell["depth"]): cell["answered"] for cell in of["cells"]}
    return lambda: plots.heat_map(
        [[shares[length, depth] for length in request.lengths] for depth in request.depths],
        rows=[f"{depth:g} %" for depth in request.depths],
        columns=[f"{length:,}" for length in request.lengths],
        row_title="depth of the planted fact",
        column_title="length of the document (tokens)",
        title=f"{arm}: planted facts answered, {request.trials} a cell",
        measure="share answered",
        bounds=(0.0, 1.0),
    )
