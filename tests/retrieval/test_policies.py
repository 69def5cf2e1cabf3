"""Policies: late interaction as it is defined, the hybrid's fallbacks, and nothing computed that isn't needed."""

from __future__ import annotations

import numpy as np
import pytest
from counting import calls
from hypothesis import given
from hypothesis import strategies as st

from sharedllm_cli import config
from sharedllm_cli.errors import UsageError
from sharedllm_cli.retrieval import policies
from sharedllm_cli.retrieval.policies import (
    LATE_SHARE_AFTER,
    LATE_SHARE_BEFORE,
    POLICIES,
    best_leaves,
    combine,
    late_interaction,
    paper_cosine,
    z_scores,
)


def plain_late(query: np.ndarray, leaves: list[np.ndarray], centre: np.ndarray, weights: np.ndarray) -> list[float]:
    """Late interaction with loops, in float64."""

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    return [
        sum(w * max(cosine(q - centre, t - centre) for t in leaf) for q, w in zip(query, weights, strict=True))
        / weights.sum()
        for leaf in leaves
    ]


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8), block=st.integers(1, 20), seed=st.integers(0, 999))
def test_late_interaction_is_the_mean_best_cosine_whatever_the_block(lengths: list[int], block: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    leaves = [random.normal(size=(length, 6)) for length in lengths]
    query, centre, weights = random.normal(size=(4, 6)), random.normal(size=6), random.random(4)
    before = policies.BLOCK_TOKENS
    policies.BLOCK_TOKENS = block
    try:
        found = late_interaction(query, leaves, centre, token_weights=weights)
        even = late_interaction(query, leaves, centre)
    finally:
        policies.BLOCK_TOKENS = before
    np.testing.assert_allclose(found, plain_late(query, leaves, centre, weights), atol=1e-5)
    np.testing.assert_allclose(even, plain_late(query, leaves, centre, np.ones(4)), atol=1e-5)


def test_late_interaction_at_its_edges() -> None:
    leaf = np.eye(3)
    assert late_interaction(np.zeros((0, 3)), [leaf]).tolist() == [0]
    assert late_interaction(leaf, []).tolist() == []
    assert late_interaction(leaf, [np.ones((2, 3))], centre=np.ones(3)).tolist() == [0]
    assert late_interaction(leaf, [leaf], token_weights=np.zeros(3)).tolist() == [0]
    with pytest.raises(ValueError, match="without tokens"):
        late_interaction(leaf, [leaf, np.zeros((0, 3))])


def test_a_large_common_direction_hides_what_differs_unless_it_is_taken_out() -> None:
    random = np.random.default_rng(0)
    common = 100 * np.ones(16)
    meanings = random.normal(size=(5, 16))
    leaves = [common + meaning[None] for meaning in meanings]
    query = common + 0.5 * meanings[3][None]
    assert np.ptp(late_interaction(query, leaves)) < 0.01
    assert late_interaction(query, leaves, common).argmax() == 3
    assert np.ptp(late_interaction(query, leaves, common)) > 0.5


@given(
    leaves=st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=6),
    query=st.lists(st.integers(0, 7), max_size=6),
)
def test_token_weights_are_the_idf_of_the_leaves_that_hold_the_token(leaves: list[list[int]], query: list[int]) -> None:
    arrays = [np.array(leaf, dtype=np.int32) for leaf in leaves]
    df = [sum(token in leaf for leaf in leaves) for token in query]
    expected = [np.log(1 + (len(leaves) - n + 0.5) / (n + 0.5)) for n in df]
    found = policies.token_weights(np.array(query, dtype=np.int32), arrays)
    np.testing.assert_allclose(found, expected)
    # Given by document instead of by leaf.
    lengths = np.array([len(leaf) for leaf in arrays])
    halves = [np.concatenate([np.zeros(0, dtype=np.int32), *part]) for part in (arrays[:2], arrays[2:])]
    assert policies.joined_token_weights(np.array(query), halves, lengths).tolist() == found.tolist()


def test_token_weights_without_leaves_are_even() -> None:
    assert policies.token_weights(np.array([3, 4]), []).tolist() == [1, 1]


