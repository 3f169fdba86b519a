from __future__ import annotations

import math
import random
import time

import numpy as np

from pipeline.bm25 import K1, B, Bm25
from pipeline.texts import terms

TEXTS = ["the cat sat", "the dog sat on the cat", "a bird", "", "cat cat cat"]


def by_hand(query, texts):
    """Robertson's formula, one text at a time."""
    bags = [terms(text) for text in texts]
    mean = sum(map(len, bags)) / len(bags)
    scores = []
    for bag in bags:
        score = 0.0
        for term in terms(query):
            holders = sum(term in other for other in bags)
            if not holders:
                continue
            idf = math.log(1 + (len(bags) - holders + 0.5) / (holders + 0.5))
            count = bag.count(term)
            score += idf * count * (K1 + 1) / (count + K1 * (1 - B + B * len(bag) / mean))
        scores.append(score)
    return scores


def test_scores_follow_the_formula():
    for query in ("cat", "the cat sat", "cat cat dog", "bird unicorn"):
        np.testing.assert_allclose(Bm25(TEXTS).scores(query), by_hand(query, TEXTS), rtol=1e-12)


def test_the_best_come_first_and_misses_are_no_hits():
    ids, scores = Bm25(TEXTS).search(["dog", "unicorn"], 3)
    assert ids.tolist() == [[1, -1, -1], [-1, -1, -1]]
    assert scores[0, 0] > 0
    assert not scores[1].any()


def test_equal_scores_come_by_position_at_every_depth():
    index = Bm25(["same words here"] * 50 + ["words"])
    for k in (1, 7, 50):
        ids, _ = index.search(["same words"], k)
        assert ids[0].tolist() == list(range(k))


def test_terms_are_words_of_any_script():
    assert terms("Größe ﬁle ＡＢＣ snake_case") == ["größe", "file", "abc", "snake_case"]
    assert terms("हिन्दी भाषा") == ["हिन्दी", "भाषा"]
    assert terms("日本語 text") == ["日", "本", "語", "text"]
    assert terms("—!?") == []


def test_no_texts_and_empty_texts_find_nothing():
    for texts in ([], ["", ""]):
        ids, scores = Bm25(texts).search(["cat"], 2)
        assert ids.tolist() == [[-1, -1]]
        assert scores.tolist() == [[0.0, 0.0]]


def test_two_thousand_passages_and_five_hundred_queries_take_well_under_two_seconds():
    rng = random.Random(0)
    words = [f"w{int(rng.paretovariate(0.7)) % 5000}" for _ in range(200_000)]
    texts = [" ".join(words[i * 100 : i * 100 + 100]) for i in range(2000)]
    queries = [" ".join(rng.sample(words, 8)) for _ in range(500)]
    start = time.process_time()
    Bm25(texts).search(queries, 100)
    assert time.process_time() - start < 2
