from __future__ import annotations

import hashlib
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.errors import StageFailure
from pipeline.mining.mine import Miner, Pool, Wanted
from pipeline.mining.rules import ceiling, main_reason
from pipeline.mining.scores import scores_of
from pipeline.settings import PrepSettings
from pipeline.texts import normalised

COARSE = st.sampled_from([-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0])


def pool_of(vectors, texts=None):
    ids = tuple(f"p-{row:04}" for row in range(len(vectors)))
    return Pool(ids, tuple(texts or ids), vectors)


def mine(queries, pool, recipe, *more):
    return Miner(pool).mine(queries, recipe, *more)


def length(vector):
    return float(np.linalg.norm(vector.astype(np.float64)))


def by_definition(query, pool, recipe):
    """The rules of NV-Retriever, written down candidate by candidate."""
    lowest = min(scores_of(query.vector, query.positives))
    limit = {
        "top": np.inf,
        "shifted": np.inf,
        "absolute": recipe.score_max,
        "margin": lowest - recipe.positive_margin,
        "percentage": lowest - (1 - recipe.positive_percentage) * abs(lowest),
    }[recipe.rule]
    answers = {normalised(text) for text in query.positive_texts}
    allowed = []
    for row, (key, text, vector) in enumerate(zip(pool.ids, pool.texts, pool.vectors, strict=True)):
        score = float(scores_of(query.vector, vector[None])[0])
        if normalised(text) in answers or score > limit:
            continue
        if pool.sources and pool.sources[row] in query.sources:
            continue
        if recipe.duplicate_similarity and any(
            float(scores_of(positive, vector[None])[0])
            >= round(recipe.duplicate_similarity * length(positive) * length(vector), 6)
            for positive in query.positives
        ):
            continue
        allowed.append((-score, key))
    allowed = sorted(allowed)[recipe.skip if recipe.rule == "shifted" else 0 :]
    if recipe.sample_from:
        drawn = sorted(
            allowed[: max(recipe.sample_from, recipe.hard_negatives)],
            key=lambda one: hashlib.sha256(f"{query.name}\n{one[1]}".encode()).digest(),
        )
        allowed = sorted(drawn[: recipe.hard_negatives])
    return tuple((key, -negated) for negated, key in allowed[: recipe.hard_negatives])


