"""Samples made of documents alone, without questions: their text is continued.

This is the paper's language modelling (`lm`, docs/method.md §5): the past is a tree searched by the policy `right`, the
text that follows is plain, and every token of it is learned. Like all samples they are made from seed and number alone.
Knows no model.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sharedllm_cli.errors import DocumentError
from sharedllm_cli.lab.training.corpus import Documents, LocatedDocument
from sharedllm_cli.lab.training.question_samples import Mixture, QuestionSamples
from sharedllm_cli.lab.training.sample import Sample, branched
from sharedllm_cli.lab.training.sampled_trees import TreePlan, plan

_ATTEMPTS = 50
_KIND = 1 << 20
"""In the place of a sample's number of attempts, so that the kind of a sample is drawn apart from all else of it."""
TEXT_TARGETS = 48


class ContinueSamples:
    """Samples of the objective `lm`: the chunks before a place in a document, and the plain text after it."""

    def __init__(self, documents: Documents, *, seed: int, mixture: Mixture) -> None:
        self._documents = documents
        self._seed = seed
        self._mixture = mixture

    def __getitem__(self, number: int) -> Sample:
        for attempt in range(_ATTEMPTS):
            random = np.random.default_rng([self._seed, number, attempt])
            _, document = self._documents.draw(random)
            sample = self._sample(document, random)
            if sample is not None:
                return sample
        raise DocumentError("no sample can be made of the data: its documents are too short")

    def _sample(self, document: LocatedDocument, random: np.random.Generator) -> Sample | None:
        """A sample of this document, None if it is too short for one."""
        leaves = document.leaves
        starts = [*leaves.chunk_starts, leaves.token_count]
        # A chunk's number at which the plain text begins: some past before it, and enough text after.
        least = max(1, min(len(starts) - 2, self._mixture.least_tree // leaves.trees[0].length))
        length = self._mixture.text_tokens
        places = [place for place in range(least, len(starts) - 1) if starts[place] + length < leaves.token_count]
        if not places:
            return None
        place = places[int(random.integers(len(places)))]
        low, high = np.log(self._mixture.least_tree), np.log(self._mixture.most_tree)
        wanted = int(np.exp(random.uniform(low, high)))  # tokens of the tree, drawn evenly by magnitude
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
