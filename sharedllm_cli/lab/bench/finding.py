"""Whether a collection finds what scoring every leaf finds, and what a question costs as the documents get more.

    python -m sharedllm_cli.lab.bench.finding --data hotpotqa.train.jsonl.xz --data covidqa.train.jsonl.xz
        --documents 100,1000,2000 --folder FOLDER --out finding.json

Documents of at most `LONG` paragraphs are parted into paragraphs, one file each; longer ones are files as they are, a
twentieth of all at most. A question counts where its document is there. It is a hit where one of the eight best leaves
holds an answer, word for word. Name no development data: what is chosen by these numbers would be tuned to it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TextIO

import numpy as np

from sharedllm_cli.collections.names import made
from sharedllm_cli.collections.opening import open_library, setup_for
from sharedllm_cli.collections.updating import update
from sharedllm_cli.config import Settings
from sharedllm_cli.durable import sha256_of_text
from sharedllm_cli.errors import UsageError, exit_with
from sharedllm_cli.home import home_folder
from sharedllm_cli.lab.training.records import read_records
from sharedllm_cli.memory import peak_bytes
from sharedllm_cli.progress import Silent
from sharedllm_cli.reading.library import Library
from sharedllm_cli.reading.searching import WordSearcher
from sharedllm_cli.retrieval import bm25

LONG = 40
BEST = 8
"""Leaves that are looked at."""
LONG_SHARE = 20


@dataclass(frozen=True)
class Asked:
    """A question, what answers it, and how many documents must be there for its own to be among them."""

    text: str
    answers: tuple[str, ...]
    from_documents: int


@dataclass(frozen=True)
class Measured:
    """One number of documents: recall of both ways, and seconds (medians) and bytes.

    `same`: the share of all questions' best leaves that both ways have. `all_s`: scoring every leaf, all documents open
    in memory; `question_s`: finding, opening and scoring; `find_s`: finding alone.
    """

    documents: int
    leaves: int
    questions: int
    recall_all: float
    recall_found: float
    same: float
    all_s: float
    question_s: float
    find_s: float
    add_s: float
    update_s: float
    catalogue_bytes: int
    peak_bytes: int


def write_documents(files: Sequence[Path], folder: Path, most: int) -> tuple[list[Path], list[Asked]]:
    """The documents of data files as text files, in the order in which they are taken; and the questions about them."""
    short: list[tuple[str, list[tuple[str, tuple[str, ...]]]]] = []
    long: list[tuple[str, list[tuple[str, tuple[str, ...]]]]] = []
    for record in (record for path in files for record in read_records(path, skip_bad_lines=False, reporter=Silent())):
        asked = [(one.question, tuple(one.answers)) for one in record.questions if one.answers]
        paragraphs = [part for part in record.document.split("\n\n") if part.strip()]
        if len(paragraphs) > LONG:
            long.append((record.document, asked))
        else:
            short += [(part, []) for part in paragraphs[:-1]] + [(paragraphs[-1], asked)] if paragraphs else []
    paths: list[Path] = []
    questions: list[Asked] = []
    known: set[str] = set()
    sources = iter(short), iter(long)
    while len(paths) < most:
        kind = 1 if len(paths) % LONG_SHARE == 0 else 0
        text, asked = next(sources[kind], None) or next(sources[1 - kind], None) or ("", [])
        if not text:
            break
        if (digest := sha256_of_text(text)) not in known:
            known.add(digest)
            path = folder / f"{len(paths) // 1000:03}" / f"{len(paths):06}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_text(text, encoding="utf-8")
            paths.append(path)
        questions += [Asked(question, answers, len(paths)) for question, answers in asked]
    return paths, questions


class Bench:
    """Collections of growing size in one folder, which keeps what was read for the next run."""

    def __init__(self, folder: Path, settings: Settings, workers: int | None) -> None:
        self._folder = folder
        self._workers = workers
        self._settings = replace(settings, index_dir=str(folder / "indexes"))
        self._setup = setup_for(self._settings, home_folder(os.environ), Silent())

    def measure(self, paths: Sequence[Path], questions: Sequence[Asked]) -> Measured:
        """Measure one number of documents."""
        name = f"n{len(paths)}"
        collection = made(self._folder, name, [str(path) for path in paths])
        add = update(collection, self._setup, Silent(), workers=self._workers)
        again = update(collection, self._setup, Silent(), workers=self._workers)
        searcher = WordSearcher(self._settings, home=home_folder(os.environ), reporter=Silent())
        library = open_library([f"@{name}"], searcher.shelf(), self._setup, self._folder, Silent())
        everything = searcher.shelf().open([str(path) for path in paths]) if len(paths) <= MOST_OPEN else None
        rows = [self._question(asked, library, everything) for asked in questions]
        columns = list(zip(*rows, strict=True))
        return Measured(
            documents=len(paths),
            leaves=library.collection.leaf_count,  # type: ignore[union-attr]
            questions=len(questions),
            recall_all=float(np.mean(columns[0])),
            recall_found=float(np.mean(columns[1])),
            same=float(np.mean(columns[2])),
            all_s=median(columns[3]),
            question_s=median(columns[4]),
            find_s=median(columns[5]),
            add_s=add.seconds,
            update_s=again.seconds,
            catalogue_bytes=collection.catalogue.stat().st_size,
            peak_bytes=peak_bytes(),
        )

    def _question(
        self, asked: Asked, library: Library, everything: Library | None
    ) -> tuple[float, float, float, float, float, float]:
        started = perf_counter()
        narrowed = library.narrowed(asked.text)
        found = best_leaves(asked.text, narrowed)
        question_s = perf_counter() - started
        started = perf_counter()
        library.collection._ranked(asked.text, 50)  # type: ignore[union-attr]
        find_s = perf_counter() - started
        hit = holds(found, asked.answers)
        if everything is None:
            return 0.0, hit, 0.0, 0.0, question_s, find_s
        started = perf_counter()
        every = best_leaves(asked.text, everything)
        all_s = perf_counter() - started
        same = len(set(found) & set(every)) / max(1, len(every))
        return holds(every, asked.answers), hit, same, all_s, question_s, find_s


MOST_OPEN = 2500
"""Of more documents not all are opened at once to be scored."""

Leaf = tuple[str, int, str]
"""Content hash, number and text of a leaf."""


def best_leaves(question: str, library: Library) -> list[Leaf]:
    """The best leaves of the opened documents by BM25."""
    documents = library.documents
    values = bm25.scores(question, [opened.leaves.lexical for opened in documents]).values
    joined = np.concatenate(values)
    firsts = np.cumsum([0, *(len(one) for one in values)])
    found = []
    for place in np.argsort(-joined, kind="stable")[:BEST].tolist():
        if joined[place] <= 0:
            continue
        owner = int(np.searchsorted(firsts, place, side="right")) - 1
        opened, leaf = documents[owner], place - int(firsts[owner])
        start, end = opened.leaves.leaf_characters(leaf, opened.document)
        found.append((opened.content_hash, leaf, opened.document.text[start:end]))
    return found


def holds(leaves: Sequence[Leaf], answers: Sequence[str]) -> float:
    """1 where one of the leaves holds an answer word for word, but for case and white space; else 0."""
    texts = [" ".join(text.split()).casefold() for _, _, text in leaves]
    sought = [" ".join(answer.split()).casefold() for answer in answers]
    return float(any(answer in text for answer in sought for text in texts))


def run(asked: argparse.Namespace, out: TextIO) -> list[Measured]:
    """Measure every number of documents that was asked for; prints a row of a table for each."""
    sizes = sorted(int(size) for size in asked.documents.split(","))
    with TemporaryDirectory(prefix="sharedllm-finding-") as temporary:
        folder = (asked.folder or Path(temporary)).resolve()
        paths, questions = write_documents(asked.data, folder / "documents", sizes[-1])
        if len(paths) < sizes[-1]:
            raise UsageError(f"the data give {len(paths)} documents, {sizes[-1]} were asked for")
        bench = Bench(folder, Settings(model=asked.model, offline=True), asked.workers)
        names = list(Measured.__dataclass_fields__)
        print(f"| {' | '.join(names)} |\n| {' | '.join('---' for _ in names)} |", file=out)
        found = []
        for size in sizes:
            there = list(islice((one for one in questions if one.from_documents <= size), asked.questions))
            found.append(bench.measure(paths[:size], there))
            row = (f"{value:.4g}" if isinstance(value, float) else f"{value:,}" for value in asdict(found[-1]).values())
            print(f"| {' | '.join(row)} |", file=out, flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sharedllm_cli.lab.bench.finding", description=__doc__)
    parser.add_argument("--data", type=Path, action="append", required=True, help="JSON Lines of training data")
    parser.add_argument("--documents", default="100,1000,2000", help="numbers of documents, joined by commas")
    parser.add_argument("--questions", type=int, default=500, help="at most this many questions")
    parser.add_argument("--model", default=Settings().model, help="whose tokenizer cuts the documents")
    parser.add_argument("--workers", type=int, help="processes that read")
    parser.add_argument("--folder", type=Path, help="keeps documents and indexes (default: a temporary one)")
    parser.add_argument("--out", type=Path, help="JSON with the same numbers")
    asked = parser.parse_args(arguments)
    found = run(asked, sys.stdout)
    if asked.out:
        asked.out.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    exit_with(main)
