"""Whether characters are words at all: a font that maps its glyphs to the wrong letters gives text without meaning.

Only said of scripts with letters as in English, and only of enough of them: everything else passes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise

LEAST_PAIRS = 150
"""Pairs of letters from which on they alone are judged by."""
SAMPLE = 1_200
"""Characters of a text that are looked at."""
FEW_PAIRS = 12
"""Pairs of letters from which on they are judged by together with signs within words."""
LEAST_SHARE = 0.45
"""The share of common pairs below which letters are no words: European languages have 0.7 to 0.9, Welsh 0.5."""
SIGNS_WITHIN = 0.25
"""The share of words with a sign between letters from which on they are suspect."""
_SIGN_WITHIN = re.compile(r"[^\W\d_][!#$%&*()<>?@\\^{|}~\[\]=+]+[^\W\d_]")
_RUNS = re.compile(r"[a-z]{3,}")
# Pairs that are common in at least one of English, German, French, Spanish, Italian, Portuguese, Dutch, the Nordic
# languages, Polish, Czech, Finnish, Hungarian, Turkish.
_PAIRS = (
    "aa ab ac ad ag ai ak al am an ap ar as at au av az be bi br by ca ce ch ci ck cl co ct cz da de di do ds du ea "
    "ed ee eg ei ek el em en ep er es et ev ez fo fr ge gh gi go gr ha he hi ho ia ic id ie if ig ij ik il im in io "
    "ir is it iv je ka ke ki ko ku la ld le li ll lo lt lu ly ma me mi mo mp na nc nd ne ng ni nn no ns nt ny oc od "
    "of og oi ok ol om on op or os ot ou ov ow pa pe pl po pr qu ra rd re ri rk rl rm rn ro rs rt ru ry rz sa sc se "
    "sh si sk so sp ss st su sz ta te th ti to tr ts tt tu ty ub uc ue ui ul um un ur us ut va ve vi vo wa we wh wi "
    "wo ym ys za ze zi zy "
)
_COMMON = frozenset(_PAIRS.split())


SURE_PAIRS, SURE_SHARE = 8, 0.62
"""Pairs of letters, and the share of common ones, from which on guessed letters are words beyond doubt."""


def surely_words(text: str) -> bool:
    """Whether letters that were guessed make words of a European language; too few of them are no proof."""
    pairs = _pairs(_runs(text[:SAMPLE]))
    words = [word for word in text[:SAMPLE].split() if len(word) > 2]
    signs = sum(_SIGN_WITHIN.search(word) is not None for word in words)
    common = sum(map(_COMMON.__contains__, pairs))
    return len(pairs) >= SURE_PAIRS and common >= SURE_SHARE * len(pairs) and signs < SIGNS_WITHIN * len(words)


def is_words(text: str) -> bool:
    """False where the letters of the text can't be words of a European language, and are no other script."""
    text = text[:SAMPLE]
    letters = sum(map(str.isalpha, text))
    runs = _runs(text)
    pairs = _pairs(runs)
    if len(pairs) < FEW_PAIRS or sum(map(len, runs)) < 0.3 * letters:
        return True
    if sum(map(_COMMON.__contains__, pairs)) >= LEAST_SHARE * len(pairs):
        return True
    words = [word for word in text.split() if len(word) > 2]
    signs = sum(_SIGN_WITHIN.search(word) is not None for word in words)
    return len(pairs) < LEAST_PAIRS and signs < SIGNS_WITHIN * len(words)


def _runs(text: str) -> list[str]:
    """The runs of letters, without accents and in small letters."""
    if not text.isascii():
        text = unicodedata.normalize("NFD", text).encode("ascii", "ignore").decode("ascii")
    return _RUNS.findall(text.lower())


def _pairs(runs: Iterable[str]) -> list[str]:
    return [first + second for run in runs for first, second in pairwise(run)]
