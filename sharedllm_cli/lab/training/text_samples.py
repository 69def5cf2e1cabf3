"""Samples made of documents alone, without questions: reciting them, and going on with them.

`recite` gives a few words of a document and asks for the next ones, which stand in its tree alone: the densest signal
for learning to read. `lm` is the paper's language modelling (METHOD section 5): the past is a tree searched by the
policy `right`, the text that follows is plain, and every token of it is learned. Like all samples they are made from
seed and number alone. Knows no model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from sharedllm_cli.errors import DocumentError
from sharedllm_cli.lab.training.corpus import Documents, LocatedDocument
from sharedllm_cli.lab.training.question_samples import Mixture, QuestionSamples
from sharedllm_cli.lab.training.sample import Sample, branched
from sharedllm_cli.lab.training.sampled_trees import TreePlan, plan

_ATTEMPTS = 50
_KIND = 1 << 20
"""Stands where samples count their attempts, so that the kind of a sample is drawn apart from all else of it."""
TEXT_TARGETS = 48


@dataclass(frozen=True)
class Lengths:
    """Tokens of a sample's parts."""

    cue: int = 12
    recited: int = 24
    recitations: int = 6
    """Places of a document that are recited in one sample, in different chunks, as far as it has them."""
    least_text: int = 512
    most_text: int = 512
    """Plain tokens that follow the tree in `lm`, drawn evenly between these."""


class _TextSamples(ABC):
    """What both kinds share: a document by seed and number."""

    def __init__(self, documents: Documents, *, seed: int, mixture: Mixture, lengths: Lengths) -> None:
        self._documents = documents
        self._seed = seed
        self._mixture = mixture
        self._lengths = lengths

    def __getitem__(self, number: int) -> Sample:
        for attempt in range(_ATTEMPTS):
            random = np.random.default_rng([self._seed, number, attempt])
            file, document = self._documents.draw(random)
            sample = self._sample(file, document, random)
            if sample is not None:
                return sample
        raise DocumentError("no sample can be made of the data: its documents are too short")

    @abstractmethod
    def _sample(self, file: int, document: LocatedDocument, random: np.random.Generator) -> Sample | None:
        """A sample of this document, None where it is too short for one."""

    def _wanted(self, random: np.random.Generator) -> int:
        """Tokens of a tree, drawn evenly by magnitude."""
        low, high = np.log(self._mixture.least_tree), np.log(self._mixture.most_tree)
        return int(np.exp(random.uniform(low, high)))


class ReciteSamples(_TextSamples):
    """Samples of the objective `recite`."""

    def _sample(self, file: int, document: LocatedDocument, random: np.random.Generator) -> Sample | None:
        lengths = self._lengths
        documents = [document]
        wanted = self._wanted(random)
        for _ in range(_ATTEMPTS):
            if sum(one.leaves.token_count for one in documents) >= wanted:
                break
            _, other = self._documents.draw(random, file)
            if other not in documents:
                documents.append(other)
        values = [random.normal(size=one.leaves.leaf_count) for one in documents]
        long_enough = lengths.cue + lengths.recited
        cues: list[list[int]] = []
        answers: list[list[int]] = []
        chunks = [(place, chunk) for place, one in enumerate(documents) for chunk in range(len(one.leaves.trees))]
        for turn in random.permutation(len(chunks)).tolist():
            place, chunk = chunks[turn]
            leaves = documents[place].leaves
            first_leaf = sum(tree.leaf_count for tree in leaves.trees[:chunk])
            leaf = first_leaf + int(random.integers(leaves.trees[chunk].leaf_count))
            start, end = leaves.leaf_span(leaf)
            if end - start < long_enough:
                continue
            start += int(random.integers(end - start - long_enough + 1))
            ids = leaves.tokens.ids[start : start + long_enough].tolist()
            cues.append(ids[: lengths.cue])
            answers.append(ids[lengths.cue :])
            values[place][leaf] = 100.0  # the search goes where the words stand, as a good policy would
            if len(cues) == lengths.recitations:
                break
        if not cues:
            return None
        return replace(branched(cues, answers), tree=plan(documents, values))


class ContinueSamples(_TextSamples):
    """Samples of the objective `lm`: the chunks before a place in a document, and the plain text after it."""

    def _sample(self, file: int, document: LocatedDocument, random: np.random.Generator) -> Sample | None:
        leaves = document.leaves
        starts = [*leaves.chunk_starts, leaves.token_count]
        # A chunk's number at which the plain text begins: some past before it, and enough text after.
        least = max(1, min(len(starts) - 2, self._mixture.least_tree // leaves.trees[0].length))
        length = int(random.integers(self._lengths.least_text, self._lengths.most_text + 1))
        places = [place for place in range(least, len(starts) - 1) if starts[place] + length < leaves.token_count]
        if not places:
            return None
        place = places[int(random.integers(len(places)))]
        wanted = self._wanted(random)
        first = next(chunk for chunk in range(place) if starts[place] - starts[chunk] <= wanted or chunk == place - 1)
        rising = np.arange(leaves.leaf_count, dtype=np.float64)  # `right`: what is nearest to the text is finest
        tree = plan([document], [rising])
        ids = leaves.tokens.ids[starts[place] : starts[place] + length + 1].tolist()
        return replace(branched([ids[:1]], [ids[1:]]), tree=only_chunks(tree, range(first, place)))


class MixedSamples:
    """Samples of questions with a share of texts among them: who learns to answer goes on knowing how a text goes on.

    The targets of such a text count together as much as `TEXT_TARGETS` of an answer's.
    """

    def __init__(self, questions: QuestionSamples, texts: ContinueSamples, *, share: float, seed: int) -> None:
        self._questions = questions
        self._texts = texts
        self._share = share
        self._seed = seed

    def __getitem__(self, number: int) -> Sample:
        drawn = np.random.default_rng([self._seed, number, _KIND]).random()
        if drawn >= self._share:
            return self._questions[number]
        found = self._texts[number]
        return replace(found, weight=TEXT_TARGETS / found.target_count)


def only_chunks(tree: TreePlan, chunks: range) -> TreePlan:
    """The plan with these chunks alone, which are then numbered from 0."""
    nodes = tuple(node for node in tree.nodes if node.chunk in chunks)
    return replace(tree, nodes=nodes, chunks=tuple(chunks))
