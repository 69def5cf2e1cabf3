"""Questions that a document almost answers: a name or a number is asked for that its passages don't hold.

Knows words; no model and no document.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sharedllm_cli.retrieval.languages import STOP_WORDS

_NAME = re.compile(r"(?<=[a-z,'’”\"] )[A-Z][\w'’-]+(?: [A-Z][\w'’-]+)*")
"""A name inside a sentence: words with capitals that don't begin it."""
_NUMBER = re.compile(r"(?<![\w.,])(?:\d{1,3}(?:,\d{3})+|\d+)(?!\w)")


@dataclass(frozen=True)
class NearMiss:
    """A question with a name or a number in place of its own, and the words put in."""

    question: str
    put_in: str


def near_miss(question: str, others: Sequence[str], shown: str, random: np.random.Generator) -> NearMiss | None:
    """The question about something that `shown` does not hold: a name from `others`, or another number.

    `others` are questions and answers about other things. None where the question has neither name nor number, or none
    of the names fits.
    """
    places = [*_NAME.finditer(question), *_NUMBER.finditer(question)]
    if not places:
        return None
    place = places[int(random.integers(len(places)))]
    own, there = place.group(), _plain(shown)
    if own[0].isdigit():
        found = _other_number(own, random)
        fitting = [found] if found is not None else []
    else:
        known = sorted({name for text in others for name in _NAME.findall(text)})
        words = len(own.split())
        fitting = [name for name in known if len(name.split()) == words and name not in question and _is_name(name)]
    fitting = [name for name in fitting if not _holds(there, name)]
    if not fitting:
        return None
    chosen = fitting[int(random.integers(len(fitting)))]
    return NearMiss(question[: place.start()] + chosen + question[place.end() :], chosen)


def _other_number(own: str, random: np.random.Generator) -> str | None:
    """A number of the same size and form; None of one that can't be changed so that it is still sensible."""
    value = int(own.replace(",", ""))
    spread = max(3, value // 50)
    changed = value + int(random.integers(1, spread + 1)) * int(random.choice((-1, 1)))
    if changed <= 0 or changed == value:
        return None
    return f"{changed:,}" if "," in own else str(changed)


def _is_name(words: str) -> bool:
    return not STOP_WORDS["english"] & {word.lower() for word in words.split()[:1]}


def _holds(text: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(_plain(name))}(?!\w)", text) is not None


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
