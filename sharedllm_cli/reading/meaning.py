"""How near leaves come to a question in meaning: the sentence encoder's vectors, from the index or made here.

One vector a leaf, kept as a `states` part of one row a leaf, so that any release since then opens the index. Where no
encoder was pulled there is no `LeafMeaning`, and `hybrid` goes by words and states alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sharedllm_cli.index.leaves import LeafStates
from sharedllm_cli.index.manifest import StatesKey, fingerprint
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.model.sentence_encoder import PulledEncoder
from sharedllm_cli.progress import Reporter, Silent
from sharedllm_cli.reading.library import OpenDocument

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
