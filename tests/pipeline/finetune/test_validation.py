"""Dev nDCG@10: exact, and the pool never changes the base's figure."""

from __future__ import annotations

import numpy as np
import pytest
from beir.retrieval.evaluation import EvaluateRetrieval

from pipeline.beir import EvalSet
from pipeline.finetune import validation
from pipeline.finetune.validation import mean, measure, ndcg, prepare, rankings


def dev_set(passages: int, queries: int = 12) -> EvalSet:
    generator = np.random.default_rng(3)
    return EvalSet(
        queries={f"q-{n}": f"query {n}" for n in range(queries)},
        passages={f"p-{n}": f"passage {n}" for n in range(passages)},
        qrels={
            f"q-{n}": {f"p-{m}": 1 for m in generator.choice(passages, size=1 + n % 3)}
            for n in range(queries)
        },
    )


def embedder(seed: int):
    """Any fixed rule from texts to unit vectors."""

    def embed(texts, kind):
        vectors = [
            np.random.default_rng([seed, len(kind), *text.encode()]).normal(size=8)
            for text in texts
        ]
        stacked = np.array(vectors, dtype=np.float32)
        return stacked / np.linalg.norm(stacked, axis=1, keepdims=True)

    return embed


def test_it_equals_beir_on_the_whole_rankings():
    dev = dev_set(60)
    ranked = rankings(dev, embedder(1), depth=60)
    found = {query: dict(ranking) for query, ranking in ranked.items()}
    expected, *_ = EvaluateRetrieval.evaluate(dict(dev.qrels), found, [10])
    assert mean(ndcg(dev, ranked)) == pytest.approx(expected["NDCG@10"], abs=1e-5)
    assert 0 < prepare(dev, embedder(1)).base_score == mean(ndcg(dev, ranked))


def test_equal_scores_are_ordered_as_trec_eval_does():
    dev = EvalSet({"q": "query"}, {f"p-{n:02d}": "same" for n in range(15)}, {"q": {"p-03": 1}})
    ranked = rankings(dev, embedder(1), depth=10)
    assert [passage for passage, _ in ranked["q"]] == [f"p-{n:02d}" for n in range(14, 4, -1)]
    assert ndcg(dev, ranked) == (0.0,)
    everything = dict(rankings(dev, embedder(1), depth=15)["q"])
    expected, *_ = EvaluateRetrieval.evaluate({"q": {"p-03": 1}}, {"q": everything}, [10])
    assert expected["NDCG@10"] == 0.0


def test_few_passages_are_all_searched():
    dev = dev_set(validation.WHOLE_UP_TO)
    prepared = prepare(dev, embedder(1))
    assert not prepared.pooled
    assert prepared.dev == dev


def test_a_pool_keeps_the_base_score_and_every_relevant_passage():
    dev = dev_set(validation.WHOLE_UP_TO + 1)
    prepared = prepare(dev, embedder(1))
    assert prepared.pooled
    assert len(prepared.dev.passages) <= 12 * (validation.POOL_DEPTH + 3)
    assert all(key in prepared.dev.passages for relevant in dev.qrels.values() for key in relevant)
    assert measure(prepared.dev, embedder(1)) == prepared.base
    whole = mean(measure(dev, embedder(2)))
    assert mean(measure(prepared.dev, embedder(2))) >= whole
