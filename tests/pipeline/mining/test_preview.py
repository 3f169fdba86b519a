from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.mining.mine import Miner, Pool, Wanted
from pipeline.mining.preview import bin_edges, preview, rule_name, rules_to_compare
from pipeline.settings import PrepSettings


def material(count=40):
    random = np.random.default_rng(6)
    vectors = random.normal(size=(80, 10)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = tuple(f"p-{row:04}" for row in range(80))
    queries = [
        Wanted(vectors[n] + 0.1 * vectors[n + 1], vectors[[n]], (ids[n],), name=str(n))
        for n in range(count)
    ]
    return Miner(Pool(ids, ids, vectors)), queries


def test_a_preview_counts_what_each_rule_leaves_when_it_is_mined_with():
    miner, queries = material()
    settings = PrepSettings(hard_negatives=60, search_depth=10)
    shown = preview(miner, 80, queries, settings)
    assert [row.rule for row in shown.rules] == [*map(rule_name, rules_to_compare(settings))]
    assert [row.rule for row in shown.rules if row.chosen] == ["percentage 0.95"]
    for row, variant in zip(shown.rules, rules_to_compare(settings), strict=True):
        mined = miner.mine(queries, variant)
        assert row.full == sum(len(one.negatives) == 60 for one in mined)
        assert (row.full + row.short, row.without) == (40, 0)
        scores = [score for one in mined for _, score in one.negatives]
        assert row.negatives_per_query == round(len(scores) / 40, 3)
        assert row.mean_score == round(float(np.mean(scores)), 4)


def test_its_histograms_hold_every_question_once():
    miner, queries = material()
    shown = preview(miner, 80, queries, PrepSettings())
    assert sum(shown.positives) == sum(shown.candidates) == shown.questions == 40
    assert len(shown.edges) == len(shown.positives) + 1
    positives = [one.positive_scores[0] for one in miner.mine(queries, PrepSettings())]
    assert shown.edges[0] <= min(positives) <= max(positives) < shown.edges[-1]


def test_a_rule_of_ones_own_is_among_those_compared():
    own = PrepSettings(positive_percentage=0.91, sample_from=20)
    names = [rule_name(variant) for variant in rules_to_compare(own)]
    assert {"percentage 0.91", "percentage 0.95", "margin 0.05", "top"} <= {*names}
    assert len(names) == len({*names})
    assert all(variant.sample_from == 20 for variant in rules_to_compare(own))


def test_progress_counts_every_rule_and_never_goes_back():
    miner, queries = material(3)
    seen = []
    preview(miner, 80, queries, PrepSettings(), lambda done, total: seen.append((done, total)))
    total = 3 * (len(rules_to_compare(PrepSettings())) + 1)
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_questions_without_positives_or_candidates_are_in_no_histogram():
    miner, _ = material()
    nothing = Wanted(np.ones(10, np.float32), np.zeros((0, 10), np.float32), ())
    shown = preview(miner, 80, [nothing], PrepSettings())
    assert (sum(shown.positives), sum(shown.candidates), shown.above) == (0, 0, 0)
    assert {(row.full, row.short, row.without) for row in shown.rules} == {(0, 1, 1)}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_edges_hold_all_scores_in_no_more_bars_than_fit_a_screen(scores):
    edges = bin_edges(scores)
    assert edges[0] <= min(scores)
    assert max(scores) < edges[-1]
    assert len(edges) <= 44
    assert edges == sorted({*edges})


def test_a_reranker_is_asked_for_a_pair_whatever_the_rule():
    miner, queries = material(2)
    settings = PrepSettings(search_depth=9)
    shown = preview(miner, 80, queries, settings, rescore=lambda pairs: [0.5] * len(pairs))
    by_name = {row.rule: row for row in shown.rules}
    assert by_name["top"].full == 2
    assert by_name["percentage 0.95"].without == 2
    assert shown.above == 2
