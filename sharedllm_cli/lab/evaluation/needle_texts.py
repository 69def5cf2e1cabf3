"""What `eval needle` asks: invented facts, and the texts that they are planted in. Knows no model.

Names and numbers are drawn such that they stand nowhere in the text they are planted in: neither the model nor the rest
of the document knows them. The question uses the sentence's own words: what is measured is whether the sentence is
found and read wherever it stands, not whether other words for it are understood. The text is tokenized once, to know
where stretches of a length begin and end; both are ends of sentences.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sharedllm_cli.documents.chunking import tokenize
from sharedllm_cli.errors import DocumentError
from sharedllm_cli.lab.evaluation.perplexity_stretches import read_texts
from sharedllm_cli.lab.training.records import DataFile
from sharedllm_cli.progress import Reporter
from sharedllm_cli.retrieval.boundaries import TokenText

_ATTEMPTS = 1000
_LONGEST_WORD = 8
"""Letters of the longest invented word, and the space before it."""
_ONSETS, _VOWELS, _ENDS = "bdfgklmnprstvz", "aeiou", ("", "", "n", "r", "l", "s")


@dataclass(frozen=True)
class Fact:
    """`sentence` says that `value` is the answer to `question`; `kind` is what the fact is about."""

    kind: str
    sentence: str
    question: str
    value: str

    def answered_by(self, answer: str) -> bool:
        """Whether the value stands in an answer as whole words, whatever case and white space."""
        pattern = r"\s+".join(map(re.escape, self.value.split()))
        return re.search(rf"(?<!\w){pattern}(?!\w)", answer, re.IGNORECASE) is not None

    def stands_in(self, text: str) -> bool:
        """Whether the whole sentence stands in a text, whatever white space."""
        return " ".join(self.sentence.split()) in " ".join(text.split())


def _number(random: np.random.Generator) -> str:
    return str(random.integers(10_000, 100_000))


def _word(random: np.random.Generator) -> str:
    syllables = [_ONSETS[random.integers(len(_ONSETS))] + _VOWELS[random.integers(len(_VOWELS))] for _ in range(3)]
    return "".join(syllables) + _ENDS[random.integers(len(_ENDS))]


def _name(random: np.random.Generator) -> str:
    return _word(random).capitalize()


@dataclass(frozen=True)
class _Form:
    kind: str
    sentence: str
    question: str
    value: Callable[[np.random.Generator], str]


_FORMS = (
    _Form(
        "code",
        "The access code of the lighthouse at {place} is {value}.",
        "What is the access code of the lighthouse at {place}?",
        _number,
    ),
    _Form(
        "keeper",
        "The keeper of the inn at {place} is called {value}.",
        "What is the keeper of the inn at {place} called?",
        _name,
    ),
    _Form(
        "weight",
        "The great bell of {place} weighs exactly {value} pounds.",
        "How many pounds does the great bell of {place} weigh?",
        _number,
    ),
    _Form(
        "password",
        "The password of the guild at {place} is {value}.",
        "What is the password of the guild at {place}?",
        _word,
    ),
    _Form(
        "captain",
        "The captain of the ferry at {place} is called {value}.",
        "What is the captain of the ferry at {place} called?",
        _name,
    ),
)
KINDS = tuple(form.kind for form in _FORMS)


def most_tokens(kind: str, count: Callable[[str], int]) -> int:
    """So many tokens a sentence of a kind takes at most, whichever fact is drawn; `count` counts those of a text."""
    bare = _FORMS[KINDS.index(kind)].sentence.format(place="", value="")
    return count(bare) + 2 * _LONGEST_WORD


def draw_fact(random: np.random.Generator, kind: str, text: str) -> Fact:
    """A fact of a kind whose place and value stand nowhere in `text`, which is in lower case.

    Raises DocumentError where none is found: the text is no text, but a list of syllables and numbers.
    """
    form = _FORMS[KINDS.index(kind)]
    place = _unheard(random, _name, text)
    value = _unheard(random, form.value, text + place.lower())
    sentence, question = (words.format(place=place, value=value) for words in (form.sentence, form.question))
    return Fact(kind, sentence, question, value)


def _unheard(random: np.random.Generator, draw: Callable[[np.random.Generator], str], text: str) -> str:
    for _ in range(_ATTEMPTS):
        if (word := draw(random)).lower() not in text:
            return word
    raise DocumentError("the text holds every number and name that a planted fact could have")


_GAP = "\n\n"
_REACH = 1024
"""Tokens around a place in which the end of a sentence is looked for."""


def read_text(files: Sequence[Path], *, reporter: Reporter) -> str:
    """The documents of all files, one after the other. Raises DocumentError for a file that can't be read."""
    found = read_texts(tuple(map(DataFile, files)), last=None, skip_bad_lines=False, reporter=reporter)
    return _GAP.join(text.strip() for _, text in found)


@dataclass(frozen=True)
class Stretch:
    """Tokens `[first, end)` of the haystack, both at the end of a sentence where there is one nearby."""

    first: int
    end: int


@dataclass(frozen=True)
class Planted:
    """A document with its planted sentence. `depth`: percent of its tokens that stand before the sentence."""

    text: str
    depth: float


class Haystack:
    """A text and its tokens."""

    def __init__(self, text: str, tokenizer: Any) -> None:
        tokens = tokenize(text, tokenizer)
        self._text = TokenText(text, tokens.starts, tokens.ends, np.zeros((0, 2), dtype=np.int64))

    def __len__(self) -> int:
        """Tokens of the whole text."""
        return len(self._text)

    def stretch(self, tokens: int, random: np.random.Generator) -> Stretch:
        """A stretch of at most `tokens` tokens, drawn from all; ValueError where the text has fewer."""
        if tokens > len(self):
            raise ValueError(f"a stretch of {tokens} tokens in a text of {len(self)}")
        drawn = int(random.integers(len(self) - tokens + 1))
        first = self._border(range(drawn, max(drawn - _REACH, -1), -1))
        last = first + tokens
        return Stretch(first, self._border(range(last, max(last - _REACH, first), -1)))

    def text(self, stretch: Stretch) -> str:
        """A stretch's own words."""
        return self._between(stretch.first, stretch.end).strip()

    def plant(self, stretch: Stretch, sentence: str, depth: float) -> Planted:
        """A stretch with a sentence put in where `depth` percent of its tokens stand before, between two sentences."""
        first, end = stretch.first, stretch.end
        target = first + round((end - first) * depth / 100)
        near = sorted(
            range(max(first, target - _REACH), min(end, target + _REACH) + 1), key=lambda at: abs(at - target)
        )
        place = target if target in (first, end) else self._border(near)
        before, after = self._between(first, place), self._between(place, end)
        gap = before[len(before.rstrip()) :] + after[: len(after) - len(after.lstrip())]
        parts = [part for part in (before.strip(), sentence, after.strip()) if part]
        return Planted((gap if gap.strip(" ") else " ").join(parts), 100 * (place - first) / (end - first))

    def _border(self, candidates: Sequence[int]) -> int:
        """The first candidate at which a sentence begins, else a line, else a word, else the first of all."""
        place = self._text.best(candidates)
        return candidates[0] if place is None else place

    def _between(self, first: int, end: int) -> str:
        return self._text.text[self._character(first) : self._character(end)]

    def _character(self, token: int) -> int:
        return int(self._text.starts[token]) if token < len(self) else len(self._text.text)
