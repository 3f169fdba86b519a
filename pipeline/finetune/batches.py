"""Which examples a step sees, and which passages count for which query."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product

import numpy as np
import numpy.typing as npt
import torch

from pipeline.errors import BadInput
from pipeline.finetune.examples import Row, TrainingSet
from pipeline.finetune.teacher import FalseNegatives
from pipeline.schedule import Schedule
from pipeline.texts import text_key

_ORDER, _POSITIVES = range(2)
"""Separate streams of random numbers under one seed."""

ONE = "one"
"""The value of `finetune.positives` that draws one positive an epoch."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Batch:
    """One optimizer step: every unique text once, and index matrices over them.

    Attributes:
        epoch: from 0.
        queries: unique questions, as positions in `TrainingSet.queries`.
        passages: unique passages, as positions in `TrainingSet.passages`.
        row_query: (rows,) the row's question, as a position in `queries`.
        positives: (rows, passages) the row's positives in this step, at least one.
        allowed: (rows, passages) whether the passage is in the row's softmax: its positives and
            its negatives, never another passage that is known or suspected to answer it.
        mined: (rows, passages) the row's own negatives, of the allowed ones.
        masked: pairs of a row and a passage that would be a negative, but may answer it.
    """

    epoch: int
    queries: tuple[int, ...]
    passages: tuple[int, ...]
    row_query: torch.Tensor
    positives: torch.Tensor
    allowed: torch.Tensor
    mined: torch.Tensor
    masked: int

    @property
    def positive(self) -> torch.Tensor:
        """(rows,) the row's first positive, as a position in `passages`."""
        return self.positives.to(torch.uint8).argmax(dim=1)

    @property
    def negatives(self) -> int:
        """Pairs of a row and a negative."""
        return int(self.allowed.sum()) - int(self.positives.sum())

    def texts(self, data: TrainingSet) -> list[list[int]]:
        """Token ids of the questions, then of the passages."""
        return [
            *(data.queries[text] for text in self.queries),
            *(data.passages[text] for text in self.passages),
        ]

    def triplets(self) -> torch.Tensor:
        """(triplets, 3): row, column of a positive, column of a mined negative; all there are."""
        found = [
            (row, *pair)
            for row, (positives, mined) in enumerate(zip(self.positives, self.mined, strict=True))
            for pair in product(_columns(positives), _columns(mined))
        ]
        return torch.tensor(found, dtype=torch.long).reshape(-1, 3)

    def groups(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Each row's positives and mined negatives: columns and members, both (rows, width).

        Rows are ragged: a shorter one is filled with column 0, which is no member.
        """
        groups = [
            torch.tensor(_columns(positives) + _columns(mined))
            for positives, mined in zip(self.positives, self.mined, strict=True)
        ]
        columns = torch.nn.utils.rnn.pad_sequence(groups, batch_first=True)
        sizes = torch.tensor([len(group) for group in groups])
        return columns, torch.arange(columns.shape[1]) < sizes[:, None]


class Sampler:
    """The batch of every step. It has no state: a step's number says it all.

    An epoch is a permutation by seed and epoch, cut into parts of nearly equal size, none above
    the batch size. A query with several positives gets one an epoch, in turn from a random
    start, and the others are masked; or all of them at once, where the loss takes them. Unrolling
    it instead would weigh it by its positives.
    """

    def __init__(
        self,
        data: TrainingSet,
        schedule: Schedule,
        seed: int,
        in_batch_negatives: bool,
        positives: str = ONE,
        false_negatives: FalseNegatives | None = None,
    ) -> None:
        self._data = data
        self._steps_per_epoch = schedule.steps_per_epoch
        self._total = schedule.total_steps
        self._seed = seed
        self._in_batch_negatives = in_batch_negatives
        self._draws = positives == ONE
        self._false_negatives = false_negatives
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
        answers = [self._answers(row, turn) for row, turn in zip(rows, turns, strict=True)]
        queries = tuple(dict.fromkeys(row.query for row in rows))
        negatives = chain.from_iterable(row.negatives for row in rows)
        passages = tuple(dict.fromkeys(chain(chain.from_iterable(answers), negatives)))
        place = {text: position for position, text in enumerate(queries)}
        positives, candidates, allowed, mined = self._masks(rows, answers, passages)
        return Batch(
            epoch=epoch,
            queries=queries,
            passages=passages,
            row_query=torch.tensor([place[row.query] for row in rows]),
            positives=torch.from_numpy(positives),
            allowed=torch.from_numpy(allowed),
            mined=torch.from_numpy(mined),
            masked=int((candidates & ~allowed).sum()),
        )

    def use(self, rows: tuple[Row, ...]) -> None:
        """Take these rows from now on: the same examples with other negatives."""
        self._data = replace(self._data, rows=rows)

    def check(self, teaches: Callable[[Batch], bool], steps: range) -> str:
        """Look at the batches of some steps before the first of them is trained.

        One that teaches nothing costs its step and no more: losses are 0 there.

        Args:
            teaches: whether the losses have anything to work on in a batch.
            steps: which ones, from 0.

        Returns:
            A warning where some teach nothing; else empty.

        Raises:
            BadInput: `steps` are all of the training, and none of them teaches anything.
        """
        idle = sum(not teaches(self.batch(step)) for step in steps)
        if idle == self._total:
            raise BadInput(
                "No batch of this training has a negative for any query that a loss of this "
                "recipe could use.",
                safe="Samples and decisions are kept; nothing was trained.",
                next_step=self._advice(),
            )
        if not idle:
            return ""
        return (
            f"In {idle:,} of the training steps {steps.start + 1:,} to {steps.stop:,} "
            f"({idle / len(steps):.1%}) no query has a negative that a loss of this recipe could "
            f"use: they teach nothing. {self._advice()}"
        )

    def _advice(self) -> str:
        advice = (
            "Give more documents, raise finetune.batch_size, or set finetune.in_batch_negatives "
            "and prep.hard_negatives."
        )
        if self._false_negatives is None:
            return advice
        taken = "The teacher takes what is left for answers: lower finetune.false_negatives.margin."
        return f"{advice} {taken}"

    def _answers(self, row: Row, turn: int) -> tuple[int, ...]:
        return (row.positives[turn % len(row.positives)],) if self._draws else row.positives

    def _masks(
        self,
        rows: Sequence[Row],
        answers: Sequence[Sequence[int]],
        passages: Sequence[int],
    ) -> tuple[Mask, Mask, Mask, Mask]:
        """(rows, passages) each: positives, candidates (they and what would be a negative if
        nothing were masked), allowed, mined."""
        column = {text: position for position, text in enumerate(passages)}
        shape = len(rows), len(passages)
        positives, known, mined = (np.zeros(shape, dtype=np.bool_) for _ in range(3))
        for number, (row, given) in enumerate(zip(rows, answers, strict=True)):
            positives[number, [column[text] for text in given]] = True
            mined[number, [column[text] for text in row.negatives]] = True
            known[number, [column[t] for t in self._data.known[row.query] if t in column]] = True
        candidates = positives | mined | self._in_batch_negatives
        if self._false_negatives is not None:
            queries = [row.query for row in rows]
            known |= self._false_negatives.among(queries, passages, positives)
        allowed = (candidates & ~known) | positives
        return positives, candidates, allowed, mined & allowed


def text_marks(*texts: str) -> frozenset[Hashable]:
    """Texts as marks for `unrelated`, equal where they are but for case and white space."""
    return frozenset(map(text_key, texts))


def unrelated(marks: Sequence[frozenset[Hashable]]) -> torch.Tensor:
    """Which passages of a batch of pairs are in which question's softmax.

    Args:
        marks: of each pair: its texts, and what else may make another pair's passage an answer.

    Returns:
        (pairs, pairs) booleans: a pair's own passage, and those of pairs that share no mark.
    """
    places = range(len(marks))
    return torch.tensor([[i == k or marks[i].isdisjoint(marks[k]) for k in places] for i in places])


def _columns(mask: torch.Tensor) -> list[int]:
    found: list[int] = mask.nonzero().flatten().tolist()
    return found
