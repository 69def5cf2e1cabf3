"""Questions of yes or no whose answers give the reason: `Yes. ` and the sentence of the document that settles it.

    python -m sharedllm_cli.lab.training.reasons --data boolq.train.jsonl.xz --join-words 1200 --out reasons.jsonl
    python -m sharedllm_cli.lab.training.reasons --data policyqa.train.jsonl.xz --spans --out policies.jsonl

Data say yes or no alone, or (`--spans`) give a piece of the sentence alone. The sentence is the one that shares most
words with the question, and a question that shares too few with all of them is left out; where a piece is given it is
the sentence around it, which says no where it denies and is left out where that is not clear.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharedllm_cli.answering.kinds import Kind, kind_of
from sharedllm_cli.errors import exit_with
from sharedllm_cli.lab.training.records import Question, Record, read_records
from sharedllm_cli.progress import Silent
from sharedllm_cli.retrieval.terms import words

LEAST_SHARED = 0.5
"""The sentence holds this share of the question's terms, at least."""
MOST_WORDS = 60
LEAST_WORDS = 5
_END = re.compile(r"(?<=[.!?])[\"”)]?\s+(?=[A-Z\"“(])|\n+| -- ")
"""Where a sentence ends; ` -- ` stands between a title and its text."""
_DENIES = re.compile(
    r"\b(?:(?:do|does|did|will|is|are|may|can|shall|would) ?n[o'’]t|never|cannot)\b(?! limited)", re.IGNORECASE
)
_NEGATED = re.compile(r"\b(?:not|never|no|nor|neither|cannot|without|unless)\b|n['’]t\b", re.IGNORECASE)


@dataclass(frozen=True)
class Sentence:
    """A sentence of a document and where it begins, in characters."""

    start: int
    text: str

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def sentences(text: str) -> Iterator[Sentence]:
    """The sentences of a text, in order; a line's end is a sentence's, too."""
    start = 0
    for end, following in [*(match.span() for match in _END.finditer(text)), (len(text), len(text))]:
        piece = text[start:end]
        kept = piece.strip()
        if kept:
            yield Sentence(start + piece.index(kept), kept)
        start = following


def with_reason(question: Question, document: str, *, spans: bool) -> dict[str, Any] | None:
    """The question with its reason, as a line of a data file has it; None where no sentence settles it."""
    asked = asked_as_a_question(question.question)
    if kind_of(asked) is not Kind.YES_NO or not question.answers:
        return None
    found = _around(question.answers[0], document) if spans else _nearest(asked, document)
    if found is None or not LEAST_WORDS <= len(found.text.split()) <= MOST_WORDS:
        return None
    if _shared(asked, found.text) < (LEAST_SHARED if not spans else LEAST_SHARED / 2):
        return None
    said = _said_by(found.text) if spans else question.answers[0].strip(" .").capitalize()
    if said not in ("Yes", "No"):
        return None
    answer = f"{said}. {' '.join(found.text.split())}"
    return {"id": question.question_id, "question": asked, "answers": [answer], "evidence": [[found.start, found.end]]}


def _said_by(sentence: str) -> str | None:
    """What a sentence says to a question that shares its words; None where it says both."""
    if "may or may not" not in sentence and _DENIES.search(" ".join(sentence.split()[:12])):
        return "No"
    return None if _NEGATED.search(sentence) else "Yes"


def asked_as_a_question(text: str) -> str:
    """A question as people write it: with a capital and a mark."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:].rstrip(' ?.')}?"


def joined(records: Sequence[dict[str, Any]], least_words: int) -> Iterator[dict[str, Any]]:
    """Short documents put together until they have so many words, each question's evidence moved with its document."""
    waiting: list[dict[str, Any]] = []
    for record in records:
        waiting.append(record)
        if sum(len(one["document"].split()) for one in waiting) >= least_words:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if len(records) == 1:
        return records[0]
    text, questions = "", []
    for record in records:
        offset = len(text)
        text += record["document"] + "\n\n"
        for one in record["qas"]:
            questions.append({**one, "evidence": [[start + offset, end + offset] for start, end in one["evidence"]]})
    return {"doc_id": records[0]["doc_id"], "title": "", "document": text.rstrip(), "qas": questions}


def _around(piece: str, document: str) -> Sentence | None:
    """The sentence that holds a piece of the document, if only one does."""
    place = document.find(piece)
    if place < 0 or len(piece.split()) < 2 or document.find(piece, place + 1) >= 0:
        return None
    return next((one for one in sentences(document) if one.start <= place and place + len(piece) <= one.end), None)


def _nearest(question: str, document: str) -> Sentence | None:
    """The sentence that shares most of the question's terms; of several the first."""
    return max(sentences(document), key=lambda one: _shared(question, one.text), default=None)


def _shared(question: str, sentence: str) -> float:
    """The share of the question's terms that a sentence holds."""
    wanted = _terms(question)
    return len(wanted & _terms(sentence)) / len(wanted) if wanted else 0.0


def _terms(text: str) -> set[str]:
    return {term for word in words(text, "english") for term in word.terms}


def _record(record: Record, *, spans: bool) -> dict[str, Any] | None:
    made = [one for question in record.questions if (one := with_reason(question, record.document, spans=spans))]
    once = {one["question"]: one for one in made}
    if not once:
        return None
    return {"doc_id": record.doc_id, "title": record.title, "document": record.document, "qas": list(once.values())}


def main() -> None:
    """Write a data file of questions with reasons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--spans", action="store_true", help="the answers are pieces of the text")
    parser.add_argument("--join-words", type=int, default=0, help="join documents until they have so many words")
    given = parser.parse_args()
    records = read_records(given.data, skip_bad_lines=False, reporter=Silent())
    made = [one for record in records if (one := _record(record, spans=given.spans))]
    with given.out.open("w", encoding="utf-8") as file:
        for line in joined(made, given.join_words):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    exit_with(main)
