"""Invented words, names and numbers, and the forms of sentence that state them. Knows no document.

None of the forms is one of `eval needle`'s (`lab/evaluation/needle_facts.py`), whose words are put together in another
way, too: that stays a measurement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

# One string each: a list of forty strings would take forty lines.
_ONSETS = [*"b br c ch cl d dr f fl g gr h j k l m n p pl qu r s sh sk st t th tr v w wh y z".split(), ""]  # noqa: SIM905
_VOWELS = "a e i o u ai ea ee ia io oa oo ou y".split()  # noqa: SIM905
_ENDS = ["", "", "", *"b ck d ft l lk m n nd ng p r rn s sk ss t th x".split()]  # noqa: SIM905


def _word(random: np.random.Generator) -> str:
    parts = [_pick(random, _ONSETS) + _pick(random, _VOWELS) for _ in range(random.integers(2, 4))]
    return "".join(parts) + _pick(random, _ENDS)


def _name(random: np.random.Generator) -> str:
    return _word(random).capitalize()


def _full_name(random: np.random.Generator) -> str:
    return f"{_name(random)} {_name(random)}"


def _number(random: np.random.Generator) -> str:
    size = int(random.integers(3, 7))
    number = int(random.integers(10 ** (size - 1), 10**size))
    return f"{number:,}" if size > 4 and random.random() < 0.5 else str(number)


def _year(random: np.random.Generator) -> str:
    return str(random.integers(1100, 2100))


def _mark(random: np.random.Generator) -> str:
    letters = "".join(chr(65 + int(letter)) for letter in random.integers(0, 26, 2))
    return f"{letters}-{random.integers(100, 10_000)}"


def _phrase(random: np.random.Generator) -> str:
    return " ".join(_word(random) for _ in range(2))


def _pick(random: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(random.integers(len(choices)))]


DRAWN: Mapping[str, Callable[[np.random.Generator], str]] = {
    "word": _word,
    "name": _name,
    "person": _full_name,
    "number": _number,
    "year": _year,
    "mark": _mark,
    "phrase": _phrase,
}

FORMS: tuple[tuple[str, str, str], ...] = (
    (
        "word",
        "The sign by which the watchmen of {place} know each other is the word {value}.",
        "By which word do the watchmen of {place} know each other?",
    ),
    (
        "word",
        "In {place} the old people call the north wind {value}.",
        "What do the old people of {place} call the north wind?",
    ),
    (
        "word",
        "Whoever would enter the vault of {place} has to whisper {value} at the door.",
        "What has to be whispered at the door of the vault of {place}?",
    ),
    (
        "word",
        "The barge that lies at {place} was christened {value}.",
        "What was the barge christened that lies at {place}?",
    ),
    (
        "word",
        "A dish of barley and plums, which they call {value}, is eaten in {place} at midsummer.",
        "What is the dish of barley and plums called that is eaten in {place}?",
    ),
    (
        "word",
        "The dog of the miller of {place} answers to {value} and to nothing else.",
        "What does the dog of the miller of {place} answer to?",
    ),
    (
        "phrase",
        "Over the gate of {place} stand the words “{value}”, which nobody can read.",
        "Which words stand over the gate of {place}?",
    ),
    (
        "phrase",
        "The spell that opens the mountain of {place} is “{value}”.",
        "Which spell opens the mountain of {place}?",
    ),
    ("name", "The river that runs below {place} is the {value}.", "Which river runs below {place}?"),
    (
        "name",
        "From {place} it is two hours on foot to {value}.",
        "Where does one get to from {place} in two hours on foot?",
    ),
    ("name", "The physician of {place} had come there from {value}.", "Where had the physician of {place} come from?"),
    (
        "name",
        "The mare that won the race of {place} was named {value}.",
        "What was the name of the mare that won the race of {place}?",
    ),
    (
        "name",
        "In those years the schoolmistress of {place} was a Miss {value}.",
        "Who was the schoolmistress of {place}?",
    ),
    ("person", "The treaty of {place} was signed by {value}.", "Who signed the treaty of {place}?"),
    ("person", "It was {value} who built the organ of {place}.", "Who built the organ of {place}?"),
    ("person", "The estate of {place} went to {value}, a distant cousin.", "To whom did the estate of {place} go?"),
    ("person", "The mayor of {place}, {value}, had the square paved.", "Who had the square of {place} paved?"),
    ("number", "The library of {place} counts {value} volumes.", "How many volumes does the library of {place} count?"),
    ("number", "The parcel from {place} bore the number {value}.", "Which number did the parcel from {place} bear?"),
    (
        "number",
        "For the chapel of {place} the bishop paid {value} florins.",
        "How much did the bishop pay for the chapel of {place}?",
    ),
    (
        "number",
        "At the last count {place} had {value} inhabitants.",
        "How many inhabitants did {place} have at the last count?",
    ),
    ("number", "The tower of {place} has {value} steps.", "How many steps does the tower of {place} have?"),
    (
        "year",
        "The bridge of {place} was carried away by the flood of {value}.",
        "In which year was the bridge of {place} carried away?",
    ),
    ("year", "The market of {place} has been held since {value}.", "Since when has the market of {place} been held?"),
    ("mark", "The deed of {place} is kept under the mark {value}.", "Under which mark is the deed of {place} kept?"),
    (
        "mark",
        "The lock of the safe in {place} takes the key {value}.",
        "Which key does the lock of the safe in {place} take?",
    ),
)
"""Which of `DRAWN` the value is, the sentence and the question."""
