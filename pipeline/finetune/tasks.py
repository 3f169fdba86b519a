"""Other tasks beside the run's own questions: retrieval, graded similarity, pairs of classes.

Every step trains on one batch of the run's own examples; a task adds `weight` batches a step on
average to it, each of one task alone: in mixed batches one task's texts would be the other's
negatives (Huang et al., "Piccolo2: General Text Embedding with Multi-task Hybrid Loss Training",
2024, which also gives each kind its own loss, as here).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.nn import functional

from pipeline.encoder import Kind
from pipeline.errors import BadInput
from pipeline.files import read_jsonl
from pipeline.finetune.batches import text_marks, unrelated
from pipeline.finetune.examples import Tokenize, TokenStore, tokenized
from pipeline.finetune.losses import contrastive_pairs, cosent, info_nce
from pipeline.settings import TaskSettings

TaskKind = Literal["retrieval", "sts", "classification"]

COSENT_TEMPERATURE = 0.05
"""Of Huang et al., "CoSENT" (2024)."""

MARGIN = 0.5
"""The cosine distance from which unlike pairs are far enough; Sentence-BERT's."""

_LEFT = ("text1", "sentence1", "query", "question", "anchor")
_RIGHT = ("text2", "sentence2", "passage", "positive", "answer")
_SCORE = ("score", "label", "similarity")
_SIDES: Mapping[TaskKind, tuple[Kind, Kind]] = {
    "retrieval": ("query", "passage"),
    # E5's rule: both sides of a symmetric task take the query's prefix.
    "sts": ("query", "query"),
    "classification": ("query", "query"),
}
_STREAM = 20
"""Of random numbers under the seed, another one than those of batches and of the warm-up."""


@dataclass(frozen=True)
class Pair:
    """One example of a task.

    Attributes:
        left: the first text; for retrieval a question.
        right: the second one; for retrieval a passage that answers it.
        score: graded similarity, or 1 for one class and 0 for two; retrieval has none.
    """

    left: str
    right: str
    score: float = 0.0


@dataclass(frozen=True)
class TaskBatch:
    """Pairs of one task that are trained together.

    Attributes:
        name: the task's, for the parts of the loss.
        texts: token ids, all left sides, then all right sides.
        loss_of: vectors of the texts, in their order, to a scalar.
    """

    name: str
    texts: list[list[int]]
    loss_of: Callable[[torch.Tensor], torch.Tensor]

    @property
    def pairs(self) -> int:
        """How many there are."""
        return len(self.texts) // 2


class Task:
    """One file of pairs, tokenised."""

    def __init__(
        self,
        kind: TaskKind,
        pairs: Sequence[Pair],
        weight: float,
        tokenize: Tokenize,
        temperature: float,
    ) -> None:
        left, right = _SIDES[kind]
        self.kind = kind
        self.weight = weight
        self.count = len(pairs)
        self._left = TokenStore(tokenized(tokenize, [pair.left for pair in pairs], left))
        self._right = TokenStore(tokenized(tokenize, [pair.right for pair in pairs], right))
        self._scores = torch.tensor([pair.score for pair in pairs])
        # The same text is never its own negative.
        self._marks = [text_marks(pair.left, pair.right) for pair in pairs]
        self._temperature = temperature

    def batch(self, members: Sequence[int]) -> TaskBatch:
        """The pairs of these numbers as one batch."""
        texts = [self._left[pair] for pair in members] + [self._right[pair] for pair in members]
        scores = self._scores[list(members)]
        allowed = unrelated([self._marks[pair] for pair in members])

        def loss_of(vectors: torch.Tensor) -> torch.Tensor:
            unit = functional.normalize(vectors.float(), dim=1)
            left, right = unit[: len(members)], unit[len(members) :]
            if self.kind == "retrieval":
                own = torch.arange(len(members), device=vectors.device)
                return info_nce(left @ right.T, own, allowed.to(own.device), self._temperature)
            similarity = (left * right).sum(dim=1)
            if self.kind == "sts":
                return cosent(similarity, scores.to(vectors.device), COSENT_TEMPERATURE)
            return contrastive_pairs(similarity, scores.to(vectors.device), MARGIN)

        return TaskBatch(self.kind, texts, loss_of)