def test_paper_cosine() -> None:
    vectors = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [0.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_allclose(paper_cosine(vectors, np.array([5.0, 0.0])), [1, 0, 2**-0.5, 0, -1], atol=1e-6)


def test_z_scores_of_a_constant_are_zero() -> None:
    assert z_scores(np.full(4, 0.1)).tolist() == [0] * 4
    assert z_scores(np.array([3.0])).tolist() == [0]
    assert z_scores(np.array([])).tolist() == []
    np.testing.assert_allclose(z_scores(np.array([1.0, 2.0, 3.0])), np.array([-1, 0, 1]) * 1.5**0.5)


def test_the_best_leaves_come_first_and_the_earlier_of_equals() -> None:
    assert best_leaves(np.array([0.0, 2.0, 1.0, 2.0]), 3).tolist() == [1, 3, 2]
    assert best_leaves(np.zeros(4), 3).tolist() == [0, 1, 2]
    assert len(best_leaves(np.zeros(250))) == config.RERANK_LEAVES == 100
    assert best_leaves(np.zeros(0)).tolist() == []


def test_the_hybrid_adds_z_scores_and_gives_the_others_the_smallest_late_score() -> None:
    lexical = np.array([4.0, 3.0, 2.0, 1.0])
    found = combine(lexical, np.array([0.2, 0.6]), np.array([0, 1]))
    # Leaf 0 has a share of leaf 1's; leaf 2, its other neighbour, was not looked at and keeps the smallest.
    late = np.array([0.4 * LATE_SHARE_BEFORE, 0.4, 0.0, 0.0])
    np.testing.assert_allclose(found, z_scores(lexical) + z_scores(late))


def test_late_interaction_counts_for_the_neighbours_on_either_side() -> None:
    late = np.array([0.0, 0.0, 1.0, 0.0, 0.0])
    found = combine(np.zeros(5), late, np.arange(5))
    np.testing.assert_allclose(found, z_scores(np.array([0, LATE_SHARE_BEFORE, 1, LATE_SHARE_AFTER, 0])))


@given(values=st.lists(st.floats(0, 10), min_size=1, max_size=30))
def test_the_hybrid_falls_back_to_what_tells_leaves_apart(values: list[float]) -> None:
    lexical, every = np.array(values), np.arange(len(values))
    none = np.array([], dtype=int)
    np.testing.assert_allclose(combine(lexical, np.array([]), none), z_scores(lexical))
    np.testing.assert_allclose(combine(lexical, np.full(len(every), 0.3), every), z_scores(lexical))


class RecordingSource:
    """Leaves of known scores that remember what was asked of them."""

    def __init__(self, lexical: np.ndarray, late: np.ndarray) -> None:
        self.leaf_count = len(lexical)
        self.values = (lexical, late)
        self.asked: list[str] = []
        self.late_leaves: list[int] = []

    def lexical(self) -> np.ndarray:
        self.asked.append("lexical")
        return self.values[0]

    def late(self, leaves: np.ndarray) -> np.ndarray:
        self.asked.append("late")
        self.late_leaves = leaves.tolist()
        return self.values[1][leaves]

    def node_cosines(self) -> np.ndarray:
        self.asked.append("node_cosines")
        return self.values[1]

    def meaning(self) -> np.ndarray | None:
        self.asked.append("meaning")
        return self.values[1]


def test_every_policy_asks_for_what_it_declares_and_nothing_else() -> None:
    assert tuple(POLICIES) == config.POLICIES
    random = np.random.default_rng(0)
    for policy in POLICIES.values():
        source = RecordingSource(random.random(250), random.random(250))
        values = policy.scores(source)
        assert values.shape == (250,)
        declared = {
            "lexical": policy.lexical,
            "late": policy.states != "none",
            "node_cosines": policy.node_vectors,
            "meaning": policy.meaning,
        }
        assert sorted(source.asked) == sorted(name for name, needed in declared.items() if needed)
        if policy.states != "none":
            assert len(source.late_leaves) == {"best": config.RERANK_LEAVES, "all": 250}[policy.states]


def test_the_hybrid_re_ranks_the_best_hundred_by_bm25_only() -> None:
    lexical = np.arange(250.0)
    late = np.zeros(250)
    late[10], late[200] = 9.0, 1.0  # leaf 10 would win, but is not among the hundred
    source = RecordingSource(lexical, late)
    values = policies.policy("hybrid-words").scores(source)
    assert sorted(source.late_leaves) == list(range(150, 250))
    assert values.argmax() == 200
    assert values[10] < values[11]


class Meant(RecordingSource):
    """Leaves whose meaning is known, or is not to be had."""

    def __init__(self, lexical: np.ndarray, late: np.ndarray, meant: np.ndarray | None) -> None:
        super().__init__(lexical, late)
        self.meant = meant

    def meaning(self) -> np.ndarray | None:
        return self.meant


def test_meaning_counts_in_the_hybrid_as_words_and_states_do() -> None:
    random = np.random.default_rng(1)
    lexical, late, meant = random.random((3, 40))
    words = policies.policy("hybrid-words").scores(RecordingSource(lexical, late))
    found = policies.policy("hybrid").scores(Meant(lexical, late, meant))
    np.testing.assert_allclose(found - words, z_scores(meant))
    assert policies.policy("meaning").scores(Meant(lexical, late, meant)).tolist() == meant.tolist()
    # A leaf that no word leads to is found, which re-ranking by states can't do.
    lexical, meant = np.arange(250.0), np.zeros(250)
    meant[3] = 1.0
    assert policies.policy("hybrid").scores(Meant(lexical, np.zeros(250), meant)).argmax() == 3


def test_without_an_encoder_the_hybrid_goes_by_words_and_meaning_is_refused() -> None:
    random = np.random.default_rng(1)
    lexical, late = random.random((2, 40))
    words = policies.policy("hybrid-words").scores(RecordingSource(lexical, late))
    assert policies.policy("hybrid").scores(Meant(lexical, late, None)).tolist() == words.tolist()
    with pytest.raises(UsageError, match="sentence encoder"):
        policies.policy("meaning").scores(Meant(lexical, late, None))


@pytest.mark.parametrize("count", [0, 1, 2, 99])
def test_policies_work_on_few_leaves(count: int) -> None:
    for policy in POLICIES.values():
        values = policy.scores(RecordingSource(np.arange(count, dtype=float), np.ones(count)))
        assert values.shape == (count,)
        assert not np.isnan(values).any()


def test_right_prefers_nothing() -> None:
    assert policies.policy("right").scores(RecordingSource(np.arange(3.0), np.ones(3))).tolist() == [0, 0, 0]


def test_an_unknown_policy_is_a_users_mistake() -> None:
    with pytest.raises(UsageError, match="unknown policy 'best'"):
        policies.policy("best")


def test_weighing_a_questions_tokens_goes_through_a_long_document_once() -> None:
    leaves = list(np.zeros((40_000, 50), dtype=np.int64) + np.arange(50) % 7)
    spent = [calls(lambda part=part: policies.token_weights(np.arange(9), part)) for part in (leaves[:4000], leaves)]
    assert spent[1] < 10 * spent[0]
    weights = policies.token_weights(np.arange(9), leaves)
    assert weights[:7] == pytest.approx(weights[0])
    assert weights[7] == weights[8] > weights[0]
