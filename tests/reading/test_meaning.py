"""Vectors of leaves: from disk as made, encoded once, and never while a question waits too long."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from open_documents import opened

from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.progress import Silent
from sharedllm_cli.reading import scoring as module
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.scoring import LeafMeaning

TEXT = "The keeper lit the great lamp at dusk. " * 3 + "Rain fell on the empty harbour all night. " * 4


class Letters:
    """An encoder by letters: the counts of a to z, at length one; remembers what it encoded."""

    name, weights_hash, layers = "letters", "hash", 1

    def __init__(self) -> None:
        self.encoded: list[str] = []
        self.encoder = self

    def encode(self, texts: Sequence[str], advance: Any = lambda texts: None) -> np.ndarray:
        self.encoded += texts
        advance(len(texts))
        counts = np.array([[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts])
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def book() -> OpenDocument:
    return opened([TEXT])


@pytest.fixture
def store(tmp_path: Path, book: OpenDocument) -> IndexStore:
    store = IndexStore(tmp_path / "indexes")
    for document in (book, opened([TEXT[::-1]], "other.pdf")):
        store.write_text(document.document)
        store.write_leaves(document.content_hash, document.leaves_key, document.leaves)
    return store


def test_disk_equals_memory_and_nothing_is_encoded_twice(book: OpenDocument, store: IndexStore) -> None:
    first, second = Letters(), Letters()
    made = LeafMeaning(first, store).cosines("rain", [book])  # type: ignore[arg-type]
    leaves = [book.leaves.leaf_characters(leaf, book.document) for leaf in range(book.leaves.leaf_count)]
    assert first.encoded == [*(TEXT[start:end] for start, end in leaves), "rain"]
    later = LeafMeaning(second, store)  # type: ignore[arg-type]
    assert later.is_stored(book)
    read = later.cosines("rain", [book])
    assert made is not None
    assert read is not None
    assert second.encoded == ["rain"]
    assert read.tolist() == made.tolist()
    expected = Letters().encode([TEXT[start:end] for start, end in leaves]) @ Letters().encode(["rain"])[0]
    np.testing.assert_allclose(made, expected, atol=2e-3)
    again = later.cosines("rain", [book])
    assert again is not None
    assert again.tolist() == made.tolist()


def test_the_leaves_of_several_documents_follow_each_other(book: OpenDocument, store: IndexStore) -> None:
    other = opened([TEXT[::-1]], "other.pdf")
    meaning = LeafMeaning(Letters(), store)  # type: ignore[arg-type]
    both = meaning.cosines("lamp", [other, book])
    parts = [meaning.cosines("lamp", [one]) for one in (other, book)]
    assert both is not None
    assert both.tolist() == np.concatenate(parts).tolist()  # type: ignore[arg-type]
    assert len(both) == other.leaves.leaf_count + book.leaves.leaf_count
    empty = meaning.cosines("lamp", [])
    assert empty is not None
    assert empty.shape == (0,)


def test_a_question_does_not_wait_for_a_long_document(
    book: OpenDocument, store: IndexStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_NEW_LEAVES", book.leaves.leaf_count - 1)
    notes, letters = Notes(), Letters()
    meaning = LeafMeaning(letters, store, notes)  # type: ignore[arg-type]
    assert meaning.cosines("rain", [book]) is None
    assert meaning.cosines("rain", [book]) is None
    assert letters.encoded == []
    assert len(notes.notes) == 1
    assert "sharedllm index" in notes.notes[0]
    meaning.build(book)  # as `index` does
    assert meaning.cosines("rain", [book]) is not None


def test_without_a_store_nothing_is_written(book: OpenDocument, store: IndexStore) -> None:
    assert LeafMeaning(Letters()).cosines("rain", [book]) is not None  # type: ignore[arg-type]
    assert not LeafMeaning(Letters(), store).is_stored(book)  # type: ignore[arg-type]
