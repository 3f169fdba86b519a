"""Metrics equal to BEIR's own and to pytrec_eval's."""

import numpy as np
import pytest
import pytrec_eval
from beir.retrieval.evaluation import EvaluateRetrieval

from pipeline.metrics import evaluate, first_relevant, mean_metrics

KS = (1, 5, 10, 100)


@pytest.fixture(scope="module", params=[0, 1, 2])
def ranked(request):
    """Graded qrels and rankings full of ties, in trec_eval's order."""
    generator = np.random.default_rng(request.param)
    passages = [f"p-{n}" for n in range(300)]
    qrels, rankings = {}, {}
    for number in range(60):
        relevant = generator.choice(passages, generator.integers(1, 12), replace=False)
        qrels[f"q-{number}"] = {str(p): int(generator.integers(1, 4)) for p in relevant}
        found = generator.choice(passages, generator.integers(1, 101), replace=False)
        scores = generator.integers(0, 8, len(found)).astype(np.float32) / 7
        pairs = [(str(p), float(s)) for p, s in zip(found, scores, strict=True)]
        pairs.sort(key=lambda pair: pair[0], reverse=True)
        rankings[f"q-{number}"] = tuple(sorted(pairs, key=lambda pair: -pair[1]))
    return qrels, rankings


def test_means_equal_beirs_to_its_five_decimals(ranked):
    qrels, rankings = ranked
    results = {query: dict(ranking) for query, ranking in rankings.items()}
    theirs = EvaluateRetrieval.evaluate(qrels, results, list(KS), ignore_identical_ids=False)
    ours = mean_metrics(evaluate(qrels, rankings, KS))
    names = {"NDCG": "ndcg", "MAP": "map", "Recall": "recall", "P": "precision"}
    compared = {
        f"{names[name.partition('@')[0]]}@{name.partition('@')[2]}": value
        for part in theirs
        for name, value in part.items()
    }
    assert {name: round(value, 5) for name, value in ours.items()} == compared
    assert len(compared) == 16


def test_every_query_equals_pytrec_eval_to_1e_9(ranked):
    qrels, rankings = ranked
    theirs_of = {"ndcg": "ndcg_cut", "recall": "recall", "precision": "P", "map": "map_cut"}
    ours = evaluate(qrels, rankings, KS)
    results = {query: dict(ranking) for query, ranking in rankings.items()}
    for measure, theirs_name in theirs_of.items():
        for k in KS:
            one = pytrec_eval.RelevanceEvaluator(qrels, {f"{theirs_name}.{k}"}).evaluate(results)
            for query in qrels:
                expected = one[query][f"{theirs_name}_{k}"]
                assert ours[query][f"{measure}@{k}"] == pytest.approx(expected, abs=1e-9)
    mean = np.mean([row["ndcg@10"] for row in ours.values()])
    assert mean_metrics(ours)["ndcg@10"] == pytest.approx(mean, abs=1e-12)


def test_ties_count_in_the_order_of_our_rankings(ranked):
    """What is shown as first is what was counted as first."""
    qrels, rankings = ranked
    ours = evaluate(qrels, rankings, (1,))
    for query, ranking in rankings.items():
        hit = first_relevant(ranking, qrels[query]) == 1
        assert ours[query]["precision@1"] == float(hit)


def test_a_query_that_found_nothing_counts_as_zero():
    qrels = {"q-1": {"p-1": 1}, "q-2": {"p-2": 1}, "q-3": {"p-2": 1}}
    per_query = evaluate(qrels, {"q-1": (("p-1", 1.0),), "q-2": ()}, (1, 5))
    assert set(per_query) == set(qrels)
    assert per_query["q-2"] == per_query["q-3"]
    assert mean_metrics(per_query)["recall@5"] == pytest.approx(1 / 3)


def test_ranks_may_come_in_any_order_and_more_than_once():
    qrels, ranking = {"q-1": {"p-1": 1}}, {"q-1": (("p-2", 2.0), ("p-1", 1.0))}
    assert evaluate(qrels, ranking, (10, 1, 10)) == evaluate(qrels, ranking, (1, 10))


def test_the_first_relevant_rank_is_counted_from_one():
    ranking = (("p-3", 3.0), ("p-2", 2.0), ("p-1", 1.0))
    assert first_relevant(ranking, {"p-1": 1, "p-2": 2}) == 2
    assert first_relevant(ranking, {"p-9": 1}) is None
    assert first_relevant(ranking, {"p-3": 0}) is None
