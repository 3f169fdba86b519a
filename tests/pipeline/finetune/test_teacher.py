"""Teachers: which passages they take for answers, and their space turned into the student's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.finetune.teacher import (
    FalseNegatives,
    PairScores,
    TeacherVectors,
    too_high,
    turned,
)


def unit(*shape: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=shape)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def test_what_scores_above_the_positive_less_the_margin_is_suspected():
    scores = np.array([[0.8, 0.77, 0.75, 0.9, 0.1]], dtype=np.float32)
    positives = np.array([[True, False, False, False, False]])
    assert too_high(scores, positives, 0.05).tolist() == [[True, True, False, True, False]]
    assert too_high(scores, positives, 0.0).tolist() == [[False, False, False, True, False]]
    assert too_high(scores, positives, -0.2).tolist() == [[False] * 5]


def test_a_negative_positive_score_does_not_turn_the_margin_around():
    scores = np.array([[-0.2, -0.205, -0.3, 0.0]], dtype=np.float32)
    positives = np.array([[True, False, False, False]])
    assert too_high(scores, positives, 0.05).tolist() == [[True, True, False, True]]


def test_of_several_positives_the_lowest_counts():
    scores = np.array([[0.9, 0.5, 0.6]], dtype=np.float32)
    assert too_high(scores, np.array([[True, True, False]]), 0.0)[0, 2]
    assert not too_high(scores, np.array([[True, False, False]]), 0.0)[0, 2]


@given(seed=st.integers(0, 1000), low=st.floats(-1, 1), high=st.floats(-1, 1))
def test_a_wider_margin_suspects_no_fewer(seed, low, high):
    low, high = sorted((low, high))
    vectors = TeacherVectors(unit(4, 3, seed=seed), unit(6, 3, seed=seed + 1))
    positives = np.zeros((4, 6), dtype=np.bool_)
    positives[np.arange(4), [0, 5, 2, 2]] = True
    few, many = (
        FalseNegatives(vectors, margin).among(range(4), range(6), positives)
        for margin in (low, high)
    )
    assert not (few & ~many).any()


def test_vectors_give_the_scores_of_pairs_and_of_all_with_all():
    vectors = TeacherVectors(unit(3, 4, seed=1), unit(5, 4, seed=2))
    matrix = vectors.matrix([2, 0], [4, 1, 1])
    assert matrix == pytest.approx(vectors.queries[[2, 0]] @ vectors.passages[[4, 1, 1]].T)
    assert vectors.pairs([2, 0], [4, 1]) == pytest.approx([matrix[0, 0], matrix[1, 1]])
    assert vectors.of([2], [4, 0]).tolist() == [
        vectors.queries[2].tolist(),
        *vectors.passages[[4, 0]].tolist(),
    ]


def test_a_reranker_is_asked_by_pair():
    scores = PairScores({(0, 3): 1.5, (2, 1): -2.0})
    assert scores.pairs([2, 0, 2], [1, 3, 1]).tolist() == [-2.0, 1.5, -2.0]


def test_a_wider_student_takes_over_all_inner_products():
    teacher, student = unit(20, 3, seed=1), unit(20, 8, seed=2)
    mapped = turned(teacher, student)
    assert mapped.shape == (20, 8)
    assert mapped @ mapped.T == pytest.approx(teacher @ teacher.T, abs=1e-5)


def test_a_narrower_student_gets_the_nearest_unit_vectors():
    student = unit(30, 4, seed=3)
    rotation = np.linalg.qr(np.random.default_rng(4).normal(size=(9, 9)))[0][:4]
    teacher = (student @ rotation).astype(np.float32)  # the student's space, inside a wider one
    mapped = turned(teacher, student)
    assert mapped == pytest.approx(student, abs=1e-5)
    noisy = turned(unit(30, 9, seed=5), student)
    assert np.linalg.norm(noisy, axis=1) == pytest.approx(1.0)
