"""BM25 over the leaves of documents, as statistics that are stored once a document and joined for a question.

A stored index holds counts alone. Document frequencies and the average length are summed over all documents of a
question, so that scores of leaves of different documents compare. Knows no model and no file.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np

from sharedllm_cli.retrieval.terms import (
    DEFAULT_LANGUAGE,
    GENERAL_WORDS,
    IRREGULAR_FORMS,
    SHARED_BEGINNING,
    STOP_WORDS,
    asks_about_the_whole,
    detect_language,
    same_word,
    words,
)

K1 = 0.9
"""How soon further occurrences of a term in a leaf stop counting (BM25's k1)."""
B = 0.0
"""How much a leaf's length counts, from 0 (not at all) to 1 (fully) (BM25's b): leaves are equally long in tokens."""
SHARES_BEFORE = (0.5, 0.25)
"""A term counts in a leaf with this share of its weight one, two leaves earlier: a passage's subject is often named
in its heading or in the sentences before it (docs/log/ has the measurement)."""
SHARES_AFTER = (0.3, 0.15)
"""The same for one, two leaves later."""


class WiderCounts(Protocol):
    """How often terms occur in a larger set of documents, of which only the best are opened for a question."""

    @property
    def leaf_count(self) -> int:
        """Leaves of all its documents."""

    def frequency(self, forms: Mapping[str, str]) -> int:
        """In how many of these leaves a term occurs, given by its form in each language."""


@dataclass(frozen=True)
class LexicalIndex:
    """Which terms occur how often in which leaves of one document.

    `terms` is sorted. The postings of term t are `leaves[pointers[t]:pointers[t + 1]]` (int32, ascending) and as many
    `frequencies` (int32, at least 1). `lengths` [leaves] (int32) counts all terms of each leaf. `language` names the
    stemmer and stop words that made the terms. `wider`, which is not stored: the set of documents that it was opened of
    for a question, whose leaves say how rare a term is.
    """

    language: str
    terms: list[str]
    pointers: np.ndarray
    leaves: np.ndarray
    frequencies: np.ndarray
    lengths: np.ndarray
    wider: WiderCounts | None = field(default=None, compare=False, repr=False)

    @classmethod
    def build(cls, leaf_texts: Sequence[str], language: str | None = None) -> LexicalIndex:
        """The index of leaves given by their texts; `language` is detected where it isn't given."""
        text = "\n".join(leaf_texts)
        ends = np.cumsum([len(leaf) + 1 for leaf in leaf_texts], dtype=np.int64)
        return cls.from_text(text, ends, language)

    @classmethod
    def from_text(cls, text: str, leaf_ends: np.ndarray, language: str | None = None) -> LexicalIndex:
        """The index of leaves that follow each other in a text; `leaf_ends[i]` is where leaf i ends, in characters.

        A word belongs to the leaf in which it begins, whole even where it ends in the next one: leaves end between
        tokens, which need not be between words.
        """
        language = detect_language(text) if language is None else language
        leaf_count = len(leaf_ends)
        numbers: dict[str, int] = {}
        occurrences: list[int] = []
        positions: list[int] = []
        for word in words(text, language):
            for term in word.terms:
                occurrences.append(numbers.setdefault(term, len(numbers)))
                positions.append(word.start)
        if not leaf_count and occurrences:
            raise ValueError("a text with words needs leaves")
        leaves = np.searchsorted(leaf_ends, np.array(positions, dtype=np.int64), side="right").clip(max=leaf_count - 1)
        terms = sorted(numbers)
        places = np.empty(len(terms), dtype=np.int64)
        places[[numbers[term] for term in terms]] = np.arange(len(terms))
        keys = places[np.array(occurrences, dtype=np.int64)] * max(1, leaf_count) + leaves
        postings, frequencies = np.unique(keys, return_counts=True)
        return cls(
            language=language,
            terms=terms,
            pointers=np.searchsorted(postings, np.arange(len(terms) + 1) * max(1, leaf_count)),
            leaves=(postings % max(1, leaf_count)).astype(np.int32),
            frequencies=frequencies.astype(np.int32),
            lengths=np.bincount(leaves, minlength=leaf_count).astype(np.int32),
        )

    def to_arrays(self) -> tuple[list[str], dict[str, np.ndarray]]:
        """The sorted terms, and everything else as arrays; `from_arrays` gives back an equal index."""
        language = np.frombuffer(self.language.encode("ascii"), dtype=np.uint8)
        return self.terms, {
            "language": language,
            "pointers": self.pointers,
            "leaves": self.leaves,
            "frequencies": self.frequencies,
            "lengths": self.lengths,
        }

    @classmethod
    def from_arrays(cls, terms: Sequence[str], arrays: Mapping[str, np.ndarray]) -> LexicalIndex:
        """The index that `to_arrays` took apart (arrays may be memory-mapped)."""
        return cls(
            language=bytes(arrays["language"]).decode("ascii"),
            terms=list(terms),
            pointers=arrays["pointers"],
            leaves=arrays["leaves"],
            frequencies=arrays["frequencies"],
            lengths=arrays["lengths"],
        )

    def postings(self, term: str) -> tuple[np.ndarray, np.ndarray]:
        """The leaves in which a term occurs, and how often in each; both empty where it doesn't occur."""
        place = bisect_left(self.terms, term)
        if place == len(self.terms) or self.terms[place] != term:
            return self.leaves[:0], self.frequencies[:0]
        span = slice(int(self.pointers[place]), int(self.pointers[place + 1]))
        return self.leaves[span], self.frequencies[span]

    def holds_another_form(self, term: str) -> bool:
        """Whether a term occurs that looks like another form of this one (`retrieval/terms.py: same_word`)."""
        beginning = term[:SHARED_BEGINNING]
        if len(beginning) < SHARED_BEGINNING:
            return False
        for place in range(bisect_left(self.terms, beginning), len(self.terms)):
            other = self.terms[place]
            if not other.startswith(beginning):
                return False
            if same_word(term, other):
                return True
        return False


@dataclass(frozen=True)
class LexicalScores:
    """What a lexical search found.

    `values` holds one float64 array [leaves] for each index asked. `terms` are the question's content words as typed,
    `matched` those of them that occur in some document, `other_forms` the other ones of which some document holds
    another form (never of a name: Johnston is no form of Johnson). All are empty for a question about the whole
    (`summarise this document`): its few words tell no place, and evidence is better spread (`evidence.select`).
    """

    values: list[np.ndarray]
    terms: list[str]
    matched: set[str]
    other_forms: set[str] = field(default_factory=set)


def scores(
    question: str,
    indexes: Sequence[LexicalIndex],
    *,
    k1: float = K1,
    b: float = B,
    before: Sequence[float] = SHARES_BEFORE,
    after: Sequence[float] = SHARES_AFTER,
) -> LexicalScores:
    """How well each leaf of each document fits a question.

    A leaf's score is the sum over the question's terms of the largest of: the term's BM25 weight in the leaf, and a
    share of its weight in a leaf shortly before or after. With no shares it is BM25 as Lucene computes it (8.0 and
    later, without the constant factor k1 + 1), idf · tf / (tf + k1 · (1 − b + b · length / average length)) with
    idf = ln(1 + (N − df + 0.5) / (df + 0.5)), where N, df and the average length are taken over all indexes together.
    """
    typed = _question_words(question, {index.language for index in indexes})
    terms = _distinct_terms(typed)
    # All leaves are one array: a pass over each document by itself would cost thousands of small ones seconds.
    sizes = [len(index.lengths) for index in indexes]
    first_leaves = np.cumsum([0, *sizes])
    owners = np.repeat(np.arange(len(indexes)), sizes)
    lengths = np.concatenate([np.zeros(0, dtype=np.int32), *(index.lengths for index in indexes)])
    average_length = int(lengths.sum(dtype=np.int64)) / max(1, len(lengths)) or 1.0
    norms = k1 * (1 - b + b * lengths / average_length)
    value = np.zeros(len(lengths))
    found: set[str] = set()
    for term in terms:
        leaves, counts = _joined_postings(indexes, first_leaves, term)
        if not len(leaves):
            continue
        found.update(term.values())
        idf = _idf(*_counted(indexes, term, len(lengths), len(leaves)))
        _add_term(value, owners, leaves, idf * counts / (counts + norms[leaves]), before, after)
    values = [value[first:end] for first, end in pairwise(first_leaves.tolist())]
    matched = {surface for surface, slots in typed if any(found.intersection(slot.values()) for slot in slots)}
    surfaces = list(dict.fromkeys(surface for surface, _ in typed))
    if asks_about_the_whole(question, surfaces, matched):
        return LexicalScores(values, [], set())
    other_forms = {
        surface
        for surface, slots in typed
        if surface not in matched
        and surface.islower()
        and (_holds_irregular_form(surface, indexes) or all(_holds_another_form(indexes, slot) for slot in slots))
    }
    return LexicalScores(values, surfaces, matched, other_forms)


def weighed_terms(
    question: str,
    indexes: Sequence[LexicalIndex],
    light: Mapping[str, float] | None = None,
    *,
    unweighed: Collection[str] = GENERAL_WORDS,
) -> list[tuple[Slot, float]]:
    """The terms of a question, each with its idf over the leaves of all indexes; those that no leaf holds weigh most.

    Each is given by its form in the languages of the indexes. `unweighed` words (in lower case; by default those that
    speak of the document itself) don't count beside others; `light` ones by a factor.
    """
    leaf_count = sum(len(index.lengths) for index in indexes)
    typed = _question_words(question, {index.language for index in indexes})
    every = [(surface.lower(), slots) for surface, slots in typed]
    told = [(surface, slots) for surface, slots in every if surface not in unweighed]
    if all(surface in (light or {}) for surface, _ in told):
        told = every  # `is a report required?` asks for the report
    terms = _distinct_terms(told)
    factors: dict[str, float] = {}
    for surface, slots in told:
        for form in (form for slot in slots for form in slot.values()):
            factors[form] = max(factors.get(form, 0.0), (light or {}).get(surface, 1.0))
    counts = [sum(len(index.postings(term.get(index.language, ""))[0]) for index in indexes) for term in terms]
    weights = [
        _idf(*_counted(indexes, term, leaf_count, count)) * max(map(factors.__getitem__, term.values()))
        for term, count in zip(terms, counts, strict=True)
    ]
    return list(zip(terms, weights, strict=True))


def _counted(indexes: Sequence[LexicalIndex], term: Slot, leaf_count: int, frequency: int) -> tuple[int, int]:
    """All leaves and those with a term: of the documents asked, and of the larger sets that some were opened of.

    A set counts once, and its opened documents are among its own. Counts of documents that changed since may differ.
    """
    sets = {id(index.wider): index.wider for index in indexes if index.wider is not None}
    if not sets:
        return leaf_count, frequency
    alone = [index for index in indexes if index.wider is None]
    leaves = sum(len(index.lengths) for index in alone) + sum(wider.leaf_count for wider in sets.values())
    beside = sum(len(index.postings(term.get(index.language, ""))[0]) for index in alone)
    holding = beside + sum(wider.frequency(term) for wider in sets.values())
    return max(leaves, leaf_count), min(max(holding, frequency), max(leaves, leaf_count))


def _idf(leaf_count: int, frequency: int) -> float:
    return float(np.log1p((leaf_count - frequency + 0.5) / (frequency + 0.5)))


def _joined_postings(
    indexes: Sequence[LexicalIndex], first_leaves: np.ndarray, term: Slot
) -> tuple[np.ndarray, np.ndarray]:
    """The leaves in which a term occurs, numbered through all indexes, ascending, and how often in each."""
    every_leaf, every_count = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for place, index in enumerate(indexes):
        leaves, counts = index.postings(term.get(index.language, ""))
        if len(leaves):
            every_leaf.append(leaves + first_leaves[place])
            every_count.append(counts)
    return np.concatenate(every_leaf), np.concatenate(every_count)


def _holds_another_form(indexes: Sequence[LexicalIndex], slot: Slot) -> bool:
    return any(index.holds_another_form(slot[index.language]) for index in indexes if index.language in slot)


def _holds_irregular_form(surface: str, indexes: Sequence[LexicalIndex]) -> bool:
    """Whether an English document holds another form of an irregular word (`came` for `come`)."""
    forms = IRREGULAR_FORMS.get(surface, frozenset())
    terms = {term for form in sorted(forms) for word in words(form, DEFAULT_LANGUAGE) for term in word.terms}
    english = [index for index in indexes if index.language == DEFAULT_LANGUAGE]
    return any(len(index.postings(term)[0]) for term in terms for index in english)


def _add_term(
    value: np.ndarray,
    owners: np.ndarray,
    leaves: np.ndarray,
    weights: np.ndarray,
    before: Sequence[float],
    after: Sequence[float],
) -> None:
    """Adds one term's weights, given at the `leaves` where it occurs, to the scores [leaves] of all documents.

    `owners` [leaves] are the leaves' documents: a neighbour in another one is none.
    """
    weight = np.zeros(len(value))
    weight[leaves] = weights
    shares = [(distance + 1, share) for distance, share in enumerate(before)]
    shares += [(-distance - 1, share) for distance, share in enumerate(after)]
    touched = leaves
    for distance, share in shares:
        inside = (leaves + distance >= 0) & (leaves + distance < len(value))
        inside[inside] = owners[leaves[inside] + distance] == owners[leaves[inside]]
        near = leaves[inside] + distance
        weight[near] = np.maximum(weight[near], share * weights[inside])
        touched = np.union1d(touched, near)
    value[touched] += weight[touched]


Slot = Mapping[str, str]
"""One term of a question: the form that it has in each language of the documents."""


def question_terms(question: str, languages: set[str]) -> list[Slot]:
    """The terms that `scores` looks for in documents of these languages, each once."""
    return _distinct_terms(_question_words(question, languages))


def _question_words(question: str, languages: set[str]) -> list[tuple[str, list[Slot]]]:
    """The question's content words as typed, each with its terms.

    Stop words of the question's own language go too, be it English or one of the documents': an English question about
    a German text must not look for `the`.
    """
    candidates = {language: STOP_WORDS[language] for language in languages | {DEFAULT_LANGUAGE}}
    stop_words = STOP_WORDS[detect_language(question, candidates)]
    slots: dict[tuple[int, str], list[dict[str, str]]] = {}
    for language in sorted(languages):
        for word in words(question, language):
            if word.surface.lower() in stop_words:
                continue
            forms = slots.setdefault((word.start, word.surface.rstrip("(")), [])
            for place, term in enumerate(word.terms):
                if place == len(forms):
                    forms.append({})
                forms[place][language] = term
    return [(surface, list(forms)) for (_, surface), forms in sorted(slots.items()) if forms]


def _distinct_terms(typed: Sequence[tuple[str, Sequence[Slot]]]) -> list[Slot]:
    """Each term once: a word that a question repeats weighs no more."""
    return list({tuple(sorted(slot.items())): slot for _, slots in typed for slot in slots}.values())
