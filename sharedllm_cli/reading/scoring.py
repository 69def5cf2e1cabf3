"""How well each leaf and node of the opened documents fits a question.

The policies' numbers (retrieval/policies.py) are fed here: BM25 from the index, states and vectors from the lower
model, each computed only when the policy asks for it. Leaves and chunks are numbered through all documents.

How near leaves come in meaning is said by the sentence encoder's vectors, from the index or made here: one a leaf, kept
as a `states` part of one row a leaf, so that any release since then opens the index. Where no encoder was pulled there
is no `LeafMeaning`, and `hybrid` goes by words and states alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from sharedllm_cli.context.search import Score, leaf_scores
from sharedllm_cli.context.tree import ChunkTree, Node
from sharedllm_cli.documents.chunking import plain_ids
from sharedllm_cli.index.leaves import LeafStates, Leaves
from sharedllm_cli.index.manifest import StatesKey, fingerprint
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.model.sentence_encoder import PulledEncoder
from sharedllm_cli.progress import Reporter, Silent
from sharedllm_cli.reading.library import OpenDocument, leaves_inside, named_in
from sharedllm_cli.retrieval import bm25, policies
from sharedllm_cli.retrieval.bm25 import LexicalScores

if TYPE_CHECKING:
    from sharedllm_cli.index.nodes import CompressedSource
    from sharedllm_cli.model.loading import BaseModel
    from sharedllm_cli.model.lower import LowerModel
    from sharedllm_cli.retrieval.tables import Rows

_BATCH_TOKENS = 512
"""States are computed in batches whose activations stay in a processor's cache."""
_LARGEST_HALF = 65504.0


@dataclass(frozen=True)
class Scored:
    """Scores of a question: one array [leaves] a document, a score of nodes for the search, and what BM25 matched.

    `by_meaning`: the sentence encoder counted, so that leaves differ even where none holds a word of the question.
    """

    leaves: list[np.ndarray]
    nodes: Score
    lexical: LexicalScores
    by_meaning: bool = False


class QuestionLeaves:
    """The leaves of all documents as one `LeafSource` for one question; `rows` are those of their tables.

    Rows are scored under the heading of their table, by their words and by their states.
    """

    def __init__(
        self,
        question: str,
        question_ids: Sequence[int],
        leaves: Sequence[Leaves],
        lower: LowerModel,
        nodes: Callable[[], CompressedSource],
        stored_states: Sequence[LeafStates | None],
        meaning: Callable[[], np.ndarray | None] = lambda: None,
        rows: Sequence[Rows | None] = (),
    ) -> None:
        self._question = question
        self._rows = rows
        self._headings: Sequence[Mapping[int, tuple[int, int]]] = ()
        self._question_ids = question_ids
        self._documents = leaves
        self._lower = lower
        self._nodes = nodes
        self._stored_states = stored_states
        self._meaning = meaning
        self.by_meaning = False
        self._first = np.cumsum([0, *(document.leaf_count for document in leaves)])

    @property
    def leaf_count(self) -> int:
        return int(self._first[-1])

    @cached_property
    def matches(self) -> LexicalScores:
        """BM25 over all documents together, and which of the question's words they hold."""
        indexes = [document.lexical for document in self._documents]
        found = bm25.scores(self._question, indexes)
        if not any(self._rows):
            return found
        from sharedllm_cli.retrieval.tables import credited

        values, self._headings = credited(self._question, found, indexes, self._rows)
        return replace(found, values=values)

    def lexical(self) -> np.ndarray:
        """BM25 of every leaf."""
        return np.concatenate(self.matches.values)

    def late(self, leaves: np.ndarray) -> np.ndarray:
        """Late interaction of some leaves, from stored states where there are any, else through the lower model."""
        if not len(leaves) or not self._question_ids:
            return np.zeros(len(leaves))
        query: np.ndarray = self._lower.attended(torch.tensor([self._question_ids]))[0].float().cpu().numpy()
        # Leaves tile a document's tokens.
        lengths = np.concatenate([np.diff(document.leaf_spans, axis=1)[:, 0] for document in self._documents])
        ids = [document.tokens.ids for document in self._documents]
        weights = policies.joined_token_weights(np.array(self._question_ids), ids, lengths)
        states = self._states(leaves)
        # Leaf by leaf: all states of a long document stand in memory once, not twice.
        total = sum(one.sum(axis=0, dtype=np.float64) for one in states)
        centre = np.asarray(total / sum(len(one) for one in states), dtype=np.float32)
        return policies.late_interaction(query, states, centre, token_weights=weights)

    def node_cosines(self) -> np.ndarray:
        """The paper's cosine of every leaf."""
        nodes: list[Node] = []
        first_chunk = 0
        for document in self._documents:
            local = (document.leaf_node(leaf) for leaf in range(document.leaf_count))
            nodes += [node._replace(chunk=node.chunk + first_chunk) for node in local]
            first_chunk += len(document.trees)
        return self.cosine(nodes)

    def meaning(self) -> np.ndarray | None:
        """The cosine of every leaf's meaning with the question's; None where there is no encoder."""
        found = self._meaning()
        self.by_meaning = found is not None
        return found

    def cosine(self, nodes: Sequence[Node]) -> np.ndarray:
        """The paper's cosine of some nodes, their chunks numbered through all documents."""
        return policies.paper_cosine(self._vectors.node_vectors(nodes).cpu().numpy(), self._question_vector)

    @cached_property
    def _vectors(self) -> CompressedSource:
        return self._nodes()

    @cached_property
    def _question_vector(self) -> np.ndarray:
        """[hidden]; the search asks once a level."""
        vector: np.ndarray = self._lower.node_vectors(torch.tensor([self._question_ids]))[0].float().cpu().numpy()
        return vector

    def _states(self, leaves: np.ndarray) -> list[np.ndarray]:
        """States of some leaves in their order, [tokens of the leaf, hidden] each; half precision where stored so."""
        found: dict[int, np.ndarray] = {}
        missing: dict[int, np.ndarray] = {}
        for leaf in leaves.tolist():
            place, local = self._local(leaf)
            stored = self._stored_states[place]
            if self._headings and local in self._headings[place]:
                missing[leaf] = self._under_heading(place, local)
            elif stored is not None:
                found[leaf] = stored.leaf(local)
            else:
                start, end = self._documents[place].leaf_span(local)
                missing[leaf] = self._documents[place].tokens.ids[start:end]
        numbers = list(missing)
        for batch, states in _states_in_batches(self._lower, list(missing.values())):
            found.update(zip([numbers[one] for one in batch], states, strict=True))
        return [found[leaf] for leaf in leaves.tolist()]

    def _under_heading(self, place: int, leaf: int) -> np.ndarray:
        """The token ids of a leaf with rows, the heading of their columns before them where it is in another leaf."""
        tokens = self._documents[place].tokens
        start, end = self._documents[place].leaf_span(leaf)
        first, last = self._headings[place][leaf]
        head = slice(*np.searchsorted(tokens.starts, (first, last)).tolist())
        return np.concatenate([tokens.ids[head][: max(0, start - head.start)], tokens.ids[start:end]])

    def _local(self, leaf: int) -> tuple[int, int]:
        place = int(np.searchsorted(self._first, leaf, side="right")) - 1
        return place, leaf - int(self._first[place])

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """Values of all leaves, cut into one array a document."""
        return np.split(values, self._first[1:-1])


