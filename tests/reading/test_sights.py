"""What can be seen of a source: a picture of the page as it was read, or the text around its words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from open_documents import opened
from pdf_making import make_pdf

from sharedllm_cli.answer import FILE_METADATA, Source
from sharedllm_cli.durable import sha256_of_bytes
from sharedllm_cli.reading.library import OpenDocument
from sharedllm_cli.reading.sights import AROUND, Sights

LINES = ["The lamp is lit at dusk.", "It is put out at dawn."]


def source(quote: str, document: str = "book.pdf", **more: object) -> Source:
    place = {"page": 1, "page_label": None, "verified": True, "score": 1.0, "chunk": 0, "level": 0, "node": 0}
    return Source(document=document, quote=quote, **(place | more))  # type: ignore[arg-type]


@pytest.fixture
def book(tmp_path: Path) -> OpenDocument:
    """A PDF as it is found in its index: its file's bytes are not kept."""
    path = tmp_path / "book.pdf"
    path.write_bytes(make_pdf([LINES, ["The second page has another sentence."]]))
    made = opened(["\n".join(LINES) + "\n\n", "The second page has another sentence."])
    document = replace(made.document, path=str(path), content_hash=sha256_of_bytes(path.read_bytes()))
    return replace(made, document=document)


def test_a_page_of_a_pdf_is_a_picture_with_its_text(book: OpenDocument) -> None:
    first, second = Sights([book]).of([source(LINES[1]), source("another sentence", page=2)], side=200)
    assert first.picture is not None
    assert first.picture.boxed == first.picture.words == 6
    assert first.remark is None
    assert (first.text.before, first.text.quote) == (LINES[0] + "\n", LINES[1])
    assert second.picture is not None
    assert second.picture.boxed == 2


def test_a_file_that_has_changed_has_no_picture_and_says_so(book: OpenDocument) -> None:
    Path(str(book.path)).write_bytes(make_pdf([["Something else."]]))
    (sight,) = Sights([book]).of([source(LINES[0])])
    assert sight.picture is None
    assert sight.remark == "book.pdf has changed since it was read: there is no picture of this page"
    assert sight.text.quote == LINES[0]


def test_a_file_that_is_gone_has_no_picture_and_says_so(book: OpenDocument) -> None:
    Path(str(book.path)).unlink()
    (sight,) = Sights([book]).of([source(LINES[0])])
    assert sight.picture is None
    assert sight.remark == "book.pdf is no longer there: there is no picture of this page"


def test_a_document_from_standard_input_has_a_picture_as_long_as_its_bytes_are_kept(book: OpenDocument) -> None:
    data = Path(str(book.path)).read_bytes()
    unnamed = replace(book, document=replace(book.document, path=None))
    assert Sights([replace(unnamed, data=data)]).of([source(LINES[0])], side=100)[0].picture is not None
    (sight,) = Sights([unnamed]).of([source(LINES[0])])
    assert sight.remark == "book.pdf was not kept: there is no picture of this page"


def test_a_text_is_shown_around_the_quote() -> None:
    long = "word " * 400
    text = f"{long}The beacon burns.\n{long}"
    notes = opened([text], "notes.txt", paged=False)
    (sight,) = Sights([notes]).of([source("The beacon burns.", "notes.txt")])
    assert (sight.picture, sight.remark) == (None, None)
    around = sight.text
    assert around.before.startswith("word word")
    assert around.before + around.quote + around.after in text
    assert around.cut_before
    assert around.cut_after
    assert len(around.before) <= AROUND
    assert len(around.after) <= AROUND


def test_a_text_that_is_short_is_shown_whole() -> None:
    notes = opened(["Before. The beacon burns. After."], "notes.txt", paged=False)
    (sight,) = Sights([notes]).of([source("The beacon burns.", "notes.txt")])
    assert sight.text.before == "Before. "
    assert sight.text.after == " After."
    assert not sight.text.cut_before
    assert not sight.text.cut_after


def test_what_a_file_says_of_itself_is_on_no_page(book: OpenDocument) -> None:
    (sight,) = Sights([book]).of([source("Author: Ilse Marlow", page=0, place=FILE_METADATA)])
    assert (sight.picture, sight.remark) == (None, None)
    assert sight.text.quote == "Author: Ilse Marlow"


def test_a_head_is_found_by_its_first_piece(book: OpenDocument) -> None:
    (sight,) = Sights([book]).of([source(f"{LINES[0]} · {LINES[1]}", place="head of pages 1 to 2")], side=100)
    assert sight.text.quote == LINES[0]
    assert sight.picture is not None
    assert sight.picture.boxed == sight.picture.words


def test_a_source_of_a_document_that_is_not_open_shows_its_words_alone(book: OpenDocument) -> None:
    (sight,) = Sights([book]).of([source("Words.", "other.pdf")])
    assert (sight.text.quote, sight.picture) == ("Words.", None)


def test_the_answers_words_are_known_within_the_quote(book: OpenDocument) -> None:
    notes = opened(["It is undusk. The lamp is lit at dusk."], "notes.txt", paged=False)
    wanted = [source("It is undusk. The lamp is lit at dusk.", "notes.txt"), source(LINES[0])]
    text, page = Sights([notes, book]).of(wanted, "Dusk.", side=200)
    assert text.text.pieces == ("It is undusk. The lamp is lit at ", "dusk", ".")
    assert page.picture is not None
    assert len(page.picture.strong) == 1
    assert Sights([notes]).of(wanted[:1], "dawn")[0].text.pieces == (wanted[0].quote, "", "")
