from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.prep.mining import Pool, Wanted, ceiling, mine
from pipeline.prep.search import scores_of
from pipeline.recipe import PrepSettings
from pipeline.texts import normalised

COARSE = st.sampled_from([-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0])


def pool_of(vectors, texts=None):
    ids = tuple(f"p-{row:04}" for row in range(len(vectors)))
    return Pool(ids, tuple(texts or ids), vectors)


def by_definition(query, pool, recipe):
    """The published rule, written down candidate by candidate."""
    lowest = min(scores_of(query.vector, query.positives))
    margin = (1 - recipe.positive_percentage) * abs(lowest)
    answers = {normalised(text) for text in query.positive_texts}
    allowed = []
    for key, text, vector in zip(pool.ids, pool.texts, pool.vectors, strict=True):
        score = float(scores_of(query.vector, vector[None])[0])
        if normalised(text) not in answers and score <= lowest - margin:
            allowed.append((-score, key))
    return tuple((key, -negated) for negated, key in sorted(allowed)[: recipe.hard_negatives])


@settings(max_examples=150, deadline=None)
@given(
    vectors=st.integers(1, 60).flatmap(lambda n: arrays(np.float32, (n, 3), elements=COARSE)),
    query=arrays(np.float32, (3,), elements=COARSE),
    data=st.data(),
)
def test_mining_is_the_published_rule_by_definition(vectors, query, data):
    letters = st.lists(st.sampled_from("abcdefgh"), min_size=len(vectors), max_size=len(vectors))
    pool = pool_of(vectors, data.draw(letters))
    rows = data.draw(st.lists(st.integers(0, len(vectors) - 1), min_size=1, max_size=3))
    recipe = PrepSettings(
        hard_negatives=data.draw(st.integers(0, 6)),
        positive_percentage=data.draw(st.sampled_from([0.0, 0.5, 0.95, 1.0])),
        search_depth=data.draw(st.integers(1, 8)),
    )
    wanted = Wanted(query, vectors[rows], tuple(pool.texts[row] for row in rows))
    (mined,) = mine([wanted], pool, recipe)
    assert tuple((k, s) for k, s in mined.negatives) == by_definition(wanted, pool, recipe)
    assert bool(mined.shortfall) == (len(mined.negatives) < recipe.hard_negatives)
    assert mined.positive_scores == tuple(scores_of(query, vectors[rows]).tolist())


@pytest.mark.parametrize("lowest", [-0.8, -0.1, 0.0, 0.1, 0.9])
@pytest.mark.parametrize("percentage", [0.0, 0.5, 0.95, 1.0])
def test_the_ceiling_never_rises_above_the_positive(lowest, percentage):
    assert ceiling(lowest, percentage) <= lowest
    if lowest > 0:
        assert ceiling(lowest, percentage) == pytest.approx(percentage * lowest)


def test_a_suspected_false_negative_never_comes_back_as_padding():
    vectors = np.array([[1.0], [0.99], [0.98], [0.5]], dtype=np.float32)
    wanted = Wanted(np.ones(1, dtype=np.float32), vectors[:1], ("p-0000",))
    (mined,) = mine([wanted], pool_of(vectors), PrepSettings())
    assert mined.negatives == (("p-0003", 0.5),)
    assert mined.shortfall == ("1 of 5: of 4 training passages, 1 answer it and 2 score above 0.95")


def test_a_copy_of_a_positive_in_other_white_space_and_case_is_no_negative():
    vectors = np.array([[1.0], [0.9], [0.8]], dtype=np.float32)
    pool = pool_of(vectors, ["The  Answer", "the answer\n", "something else"])
    wanted = Wanted(np.ones(1, dtype=np.float32), vectors[:1], ("The  Answer",))
    (mined,) = mine([wanted], pool, PrepSettings(hard_negatives=1))
    assert mined.negatives == (("p-0002", pytest.approx(0.8)),)


def test_a_positive_outside_the_pool_still_sets_the_ceiling():
    vectors = np.array([[0.9], [0.3]], dtype=np.float32)
    wanted = Wanted(np.ones(1, dtype=np.float32), np.array([[0.5]], np.float32), ("away",))
    (mined,) = mine([wanted], pool_of(vectors), PrepSettings(hard_negatives=1))
    assert mined.negatives == (("p-0001", pytest.approx(0.3)),)
    assert mined.positive_scores == (0.5,)


def test_too_few_survivors_near_the_top_are_found_deeper():
    """600 passages score above the ceiling; the search begins with the best ten."""
    scores = np.concatenate([np.linspace(1.0, 0.6, 600), np.linspace(0.4, 0.1, 900)])
    pool = pool_of(scores.astype(np.float32)[:, None])
    wanted = Wanted(np.ones(1, dtype=np.float32), np.array([[0.5]], np.float32), ("away",))
    (mined,) = mine([wanted], pool, PrepSettings(search_depth=10))
    assert [key for key, _ in mined.negatives] == [f"p-{row:04}" for row in range(600, 605)]
    assert not mined.shortfall


def test_mining_many_queries_reports_them_all_and_mines_each_alike():
    random = np.random.default_rng(1)
    vectors = random.normal(size=(400, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pool = pool_of(vectors)
    queries = [
        Wanted(vectors[n % 400], vectors[[n % 400]], (f"p-{n % 400:04}",)) for n in range(300)
    ]
    seen = []
    mined = mine(queries, pool, PrepSettings(), lambda done, total: seen.append((done, total)))
    assert seen == [(256, 300), (300, 300)]
    for query, one in zip(queries[::37], mined[::37], strict=True):
        assert one.negatives == by_definition(query, pool, PrepSettings())
