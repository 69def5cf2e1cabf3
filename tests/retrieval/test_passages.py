"""Passages: never over the budget, never inside a word, in document order, the best leaf always among them."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedllm_cli.retrieval.boundaries import Boundary, TokenText
from sharedllm_cli.retrieval.passages import LONGEST_SENTENCE, Passage, best_last, rank, select

LEAF = 16
WORDS = ["whale", "a", "harpooneers", "sea.", "Ship", "said,", "Ahab!", "12"]


def token_text(text: str, leaf: int = LEAF, piece: int = 4) -> TokenText:
    """Tokens as language models have them: pieces of words of a few characters, white space before a word with it."""
    spans = [(m.start(), m.end()) for m in re.finditer(rf"\s*\S{{1,{piece}}}", text)]
    starts, ends = (np.array([span[side] for span in spans], dtype=np.int32) for side in (0, 1))
    firsts = np.arange(0, len(spans), leaf)
    return TokenText(text, starts, ends, np.stack([firsts, np.minimum(firsts + leaf, len(spans))], axis=1))


def words_of(document: TokenText, first: int, end: int) -> str:
    return document.text[document.starts[first] : document.ends[end - 1]].strip()


def prose(count: int, seed: int = 0) -> str:
    random = np.random.default_rng(seed)
    return "".join(WORDS[k] + "\n\n" * (random.random() < 0.03) + " " for k in random.integers(0, len(WORDS), count))


def whole_words(document: TokenText, passage: Passage) -> bool:
    text = document.text
    start, end = int(document.starts[passage.first_token]), int(document.ends[passage.end_token - 1])
    begins = start == 0 or text[start].isspace() or text[start - 1].isspace()
    ends = not text[end:].strip() or text[end].isspace()
    return begins and ends


documents_strategy = st.lists(st.tuples(st.integers(0, 220), st.integers(0, 99)), min_size=1, max_size=3)


@settings(max_examples=100, deadline=None)
@given(shapes=documents_strategy, budget=st.integers(0, 300), seed=st.integers(0, 999), spread=st.booleans())
def test_the_budget_is_kept_words_are_whole_and_order_is_the_documents(
    shapes: list[tuple[int, int]], budget: int, seed: int, spread: bool
) -> None:
    documents = [token_text(prose(count, text_seed)) for count, text_seed in shapes]
    random = np.random.default_rng(seed)
    scores = [random.integers(0, 4, len(document.leaves)).astype(float) for document in documents]
    passages = select(scores, documents, budget, spread=spread)
    assert sum(passage.length for passage in passages) <= budget
    assert all(passage.length > 0 for passage in passages)
    assert all(whole_words(documents[passage.document], passage) for passage in passages)
    places = [(passage.document, passage.first_token, passage.end_token) for passage in passages]
    assert places == sorted(places)
    for one, other in pairwise(passages):
        assert one.document != other.document or one.end_token < other.first_token, "neighbours are joined"
    for passage in passages:
        first, end = documents[passage.document].leaves[passage.best_leaf]
        assert first < passage.end_token
        assert passage.first_token < end
        assert passage.score == scores[passage.document][passage.best_leaf]


@settings(max_examples=50, deadline=None)
@given(shapes=documents_strategy, budget=st.integers(40, 300), seed=st.integers(0, 999))
def test_the_best_passage_is_read_last(shapes: list[tuple[int, int]], budget: int, seed: int) -> None:
    documents = [token_text(prose(count, text_seed)) for count, text_seed in shapes]
    random = np.random.default_rng(seed)
    scores = [random.integers(0, 4, len(document.leaves)).astype(float) for document in documents]
    passages = select(scores, documents, budget)
    ordered = best_last(passages, scores, documents)
    assert sorted(map(passages.index, ordered)) == list(range(len(passages)))
    for one, other in pairwise(ordered):
        assert one.score < other.score or (one.score == other.score and passages.index(one) < passages.index(other)), (
            "of equals the earlier one comes first"
        )
    turned = [-values for values in scores]
    best_of_worst = [max(turned[one.document][leaf] for leaf in inside(documents, one)) for one in passages]
    again = [best_of_worst[passages.index(one)] for one in best_last(passages, turned, documents)]
    assert again == sorted(best_of_worst), "the scores that are given count, not those of the selection"


def inside(documents: list[TokenText], passage: Passage) -> list[int]:
    """The leaves that lie at least half in a passage, or the one with most of its tokens there."""
    shared = [
        min(end, passage.end_token) - max(start, passage.first_token)
        for start, end in documents[passage.document].leaves.tolist()
    ]
    lengths = [end - start for start, end in documents[passage.document].leaves.tolist()]
    return [
        leaf
        for leaf, (own, length) in enumerate(zip(shared, lengths, strict=True))
        if 2 * own >= length or own == max(shared)
    ]


@given(count=st.integers(30, 200), seed=st.integers(0, 99), data=st.data())
@settings(deadline=None)
def test_the_best_leaf_is_read_whole_wherever_it_stands(count: int, seed: int, data: st.DataObject) -> None:
    document = token_text(prose(count, seed))
    leaf = data.draw(st.integers(0, len(document.leaves) - 1))
    scores = np.zeros(len(document.leaves))
    scores[leaf] = 1.0
    passages = select([scores], [document], 2 * LEAF)
    if len(document) <= 2 * LEAF:
        return
    held = {t for passage in passages for t in range(passage.first_token, passage.end_token)}
    missing = set(range(*document.leaves[leaf])) - held
    # only the rest of a word that began in another leaf may be left out
    assert len(missing) <= 4


def test_everything_is_read_where_it_fits_and_not_a_token_sooner() -> None:
    documents = [token_text(prose(60, 1)), token_text(""), token_text(prose(40, 2))]
    total = sum(map(len, documents))
    scores = [np.arange(len(document.leaves), dtype=float) for document in documents]
    passages = select(scores, documents, total)
    assert [(p.document, p.first_token, p.end_token) for p in passages] == [
        (0, 0, len(documents[0])),
        (2, 0, len(documents[2])),
    ]
    assert [p.best_leaf for p in passages] == [len(documents[0].leaves) - 1, len(documents[2].leaves) - 1]
    assert sum(p.length for p in select(scores, documents, total - 1)) < total


def test_a_passage_is_widened_to_whole_sentences() -> None:
    sentence = "The old whale swam on and on. "
    document = token_text(sentence * 40)
    scores = np.zeros(len(document.leaves))
    scores[7] = 1.0
    passage = next(p for p in select([scores], [document], 2 * LEAF) if p.score)
    text = words_of(document, passage.first_token, passage.end_token)
    assert text.startswith("The old")
    assert text.endswith("on.")
    assert passage.length <= 2 * LEAF


def test_neighbouring_leaves_become_one_passage() -> None:
    document = token_text(prose(200))
    scores = np.zeros(len(document.leaves))
    scores[[4, 5, 6]] = [1.0, 3.0, 2.0]
    passages = select([scores], [document], 4 * LEAF)
    assert [(p.best_leaf, p.score) for p in passages if p.score] == [(5, 3.0)]


def test_a_budget_smaller_than_a_leaf_still_reads_something_of_the_best() -> None:
    document = token_text(prose(200))
    scores = np.zeros(len(document.leaves))
    scores[5] = 1.0
    (passage,) = select([scores], [document], 10)
    assert passage.best_leaf == 5
    assert 0 < passage.length <= 10
    assert select([scores], [document], 0) == []


def test_a_tiny_budget_reads_the_words_around_what_is_sought() -> None:
    document = token_text("In winter the keeper burns whale oil and in summer he burns resin of the pine.", leaf=32)
    places = [document.text.index(word) for word in ("whale", "oil")]
    hits = (np.searchsorted(document.starts, places, side="right") - 1).tolist()
    (passage,) = select([np.array([1.0])], [document], 7, sought=lambda place, span: hits)
    assert words_of(document, passage.first_token, passage.end_token) == "burns whale oil and in"
    (first,) = select([np.array([1.0])], [document], 7)
    assert words_of(document, first.first_token, first.end_token).startswith("In winter")


def test_a_budget_smaller_than_every_word_selects_nothing() -> None:
    document = token_text("Harpooneers harpooneers harpooneers", leaf=9)
    assert select([np.array([1.0])], [document], 2, sought=lambda place, span: [0]) == []


@given(budget=st.integers(0, 200), seed=st.integers(0, 99), data=st.data())
@settings(deadline=None)
def test_nothing_outside_the_allowed_ranges_is_read(budget: int, seed: int, data: st.DataObject) -> None:
    document = token_text(prose(120, seed))
    edges = st.integers(0, len(document))
    ranges = data.draw(st.lists(st.tuples(edges, edges), max_size=3))
    scores = np.random.default_rng(seed).random(len(document.leaves))
    passages = select([scores], [document], budget, allowed=[ranges])
    allowed = {token for first, end in ranges for token in range(first, end)}
    read = [token for p in passages for token in range(p.first_token, p.end_token)]
    assert set(read) <= allowed
    assert len(read) <= budget
    if len(allowed) <= budget:
        assert set(read) == allowed


def test_without_a_preference_beginning_end_and_places_between_are_read() -> None:
    document = token_text(prose(2000))
    for spread, scores in ((False, np.zeros(len(document.leaves))), (True, np.arange(len(document.leaves)) * 1.0)):
        passages = select([scores], [document], 20 * LEAF, spread=spread)
        assert passages[0].first_token == 0
        assert passages[0].length >= 9 * LEAF
        assert passages[-1].end_token == len(document)
        between = [p.first_token / len(document) for p in passages[1:-1]]
        assert len(between) >= 4
        gaps = np.diff([passages[0].end_token / len(document), *between, 1.0])
        assert gaps.max() < 0.35
        assert sum(p.length for p in passages) > 18 * LEAF


def test_spread_evidence_is_shared_among_documents() -> None:
    documents = [token_text(prose(900, seed)) for seed in range(3)]
    scores = [np.zeros(len(document.leaves)) for document in documents]
    passages = select(scores, documents, 30 * LEAF)
    shares = [sum(p.length for p in passages if p.document == place) for place in range(3)]
    assert min(shares) > 6 * LEAF
    assert all(min(p.first_token for p in passages if p.document == place) == 0 for place in range(3))


def test_of_equal_leaves_the_first_is_read() -> None:
    document = token_text(prose(300))
    scores = np.zeros(len(document.leaves))
    scores[[3, 9]] = 1.0
    assert select([scores], [document], 2 * LEAF)[0].best_leaf == 3


def test_one_word_longer_than_a_leaf_is_never_cut() -> None:
    document = token_text("word " * 40 + "x" * 400 + " word" * 40)
    scores = np.zeros(len(document.leaves))
    scores[len(scores) // 2] = 1.0
    for passage in select([scores], [document], 3 * LEAF):
        assert whole_words(document, passage)


# -- sources ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(shapes=documents_strategy, budget=st.integers(0, 400), limit=st.integers(1, 8), seed=st.integers(0, 99))
def test_quotes_are_short_best_first_inside_passages_and_apart(
    shapes: list[tuple[int, int]], budget: int, limit: int, seed: int
) -> None:
    documents = [token_text(prose(count, text_seed)) for count, text_seed in shapes]
    random = np.random.default_rng(seed)
    scores = [random.integers(0, 4, len(document.leaves)).astype(float) for document in documents]
    passages = select(scores, documents, budget)
    quotes = rank(passages, scores, documents, limit)
    assert len(quotes) <= limit
    assert bool(quotes) == bool(passages)
    assert [q.score for q in quotes] == sorted((q.score for q in quotes), reverse=True)
    seen: set[tuple[int, int]] = set()
    for quote in quotes:
        assert 0 < quote.length <= 3 * LEAF + 2 * LONGEST_SENTENCE
        assert whole_words(documents[quote.document], quote)
        assert any(
            p.document == quote.document and p.first_token <= quote.first_token and quote.end_token <= p.end_token
            for p in passages
        )
        tokens = {(quote.document, token) for token in range(quote.first_token, quote.end_token)}
        assert not tokens & seen
        seen |= tokens


def test_a_short_document_is_quoted_in_whole_sentences_though_its_leaves_are_a_few_words() -> None:
    text = "The harbour is old. The ferry to Inish leaves at seven from the third pier. A ticket costs twelve euros."
    document = token_text(text, leaf=6)
    scores = np.zeros(len(document.leaves))
    scores[[2, 4]] = [2.0, 1.0]
    quotes = rank(select([scores], [document], len(document)), [scores], [document])
    assert [words_of(document, quote.first_token, quote.end_token) for quote in quotes] == [
        "The ferry to Inish leaves at seven from the third pier.",
        "A ticket costs twelve euros.",
    ]


def test_a_whole_document_is_quoted_where_it_tells_something() -> None:
    document = token_text(prose(400))
    scores = np.zeros(len(document.leaves))
    scores[[3, 20, 11]] = [1.0, 3.0, 2.0]
    quotes = rank(select([scores], [document], len(document)), [scores], [document])
    assert [quote.best_leaf for quote in quotes] == [20, 11, 3]


def test_eight_quotes_show_nearly_all_of_the_evidence() -> None:
    document = token_text(prose(12000), leaf=64)
    random = np.random.default_rng(3)
    shown, chosen = 0, 0
    for _ in range(20):
        places, leaves = random.permutation(len(document.leaves))[:5], np.arange(len(document.leaves))
        # A question is answered at a few places, and leaves around each of them have a share of its score.
        scores = np.max([random.random() * 0.7 ** np.abs(leaves - place) for place in places], axis=0)
        passages = select([scores], [document], 16 * 64)
        shown += sum(quote.length for quote in rank(passages, [scores], [document]))
        chosen += sum(passage.length for passage in passages)
    assert shown > 0.8 * chosen


def test_where_no_leaf_tells_more_than_another_each_passage_is_quoted_once() -> None:
    document = token_text(prose(1000))
    scores = np.zeros(len(document.leaves))
    passages = select([scores], [document], 12 * LEAF)
    quotes = rank(passages, [scores], [document])
    assert 1 < len(quotes) <= len(passages)


# -- boundaries ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two", Boundary.WORD),
        ("one\ntwo", Boundary.LINE),
        ("one\n\ntwo", Boundary.PARAGRAPH),
        ("one\ftwo", Boundary.PARAGRAPH),
        ("one. Two", Boundary.SENTENCE),
        ('one." Two', Boundary.SENTENCE),
        ("one? two", Boundary.WORD),
        ("in 1973. Two", Boundary.SENTENCE),
        ("so Mr. Two", Boundary.WORD),
        ("by J. Two", Boundary.WORD),
        ("i.e. Two", Boundary.WORD),
        ("x\n2. Two", Boundary.WORD),
        ("onetwo", Boundary.INSIDE),
        ("well-two", Boundary.INSIDE),
        ("一二", Boundary.WORD),
        ("一。二", Boundary.SENTENCE),
    ],
)
def test_what_lies_before_the_last_token(text: str, expected: Boundary) -> None:
    match = re.search(r"two$|Two$|二$", text)
    assert match
    document = TokenText(text, np.array([0, match.start()]), np.array([match.start(), len(text)]), np.array([[0, 2]]))
    assert document.boundary(1) == expected
    # a token that brings its white space along makes no difference
    spaced = len(text[: match.start()].rstrip())
    again = TokenText(text, np.array([0, spaced]), np.array([spaced, len(text)]), np.array([[0, 2]]))
    assert again.boundary(1) == expected


def test_a_text_begins_and_ends_a_paragraph_and_shared_characters_are_never_cut() -> None:
    document = TokenText("👍 a", np.array([0, 0, 1]), np.array([1, 1, 3]), np.array([[0, 3]]))
    assert [document.boundary(token) for token in range(4)] == [
        Boundary.PARAGRAPH,
        Boundary.CHARACTER,
        Boundary.WORD,
        Boundary.PARAGRAPH,
    ]


def test_a_document_read_whole_is_quoted_in_whole_sentences() -> None:
    sentences = [f"The {number}th keeper came in spring and left the island in autumn again." for number in range(40)]
    document = token_text(" ".join(sentences))
    scores = [np.random.default_rng(3).random(len(document.leaves))]
    passages = select(scores, [document], 10**6)
    for quote in rank(passages, scores, [document]):
        first, end = document.starts[quote.first_token], document.ends[quote.end_token - 1]
        words = document.text[int(first) : int(end)].strip()
        assert words.startswith("The "), words
        assert words.endswith("again."), words
