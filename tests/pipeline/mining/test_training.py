from __future__ import annotations

import zlib

import numpy as np

from pipeline.mining.mine import Miner
from pipeline.mining.training import Asked, Library, encode_material, refresh
from pipeline.settings import PrepSettings

TEXTS = {f"p{n}": f"passage {n}" for n in range(12)}


class Model:
    """Vectors by a hash of the text and of the weights' number."""

    def __init__(self, weights):
        self.weights = weights
        self.calls = []

    def __call__(self, texts, kind):
        self.calls.append((kind, list(texts)))
        rows = [
            np.random.default_rng(zlib.crc32(f"{self.weights} {text}".encode())).normal(size=8)
            for text in texts
        ]
        return np.array(rows, dtype=np.float32).reshape(len(texts), 8)


ASKED = [
    Asked("q1", "Why?", ("p1", "p2")),
    Asked("q2", "why? ", ("p3",)),
    Asked("q3", "How?", ("p11",)),
]
LIBRARY = Library(TEXTS, frozenset(TEXTS) - {"p11"}, {})


def test_the_pool_is_a_view_of_what_was_encoded_and_positives_outside_of_it_count():
    model = Model(0)
    material = encode_material(ASKED, LIBRARY, model)
    assert material.pool.ids == tuple(sorted(LIBRARY.pool))
    assert material.pool.vectors.base is not None
    assert [kind for kind, _ in model.calls] == ["passage", "query"]
    outside = model(["passage 11"], "passage")
    assert np.array_equal(material.wanted[2].positives, outside)


def test_a_question_asked_twice_has_the_answers_of_both_and_its_own_positives_first():
    first, second, _ = encode_material(ASKED, LIBRARY, Model(0)).wanted
    assert first.positive_texts == ("passage 1", "passage 2", "passage 3")
    assert second.positive_texts == ("passage 3", "passage 1", "passage 2")
    assert len(second.positives) == 1


def test_refreshing_with_the_same_weights_is_mining_and_with_others_it_is_not():
    settings = PrepSettings(rule="top", hard_negatives=4, teacher="ignored", reranker="ignored")
    material = encode_material(ASKED, LIBRARY, Model(0))
    mined = Miner(material.pool).mine(material.wanted, settings)
    seen = []
    report = lambda done, total: seen.append((done, total))  # noqa: E731
    assert refresh(ASKED, LIBRARY, Model(0), settings, "cpu", report) == mined
    assert seen[-1] == (3, 3)
    again = refresh(ASKED, LIBRARY, Model(1), settings, "cpu")
    assert [one.negatives for one in again] != [one.negatives for one in mined]
    for asked, one in zip(ASKED, again, strict=True):
        assert len(one.negatives) == 4
        assert not {key for key, _ in one.negatives} & {*asked.positives}


def test_what_comes_from_a_positives_source_is_no_negative():
    sources = {key: "even" if int(key[1:]) % 2 == 0 else "odd" for key in TEXTS}
    library = Library(TEXTS, LIBRARY.pool, sources)
    mined = refresh(ASKED[1:], library, Model(0), PrepSettings(rule="top"), "cpu")
    for one in mined:
        assert {sources[key] for key, _ in one.negatives} == {"even"}


def test_one_passage_alone_leaves_every_question_without_negatives():
    alone = Library({"p1": "only"}, frozenset({"p1"}), {})
    (one,) = refresh([Asked("q", "What?", ("p1",))], alone, Model(0), PrepSettings(), "cpu")
    assert one.negatives == ()
    assert one.shortfall == (
        f"0 of 5: of 1 training passages, 1 answer it and 0 score above "
        f"{round(min(one.positive_scores) - 0.05 * abs(min(one.positive_scores)), 6)}"
    )
