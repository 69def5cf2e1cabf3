"""A row is scored under the heading of its table, and its words count as standing together."""

from __future__ import annotations

import numpy as np

from sharedllm_cli.retrieval import bm25
from sharedllm_cli.retrieval.bm25 import LexicalIndex
from sharedllm_cli.retrieval.tables import Rows, credited, tables

NAMES = [f"{side} {thing}" for side in ("North", "South", "Old", "New", "Upper") for thing in ("pier", "mill", "lock")]
ROWS = "\n".join(f"{name} | {number * 7} pounds | {1800 + number}" for number, name in enumerate(NAMES))
TEXT = (
    f"The yearly rent of each pier is a matter for the council.\n\nName "
    f"| yearly rent | built in\n{ROWS}\n\nOf the mill no more."
)


def indexed(text: str, size: int = 72) -> tuple[LexicalIndex, Rows]:
    ends = np.array([*range(size, len(text), size), len(text)])
    return LexicalIndex.from_text(text, ends), Rows(text, tables(text), np.array([0, *ends[:-1]]))


def best(question: str, text: str = TEXT) -> tuple[str, str]:
    index, rows = indexed(text)
    found = bm25.scores(question, [index])
    raised = credited(question, found, [index], [rows]).values[0]
    return rows.leaf_text(int(found.values[0].argmax())), rows.leaf_text(int(raised.argmax()))


def test_the_row_comes_before_the_words_of_its_column() -> None:
    before, after = best("What is the yearly rent of the Upper pier?")
    assert "council" in before or "yearly rent" in before
    assert "Upper pier | 84 pounds" in after


def test_words_of_one_row_count_more_than_those_of_several() -> None:
    assert "Old mill" in best("built in, Old mill")[1]


def test_the_heading_of_a_raised_leaf_is_named() -> None:
    index, rows = indexed(TEXT)
    found = bm25.scores("yearly rent of the Upper pier", [index])
    headings = credited("yearly rent of the Upper pier", found, [index], [rows]).headings[0]
    assert {TEXT[first:end] for first, end in headings.values()} == {"Name | yearly rent | built in"}


def test_a_document_without_tables_keeps_its_scores() -> None:
    index, _ = indexed("The mill is old. The pier is new.")
    found = bm25.scores("the old mill", [index])
    assert credited("the old mill", found, [index], [None]).values[0] is found.values[0]


def test_words_of_the_heading_alone_raise_no_row() -> None:
    index, rows = indexed(TEXT)
    found = bm25.scores("yearly rent", [index])
    assert np.array_equal(credited("yearly rent", found, [index], [rows]).values[0], found.values[0])


def test_the_title_of_a_table_counts_for_its_rows() -> None:
    text = f"Of labels there is much talk. Labels are liked. {'So it goes. ' * 9}\n\nTable 6 Share of labels\n" + TEXT
    before, after = best("share of labels, Upper pier", text.replace("yearly rent", "in 1993"))
    assert "Upper pier" not in before
    assert "Upper pier" in after
