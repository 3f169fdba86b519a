"""Which examples a step sees, and which passages count for which query."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipeline.errors import BadInput
from pipeline.finetune.examples import Row, TrainingSet
from pipeline.schedule import Schedule

_ORDER, _POSITIVES = range(2)
"""Separate streams of random numbers under one seed."""


@dataclass(frozen=True)
class Batch:
    """One optimizer step: every unique text once, and index matrices over them.

    Attributes:
        epoch: from 0.
        queries: unique questions, as positions in `TrainingSet.queries`.
        passages: unique passages, as positions in `TrainingSet.passages`.
        row_query: (rows,) the row's question, as a position in `queries`.
        positive: (rows,) the row's positive, as a position in `passages`.
        allowed: (rows, passages) whether the passage is in the row's softmax: its positive and
            its negatives, never another passage that is known to answer it.
    """

    epoch: int
    queries: tuple[int, ...]
    passages: tuple[int, ...]
    row_query: torch.Tensor
    positive: torch.Tensor
    allowed: torch.Tensor

    @property
    def negatives(self) -> int:
        """Pairs of a row and a negative."""
        return int(self.allowed.sum()) - len(self.positive)

    def texts(self, data: TrainingSet) -> list[list[int]]:
        """Token ids of the questions, then of the passages."""
        return [
            *(data.queries[text] for text in self.queries),
            *(data.passages[text] for text in self.passages),
        ]


class Sampler:
    """The batch of every step. It has no state: a step's number says it all.

    An epoch is a permutation by seed and epoch, cut into parts of nearly equal size, none above
    the batch size. A query with several positives gets one an epoch, in turn from a random
    start; the others are masked. Unrolling it instead would weigh it by its positives.
    """

    def __init__(
        self, data: TrainingSet, schedule: Schedule, seed: int, in_batch_negatives: bool
    ) -> None:
        self._data = data
        self._steps_per_epoch = schedule.steps_per_epoch
        self._total = schedule.total_steps
        self._seed = seed
        self._in_batch_negatives = in_batch_negatives
        generator = np.random.default_rng([seed, _POSITIVES])
        self._first_positive = generator.integers(2**31, size=len(data.rows))

    def batch(self, step: int) -> Batch:
        """The batch of one step, from 0."""
        epoch, part = divmod(step, self._steps_per_epoch)
        generator = np.random.default_rng([self._seed, _ORDER, epoch])
        order = generator.permutation(len(self._data.rows))
        members = np.array_split(order, self._steps_per_epoch)[part]
        rows = [self._data.rows[member] for member in members]
        turns = self._first_positive[members] + epoch
        drawn = [
            row.positives[turn % len(row.positives)] for row, turn in zip(rows, turns, strict=True)
        ]
        queries = tuple(dict.fromkeys(row.query for row in rows))
        passages = tuple(dict.fromkeys([*drawn, *(text for row in rows for text in row.negatives)]))
        column = {text: position for position, text in enumerate(passages)}
        place = {text: position for position, text in enumerate(queries)}
        allowed = self._allowed(rows, drawn, column)
        return Batch(
            epoch=epoch,
            queries=queries,
            passages=passages,
            row_query=torch.tensor([place[row.query] for row in rows]),
            positive=torch.tensor([column[text] for text in drawn]),
            allowed=torch.from_numpy(allowed),
        )

    def check(self) -> None:
        """Look at every batch before the first is trained.

        Raises:
            BadInput: a batch without any negative teaches nothing.
        """
        for step in range(self._total):
            if not self.batch(step).negatives:
                raise BadInput(
                    f"The batch of training step {step + 1} has no negative for any query.",
                    safe="Samples and decisions are kept; nothing was trained.",
                    next_step="Give more documents, raise finetune.batch_size, or set "
                    "finetune.in_batch_negatives and prep.hard_negatives.",
                )

    def _allowed(
        self, rows: Iterable[Row], drawn: Iterable[int], column: dict[int, int]
    ) -> npt.NDArray[np.bool_]:
        masks = []
        for row, positive in zip(rows, drawn, strict=True):
            mask = np.full(len(column), self._in_batch_negatives)
            mask[[column[text] for text in row.negatives]] = True
            mask[[column[text] for text in self._data.known[row.query] if text in column]] = False
            mask[column[positive]] = True
            masks.append(mask)
        return np.stack(masks)
