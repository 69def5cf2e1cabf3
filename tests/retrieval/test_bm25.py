"""BM25: equal to the formula written plainly, joined over documents as if they were one, and stored exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from counting import calls
from hypothesis import given
from hypothesis import strategies as st

from sharedllm_cli.retrieval.bm25 import K1, SHARES_AFTER, SHARES_BEFORE, B, LexicalIndex, scores, weighed_terms
from sharedllm_cli.retrieval.terms import words

VOCABULARY = ["whale", "ship", "harpoon", "captain", "running", "sea", "the", "of", "lm()", "1,024"]
leaf_texts = st.lists(st.lists(st.sampled_from(VOCABULARY), max_size=8).map(" ".join), min_size=1, max_size=6)
questions = st.lists(st.sampled_from([*VOCABULARY, "unknown", "what"]), max_size=5).map(" ".join)
content_questions = st.lists(st.sampled_from([*VOCABULARY[:6], "unknown"]), max_size=5).map(" ".join)


def plain_bm25(question: str, documents: list[list[str]], k1: float, b: float) -> list[list[float]]:
    """Lucene's BM25 in plain Python over all leaves of all documents."""
    leaves = [[[t for w in words(leaf, "english") for t in w.terms] for leaf in document] for document in documents]
    every = [leaf for document in leaves for leaf in document]
    average = sum(map(len, every)) / len(every) or 1.0
    asked = {term for word in words(question, "english") for term in word.terms}

    def one(leaf: list[str]) -> float:
        total = 0.0
        for term in asked:
            df, tf = sum(term in other for other in every), leaf.count(term)
            if tf:
                idf = math.log(1 + (len(every) - df + 0.5) / (df + 0.5))
                total += idf * tf / (tf + k1 * (1 - b + b * len(leaf) / average))
        return total

    return [[one(leaf) for leaf in document] for document in leaves]


def build(leaves: list[str]) -> LexicalIndex:
    return LexicalIndex.build(leaves, "english")


@given(documents=st.lists(leaf_texts, min_size=1, max_size=3), question=questions, b=st.sampled_from([0.0, 0.4, 1.0]))
def test_without_shares_it_is_bm25_over_all_documents(documents: list[list[str]], question: str, b: float) -> None:
    found = scores(question, [build(leaves) for leaves in documents], b=b, before=(), after=())
    for values, expected in zip(found.values, plain_bm25(question, documents, K1, b), strict=True):
        np.testing.assert_allclose(values, expected, atol=1e-12)


@given(documents=st.lists(leaf_texts, min_size=2, max_size=3), question=questions)
def test_joined_statistics_are_those_of_one_big_index(documents: list[list[str]], question: str) -> None:
    apart = scores(question, [build(leaves) for leaves in documents], b=0.4, before=(), after=())
    together = scores(question, [build([leaf for leaves in documents for leaf in leaves])], b=0.4, before=(), after=())
    np.testing.assert_allclose(np.concatenate(apart.values), together.values[0], atol=1e-12)
    assert (apart.terms, apart.matched) == (together.terms, together.matched)


def one_document_at_a_time(question: str, indexes: list[LexicalIndex]) -> list[np.ndarray]:
    """The search as it was before all documents' leaves were one array."""
    leaf_count = sum(len(index.lengths) for index in indexes)
    average = sum(int(index.lengths.sum()) for index in indexes) / max(1, leaf_count) or 1.0
    values = [np.zeros(len(index.lengths)) for index in indexes]
    for term in dict.fromkeys(term for word in words(question, "english") for term in word.terms):
        postings = [index.postings(term) for index in indexes]
        frequency = sum(len(leaves) for leaves, _ in postings)
        idf = float(np.log1p((leaf_count - frequency + 0.5) / (frequency + 0.5)))
        for value, index, (leaves, counts) in zip(values, indexes, postings, strict=True):
            norm = K1 * (1 - B + B * index.lengths / average)
            weights = idf * counts / (counts + norm[leaves])
            weight = np.zeros(len(value))
            weight[leaves] = weights
            for distance, share in ((1, SHARES_BEFORE[0]), (2, SHARES_BEFORE[1]), (-1, 0.3), (-2, 0.15)):
                for leaf, own in zip(leaves.tolist(), weights.tolist(), strict=True):
                    if 0 <= leaf + distance < len(value):
                        weight[leaf + distance] = max(weight[leaf + distance], share * own)
            value += weight
    return values


