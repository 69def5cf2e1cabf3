"""How much of an accepted answer's words an answer has: SQuAD's F1 (Rajpurkar et al., 2016). Knows no model."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalised(text: str) -> str:
    """SQuAD's normal form: lower case, without punctuation, articles and extra white space."""
    plain = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def f1(answer: str, gold: Sequence[str]) -> float:
    """SQuAD's token F1, the best over the accepted answers."""
    return max(_f1(normalised(answer).split(), normalised(one).split()) for one in gold)


def _f1(answer: list[str], gold: list[str]) -> float:
    if not answer or not gold:
        return float(answer == gold)
    shared = sum((Counter(answer) & Counter(gold)).values())
    return 2 * shared / (len(answer) + len(gold))