def score(
    source: QuestionLeaves,
    documents: Sequence[Leaves],
    policy_name: str,
    *,
    preferred: Sequence[np.ndarray] | None = None,
) -> Scored:
    """Score all leaves by a policy, and the nodes as that policy scores them (docs/method.md §2).

    `preferred[d]` [leaves] marks leaves of document d that come before all others.
    """
    policy = policies.policy(policy_name)
    found = policy.scores(source)
    if preferred is not None and len(found):
        found = found + np.concatenate([*preferred]) * float(np.ptp(found))
    values = source.split(found)
    if policy.node_vectors:
        nodes: Score = source.cosine
    else:
        trees: list[ChunkTree] = [tree for document in documents for tree in document.trees]
        by_chunk = [part for document, own in zip(documents, values, strict=True) for part in document.by_chunk(own)]
        nodes = leaf_scores(trees, by_chunk)
    return Scored(values, nodes, source.matches, source.by_meaning)


def score_documents(
    question: str,
    documents: Sequence[OpenDocument],
    base: BaseModel,
    lower: LowerModel,
    policy_name: str,
    *,
    nodes: Callable[[], CompressedSource],
    stored_states: Sequence[LeafStates | None],
    cosines: Cosines | None = None,
) -> Scored:
    """Score the leaves of opened documents for a question as it was asked, with all that a policy may use.

    `cosines` are a sentence encoder's (`LeafMeaning.cosines`), where one was pulled.
    Where the question names a part of a document in quotation marks, `hybrid` looks for the rest of it in that part
    first.
    """
    leaves = [opened.leaves for opened in documents]
    part = named_in(question, documents) if policy_name == "hybrid" else None
    asked = question if part is None else part.question
    ids = plain_ids(base.tokenizer, asked)
    meaning = (lambda: None) if cosines is None else (lambda: cosines(asked, documents))
    source = QuestionLeaves(
        asked, ids, leaves, lower, nodes, stored_states, meaning, [opened.rows for opened in documents]
    )
    inside = (
        None
        if part is None
        else [leaves_inside(opened, spans) for opened, spans in zip(documents, part.spans, strict=True)]
    )
    return score(source, leaves, policy_name, preferred=inside)