@given(documents=st.lists(leaf_texts, min_size=1, max_size=9), question=content_questions)
def test_all_documents_at_once_score_to_the_digit_as_one_at_a_time(documents: list[list[str]], question: str) -> None:
    assert SHARES_AFTER == (0.3, 0.15)
    indexes = [build(leaves) for leaves in documents]
    found = scores(question, indexes)
    for values, expected in zip(found.values, one_document_at_a_time(question, indexes), strict=True):
        assert values.tolist() == expected.tolist()


@given(leaves=leaf_texts, question=questions)
def test_a_neighbours_term_counts_by_its_share(leaves: list[str], question: str) -> None:
    """Each term's weight in a leaf is the largest of its own and its neighbours' shares; terms add up."""
    index = build(leaves)
    shares = {-2: 0.25, -1: 0.5, 0: 1.0, 1: 0.3, 2: 0.15}
    expected = np.zeros(len(leaves))
    for term in set(question.split()):
        single = scores(term, [index], before=(), after=()).values[0]
        for leaf in range(len(leaves)):
            near = [share * single[leaf + d] for d, share in shares.items() if 0 <= leaf + d < len(leaves)]
            expected[leaf] += max(near)
    np.testing.assert_allclose(scores(question, [index]).values[0], expected, atol=1e-12)


def test_the_shares_fall_off_before_and_after_and_stop_at_the_documents_edge() -> None:
    leaves = ["x y"] * 7
    leaves[3] = "whale"
    values = scores("whale", [build(leaves), build(["z"])]).values
    np.testing.assert_allclose(values[0] / values[0].max(), [0, 0.15, 0.3, 1, 0.5, 0.25, 0])
    assert values[1].tolist() == [0]


@given(leaves=leaf_texts)
def test_arrays_round_trip(leaves: list[str]) -> None:
    index = build(leaves)
    terms, arrays = index.to_arrays()
    again = LexicalIndex.from_arrays(list(terms), {name: array.copy() for name, array in arrays.items()})
    assert again.to_arrays()[0] == terms == sorted(terms)
    assert again.language == index.language
    for name, array in again.to_arrays()[1].items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == arrays[name].dtype
    assert arrays["leaves"].dtype == arrays["frequencies"].dtype == arrays["lengths"].dtype == np.int32


@given(leaves=leaf_texts)
def test_postings_count_every_occurrence_once(leaves: list[str]) -> None:
    index = build(leaves)
    counts = [[t for w in words(leaf, "english") for t in w.terms] for leaf in leaves]
    assert index.lengths.tolist() == [len(terms) for terms in counts]
    assert index.terms == sorted({term for terms in counts for term in terms})
    for term in index.terms:
        held, frequencies = index.postings(term)
        assert dict(zip(held.tolist(), frequencies.tolist(), strict=True)) == {
            leaf: terms.count(term) for leaf, terms in enumerate(counts) if term in terms
        }
    assert index.postings("nowhere")[0].tolist() == []


def test_a_word_cut_by_a_leafs_end_belongs_to_the_leaf_in_which_it_begins() -> None:
    index = LexicalIndex.from_text("a white whale swims", np.array([11, 19]))  # a white wha|le swims
    assert index.postings("whale")[0].tolist() == [0]
    assert index.postings("swim")[0].tolist() == [1]


def test_nothing_is_indexed_of_nothing() -> None:
    assert scores("whale", []).values == []
    assert scores("whale", [LexicalIndex.build([])]).values[0].tolist() == []
    assert scores("whale", [LexicalIndex.build([""])]).values[0].tolist() == [0]
    with pytest.raises(ValueError, match="needs leaves"):
        LexicalIndex.from_text("whale", np.array([], dtype=np.int64))


def test_it_reports_the_content_words_as_typed_and_which_of_them_occur() -> None:
    found = scores("What does lm() do with the Whales and unicorns?", [build(["a whale", "lm(x) is called"])])
    assert found.terms == ["lm", "Whales", "unicorns"]
    assert found.matched == {"lm", "Whales"}


