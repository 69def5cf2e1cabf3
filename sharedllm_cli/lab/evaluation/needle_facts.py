"""Facts to be planted: one sentence, the question that asks for it, and the value that answers. Knows no model.

Names and numbers are invented, and drawn such that they stand nowhere in the text they are planted in: neither the
model nor the rest of the document knows them. The question uses the sentence's own words: what is measured is
whether the sentence is found and read wherever it stands, not whether other words for it are understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sharedllm_cli.errors import DocumentError

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
