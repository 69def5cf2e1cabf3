"""`--pages` means what is printed, else what is counted, and says which where it could be either."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sharedllm_cli.documents.pages import Document, Page, PageRange, resolve
from sharedllm_cli.errors import UsageError

BOOK = ["i", "ii", "iii", "1", "2", "3", "4", "A-1", "A-2", "A-3"]


def document(labels: Sequence[str | None], parts: Sequence[int | None] = ()) -> Document:
    numbers = [*parts] or [None] * len(labels)
    pages = [
        Page(number, label, number - 1, number, "x", part, part and f"Part of {part}")
        for number, (label, part) in enumerate(zip(labels, numbers, strict=True), 1)
    ]
    return Document("book.pdf", None, "pdf", "hash", "x" * len(pages), tuple(pages))


def spans(text: str, labels: Sequence[str | None] = BOOK) -> list[tuple[int, int]]:
    return resolve(PageRange.parse(text), document(labels)).spans


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ii", [(2, 2)]),
        ("II", [(2, 2)]),
        ("ii-iii", [(2, 3)]),
        ("ii–2", [(2, 5)]),
        ("3", [(6, 6)]),
        ("2-4", [(5, 7)]),
        ("2-99", [(5, 7)]),
        ("A-1", [(8, 8)]),
        ("A-1-A-3", [(8, 10)]),
        ("A-1..A-2", [(8, 9)]),
        ("4..A-1", [(7, 8)]),
        ("9", [(9, 9)]),
        ("9-40", [(9, 10)]),
        ("counted:2", [(2, 2)]),
        ("#2-#4", [(2, 4)]),
        ("counted:2-4", [(2, 4)]),
        ("ii,A-1-A-3", [(2, 2), (8, 10)]),
        ("A-2, 1,2 ,A-1", [(4, 5), (8, 9)]),
        ("counted:2,4-5,5-6", [(2, 2), (4, 6)]),
    ],
)
def test_as_printed_then_as_counted(text: str, found: list[tuple[int, int]]) -> None:
    assert spans(text) == found


def test_a_label_with_a_hyphen_is_one_page_where_it_is_printed() -> None:
    assert spans("1-2", ["1-1", "1-2", "2-1"]) == [(2, 2)]
    assert spans("1-2", ["1", "2", "3"]) == [(1, 2)]
    assert spans("1..2", ["1-1", "1-2", "2-1"]) == [(1, 2)]


def test_all_pages_that_are_printed_so() -> None:
    found = resolve(PageRange.parse("1"), document(["1", "2", "1", "2"]))
    assert found.spans == [(1, 1), (3, 3)]
    assert found.remark == "--pages 1: book.pdf has 2 places printed 1; all of them are read"


@pytest.mark.parametrize(
    ("text", "labels", "told"),
    [
        ("2", BOOK, "--pages 2: the page printed 2 (counted 5) is read; counted:2 counts from page 1"),
        ("2-4", BOOK, "--pages 2-4: the pages printed 2-4 (counted 5-7) are read; counted:2-4 counts from page 1"),
        ("9", BOOK, "--pages 9: book.pdf has no such printed numbers; the page counted 9 is read"),
        ("ii", BOOK, None),
        ("counted:2", BOOK, None),
        ("2", ["1", "2", "3"], None),
        ("2", [None, None, None], None),
    ],
)
def test_which_it_was_is_told_where_it_could_be_either(
    text: str, labels: Sequence[str | None], told: str | None
) -> None:
    assert resolve(PageRange.parse(text), document(labels)).remark == told


def test_several_ranges_say_what_each_of_them_means() -> None:
    found = resolve(PageRange.parse("2,9"), document(BOOK))
    assert found.remark == (
        "--pages 2: the page printed 2 (counted 5) is read; counted:2 counts from page 1; "
        "--pages 9: book.pdf has no such printed numbers; the page counted 9 is read"
    )
    assert str(PageRange.parse("counted:2,9")) == "counted:2, 9"
    assert PageRange.parse("2,9-10").words == "pages 2, 9-10"
    with pytest.raises(UsageError, match=r"--pages 40: book\.pdf has only 10 pages"):
        resolve(PageRange.parse("2,40"), document(BOOK))
    with pytest.raises(UsageError, match="101 ranges are more than 100"):
        PageRange.parse(",".join(["1"] * 101))


def test_parts_are_counted_and_their_print_pages_come_first() -> None:
    plain, marked = document([None, None], [1, 2]), document([None, "2", "3", "3"], [1, 2, 2, 3])
    found = resolve(PageRange.parse("2"), plain)
    assert found.spans == [(2, 2)]
    assert found.remark == "--pages 2: book.pdf marks no pages; part 2, Part of 2 is read"
    assert resolve(PageRange.parse("2"), marked).spans == [(2, 2)]
    assert resolve(PageRange.parse("3"), marked).spans == [(3, 4)], "over the break of two parts"
    assert resolve(PageRange.parse("counted:2"), marked).spans == [(2, 3)]
    found = resolve(PageRange.parse("1"), marked)
    assert found.remark == "--pages 1: book.pdf has no page with this printed number; part 1, Part of 1 is read"


@pytest.mark.parametrize(
    ("text", "labels", "told", "hint"),
    [
        ("xx", BOOK, "--pages xx: book.pdf has no such page", "printed are i-iii, 1-4, A-1-A-3; counted are 1-10"),
        ("iii-i", BOOK, "has no such page", "printed are i-iii"),
        ("40", BOOK, "--pages 40: book.pdf has only 10 pages", "counted are 1-10"),
        ("xx", [None, None], "has no such page", "counted are 1-2"),
    ],
)
def test_a_page_that_is_not_there_names_those_that_are(
    text: str, labels: Sequence[str | None], told: str, hint: str
) -> None:
    with pytest.raises(UsageError) as raised:
        spans(text, labels)
    assert told in raised.value.message
    assert hint in (raised.value.hint or "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-3",
        "3-",
        "9-3",
        "0",
        "9" * 5000,
        "a" * 65,
        "1,",
        ",2",
        "1,,2",
        "1,9-3",
        "1, #2",
        "2,counted:xii",
        "counted:1,xii",
        "counted:xii",
        "#",
        "..",
    ],
)
def test_what_can_be_no_range_is_refused_at_once(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        PageRange.parse(text)
    assert len(raised.value.message) < 100


def test_a_document_without_pages_has_none_to_choose() -> None:
    from dataclasses import replace

    with pytest.raises(UsageError, match="has no pages"):
        resolve(PageRange.parse("1"), replace(document([None]), paged=False))
