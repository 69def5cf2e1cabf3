"""`eval qa`: what answers are worth by what the model could read, every arm on the same questions and weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from time import perf_counter
from typing import Any

from sharedllm_cli.config import Settings
from sharedllm_cli.documents.chunking import plain_ids
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.evaluation.arm_table import ArmTable, difference
from sharedllm_cli.lab.evaluation.arms import ARMS, Arm, DocumentReader, measurable
from sharedllm_cli.lab.evaluation.provenance import data_facts, model_facts, program_facts, reading_facts
from sharedllm_cli.lab.evaluation.questions import (
    Asked,
    JoinedDocument,
    Questions,
    Selection,
    opened,
    select,
    with_misplaced,
)
from sharedllm_cli.lab.evaluation.runner import Run, check_named
from sharedllm_cli.model.adapter_config import UNTRAINED
from sharedllm_cli.model.shared import SharedModel, load_shared
from sharedllm_cli.progress import Reporter

INDEXES = "indexes"


@dataclass(frozen=True)
class Request(Questions):
    """Which arms answer what, and where to. `trees`: where trees are kept, else in a folder of `out`."""

    out: Path
    arms: tuple[str, ...] = tuple(ARMS)
    misplaced: int = 0
    adapter: bool = True
    trees: Path | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_named("arm", "--arms", self.arms, ARMS)


def answers(request: Request, settings: Settings, *, home: Path, reporter: Reporter) -> dict[str, Any]:
    """Ask every arm every question and compare; returns the object of `eval qa --json`.

    Raises DocumentError for data that can't be read, UsageError for an invalid request or leaves no arm,
    ModelError for a model that can't be had, ResourceError where trees don't fit the disk.
    """
    if not request.adapter:
        settings = replace(settings, adapter=UNTRAINED)
    documents = request.documents(reporter)
    selection = select(documents, limit=request.limit, seed=request.seed)
    selection = with_misplaced(selection, request.misplaced, seed=request.seed)
    shared = load_shared(settings, home, reporter)
    arms, left_out = measurable(request.arms, shared, settings, documents=len(documents), reporter=reporter)
    config = {
        "command": "eval qa",
        "arms": list(request.arms),
        "data": data_facts(
            request.data, request.joining, limit=request.limit, seed=request.seed, misplaced=request.misplaced
        ),
        "model": model_facts(shared, settings),
        "settings": reading_facts(shared, settings),
        **program_facts(),
    }
    run = Run(request.out, config, resume=request.resume)
    store = IndexStore(request.trees or request.out / INDEXES, reporter)
    evaluation = _Evaluation(run, documents, shared, settings, store, reporter)
    with reporter.task("Answering", len(selection.chosen) * len(arms), "answers") as task:
        for place, asked in selection.by_document():
            for _ in evaluation.ask_document(place, asked, arms):
                task.advance(1)
    found = _metrics(run, selection, arms, left_out, seed=request.seed)
    if any(of.get("rouge_l", 0) is None for of in found["arms"].values()):
        reporter.warn("ROUGE-L is not computed: the library rouge-score is not installed (the extra `eval`)")
    run.finish(found)
    return found


class _Evaluation:
    def __init__(
        self,
        run: Run,
        documents: Sequence[JoinedDocument],
        shared: SharedModel,
        settings: Settings,
        store: IndexStore,
        reporter: Reporter,
    ) -> None:
        self._run = run
        self._documents = documents
        self._shared = shared
        self._settings = settings
        self._store = store
        self._reporter = reporter
        self._readers: dict[int, DocumentReader] = {}

    def ask_document(self, place: int, asked: Sequence[Asked], arms: Sequence[Arm]) -> Iterator[None]:
        """Answer all questions of a document by all arms; yields after each."""
        following = (place + 1) % len(self._documents)
        # The wrong tree is the next document's, which is likely to be asked next.
        self._readers = {kept: reader for kept, reader in self._readers.items() if kept in (place, following)}
        for one in asked:
            for arm in arms:
                key = f"{arm.name} {one.key}"
                if key not in self._run:
                    self._run.add(key, self._answered(self._reader(following if arm.wrong else place), arm, one))
                yield

    def _reader(self, place: int) -> DocumentReader:
        if place not in self._readers:
            base = self._shared.base
            document = opened(self._documents[place], base.tokenizer, base.tokenizer_hash, self._shared.tree)
            self._readers[place] = DocumentReader(document, self._shared, self._settings, self._store, self._reporter)
        return self._readers[place]

    def _answered(self, reader: DocumentReader, arm: Arm, asked: Asked) -> dict[str, Any]:
        """One line of predictions; its `answer` is None where the document does not fit."""
        gold = plain_ids(self._shared.base.tokenizer, asked.answers[0]) if asked.answerable else []
        answer_tokens = max(self._settings.max_new_tokens, len(gold))
        line: dict[str, Any] = {
            "arm": arm.name,
            "question": asked.text,
            "answers": list(asked.answers),
            "answerable": asked.answerable,
        }
        if arm.needs_tree or (arm.name in ("sharedllm", "plain") and reader.reads_tree):
            _ = reader.nodes  # built before the clock starts
        if arm.stored:
            _ = reader.fine
        started = perf_counter()
        read = arm.read(reader, asked.text, answer_tokens)
        if read is None:
            return {**line, "answer": None, "document_tokens": reader.opened.tokens}
        searched = perf_counter() - started
        found = reader.answer(read, gold).facts()
        found["first_token_s"] += searched
        return {**line, **found, "gold_tokens": len(gold), "document_tokens": reader.opened.tokens}


def _metrics(
    run: Run,
    selection: Selection,
    arms: Sequence[Arm],
    left_out: dict[str, str],
    *,
    seed: int,
) -> dict[str, Any]:
    found = _compared(run, selection, arms, seed)
    found["arms"] |= {name: {"n": 0, "left_out": reason} for name, reason in left_out.items()}
    found["documents"]["in_data"] = len(selection.documents)
    files = list(dict.fromkeys(document.file for document in selection.documents))
    if len(files) > 1:
        parts = {file: selection.of_file(file) for file in files}
        found["files"] = {file: _compared(run, part, arms, seed) for file, part in parts.items() if part.chosen}
    return found


def _compared(run: Run, selection: Selection, arms: Sequence[Arm], seed: int) -> dict[str, Any]:
    """What the arms came to over the chosen questions, and how they differ."""
    keys = [asked.key for _, asked in selection.chosen]
    names = [arm.name for arm in arms]
    tables = {name: ArmTable(name, [run[f"{name} {key}"] for key in keys], seed) for name in names}
    answerable = sum(asked.answerable for _, asked in selection.chosen)
    return {
        "arms": {name: table.metrics() for name, table in tables.items()},
        "differences": [difference(one, other, seed) for other, one in combinations(tables.values(), 2)],
        "questions": {"asked": len(keys), "answerable": answerable, "candidates": selection.candidates},
        "documents": {"asked": len({place for place, _ in selection.chosen})},
        "routes": _by_route(run, names, keys, seed) if "sharedllm" in names else {},
    }


def _by_route(run: Run, names: Sequence[str], keys: Sequence[str], seed: int) -> dict[str, Any]:
    """Every arm over the questions that `ask` answers by the same route, and how the arms differ on them."""
    by_route: dict[str, list[str]] = {}
    for key in keys:
        by_route.setdefault(run[f"sharedllm {key}"]["route"], []).append(key)
    found: dict[str, Any] = {}
    for route, own in sorted(by_route.items()):
        tables = [ArmTable(name, [run[f"{name} {key}"] for key in own], seed) for name in names]
        found[route] = {
            "asked": len(own),
            "arms": {table.name: table.summary() for table in tables},
            "differences": [difference(one, other, seed) for other, one in combinations(tables, 2)],
        }
    return found