def in_turn(leaves: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Scores by which the best leaf of each document comes before the second best of any: [leaves] a document.

    A leaf's rank in its document counts, and its score only among leaves of equal rank; what scored nothing stays so.
    """
    highest = max((float(values.max(initial=0.0)) for values in leaves), default=0.0) or 1.0
    found = []
    for values in leaves:
        ranks = np.empty(len(values))
        ranks[np.argsort(-values, kind="stable")] = np.arange(len(values))
        found.append(np.where(values > 0, (1.0 + 1e-6 * values / highest) / (1.0 + ranks), 0.0))
    return found


def leaf_states(leaves: Leaves, lower: LowerModel, advance: Callable[[int], None]) -> LeafStates:
    """States of every token of a document, leaf by leaf, for `--policy late` (`index --late-states`)."""
    spans = leaves.leaf_spans
    states = np.empty((leaves.token_count, lower.hidden_size), dtype=np.float16)
    for batch, found in _states_in_batches(lower, _leaf_ids(leaves)):
        for (start, end), rows in zip(spans[batch].tolist(), found, strict=True):
            states[start:end] = rows.clip(-_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)
        advance(found.shape[0] * found.shape[1])
    return LeafStates(states, np.array([0, *spans[:, 1]], dtype=np.int32))


def _leaf_ids(leaves: Leaves) -> list[np.ndarray]:
    """The token ids of every leaf."""
    ids, (starts, ends) = leaves.tokens.ids, leaves.leaf_spans.T.tolist()
    return [ids[start:end] for start, end in zip(starts, ends, strict=True)]


def _states_in_batches(lower: LowerModel, sequences: Sequence[np.ndarray]) -> Iterator[tuple[list[int], np.ndarray]]:
    """States of token sequences, those of equal length together: their places, and [B, l, hidden] float32."""
    by_length: dict[int, list[int]] = {}
    for place, ids in enumerate(sequences):
        by_length.setdefault(len(ids), []).append(place)
    for length, alike in by_length.items():
        step = max(1, _BATCH_TOKENS // length)
        for first in range(0, len(alike), step):
            batch = alike[first : first + step]
            token_ids = torch.tensor(np.stack([sequences[place] for place in batch]), dtype=torch.long)
            yield batch, lower.attended(token_ids).float().cpu().numpy()


MOST_NEW_LEAVES = 1000
"""A question waits for so many leaves at most (64,000 tokens); `index` encodes any number."""


class LeafMeaning:
    """The leaves' vectors of documents, and their cosines with a question.

    Without a store nothing is written and all vectors are made. They stay in memory for the next question, and go when
    their documents are no longer asked.
    """

    def __init__(self, pulled: PulledEncoder, store: IndexStore | None = None, reporter: Reporter | None = None):
        self._pulled = pulled
        self._store = store
        self._reporter = reporter or Silent()
        self._known: dict[str, np.ndarray] = {}
        self._told = False

    def key(self, opened: OpenDocument) -> StatesKey:
        """What identifies the stored vectors of a document."""
        return StatesKey(opened.leaves_key, self._pulled.name, self._pulled.weights_hash, self._pulled.layers)

    def cosines(self, question: str, documents: Sequence[OpenDocument]) -> np.ndarray | None:
        """The cosine of every leaf of all documents with the question, [leaves].

        None where more leaves lack a vector than a question may wait for; one note says so.
        """
        keys = [fingerprint(self.key(opened)) for opened in documents]
        self._known = {key: vectors for key, vectors in self._known.items() if key in keys}
        missing: list[tuple[str, OpenDocument]] = []
        for key, opened in zip(keys, documents, strict=True):
            if key not in self._known and (stored := self._stored(opened)) is not None:
                self._known[key] = stored
            elif key not in self._known:
                missing.append((key, opened))
        count = sum(opened.leaves.leaf_count for _, opened in missing)
        if self._store is not None and count > MOST_NEW_LEAVES:
            if not self._told:
                self._told = True
                self._reporter.note(
                    f"searched by words alone: {count:,} passages are not encoded; `sharedllm index` encodes them"
                )
            return None
        for key, opened in missing:
            self._known[key] = self.build(opened)
        if not documents:
            return np.zeros(0)
        vector = self._pulled.encoder.encode([question])[0]
        cosines: np.ndarray = np.concatenate([self._known[key] for key in keys]) @ vector
        return cosines.astype(np.float64)

    def is_stored(self, opened: OpenDocument) -> bool:
        """Whether the index holds a document's vectors."""
        return self._stored(opened) is not None

    def build(self, opened: OpenDocument) -> np.ndarray:
        """Encode a document's leaves and store their vectors; [leaves, width] as they are read back."""
        leaves, text = opened.leaves, opened.document.text
        places = [leaves.leaf_characters(leaf, opened.document) for leaf in range(leaves.leaf_count)]
        with self._reporter.task(f"meaning of {opened.name}", len(places), "passages") as task:
            vectors = self._pulled.encoder.encode([text[start:end] for start, end in places], task.advance)
        states = LeafStates(vectors.astype(np.float16), np.arange(len(vectors) + 1, dtype=np.int32))
        if self._store is not None:
            self._store.write_states(opened.content_hash, self.key(opened), states)
        return states.states.astype(np.float32)

    def _stored(self, opened: OpenDocument) -> np.ndarray | None:
        if self._store is None:
            return None
        states = self._store.read_states(opened.content_hash, self.key(opened))
        return None if states is None else states.states.astype(np.float32)


Cosines = Callable[[str, Sequence[OpenDocument]], np.ndarray | None]
"""What the scoring of a question asks of a `LeafMeaning`."""
