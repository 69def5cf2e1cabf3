"""Which tokens of a book are scored, and whose tree is the wrong one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from sharedllm_cli.documents.chunking import Tokens
from sharedllm_cli.errors import UsageError
from sharedllm_cli.lab.evaluation.perplexity_stretches import Book, Sizes, has_other, other_book, plan

SIZES = Sizes(48, 16)
CHUNK = 32


def book(place: int, tokens: int) -> Book:
    ids = np.arange(tokens, dtype=np.int32)
    return Book(place, f"b{place}", "x" * tokens, "h", Tokens(ids, ids, ids + 1))


def test_all_lengths_of_a_book_end_in_the_same_places_and_score_no_token_twice() -> None:
    books = [book(0, 3000), book(1, 1500), book(2, 90)]
    made = plan(books, [100, 1000, 2000], ends=5, sizes=Sizes(32, 40), chunk_tokens=16, seed=3)
    for place, lengths in ((0, {100, 1000, 2000}), (1, {100, 1000})):
        of_book = [one for one in made.stretches if one.book == place]
        ends = {length: [one.end for one in of_book if one.length == length] for length in lengths}
        assert len({tuple(found) for found in ends.values()}) == 1
        found = next(iter(ends.values()))
        assert len(found) == made.ends[place] == 5
        assert all(after - before >= 40 for before, after in pairwise(found))
        assert all(one.start >= 0 and one.end <= len(books[place].tokens) for one in of_book)
        assert len({(one.end - max(lengths)) % 16 for one in of_book}) == 1, "chunks apart"
    assert [(one.text, one.length) for one in made.skipped] == [("b1", 2000), ("b2", 100), ("b2", 1000), ("b2", 2000)]
    assert plan(books, [100, 1000, 2000], ends=5, sizes=Sizes(32, 40), chunk_tokens=16, seed=3) == made
    assert plan(books, [100, 1000, 2000], ends=5, sizes=Sizes(32, 40), chunk_tokens=16, seed=4) != made


def test_a_book_has_fewer_ends_where_they_would_overlap() -> None:
    made = plan([book(0, 1000 + 2 * 48)], [1000], ends=9, sizes=Sizes(32, 40), chunk_tokens=16, seed=0)
    assert [one.end for one in made.stretches] == [1000, 1048, 1096]
    assert made.ends == (3,)
    with pytest.raises(UsageError, match="the longest text has 90 tokens"):
        plan([book(0, 90)], [100], ends=1, sizes=SIZES, chunk_tokens=16, seed=0)


def test_the_wrong_tree_is_the_next_long_books() -> None:
    books = [book(0, 500), book(1, 100), book(2, 400)]
    found = other_book(books, 0, 300)
    assert found is not None
    assert found.place == 2
    assert other_book(books, 2, 300) is books[0]
    assert other_book(books, 0, 550) is None, "never its own"


def test_where_no_other_text_is_long_enough_the_wrong_tree_is_of_all_others() -> None:
    books = [book(0, 500), book(1, 100), book(2, 400)]
    joined = other_book(books, 1, 850)
    assert joined is not None
    assert joined.name == "b2 + b0"
    assert joined.place == 4, "no other book's place, nor another joined one's"
    assert joined.tokens.ids.tolist() == [*books[2].tokens.ids, *books[0].tokens.ids]
    words = [joined.text[start:end] for start, end in zip(joined.tokens.starts, joined.tokens.ends, strict=True)]
    alone = [
        one.text[start:end]
        for one in (books[2], books[0])
        for start, end in zip(one.tokens.starts, one.tokens.ends, strict=True)
    ]
    assert words == alone
    assert joined.tokens.starts.dtype == books[0].tokens.starts.dtype
    assert other_book(books, 1, 901) is None
    assert [has_other(books, 1, tokens) for tokens in (400, 850, 900, 901)] == [True, True, True, False]


# -- what an arm reads ------------------------------------------------------------------------------------------------