def test_it_reports_which_missing_words_stand_in_another_form_and_takes_no_name_for_another() -> None:
    index = build(["a full winding by Johnston", "they decided", "fuchsia, de facto"])
    found = scores("Did Johnson wind it fully, by a decision, for fun or defence?", [build(["nothing"]), index])
    assert found.matched == {"wind"}
    assert found.other_forms == {"fully", "decision"}
    assert scores("johnson", [index]).other_forms == {"johnson"}
    assert scores("xylophone", [index]).other_forms == set()


@pytest.mark.parametrize(
    ("question", "whole"),
    [
        ("what is this about?", True),
        ("Summarise the main points of this document.", True),
        ("", True),
        ("What is the main cause of the fire?", False),
        ("Summarize what the document says about whales", False),
    ],
)
def test_a_question_about_the_whole_has_no_content_words(question: str, whole: bool) -> None:
    found = scores(question, [build(["the main whale document", "the cause"])])
    assert (not found.terms) is whole
    assert (not found.matched) is whole


@pytest.mark.parametrize(
    ("question", "whole"),
    [
        ("Worum geht es in diesem Dokument?", True),
        ("De quoi parle ce document ?", True),
        ("¿De qué trata este documento?", True),
        ("Di cosa parla questo documento?", True),
        ("이 문서는 무엇에 관한 것입니까?", True),
        ("この文書は何についてのものですか", True),
        ("这份文件是关于什么的？", True),
        ("Wer gewann die Weltmeisterschaft?", False),
        ("이 회사의 매출은 얼마입니까?", False),
    ],
)
@pytest.mark.parametrize("text", ["the main whale document", "회사 보고 요약", "von den Häusern der Stadt und sonst"])
def test_a_question_about_the_whole_is_one_in_every_language(question: str, whole: bool, text: str) -> None:
    assert (not scores(question, [build([text])]).terms) is whole


def test_a_question_is_stemmed_in_each_documents_own_language() -> None:
    english = LexicalIndex.build(["the houses of the town", "nothing of it"], "english")
    german = LexicalIndex.build(["von den Häusern der Stadt", "und sonst nichts"], "german")
    found = scores("Häuser houses", [english, german])
    assert found.values[0][0] > found.values[0][1]
    assert found.values[1][0] > found.values[1][1]
    assert found.matched == {"Häuser", "houses"}


def test_an_english_question_about_a_german_text_does_not_look_for_english_stop_words() -> None:
    german = LexicalIndex.build(["das Haus", "in the the the"], "german")
    assert scores("what is the rent of the flat", [german]).terms == ["rent", "flat"]


def test_the_language_is_found_when_it_is_not_given() -> None:
    assert LexicalIndex.build(["Das ist nicht das Haus,", "in dem wir mit den Kindern wohnen."]).language == "german"


def test_a_million_tokens_are_asked_in_a_moment() -> None:
    random = np.random.default_rng(0)
    leaves = [" ".join(f"w{n}" for n in random.zipf(1.3, 45).clip(max=20_000)) for _ in range(16_384)]
    spent = []
    for part in (leaves[:2048], leaves):
        index = LexicalIndex.build(part)
        assert scores("w1 w2 w3", [index]).matched == {"w1", "w2", "w3"}
        spent.append(calls(lambda index=index: scores("w1 w2 w3", [index])))  # type: ignore[misc]
    # The search among a language's words, by halves, is all that grows.
    assert spent[1] < 1.1 * spent[0]


def test_irregular_forms_are_forms_of_one_word() -> None:
    index = LexicalIndex.build(["The keepers came by boat, and their feet were cold.", "Nobody ran."])
    found = scores("When did the man come on foot, and who swam?", [index])
    assert {"come", "foot"} <= found.other_forms
    assert not {"man", "swam"} & found.other_forms


def test_unweighed_words_count_only_where_there_are_no_others() -> None:
    index = LexicalIndex.build(["The report is kept here.", "Ammonia attacks putty.", "It is blue."])
    ammonia = [term["english"] for term, _ in weighed_terms("a report of ammonia", [index])]
    assert ammonia == ["ammonia"]
    assert [term["english"] for term, _ in weighed_terms("a report", [index])] == ["report"]
    both = [term["english"] for term, _ in weighed_terms("a report of ammonia", [index], unweighed=())]
    assert both == ["report", "ammonia"]
