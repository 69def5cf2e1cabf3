"""Which documents a question names, by the names of their files: `letters.txt`, `the ledger`, `carrow 2005`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from sharedllm_cli.documents.sources import SUFFIXES
from sharedllm_cli.retrieval.terms import fold

_PARTS = re.compile(r"[^\W_]+")
_LEADING = re.compile(r"\A(?:the|this|my|our|file|document|report|called|named)\s+", re.IGNORECASE)


@lru_cache(maxsize=1 << 16)
def words_of(name: str) -> tuple[str, ...]:
    """A name as words, without a suffix that a document may have and without accents."""
    bare = name.strip().strip("\"“”„«»'‘’")
    stem, point, suffix = bare.rpartition(".")
    if stem and f"{point}{suffix}".lower() in SUFFIXES:
        bare = stem
    return tuple(_PARTS.findall(fold(bare.lower())))


def documents_named(text: str, names: Sequence[str]) -> list[int]:
    """The places of the documents that some words mean: those called so, else the one whose name holds all of them."""
    sought = words_of(text)
    shorter = words_of(_LEADING.sub("", text.strip()))
    known = [(words_of(name), words_of(name.replace("\\", "/").rpartition("/")[2])) for name in names]
    for wanted in dict.fromkeys((sought, shorter)):
        if wanted and (found := [place for place, forms in enumerate(known) if wanted in forms]):
            return found
    holding = [place for place, (whole, _) in enumerate(known) if shorter and set(shorter) <= set(whole)]
    return holding if len(holding) == 1 else []


def documents_in(question: str, names: Sequence[str]) -> list[int]:
    """The places of the documents that a question names somewhere, by a file's whole name or its name without suffix.

    A name of a single word that could stand in any question counts with its suffix alone.
    """
    asked = question.casefold()
    told = f" {' '.join(words_of(question))} "
    found = []
    for place, name in enumerate(names):
        last = name.rpartition("/")[2]
        words = words_of(last)
        if (len(words) > 1 and f" {' '.join(words)} " in told) or _spelled(last.casefold(), asked):
            found.append(place)
    return found


def _spelled(name: str, asked: str) -> bool:
    """Whether a file's name stands in a question, whole."""
    start = asked.find(name)
    while start >= 0:
        before, after = asked[:start][-1:], asked[start + len(name) :][:1]
        if not (before.isalnum() or before in ("_", ".", "-")) and not (after.isalnum() or after in ("_", "-")):
            return True
        start = asked.find(name, start + 1)
    return False
