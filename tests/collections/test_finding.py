"""The best documents of a collection: found by the terms of the search within documents, changes noticed."""

from __future__ import annotations

import numpy as np
import pytest
from fpdf import FPDF
from keeping import Keeper
from test_updating import settle

from sharedllm_cli.collections import member, names, opening, updating
from sharedllm_cli.collections.fulltext import FullText, leaf_terms, token_of
from sharedllm_cli.errors import DocumentError
from sharedllm_cli.retrieval import bm25
from sharedllm_cli.retrieval.bm25 import LexicalIndex


def test_tokens_keep_terms_whole() -> None:
    texts = ["call read.table() in c++ with --force-yes", "3.5 of über Straße 山水"]
    index = LexicalIndex.build(texts, "german")
    rows = dict(leaf_terms(index))
    assert sorted(rows) == [0, 1]
    for term in index.terms:
        leaves, _ = index.postings(term)
        held = [leaf for leaf, text in rows.items() if token_of(term, "german") in text.split(" ")]
        assert held == leaves.tolist()
    assert all(
        character.isalnum() or ord(character) > 127 for text in rows.values() for character in text.replace(" ", "")
    )


def test_the_documents_with_the_rare_words_are_opened_and_their_scores_are_those_of_all(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "MOST_OPENED", 3)
    for number in range(12):
        keeper.write(f"{number:02}.txt", f"The station of the coast has a keeper, and the keeper has lamp {number}.")
    keeper.write("rare.txt", "The keeper of the station was Marten Rook, who had the lamp of the coast.")
    settle()
    keeper.add("notes")
    library = keeper.open("@notes").narrowed("Marten Rook, keeper of the station")
    assert "rare.txt" in [opened.name for opened in library.documents]
    assert len(library.documents) == 3
    assert library.beyond.documents == 10
    everything = keeper.searcher.open([str(keeper.files)])
    query = "Marten Rook, keeper of the station"
    some = bm25.scores(query, [opened.leaves.lexical for opened in library.documents])
    whole = bm25.scores(query, [opened.leaves.lexical for opened in everything.documents])
    by_name = {opened.name: values for opened, values in zip(everything.documents, whole.values, strict=True)}
    for opened, values in zip(library.documents, some.values, strict=True):
        np.testing.assert_allclose(values, by_name[opened.name])
    assert library.tokens == everything.tokens


def test_the_best_documents_are_those_of_the_best_leaves(keeper: Keeper) -> None:
    for number in range(30):
        words = " ".join(f"word{(number * 7 + place) % 40}" for place in range(60))
        keeper.write(f"{number:02}.txt", words)
    settle()
    keeper.add("notes")
    everything = keeper.searcher.open([str(keeper.files)])
    for query in ("word3 word9 word20", "word39", "word1 word2 word3 word4"):
        scores = bm25.scores(query, [opened.leaves.lexical for opened in everything.documents]).values
        best = max(range(30), key=lambda place: float(scores[place].max()))
        ranked = FullText(keeper.catalogue("notes")).ranked(query, 10)
        assert everything.documents[best].content_hash in [row.content_hash for row in ranked.documents]


def test_a_changed_file_is_read_again_and_the_answer_says_so(keeper: Keeper) -> None:
    keeper.write("one.txt", "The lantern hangs at the door.")
    keeper.write("two.txt", "The rope lies in the boat.")
    settle()
    keeper.add("notes")
    assert keeper.search("lantern") == (["one.txt"], [])
    keeper.write("one.txt", "The anchor hangs at the door.")
    settle()
    found, warnings = keeper.search("anchor")
    assert found == ["one.txt"]
    assert warnings == ["one.txt has changed since it was read, and was read again"]
    assert keeper.search("anchor")[1] == []
    assert keeper.search("lantern")[0] == []


def test_new_moved_and_deleted_files_are_noticed_at_a_question(keeper: Keeper) -> None:
    for name, thing in (("one", "lantern"), ("two", "rope"), ("three", "anchor")):
        keeper.write(f"{name}.txt", f"The {thing} lies in the boat.")
    settle()
    keeper.add("notes")
    keeper.write("four.txt", "The oar lies in the boat.")
    (keeper.files / "one.txt").rename(keeper.files / "first.txt")
    (keeper.files / "two.txt").unlink()
    settle()
    found, warnings = keeper.search("oar lantern rope boat")
    assert sorted(found) == ["first.txt", "four.txt", "three.txt"]
    assert "four.txt is new in @notes, and was read" in warnings
    assert "two.txt is no longer there, and nothing of it is used" in warnings
    assert f"{keeper.files / 'one.txt'} is now {keeper.files / 'first.txt'}" in warnings


def test_of_many_changes_the_answer_warns_and_uses_no_old_text(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "MOST_READ_AT_ONCE", 1)
    for number in range(3):
        keeper.write(f"{number}.txt", f"The lantern {number} hangs at the door.")
    keeper.write("gone.txt", "The lantern of old hangs nowhere.")
    settle()
    keeper.add("notes")
    for number in range(3):
        keeper.write(f"{number}.txt", f"The anchor {number} hangs at the door.")
    (keeper.files / "gone.txt").unlink()
    settle()
    library = keeper.open("@notes").narrowed("lantern at the door")
    assert any("3 files of @notes are new or have changed" in warning for warning in library.warnings)
    assert "gone.txt is no longer there, and nothing of it is used" in library.warnings
    texts = [opened.document.text for opened in library.documents]
    assert texts
    assert not any("lantern" in text for text in texts)


