"""Numbers of single answers, and what they say together: means, intervals, paired differences. Knows no model.

F1 and exact match are SQuAD's (Rajpurkar et al., 2016): lower case, no punctuation, no articles, the best over the
accepted answers. ROUGE-L is the F-measure of the longest common subsequence (Lin, 2004), by the library rouge-score
with Porter's stemmer, the best over the accepted answers. Intervals are 95 % percentile bootstraps over questions.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT

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


DRAWS = 10_000
_BLOCK = 2_000_000
"""So many numbers are drawn at once."""

__all__ = ["Estimate", "difference", "estimate", "exact_match", "f1", "normalised", "proportion", "refused", "rouge_l"]


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` questions and its 95 % interval."""

    n: int
    mean: float
    low: float
    high: float


def refused(answer: str) -> bool:
    """Whether the answer is the fixed sentence of a document that does not say."""
    return normalised(answer).startswith(normalised(NOT_IN_DOCUMENT))


def exact_match(answer: str, gold: Sequence[str]) -> float:
    """SQuAD's exact match: 1 where the answer, in normal form, is one of the accepted ones."""
    return float(normalised(answer) in map(normalised, gold))


def rouge_l(answer: str, gold: Sequence[str]) -> float | None:
    """ROUGE-L, the best over the accepted answers; None where the library is not installed (the extra `eval`)."""
    measure = _rouge()
    return None if measure is None else max(measure(one, answer) for one in gold)


@cache
def _rouge() -> Callable[[str, str], float] | None:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        return None
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    return lambda gold, answer: float(scorer.score(gold, answer)["rougeL"].fmeasure)


def estimate(values: Sequence[float], weights: Sequence[float] | None = None, *, seed: int = 0) -> Estimate | None:
    """The weighted mean of a value for each question, and its interval; None where there is no question.

    With `weights` (tokens, say) the mean is the sum of value · weight over the sum of weights, redrawn together.
    """
    if not len(values):
        return None
    sums, given = _weighted(values, weights)
    low, high = _percentiles([(sums, given)], seed)
    return Estimate(len(sums), float(sums.sum() / given.sum()), low, high)


def proportion(values: Sequence[bool]) -> Estimate | None:
    """The share of values that hold, and Wilson's 95 % interval (1927); None where there is no value.

    Unlike a bootstrap it is not empty where few values are all alike.
    """
    count = len(values)
    if not count:
        return None
    share, z = sum(values) / count, NormalDist().inv_cdf(0.975)
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return Estimate(count, share, max(0.0, middle - reach), min(1.0, middle + reach))


def difference(
    values: Sequence[float], others: Sequence[float], weights: Sequence[float] | None = None, *, seed: int = 0
) -> Estimate | None:
    """The mean of `values` less that of `others` over the same questions in the same order, redrawn in pairs."""
    if not len(values):
        return None
    pair = [_weighted(values, weights), _weighted(others, weights)]
    mean = pair[0][0].sum() / pair[0][1].sum() - pair[1][0].sum() / pair[1][1].sum()
    low, high = _percentiles(pair, seed)
    return Estimate(len(values), float(mean), low, high)


def _weighted(values: Sequence[float], weights: Sequence[float] | None) -> tuple[np.ndarray, np.ndarray]:
    given = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    return np.asarray(values, dtype=np.float64) * given, given


def _percentiles(samples: Sequence[tuple[np.ndarray, np.ndarray]], seed: int) -> tuple[float, float]:
    """The 2.5 and 97.5 percentiles of the first weighted mean (less the second) over redrawn questions."""
    count = len(samples[0][0])
    random = np.random.default_rng(seed)
    found = np.empty(0)
    while len(found) < DRAWS:
        block = min(DRAWS - len(found), max(1, _BLOCK // count))
        places = random.integers(count, size=(block, count))
        means = [sums[places].sum(axis=1) / weights[places].sum(axis=1) for sums, weights in samples]
        found = np.concatenate([found, means[0] if len(means) == 1 else means[0] - means[1]])
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)
