"""From tokens to words and pages: every quote knows its page, and is told apart from what the page does not hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from open_documents import opened

from sharedllm_cli.config import MAX_SOURCES
from sharedllm_cli.documents.pages import OutlineEntry
from sharedllm_cli.errors import UsageError
from sharedllm_cli.reading import library
from sharedllm_cli.reading.sources import (
    allowed_tokens,
    characters,
    page_tokens,
    passage_text,
    sources,
    supporting_first,
)
from sharedllm_cli.retrieval.passages import Passage
from sharedllm_cli.retrieval.sections import Titled

FIRST, SECOND = "The lamp is lit at dusk. It burns ", "whale oil in winter.  \n"


def test_a_passage_over_a_page_break_is_one_piece_and_one_source_a_page() -> None:
    book = opened([FIRST, SECOND])
    passage = Passage(0, 25, len(FIRST) + 9, 2.0, 0)
    pieces = passage_text(book, passage)
    assert [(piece.page, piece.page_label, piece.text) for piece in pieces] == [
        (1, "i", "It burns"),
        (2, "ii", "whale oil"),
    ]
    assert [(source.page, source.quote, source.verified) for source in sources([book], [passage])] == [
        (1, "It burns", True),
        (2, "whale oil", True),
    ]


def test_a_page_number_on_the_other_side_of_a_page_break_is_no_source() -> None:
    first = "The keeper of the light was called\n"
    for end, shown in (("24", False), ("xii", False), ("Jane.", True), ("1907.", True)):
        book = opened([first, end])
        crossing = Passage(0, 4, book.tokens, 1.0, 0)
        assert [source.quote for source in sources([book], [crossing])][1:] == ([end] if shown else [])
    alone = Passage(0, len(first), len(first) + 2, 1.0, 0)
    assert [source.quote for source in sources([opened([first, "24"])], [alone])] == ["24"]


def test_a_quote_that_its_page_does_not_hold_is_not_verified() -> None:
    book = opened([FIRST, SECOND])
    pages = tuple(replace(page, raw="Another text altogether.") for page in book.document.pages)
    changed = replace(book, document=replace(book.document, pages=pages))
    (source,) = sources([changed], [Passage(0, 0, 24, 1.0, 0)])
    assert (source.quote, source.verified) == ("The lamp is lit at dusk.", False)


def test_a_format_without_pages_names_none_to_the_model() -> None:
    notes = opened([FIRST], "notes.md", paged=False)
    passage = Passage(0, 0, 24, 1.0, 0)
    assert [piece.page for piece in passage_text(notes, passage)] == [None]
    assert not sources([notes], [passage])[0].paged


def test_at_most_eight_sources_best_first() -> None:
    book = opened([f"Sentence number {number}. " for number in range(20)])
    ranked = [Passage(0, page.start, page.end, 20.0 - page.number, 0) for page in book.document.pages]
    found = sources([book], ranked)
    assert [source.page for source in found] == list(range(1, MAX_SOURCES + 1))


def test_white_space_at_either_end_is_no_part_of_the_words() -> None:
    book = opened(["  two words \n\n"])
    assert characters(book, 0, book.tokens) == (2, 11)


def test_asked_pages_are_their_tokens_and_missing_ones_are_refused() -> None:
    book = opened([FIRST, SECOND, "A third page."])
    second, rest = (len(FIRST), len(FIRST + SECOND)), (len(FIRST), book.tokens)
    assert allowed_tokens([book], None) == ([None], [])
    assert allowed_tokens([book], (2, 2)) == allowed_tokens([book], "ii") == ([[second]], [])
    assert allowed_tokens([book], (2, 9)) == ([[rest]], [])
    assert page_tokens(book, [(1, 1), (3, 3)]) == [(0, len(FIRST)), (second[1], book.tokens)]
    with pytest.raises(UsageError, match="only 3 pages"):
        allowed_tokens([book], (4, 5))
    with pytest.raises(UsageError, match="has no pages"):
        allowed_tokens([opened([FIRST], "notes.md", paged=False)], "1")
    with pytest.raises(UsageError, match="page ii holds no text"):
        allowed_tokens([opened([FIRST, ""])], "ii")


def test_each_document_is_asked_for_the_pages_by_itself() -> None:
    book, short = opened([FIRST, SECOND]), opened([FIRST], "short.pdf")
    allowed, told = allowed_tokens([short, book], "ii")
    assert allowed == [[], [(len(FIRST), book.tokens)]]
    assert told == ["--pages ii: short.pdf has no such page: nothing of it is read"]
    told = allowed_tokens([book], "2")[1]
    assert told == ["--pages 2: book.pdf has no such printed numbers; the page counted 2 is read"]


def test_a_source_of_a_book_in_parts_names_part_and_printed_page() -> None:
    book = opened([FIRST, SECOND])
    pages = tuple(
        replace(page, label="47" if page.number == 2 else None, part=3, part_title="The works")
        for page in book.document.pages
    )
    book = replace(book, document=replace(book.document, pages=pages))
    passage = Passage(0, 25, len(FIRST) + 9, 2.0, 0)
    found = [(source.page, source.page_label, source.part, source.part_title) for source in sources([book], [passage])]
    assert found == [(3, None, 3, "The works"), (3, "47", 3, "The works")]
    assert [(piece.page, piece.page_label, piece.part) for piece in passage_text(book, passage)] == [
        (None, None, "part 3, The works"),
        (None, "47", "part 3, The works"),
    ]


def test_the_source_that_holds_the_answer_comes_first() -> None:
    book = opened(["The keepers. ", "Anna came late. ", "The lamp was lit by Anna. ", "Nobody lit Anna's lamp. "])
    ends = [len(page) for page in ("", *(page.raw for page in book.document.pages))]
    spans = [(sum(ends[: place + 1]), sum(ends[: place + 2])) for place in range(4)]
    found = sources([book], [Passage(0, *span, 1.0, 0) for span in spans])
    found[3] = replace(found[3], read=False)

    def pages(answer: str) -> list[int]:
        return [source.page for source in supporting_first(found, "Who lit the lamp?", answer)]

    assert pages("Anna.") == [3, 2, 1, 4], "nearest to the question, then the others as they were, unread ones last"
    supported = [source.page for source in supporting_first(found, "Who lit the lamp?", "Anna.") if source.supports]
    assert supported == [3], "one far from the question's words supports nothing"
    other_words = supporting_first(found, "Who lit the lamp?", "a woman")
    assert [source.page for source in other_words if source.supports] == [1, 2]
    assert pages("Nobody") == pages("Bert") == pages("") == [1, 2, 3, 4]


def test_a_title_points_to_the_beginning_of_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    book = opened([FIRST, FIRST, SECOND, SECOND])
    pages = tuple(replace(page, part=1 + (page.number > 2)) for page in book.document.pages)
    outline = (OutlineEntry("The oil", 1, 2),)
    book = replace(book, document=replace(book.document, pages=pages, outline=outline))
    found: list[Titled] = []
    monkeypatch.setattr(library, "named_part", lambda _, titled: found.extend(titled))
    assert library.named_in("What burns?", [book]) is None
    assert found[0].outline == [("The oil", 1, 2 * len(FIRST))]