def test_two_collections_are_asked_together_and_a_copy_counts_once(keeper: Keeper) -> None:
    keeper.write("a/one.txt", "The lantern hangs at the door.")
    keeper.write("b/two.txt", "The lantern hangs in the boat.")
    keeper.write("b/copy.txt", "The lantern hangs at the door.")
    settle()
    keeper.add("first", keeper.files / "a")
    keeper.add("second", keeper.files / "b")
    library = keeper.open("@first", "@second")
    assert library.collection is not None
    assert library.collection.label == "@first @second"
    assert library.collection.documents == 2
    assert len(library.narrowed("lantern").documents) == 2


def test_an_open_collection_notices_that_its_catalogue_was_made_anew(keeper: Keeper) -> None:
    keeper.write("one.txt", "The lantern hangs at the door.")
    settle()
    keeper.add("notes")
    library = keeper.open("@notes")
    assert len(library.narrowed("lantern").documents) == 1
    keeper.write("two.txt", "The lantern hangs in the boat.")
    settle()
    keeper.update("notes", rebuild=True)
    narrowed = library.narrowed("lantern")
    assert len(narrowed.documents) == 2
    assert narrowed.warnings == []


def test_what_a_portfolio_carries_is_found_though_its_cover_has_no_text(keeper: Keeper) -> None:
    inner, outer = FPDF(), FPDF()
    inner.add_page()
    inner.set_font("helvetica", size=12)
    inner.multi_cell(0, 8, "The guarantee on the roof is twelve years.")
    path = keeper.files / "inner.pdf"
    inner.output(str(path))
    outer.add_page()
    outer.embed_file(str(path), compress=True)
    outer.output(str(keeper.files / "cover.pdf"))
    path.unlink()
    settle()
    outcome = keeper.add("notes")
    assert (outcome.documents, [file.what for file in outcome.files]) == (1, ["new"])
    assert keeper.search("guarantee roof") == (["cover.pdf › inner.pdf"], [])
    assert not keeper.update("notes").files


def without_documents(keeper: Keeper) -> None:
    """A collection whose one file can't be read."""
    (keeper.files / "bad.pdf").write_bytes(b"%PDF-1.7\nno more than that")
    settle()
    assert keeper.add("notes").documents == 0


def test_a_collection_without_documents_reads_new_files_at_a_question(keeper: Keeper) -> None:
    without_documents(keeper)
    keeper.write("good.txt", "The lantern hangs at the door.")
    settle()
    found, warnings = keeper.search("lantern")
    assert found == ["good.txt"]
    assert warnings[0] == "good.txt is new in @notes, and was read"


def test_a_collection_whose_first_reading_was_interrupted_is_read_at_a_question(keeper: Keeper) -> None:
    keeper.write("good.txt", "The lantern hangs at the door.")
    settle()
    updating.opened_catalogue(names.made(keeper.home, "notes", [str(keeper.files)])).close()
    assert keeper.search("lantern")[0] == ["good.txt"]


def test_a_collection_without_documents_says_what_reads_its_new_files(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_documents(keeper)
    with pytest.raises(DocumentError, match="@notes has no document that could be read") as raised:
        keeper.open("@notes")
    assert "collections update notes" in str(raised.value.hint)
    monkeypatch.setattr(member, "MOST_READ_AT_ONCE", 1)
    for number in range(2):
        keeper.write(f"{number}.txt", f"Lantern {number}.")
    settle()
    with pytest.raises(DocumentError, match="@notes has no document yet") as raised:
        keeper.open("@notes")
    assert str(raised.value.hint).startswith("2 files of @notes are new or have changed")
    assert str(raised.value.hint).endswith("sharedllm collections update notes")


def test_a_collection_without_documents_that_is_being_updated_says_so(keeper: Keeper) -> None:
    without_documents(keeper)
    keeper.write("good.txt", "The lantern hangs at the door.")
    settle()
    with (
        updating.updating(keeper.collection("notes")),
        pytest.raises(DocumentError, match="@notes has no document yet") as raised,
    ):
        keeper.open("@notes")
    assert raised.value.hint == "it is being updated: ask again once its first documents were read"


def test_what_an_interrupted_update_left_is_read_at_a_question(keeper: Keeper) -> None:
    keeper.write("old/good.txt", "The lantern hangs at the door.")
    roots = [keeper.write("new/rope.txt", "The rope lies in the boat."), keeper.write("oar.txt", "The oar is in it.")]
    settle()
    keeper.add("notes", keeper.files / "old")
    names.made(keeper.home, "notes", [str(keeper.files / "old"), str(roots[0].parent), str(roots[1])])
    found, warnings = keeper.search("rope oar")
    assert sorted(found) == ["oar.txt", "rope.txt"]
    assert len(warnings) == 2
    assert keeper.search("rope oar")[1] == []
