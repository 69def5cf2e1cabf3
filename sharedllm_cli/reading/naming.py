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


class NamedDocuments:
    """Finds the documents that a question names in a time that does not grow with their number."""

    def __init__(self, names: Sequence[str]) -> None:
        self._by_words: dict[tuple[str, ...], list[int]] = {}
        self._by_first: dict[str, list[tuple[int, str]]] = {}
        for place, name in enumerate(names):
            last = name.rpartition("/")[2]
            words, spelled = words_of(last), last.casefold()
            if len(words) > 1:
                self._by_words.setdefault(words, []).append(place)
            if parts := _PARTS.findall(spelled):
                self._by_first.setdefault(parts[0], []).append((place, spelled))
        self._most = max(map(len, self._by_words), default=0)

    def within(self, question: str) -> list[int]:
        """The places of the documents that a question names, by a file's whole name or its name without suffix.

        A name of a single word that could stand in any question counts with its suffix alone.
        """
        asked, told = question.casefold(), words_of(question)
        found = {
            place
            for start in range(len(told))
            for end in range(start + 2, min(len(told), start + self._most) + 1)
            for place in self._by_words.get(told[start:end], ())
        }
        for part in set(_PARTS.findall(asked)):
            found.update(place for place, name in self._by_first.get(part, ()) if _spelled(name, asked))
        return sorted(found)


def _spelled(name: str, asked: str) -> bool:
    """Whether a file's name stands in a question, whole."""
    start = asked.find(name)
    while start >= 0:
        before, after = asked[:start][-1:], asked[start + len(name) :][:1]
        if not (before.isalnum() or before in ("_", ".", "-")) and not (after.isalnum() or after in ("_", "-")):
            return True
        start = asked.find(name, start + 1)
    return False
