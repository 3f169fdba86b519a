"""What a teacher says of the training set, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

Vectors = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


class PairTeacher(Protocol):
    """Scores of pairs, a bi-encoder's or a reranker's."""

    def pairs(self, queries: Sequence[int], passages: Sequence[int]) -> Vectors:
        """(pairs,) scores of queries and passages side by side, as positions in `TrainingSet`."""


@dataclass(frozen=True)
class TeacherVectors:
    """A bi-encoder's vectors of the training set's unique texts.

    Attributes:
        queries: (queries, dimension).
        passages: (passages, dimension).
    """

    queries: Vectors
    passages: Vectors

    def of(self, queries: Sequence[int], passages: Sequence[int]) -> Vectors:
        """(texts, dimension) vectors of the queries, then of the passages."""
        return np.concatenate([self.queries[list(queries)], self.passages[list(passages)]])

    def pairs(self, queries: Sequence[int], passages: Sequence[int]) -> Vectors:
        """See `PairTeacher`."""
        ours, theirs = self.queries[list(queries)], self.passages[list(passages)]
        return np.asarray((ours * theirs).sum(axis=1), dtype=np.float32)

    def matrix(self, queries: Sequence[int], passages: Sequence[int]) -> Vectors:
        """(queries, passages) similarities, each query with each passage."""
        # Not numpy's product: its threads are not those that a checkpoint remembers.
        ours = torch.from_numpy(self.queries[list(queries)])
        theirs = torch.from_numpy(self.passages[list(passages)])
        similarity: Vectors = (ours @ theirs.T).numpy()
        return similarity


@dataclass(frozen=True)
class PairScores:
    """A reranker's scores of the training set's pairs.

    Attributes:
        scores: by query and passage, as positions in `TrainingSet`.
    """

    scores: Mapping[tuple[int, int], float]

    def pairs(self, queries: Sequence[int], passages: Sequence[int]) -> Vectors:
        """See `PairTeacher`."""
        asked = zip(queries, passages, strict=True)
        return np.array([self.scores[pair] for pair in asked], dtype=np.float32)


@dataclass(frozen=True)
class FalseNegatives:
    """Passages that a teacher takes for answers although nobody marked them so.

    The rule of GISTEmbed (Solatorio, "GISTEmbed: Guided In-sample Selection of Training
    Negatives for Text Embedding Fine-tuning", 2024), with the margin relative to the positive as
    in NV-Retriever (Moreira et al., 2024), and from cached vectors, so that no guide runs along.

    Attributes:
        vectors: the teacher's.
        margin: a passage above s - margin * |s| is no negative, s being the lowest score among
            the row's positives; negative margins ask for more than s.
    """

    vectors: TeacherVectors
    margin: float

    def among(self, queries: Sequence[int], passages: Sequence[int], positives: Mask) -> Mask:
        """(rows, passages) true where a passage scores too high to be a negative.

        Args:
            queries: each row's, as a position in `TrainingSet.queries`.
            passages: the batch's, as positions in `TrainingSet.passages`.
            positives: (rows, passages), at least one in each row.
        """
        return too_high(self.vectors.matrix(queries, passages), positives, self.margin)


def too_high(scores: Vectors, positives: Mask, margin: float) -> Mask:
    """(rows, passages) true where a score lies above s - margin * |s|; see `FalseNegatives`.

    The margin goes by the positive's size, so that a negative score doesn't turn it around.
    """
    lowest = np.where(positives, scores, np.inf).min(axis=1, keepdims=True)
    above: Mask = scores > lowest - margin * np.abs(lowest)
    return above


def turned(teacher: Vectors, student: Vectors) -> Vectors:
    """The teacher's vectors in a space of the student's width, (n, student's dimension).

    The best map with orthonormal rows or columns in the least-squares sense (Schönemann, "A
    generalized solution of the orthogonal Procrustes problem", 1966), from the student's vectors
    before training. It is found once and never trained, so a checkpoint holds nothing of it, and
    training starts at what the student has in common with the teacher. A wider student takes
    over all inner products, a narrower one what fits, scaled to length 1.

    Args:
        teacher: (n, teacher's dimension), length 1 each.
        student: (n, student's dimension), of the same texts.
    """
    theirs, ours = (torch.tensor(vectors, dtype=torch.float64) for vectors in (teacher, student))
    left, _, right = torch.linalg.svd(theirs.T @ ours, full_matrices=False)
    mapped: Vectors = torch.nn.functional.normalize(theirs @ (left @ right), dim=1).float().numpy()
    return mapped