RULES = st.one_of(
    st.builds(dict, rule=st.just("top")),
    st.builds(dict, rule=st.just("shifted"), skip=st.integers(0, 5)),
    st.builds(dict, rule=st.just("absolute"), score_max=st.sampled_from([-0.5, 0.0, 0.4, 2.0])),
    st.builds(dict, rule=st.just("margin"), positive_margin=st.sampled_from([0.0, 0.05, 0.3])),
    st.builds(
        dict,
        rule=st.just("percentage"),
        positive_percentage=st.sampled_from([0.0, 0.5, 0.95, 1.0]),
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    vectors=st.integers(1, 60).flatmap(lambda n: arrays(np.float32, (n, 3), elements=COARSE)),
    query=arrays(np.float32, (3,), elements=COARSE),
    rule=RULES,
    data=st.data(),
)
def test_every_rule_is_its_definition(vectors, query, rule, data):
    letters = st.lists(st.sampled_from("abcdefgh"), min_size=len(vectors), max_size=len(vectors))
    sources = tuple(data.draw(letters)) if data.draw(st.booleans()) else ()
    pool = replace(pool_of(vectors, data.draw(letters)), sources=sources)
    rows = data.draw(st.lists(st.integers(0, len(vectors) - 1), min_size=1, max_size=3))
    recipe = PrepSettings(
        hard_negatives=data.draw(st.integers(0, 6)),
        search_depth=data.draw(st.integers(1, 8)),
        sample_from=data.draw(st.sampled_from([0, 0, 3, 20])),
        duplicate_similarity=data.draw(st.sampled_from([0.0, 0.9, 1.0])),
        **rule,
    )
    wanted = Wanted(
        query,
        vectors[rows],
        tuple(pool.texts[row] for row in rows),
        name="q",
        sources=tuple({sources[row] for row in rows}) if sources else (),
    )
    (mined,) = mine([wanted], pool, recipe)
    assert mined.negatives == by_definition(wanted, pool, recipe)
    assert bool(mined.shortfall) == (len(mined.negatives) < recipe.hard_negatives)
    assert mined.positive_scores == tuple(scores_of(query, vectors[rows]).tolist())


@pytest.mark.parametrize("lowest", [-0.8, -0.1, 0.0, 0.1, 0.9])
@pytest.mark.parametrize("percentage", [0.0, 0.5, 0.95, 1.0])
def test_the_ceiling_never_rises_above_the_positive(lowest, percentage):
    assert ceiling(lowest, PrepSettings(positive_percentage=percentage)) <= lowest
    if lowest > 0:
        assert ceiling(lowest, PrepSettings(positive_percentage=percentage)) == pytest.approx(
            percentage * lowest
        )


@pytest.mark.parametrize(
    ("rule", "positive", "candidate"), [("margin", 0.7, 0.65), ("percentage", 0.6, 0.57)]
)
def test_a_candidate_just_at_the_ceiling_is_not_above_it(rule, positive, candidate):
    """0.7 - 0.05 and 0.6 - 0.05 * 0.6 are a little less in floating point."""
    vectors = np.array([[positive], [candidate], [candidate + 1e-6]], dtype=np.float32)
    wanted = Wanted(np.ones(1, dtype=np.float32), vectors[:1], ("p-0000",))
    (mined,) = mine([wanted], pool_of(vectors), PrepSettings(rule=rule))
    assert mined.negatives == (("p-0001", candidate),)
    assert mined.set_aside == {"answers": 1, "too_close": 1}


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


def test_a_passage_that_answers_in_another_spelling_than_the_positives_is_no_negative():
    vectors = np.array([[0.9], [0.8]], dtype=np.float32)
    pool = pool_of(vectors, ["the answer", "something else"])
    wanted = Wanted(np.ones(1, np.float32), np.ones((1, 1), np.float32), ("x", "THE\u00a0answer"))
    (mined,) = mine([wanted], pool, PrepSettings(hard_negatives=1))
    assert mined.negatives == (("p-0001", pytest.approx(0.8)),)
    assert mined.set_aside == {"answers": 1}


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
    assert seen[-1] == (300, 300)
    for query, one in zip(queries[::37], mined[::37], strict=True):
        assert one.negatives == by_definition(query, pool, PrepSettings())


def test_a_pool_larger_than_is_scored_at_once_is_mined_by_the_same_definition():
    random = np.random.default_rng(2)
    vectors = random.normal(size=(5000, 12)).astype(np.float32)
    pool = pool_of(vectors)
    query = Wanted(vectors[3], vectors[[3, 9]], ("p-0003", "p-0009"), name="q")
    for rule in ("top", "shifted", "margin", "percentage"):
        recipe = PrepSettings(rule=rule, search_depth=20)
        assert mine([query], pool, recipe)[0].negatives == by_definition(query, pool, recipe)


def test_drawing_depends_on_the_query_and_on_nothing_else():
    vectors = np.linspace(0.9, 0.1, 60).astype(np.float32)[:, None]
    pool, recipe = pool_of(vectors), PrepSettings(rule="top", sample_from=30)
    one = np.ones(1, dtype=np.float32)
    queries = [Wanted(one, vectors[:1], ("p-0000",), name=name) for name in ("a", "b")]
    first, second = mine(queries, pool, recipe)
    assert mine(queries[1:], pool, recipe) == [second]
    assert first.negatives != second.negatives
    best = {f"p-{row:04}" for row in range(1, 31)}
    assert {key for key, _ in (*first.negatives, *second.negatives)} <= best


def test_drawing_from_fewer_than_are_wanted_takes_as_many_as_are_wanted():
    vectors = np.linspace(0.9, 0.1, 60).astype(np.float32)[:, None]
    one = Wanted(np.ones(1, dtype=np.float32), vectors[:1], ("p-0000",), name="a")
    (mined,) = mine([one], pool_of(vectors), PrepSettings(rule="top", sample_from=3))
    assert [key for key, _ in mined.negatives] == [f"p-{row:04}" for row in range(1, 6)]
    assert not mined.shortfall


def test_vectors_that_are_not_finite_are_refused():
    vectors = np.eye(6, dtype=np.float32)
    good = Wanted(vectors[0], vectors[:1], ("p-0000",), name="good")
    bad = replace(good, vector=np.full(6, np.nan, np.float32), name="the bad one")
    with pytest.raises(StageFailure, match="the bad one"):
        mine([good, bad], pool_of(vectors), PrepSettings())
    with pytest.raises(StageFailure, match="the bad one"):
        mine([replace(bad, vector=good.vector, positives=bad.vector[None])], pool_of(vectors),
             PrepSettings())  # fmt: skip
    vectors[3, 2] = np.inf
    with pytest.raises(StageFailure, match=r"Of 6 passages' vectors 1 .* number 4"):
        mine([good], pool_of(vectors), PrepSettings())


def peak_bytes(work):
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_looking_for_near_copies_in_all_of_a_pool_copies_no_pool():
    vectors = np.random.default_rng(3).normal(size=(9000, 256)).astype(np.float32)
    miner = Miner(pool_of(vectors))
    far = Wanted(vectors[0], -vectors[:1], ("away",))
    recipe = PrepSettings(duplicate_similarity=0.9)
    peak = peak_bytes(lambda: miner.mine([far], recipe))
    assert peak < 1.2 * vectors.nbytes  # a block in float64 is nearly as much


@pytest.mark.parametrize("rule", ["top", "percentage", "shifted"])
def test_near_copies_that_are_looked_at_a_few_at_a_time_are_the_same(monkeypatch, rule):
    random = np.random.default_rng(5)
    vectors = random.normal(size=(90, 3)).astype(np.float32)
    pool = pool_of(vectors)
    queries = [Wanted(vectors[n], vectors[[n, n + 1]], (f"p-{n:04}",)) for n in range(20)]
    recipe = PrepSettings(rule=rule, skip=2, duplicate_similarity=0.6, search_depth=60)
    whole = mine(queries, pool, recipe)
    assert any("near_copy" in one.set_aside for one in whole)
    for query, one in zip(queries, whole, strict=True):
        assert one.negatives == by_definition(query, pool, recipe)
    monkeypatch.setattr("pipeline.mining.masks._COPIES_A_LOOK", 4)
    assert mine(queries, pool, recipe) == whole


def test_queries_whose_hits_are_held_a_few_at_a_time_are_mined_alike(monkeypatch):
    vectors = np.random.default_rng(6).normal(size=(90, 4)).astype(np.float32)
    queries = [
        Wanted(vectors[n], vectors[[n]][: n % 3], (f"p-{n:04}",), f"{n}?") for n in range(20)
    ]
    recipe, miner = PrepSettings(search_depth=20, hard_negatives=9), Miner(pool_of(vectors))

    def rescore(pairs):
        return [len(question) * int(text[2:]) % 17 / 17 for question, text in pairs]

    whole = [miner.mine(queries, recipe), miner.mine(queries, recipe, rescore=rescore)]
    monkeypatch.setattr("pipeline.mining.mine._HITS_A_CALL", 50)
    monkeypatch.setattr("pipeline.mining.mine._QUERIES_A_LOOK", 3)
    assert [miner.mine(queries, recipe), miner.mine(queries, recipe, rescore=rescore)] == whole
    assert {len(one.positive_scores) for one in whole[1]} == {0, 1}


def test_one_document_with_all_passages_takes_no_memory_for_each_query():
    vectors = np.random.default_rng(3).normal(size=(3000, 4)).astype(np.float32)
    pool = replace(pool_of(vectors), sources=("one",) * 3000)
    queries = [Wanted(one, one[None], ("away",), sources=("one",)) for one in vectors[:100]]
    miner, found = Miner(pool), []
    peak = peak_bytes(lambda: found.extend(miner.mine(queries, PrepSettings())))
    assert peak < 20_000_000
    assert {one.set_aside["same_document"] for one in found} == {3000}


def test_a_query_that_falls_short_says_how_many_were_set_aside_and_why():
    vectors = np.array([[1.0], [0.999], [0.99], [0.8], [0.7], [0.5]], dtype=np.float32)
    pool = replace(pool_of(vectors), sources=("x", "y", "y", "x", "y", "y"))
    wanted = Wanted(np.ones(1, dtype=np.float32), vectors[:1] * 0.8, ("p-0000",), sources=("x",))
    recipe = PrepSettings(positive_percentage=0.9)
    (mined,) = mine([wanted], pool, recipe)
    assert mined.negatives == (("p-0004", pytest.approx(0.7)), ("p-0005", 0.5))
    assert mined.set_aside == {"answers": 1, "same_document": 1, "too_close": 2}
    assert main_reason(mined.set_aside) == "too_close"
    assert mined.shortfall == (
        "2 of 5: of 6 training passages, 1 answer it, 1 come from a document that does and "
        "2 score above 0.72"
    )


def test_a_query_without_positives_gets_no_negatives_and_says_why():
    vectors = np.eye(4, dtype=np.float32)
    nothing = Wanted(vectors[0], np.zeros((0, 4), np.float32), ())
    (mined, other) = mine([nothing, Wanted(vectors[1], vectors[1:2], ("x",))], pool_of(vectors),
                          PrepSettings(hard_negatives=1, rule="top"))  # fmt: skip
    assert (mined.negatives, mined.positive_scores) == ((), ())
    assert "no passage that answers it" in mined.shortfall
    assert other.negatives


def test_where_all_passages_are_alike_or_all_are_masked_nothing_is_left_and_it_is_said():
    alike = np.ones((30, 2), dtype=np.float32)
    same_text = mine([Wanted(alike[0], alike[:1], ("t",))], pool_of(alike, ["t"] * 30),
                     PrepSettings())  # fmt: skip
    same_score = mine([Wanted(alike[0], alike[:1], ("t",))], pool_of(alike), PrepSettings())
    for (mined,), reason in ((same_text, "answers"), (same_score, "too_close")):
        assert mined.negatives == ()
        assert main_reason(mined.set_aside) == reason
        assert mined.shortfall.startswith("0 of 5: of 30 training passages")
    (top,) = mine([Wanted(alike[0], alike[:1], ("t",))], pool_of(alike), PrepSettings(rule="top"))
    assert [key for key, _ in top.negatives] == [f"p-{row:04}" for row in range(5)]


def test_rules_that_are_compared_share_a_search_and_find_what_each_finds_alone(monkeypatch):
    vectors = np.random.default_rng(8).normal(size=(4500, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = [Wanted(one, one[None], ("away",), name=str(n)) for n, one in enumerate(vectors[:9])]
    queries.insert(4, Wanted(vectors[0], vectors[:0], ()))
    rules = [PrepSettings(rule=rule) for rule in ("top", "percentage", "shifted", "margin")]
    miner, searches = Miner(pool_of(vectors)), []
    search = miner._search.search
    monkeypatch.setattr(
        miner._search, "search", lambda *asked: searches.append(asked[1]) or search(*asked)
    )
    together = miner.compare(queries, rules)
    assert searches == [100]
    assert together == [miner.mine(queries, rule) for rule in rules]
    assert searches == [100] * 5


def test_an_empty_pool_leaves_nothing():
    empty = pool_of(np.zeros((0, 3), dtype=np.float32))
    wanted = Wanted(np.ones(3, np.float32), np.ones((1, 3), np.float32), ("t",))
    (mined,) = mine([wanted], empty, PrepSettings())
    assert mined.negatives == ()
    assert mined.shortfall.startswith("0 of 5: of 0 training passages")


def test_a_reranker_decides_by_its_own_scores_among_the_nearest():
    random = np.random.default_rng(4)
    vectors = random.normal(size=(50, 6)).astype(np.float32)
    pool = pool_of(vectors)
    asked = []

    def rescore(pairs):
        asked.extend(pairs)
        return [0.9 if text == "p-0000" else int(text[2:]) / 50 for _, text in pairs]

    query = Wanted(vectors[0], vectors[:1], ("p-0000",), question="Why?", name="q")
    recipe = PrepSettings(search_depth=12, hard_negatives=4)
    (mined,) = Miner(pool).mine([query], recipe, rescore=rescore)
    near = np.argsort(-scores_of(vectors[0], vectors), kind="stable")[:12].tolist()
    allowed = sorted((row for row in near if row and row / 50 <= 0.95 * 0.9), reverse=True)
    assert mined.positive_scores == (0.9,)
    assert mined.negatives == tuple((f"p-{row:04}", row / 50) for row in allowed[:4])
    assert len(asked) == 12
    assert {question for question, _ in asked} == {"Why?"}
    (short,) = Miner(pool).mine([query], replace(recipe, hard_negatives=30), rescore=rescore)
    assert short.shortfall.startswith(f"{len(allowed)} of 30: of the nearest 12 of 50 training")
