"""The text that is read for timing: a file's, or made-up words; its leaves, a question, and the running text.

Where the model has no tokenizer (a shape) every word is a token, numbered by its letters: how long reading takes
depends on how many tokens there are, not on which.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from sharedllm_cli.documents.chunking import Tokens, tokenize
from sharedllm_cli.documents.pages import Document, Page
from sharedllm_cli.errors import DocumentError
from sharedllm_cli.index.leaves import Leaves, leaves_of
from sharedllm_cli.lab.bench.subject import Subject

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DISTINCT_WORDS = 20_000
_QUESTION_WORDS = 8


@dataclass(frozen=True)
class Reading:
    """A document of T tokens, a question of it, and R tokens of running text.

    `seconds`: what tokenizing took (every arm needs it), and splitting and counting words (what BM25 asks of a text).
    """

    document: Document
    leaves: Leaves
    question: str
    question_ids: list[int]
    running: np.ndarray
    seconds: dict[str, float]

    @property
    def tokens(self) -> int:
        """T."""
        return self.leaves.token_count


def source(path: Path | None) -> str:
    """Where the text comes from, in words."""
    return "made-up words" if path is None else str(path)


def reading(subject: Subject, tokens: int, running: int, path: Path | None, *, seed: int = 0) -> Reading:
    """A text of exactly `tokens` tokens and `running` more behind them; a file that is too short is repeated.

    Raises DocumentError where the file can't be read or holds no words.
    """
    tokenizer, whole = subject.tokenizer, tokens + running
    encode = (
        _words_as_tokens(subject.facts.vocabulary_size) if tokenizer is None else partial(tokenize, tokenizer=tokenizer)
    )
    text = _made_up(whole, seed) if path is None else _of_file(path)
    started = perf_counter()
    found = encode(text)
    seconds = (perf_counter() - started) / len(found)
    while len(found) < whole:
        text += "\n" + text
        found = encode(text)
    document = _document(text[: int(found.ends[tokens - 1])])
    kept = Tokens(found.ids[:tokens], found.starts[:tokens], found.ends[:tokens])
    started = perf_counter()
    leaves = leaves_of(document.text, kept, subject.tree)
    parts = {"tokenize": seconds * whole, "count_words": perf_counter() - started}
    middle = document.text[len(document.text) // 2 :]
    question = " ".join(middle.split()[1 : 1 + _QUESTION_WORDS])
    return Reading(document, leaves, question, encode(question).ids.tolist(), found.ids[tokens:whole].copy(), parts)


def _document(text: str) -> Document:
    content = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return Document("bench", None, "text", content, text, (Page(1, None, 0, len(text), text),), paged=False)


def _of_file(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"{path} can't be read as text: {error}") from error
    if not text.split():
        raise DocumentError(f"{path} holds no words")
    return text


def _made_up(words: int, seed: int) -> str:
    """So many words as rare and as frequent as those of a language: the n-th most frequent occurs 1/n as often."""
    random = np.random.default_rng(seed)
    lengths = random.integers(3, 10, _DISTINCT_WORDS)
    letters = random.choice(list(_LETTERS), int(lengths.sum()))
    distinct = np.array(["".join(part) for part in np.split(letters, np.cumsum(lengths)[:-1])])
    chances = 1 / np.arange(1, _DISTINCT_WORDS + 1)
    return " ".join(distinct[random.choice(_DISTINCT_WORDS, words, p=chances / chances.sum())])


def _words_as_tokens(vocabulary_size: int) -> Callable[[str], Tokens]:
    def encode(text: str) -> Tokens:
        matches = list(re.finditer(r"\S+", text))
        ids = [zlib.crc32(match.group().encode("utf-8", "surrogatepass")) % vocabulary_size for match in matches]
        spans = np.array([match.span() for match in matches], dtype=np.int32).reshape(-1, 2)
        return Tokens(np.array(ids, dtype=np.int32), spans[:, 0].copy(), spans[:, 1].copy())

    return encode
