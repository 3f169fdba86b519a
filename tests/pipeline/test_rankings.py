"""Exact rankings with one tie rule."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.rankings import rank_bm25, rank_vectors


def _sorted_in_full(scores, ids, k):
    pairs = sorted(zip(ids, map(float, scores), strict=True), reverse=True)
    return tuple(sorted(pairs, key=lambda pair: -pair[1])[:k])


@given(
    scores=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    k=st.integers(1, 45),
    shuffle=st.randoms(),
)
def test_ties_fall_by_id_descending_even_at_the_cut(scores, k, shuffle):
    ids = [f"p-{n}" for n in range(len(scores))]
    shuffle.shuffle(ids)
    passages = np.array(scores, dtype=np.float32)[:, None]
    (ranking,) = rank_vectors(np.ones((1, 1), dtype=np.float32), passages, ids, k)
    assert ranking == _sorted_in_full(scores, ids, k)


def test_every_passage_is_scored_for_many_queries():
    generator = np.random.default_rng(3)
    queries = generator.standard_normal((150, 16), dtype=np.float32)
    passages = generator.standard_normal((400, 16), dtype=np.float32)
    ids = [f"p-{n}" for n in range(400)]
    rankings = list(rank_vectors(queries, passages, ids, 100))
    exact = queries.astype(np.float64) @ passages.astype(np.float64).T
    for row, ranking in enumerate(rankings):
        assert len(ranking) == 100
        worst = min(score for _, score in ranking)
        found = {name for name, _ in ranking}
        assert all(exact[row, n] < worst + 1e-4 for n in range(400) if f"p-{n}" not in found)
        for name, score in ranking:
            assert score == pytest.approx(exact[row, int(name[2:])], abs=1e-4)
            assert score == float(np.float32(score))


def test_the_order_of_the_passages_does_not_matter():
    generator = np.random.default_rng(4)
    # Whole numbers: every sum is exact, whatever the order of the work.
    queries = generator.integers(-3, 4, (70, 8)).astype(np.float32)
    passages = generator.integers(-3, 4, (200, 8)).astype(np.float32)
    ids = [f"p-{n}" for n in range(200)]
    mixed = generator.permutation(200)
    assert list(rank_vectors(queries, passages, ids, 10)) == list(
        rank_vectors(queries, passages[mixed], [ids[n] for n in mixed], 10)
    )


def test_vectors_are_not_copied():
    """They may be a file of gigabytes."""
    passages = np.random.default_rng(5).standard_normal((2000, 512), dtype=np.float32)
    ids = [f"p-{n}" for n in range(2000)]
    tracemalloc.start()
    list(rank_vectors(passages[:5], passages, ids, 10))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < passages.nbytes / 4


def test_bm25_finds_only_what_shares_a_term_and_breaks_ties_like_the_others():
    texts = ["red apple", "green pear", "red apple", "a red, red apple tree", "blue sky"]
    ids = ["p-1", "p-2", "p-3", "p-4", "p-5"]
    first, second, none = rank_bm25(["red apple", "sky", "zebra"], texts, ids, 3)
    assert {name for name, _ in first} == {"p-1", "p-3", "p-4"}
    tied = [name for name, _ in first if name in ("p-1", "p-3")]
    assert tied == ["p-3", "p-1"]
    assert [name for name, _ in second] == ["p-5"]
    assert none == ()
    (cut,) = rank_bm25(["pear"], ["pear"] * 5, ids, 2)
    assert [name for name, _ in cut] == ["p-5", "p-4"]
