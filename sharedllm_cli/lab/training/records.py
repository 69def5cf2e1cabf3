"""Training and question-answering data on disk: JSON Lines, one document a line, plain, .gz or .xz.

`{"doc_id": …, "title": …, "document": …, "qas": [{"id": …, "question": …, "answers": [… ]}]}`; other keys are ignored.
Knows no tokenizer and no model.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sharedllm_cli.errors import DocumentError, UsageError
from sharedllm_cli.progress import Reporter

TEXT_SUFFIXES = frozenset({".txt", ".text", ".md"})
"""Files with these endings are plain text, for language modelling and perplexity."""


@dataclass(frozen=True)
class Question:
    """A question of one document and its accepted answers, the first the preferred one; none where it has no answer.

    `evidence` are spans of characters of the document that hold the answer, where the data name any.
    """

    question_id: str
    question: str
    answers: tuple[str, ...]
    evidence: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Record:
    """One line of a data file: a document and what is asked of it."""

    doc_id: str
    title: str
    document: str
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class DataFile:
    """A data file and its weight: how often samples are drawn from it, relative to the other files."""

    path: Path
    weight: float = 1.0

    @staticmethod
    def parse(text: str) -> DataFile:
        """`F.jsonl.xz` or `F.jsonl.xz=0.5`; raises UsageError where the weight is no positive number."""
        name, sign, weight = text.rpartition("=")
        if not sign:
            return DataFile(Path(text))
        try:
            value = float(weight)
        except ValueError:
            return DataFile(Path(text))
        if not 0 < value < float("inf"):
            raise UsageError(f"the weight of {name} must be a positive number, got {weight}")
        return DataFile(Path(name), value)

    def fingerprint(self) -> str:
        """SHA-256 of the file's bytes, in hex: recorded with what was trained on it."""
        with _translated(self.path), self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def read_records(path: Path, *, skip_bad_lines: bool, reporter: Reporter, unanswerable: bool = False) -> list[Record]:
    """All documents of a data file; a text file is one, without questions.

    Questions without any answer are kept only where `unanswerable` asks for them.

    A bad line is named with file, line number and reason: as a warning where bad lines are skipped, else as a
    DocumentError. Raises DocumentError too where the file can't be read or contains no document.
    """
    if is_plain_text(path):
        return [_plain_text(path)]
    records: list[Record] = []
    with _translated(path), _opened(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                records.append(_record(line, unanswerable))
            except ValueError as problem:
                message = f"{path}, line {number}: {problem}"
                if not skip_bad_lines:
                    hint = "mend the line, or leave bad ones out with --skip-bad-lines"
                    raise DocumentError(message, hint=hint) from None
                reporter.warn(f"{message}; skipped")
    if not records:
        raise DocumentError(f"{path} contains no document")
    return records


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Foreign errors of reading a data file as DocumentError."""
    try:
        yield
    except FileNotFoundError:
        raise DocumentError(f"there is no data file {path}") from None
    except UnicodeDecodeError as error:
        raise DocumentError(f"{path} is not UTF-8 text") from error
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DocumentError(f"{path} can't be read: {error}") from error


def is_plain_text(path: Path) -> bool:
    """Whether a file is plain text, compressed or not, by its name."""
    named = path.with_suffix("") if path.suffix in (".xz", ".gz") else path
    return named.suffix.lower() in TEXT_SUFFIXES


def _plain_text(path: Path) -> Record:
    with _translated(path), _opened(path) as file:
        text = file.read().decode("utf-8")
    if not text.strip():
        raise DocumentError(f"{path} contains no text")
    return Record(path.name, path.name.partition(".")[0].replace("_", " "), text, ())


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".xz":
        return lzma.open(path, "rb")
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


def _record(line: bytes, unanswerable: bool) -> Record:
    """One line as a record; ValueError with the reason where it is none."""
    try:
        data = json.loads(line)
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    except json.JSONDecodeError as problem:
        raise ValueError(f"it is not JSON ({problem.msg} at column {problem.colno})") from None
    if not isinstance(data, dict):
        raise ValueError("it is not a JSON object")
    document = _text(data, "document")
    if not document.strip():
        raise ValueError("its document is empty")
    questions = data.get("qas", [])
    if not isinstance(questions, list):
        raise ValueError("its qas is not a list")
    kept = tuple(one for one in _questions(questions, len(document)) if one.answers or unanswerable)
    return Record(_text(data, "doc_id"), str(data.get("title") or "").strip(), document, kept)


def _questions(entries: list[Any], characters: int) -> Iterator[Question]:
    for place, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise ValueError(f"question {place} is not a JSON object")
        answers = entry.get("answers")
        if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
            raise ValueError(f"question {place} has no list of answers")
        cleaned = tuple(" ".join(answer.split()) for answer in answers if answer.strip())
        question = _text(entry, "question", f"question {place}").strip()
        if question:
            evidence = _evidence(entry.get("evidence"), characters, place)
            yield Question(str(entry.get("id", place)), question, cleaned, evidence)


def _evidence(spans: Any, characters: int, place: int) -> tuple[tuple[int, int], ...]:
    if not isinstance(spans, list | None):
        raise ValueError(f"question {place} has evidence that is no list of [start, end]")
    found = []
    for span in spans or ():
        if not (isinstance(span, list) and len(span) == 2 and all(type(edge) is int for edge in span)):
            raise ValueError(f"question {place} has evidence that is no [start, end]")
        start, end = span
        if not 0 <= start < end <= characters:
            raise ValueError(f"question {place} has evidence outside its document: {span}")
        found.append((start, end))
    return tuple(found)


def _text(data: Mapping[str, Any], key: str, owner: str = "it") -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{owner} has no text {key!r}")
    return value