class Tasks:
    """The batches of every step. It has no state: a step's number says it all."""

    def __init__(self, tasks: Sequence[Task], batch_size: int, seed: int) -> None:
        self._tasks = tasks
        self._batch_size = batch_size
        self._seed = seed

    def batches(self, step: int) -> Iterator[TaskBatch]:
        """What one step, from 0, trains on beside the run's own batch; often nothing.

        After n steps a task has had floor(n * weight) batches.
        """
        for place, task in enumerate(self._tasks):
            first, end = (math.floor(number * task.weight) for number in (step, step + 1))
            for number in range(first, end):
                yield task.batch(self._members(place, task, number))

    def _members(self, place: int, task: Task, number: int) -> list[int]:
        parts = -(-task.count // self._batch_size)
        epoch, part = divmod(number, parts)
        generator = np.random.default_rng([self._seed, _STREAM, place, epoch])
        members: list[int] = np.array_split(generator.permutation(task.count), parts)[part].tolist()
        return members


def open_tasks(
    settings: TaskSettings,
    folder: Path,
    tokenize: Tokenize,
    batch_size: int,
    temperature: float,
    seed: int,
) -> Tasks:
    """Read every file that the recipe names.

    Args:
        settings: files and weights by kind.
        folder: where paths that don't begin at the root lie; the run's.
        tokenize: the encoder's.
        batch_size: pairs a batch.
        temperature: of retrieval.
        seed: of the order.

    Raises:
        BadInput: a file is missing, or a line of it is no pair.
    """
    tasks = [
        Task(kind, read_pairs(path, kind), weight, tokenize, temperature)
        for kind, path, weight in named_files(settings, folder)
        if weight
    ]
    return Tasks(tasks, batch_size, seed)


def named_files(settings: TaskSettings, folder: Path) -> Iterator[tuple[TaskKind, Path, float]]:
    """Kind, path and weight of every file, in a fixed order."""
    for path in settings.retrieval:
        yield "retrieval", folder / Path(path).expanduser(), settings.retrieval_weight
    for path in settings.sts:
        yield "sts", folder / Path(path).expanduser(), settings.sts_weight
    for path in settings.classification:
        yield "classification", folder / Path(path).expanduser(), settings.classification_weight


def read_pairs(path: Path, kind: TaskKind) -> list[Pair]:
    """The pairs of a file: `.csv` with a header, else JSON lines.

    The sides are called text1 and text2 (or sentence1, query, question, anchor; sentence2,
    passage, positive, answer); all kinds but retrieval have a number as score, label or similarity.

    Raises:
        BadInput: the file is missing or unreadable, has fewer than two pairs, or one without both
            texts or without a number.
    """
    if not path.is_file():
        raise _bad(path, "is not there")
    pairs = []
    for number, row in enumerate(_rows(path), start=1):
        left, right = (_first(row, names) for names in (_LEFT, _RIGHT))
        if not (_is_text(left) and _is_text(right)):
            raise _bad(path, f"has no two texts in its pair {number}")
        pairs.append(Pair(left, right, _score(row, kind, path, number)))
    if len(pairs) < 2:
        raise _bad(path, f"has {len(pairs)} pairs, which teaches nothing")
    return pairs


def _is_text(value: object) -> bool:
    """Whether there is something to read; half of a surrogate pair, which JSON can hold, is not."""
    if not isinstance(value, str) or not value.strip():
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _score(row: Mapping[str, Any], kind: TaskKind, path: Path, number: int) -> float:
    if kind == "retrieval":
        return 0.0
    try:
        score = float(_first(row, _SCORE))
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise _bad(path, f"has no number as score in its pair {number}")
    if kind == "classification" and score not in (0.0, 1.0):
        raise _bad(path, f"has a label other than 0 and 1 in its pair {number}")
    return score


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.suffix.lower() != ".csv":
        yield from read_jsonl(path)
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield from csv.DictReader(stream, strict=True)
    except (csv.Error, UnicodeDecodeError) as error:
        raise _bad(path, f"can't be read: {error}") from error


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _bad(path: Path, what: str) -> BadInput:
    return BadInput(
        f"The file {path} of finetune.tasks {what}.",
        safe="Nothing was trained; every earlier result is kept.",
        next_step="Mend the file, or take it out of finetune.tasks.",
    )
