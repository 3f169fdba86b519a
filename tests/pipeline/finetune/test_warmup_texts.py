"""Noise of the published shares, and pairs that only one document's texts make."""

import numpy as np
import pytest

from pipeline.corpus.records import Passage
from pipeline.finetune.warmup_texts import (
    NOT_ASKED,
    delete_tokens,
    mask_tokens,
    weak_pairs,
)

SPECIAL = frozenset({0, 1})
TEXT = [0, *range(10, 20_010), 1]


def passage(key, document, text, headings=()):
    return Passage(key, document, 0, len(text), text, headings, 9, "train")


def test_masks_have_the_published_shares():
    seen, asked = mask_tokens(TEXT, SPECIAL, 5, 5, np.random.default_rng(3))
    hidden = [place for place, label in enumerate(asked) if label != NOT_ASKED]
    assert len(hidden) / len(TEXT) == pytest.approx(0.15, abs=0.01)
    assert all(asked[place] == TEXT[place] for place in hidden)
    shown = [seen[place] for place in hidden]
    assert shown.count(5) / len(hidden) == pytest.approx(0.8, abs=0.03)
    assert sum(token < 5 for token in shown) / len(hidden) == pytest.approx(0.1, abs=0.02)
    kept = [place for place in range(len(TEXT)) if place not in set(hidden)]
    assert all(seen[place] == TEXT[place] for place in kept)
    assert asked[0] == asked[-1] == NOT_ASKED


def test_of_a_short_text_one_token_is_hidden_and_one_stays():
    for seed in range(30):
        _, asked = mask_tokens([0, 7, 1], SPECIAL, 5, 9, np.random.default_rng(seed))
        assert asked == [NOT_ASKED, 7, NOT_ASKED]
        left = delete_tokens([0, 7, 8, 1], SPECIAL, np.random.default_rng(seed))
        assert left[0] == 0
        assert left[-1] == 1
        assert len(left) > 2


def test_three_of_five_tokens_are_deleted_and_the_rest_keep_their_order():
    left = delete_tokens(TEXT, SPECIAL, np.random.default_rng(3))
    assert len(left) / len(TEXT) == pytest.approx(0.4, abs=0.01)
    assert left == [*sorted(left[:-1]), 1]


def test_pairs_are_headings_with_passages_and_neighbours_of_one_document():
    pairs = weak_pairs(
        [
            passage("a", "x", "# Files\n\nOpen them.\nClose them.", ("Guide", "Files")),
            passage("b", "x", "Then delete them."),
            passage("c", "y", "Title\n=====", ("Title",)),
            passage("d", "z", "Alone."),
        ]
    )
    assert [(pair.left, pair.right, pair.document) for pair in pairs] == [
        ("Guide - Files", "Open them.\nClose them.", "x"),
        ("# Files\n\nOpen them.\nClose them.", "Then delete them.", "x"),
    ]
