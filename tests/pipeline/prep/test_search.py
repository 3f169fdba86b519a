from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.prep.search import ExactSearch, scores_of

COARSE = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0])


def brute_force(query, pool, depth):
    scores = [round(float(np.dot(query.astype(np.float64), p.astype(np.float64))), 6) for p in pool]
    order = sorted(range(len(pool)), key=lambda row: (-scores[row], row))[:depth]
    return order, [scores[row] for row in order]


@settings(max_examples=60, deadline=None)
@given(
    pool=st.integers(1, 90).flatmap(lambda n: arrays(np.float32, (n, 3), elements=COARSE)),
    queries=arrays(np.float32, (3, 3), elements=COARSE),
    depth=st.integers(0, 40),
)
def test_search_is_brute_force_by_definition_ties_included(pool, queries, depth):
    hits = ExactSearch(pool).search(queries, depth)
    for query, found in zip(queries, hits, strict=True):
        rows, scores = brute_force(query, pool, depth)
        assert found.rows.tolist() == rows
        assert found.scores.tolist() == scores


def test_search_over_more_vectors_than_it_looks_at_is_brute_force():
    random = np.random.default_rng(3)
    pool = random.normal(size=(3000, 24)).astype(np.float32)
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    pool[1500:1600] = pool[7]  # a tie group wider than the margin
    queries = np.concatenate([pool[7:8], pool[40:60]])
    for query, found in zip(queries, ExactSearch(pool).search(queries, 30), strict=True):
        rows, scores = brute_force(query, pool, 30)
        assert found.rows.tolist() == rows
        assert np.allclose(found.scores, scores, atol=1.1e-6)


def test_an_empty_pool_has_no_hits():
    search = ExactSearch(np.zeros((0, 4), dtype=np.float32))
    assert search.search(np.ones((2, 4), dtype=np.float32), 5)[1].rows.tolist() == []


def test_a_score_does_not_depend_on_what_else_is_scored():
    random = np.random.default_rng(5)
    pool = random.normal(size=(5000, 33)).astype(np.float32)
    query = random.normal(size=33).astype(np.float32)
    whole = scores_of(query, pool)
    for row in (0, 17, 4095, 4096, 4999):
        assert scores_of(query, pool[row : row + 1])[0] == whole[row]
