from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.errors import Cancelled
from pipeline.mining.backends import (
    FaissBackend,
    TorchBackend,
    best_by_groups,
    coarse_error,
    fastest,
)
from pipeline.mining.scores import longest_of, norms_of, scores_of
from pipeline.mining.search import ExactSearch

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


def a_pool(rows, dimension, scale=1.0):
    random = np.random.default_rng(rows)
    pool = random.normal(size=(rows, dimension)).astype(np.float32) * scale
    pool[rows // 2 : rows // 2 + 60] = pool[7]  # a tie group wider than the margin
    return pool


@pytest.mark.parametrize(
    "backend", [TorchBackend, FaissBackend, None], ids=["torch", "faiss", "own"]
)
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_every_backend_finds_the_same_rows_with_the_same_scores(backend, scale):
    pool = a_pool(5000, 24, scale)
    queries = np.concatenate([pool[7:8], pool[40:60]])
    for query, found in zip(
        queries, ExactSearch(pool, backend=backend).search(queries, 30), strict=True
    ):
        scores = scores_of(query, pool)
        rows = np.lexsort((np.arange(len(pool)), -scores))[:30]
        assert found.rows.tolist() == rows.tolist()
        assert found.scores.tolist() == scores[rows].tolist()


@pytest.mark.parametrize("backend", [TorchBackend, None], ids=["torch", "own"])
def test_a_pool_on_the_disk_in_small_tiles_gives_the_same_hits(backend, tmp_path):
    pool = a_pool(6000, 16)
    path = tmp_path / "pool"
    pool.tofile(path)
    mapped = np.memmap(path, dtype=np.float32, mode="r+", shape=pool.shape)
    queries, tiles = pool[100:140], []
    whole = ExactSearch(pool).search(queries, 50)
    for tile_bytes in (1, 50_000):
        search = ExactSearch(mapped, tile_bytes=tile_bytes, backend=backend)
        small = search.search(queries, 50, lambda done, total: tiles.append((done, total)))
        for one, other in zip(whole, small, strict=True):
            assert one.rows.tolist() == other.rows.tolist()
            assert one.scores.tolist() == other.scores.tolist()
    assert max(total for _, total in tiles) > 20


def test_who_looks_at_the_pool_may_stop_at_every_tile():
    def stop(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        ExactSearch(a_pool(6000, 16), tile_bytes=1).search(a_pool(80, 16), 5, stop)


def test_scores_near_where_rounding_turns_are_those_of_the_definition():
    """Sums whose seventh decimal is a five: any order of summation could round them otherwise."""
    random = np.random.default_rng(9)
    pool = np.round(random.normal(size=(300, 40)) * 2**9) / 2**10
    pool = np.concatenate([pool, pool[:, ::-1]]).astype(np.float32)
    queries = np.full((2, 40), 2.0**-11 * 1.000_01, dtype=np.float32)
    for query, found in zip(queries, ExactSearch(pool).search(queries, 600), strict=True):
        assert found.scores.tolist() == sorted(scores_of(query, pool).tolist(), reverse=True)


def test_scores_too_large_for_whole_numbers_are_ranked_all_the_same():
    pool = a_pool(200, 4, scale=1e9)
    (found,) = ExactSearch(pool).search(pool[3:4], 10)
    scores = scores_of(pool[3], pool)
    assert found.rows.tolist() == np.lexsort((np.arange(200), -scores))[:10].tolist()


def test_deeper_is_the_whole_pool_where_all_of_it_would_be_scored():
    vectors = np.zeros((20_000, 2), dtype=np.float32)
    assert [ExactSearch(vectors).next_depth(depth) for depth in (100, 800)] == [800, 20_000]
    assert ExactSearch(vectors[:4096]).next_depth(1) == 4096


def test_the_fastest_backend_is_chosen_by_size():
    assert fastest(1, 5000, "cpu") is TorchBackend
    assert fastest(8, 5000, "cpu") is FaissBackend
    assert fastest(8, 500_000, "cpu") is TorchBackend
    assert fastest(256, 5000, "cpu") is TorchBackend
    assert fastest(8, 5000, "cuda") is TorchBackend


class Grouping(TorchBackend):
    """Chooses as it does on a GPU."""

    def _best(self, scores, looked):
        return best_by_groups(scores, min(looked, scores.shape[1]))


def test_candidates_chosen_by_groups_give_the_same_hits():
    pool = a_pool(40_000, 24)
    queries = np.concatenate([pool[7:8], pool[40:60]])
    expected = ExactSearch(pool, backend=TorchBackend).search(queries, 30)
    found = ExactSearch(pool, backend=Grouping, tile_bytes=2**21).search(queries, 30)
    for one, other in zip(expected, found, strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        assert one.scores.tolist() == other.scores.tolist()


@pytest.mark.parametrize("columns", [3200, 3201, 640, 7])
@pytest.mark.parametrize("distinct", [5, 10_000])
def test_groups_lose_none_of_the_best_scores(columns, distinct):
    scores = torch.randint(distinct, (6, columns), generator=torch.Generator().manual_seed(1)) / 7
    looked = min(23, columns)
    values, indices = best_by_groups(scores, looked)
    assert torch.equal(scores.gather(1, indices), values)
    assert all(len(set(row)) == looked for row in indices.tolist())
    best = scores.sort(dim=1, descending=True).values[:, :looked]
    assert torch.equal(values.sort(dim=1, descending=True).values, best)


def test_the_bound_of_a_gpus_scores_holds_where_it_cuts_bits_off():
    # The worst numbers: all the bits that TF32 doesn't read are ones.
    vector = np.full(512, 1 + 2.0**-10 - 2.0**-23, dtype=np.float32)
    cut = (vector.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
    whole, read = (float(np.dot(v.astype(np.float64), v.astype(np.float64))) for v in (vector, cut))
    assert (whole - read) / whole > 1.9 * 2.0**-10
    assert (whole - read) / whole < coarse_error(512, "cuda")
    assert coarse_error(512, "cpu") < coarse_error(512, "cuda") / 50


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e15])
def test_no_vector_is_longer_than_the_longest(scale):
    pool = a_pool(9000, 333, scale)
    longest = norms_of(pool).max()
    assert longest <= longest_of(pool) <= longest * (1 + 1e-4)
    assert longest_of(pool[:0]) == 0
    pool[5000, 3] = np.nan
    assert np.isnan(longest_of(pool))


def test_vectors_whose_squares_float32_cannot_hold_are_searched_all_the_same():
    pool = a_pool(200, 4, scale=1e30)
    (found,) = ExactSearch(pool).search(pool[3:4], 10)
    scores = scores_of(pool[3], pool)
    assert found.rows.tolist() == np.lexsort((np.arange(200), -scores))[:10].tolist()


def test_candidates_ranked_a_few_queries_at_a_time_give_the_same_hits(monkeypatch):
    pool = a_pool(9000, 16)
    queries = pool[100:140]
    whole = ExactSearch(pool, backend=TorchBackend).search(queries, 50)
    monkeypatch.setattr("pipeline.mining.search._SCORES_AT_ONCE", 300)
    few = ExactSearch(pool, backend=TorchBackend).search(queries, 50)
    for one, other in zip(whole, few, strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        assert one.scores.tolist() == other.scores.tolist()


def test_a_pool_that_is_scored_at_once_is_ranked_a_few_queries_at_a_time(monkeypatch):
    pool = a_pool(400, 16)
    whole, done = ExactSearch(pool).search(pool[100:140], 50), []
    monkeypatch.setattr("pipeline.mining.search._SCORES_AT_ONCE", 3000)
    few = ExactSearch(pool).search(pool[100:140], 50, lambda *so_far: done.append(so_far))
    assert few.rows.tolist() == whole.rows.tolist()
    assert few.scores.tolist() == whole.scores.tolist()
    assert done == [(7, 40), (14, 40), (21, 40), (28, 40), (35, 40), (40, 40)]
