"""Training examples as unique, tokenised texts and the numbers that point at them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import numpy.typing as npt

from pipeline.encoder import TEXTS_AT_ONCE, Kind
from pipeline.errors import BadInput
from pipeline.prep.records import TrainingExample
from pipeline.texts import text_key

Tokenize = Callable[[Sequence[str], Kind], list[list[int]]]


class TokenStore:
    """The token ids of many texts, one after another in one array, tokenised once.

    Args:
        texts: token ids of each text; read one after another.
    """

    def __init__(self, texts: Iterable[Sequence[int]]) -> None:
        ids, bounds = array("i"), array("q", [0])
        for text in texts:
            ids.extend(text)
            bounds.append(len(ids))
        self._ids: npt.NDArray[np.int32] = np.array(ids, dtype=np.int32)
        self._bounds: npt.NDArray[np.int64] = np.array(bounds, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __getitem__(self, text: int) -> list[int]:
        start, end = self._bounds[text : text + 2]
        ids: list[int] = self._ids[start:end].tolist()
        return ids

    def length(self, text: int) -> int:
        """Tokens of one text."""
        return int(self._bounds[text + 1] - self._bounds[text])

    def longest(self, count: int) -> list[list[int]]:
        """Token ids of so many of the longest texts, shortest first; of all where there are fewer.

        Args:
            count: at least one.
        """
        order = sorted(range(len(self)), key=self.length)
        return [self[text] for text in order[-count:]]


def tokenized(tokenize: Tokenize, texts: Sequence[str], kind: Kind) -> Iterator[list[int]]:
    """Token ids of each text in turn, some thousand of them in memory at a time."""
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        yield from tokenize(texts[start : start + TEXTS_AT_ONCE], kind)


@dataclass(frozen=True)
class Row:
    """One example, as positions in the stores.

    Attributes:
        query: in `TrainingSet.queries`.
        positives: in `TrainingSet.passages`, at least one.
        negatives: in `TrainingSet.passages`, hardest first; none is known to answer the query.
    """

    query: int
    positives: tuple[int, ...]
    negatives: tuple[int, ...]


@dataclass(frozen=True)
class TrainingSet:
    """What there is to learn from.

    Texts that are equal but for case and white space are one text: its first spelling.

    Attributes:
        queries: token ids of the unique questions.
        passages: token ids of the unique passages.
        query_texts: the unique questions themselves, without prefix.
        passage_texts: the unique passages themselves.
        rows: the examples, in the file's order.
        known: for each question, all passages that answer it in any example.
    """

    queries: TokenStore
    passages: TokenStore
    query_texts: tuple[str, ...]
    passage_texts: tuple[str, ...]
    rows: tuple[Row, ...]
    known: tuple[frozenset[int], ...]


def read_training_set(
    examples: Sequence[TrainingExample],
    passages: Mapping[str, str],
    tokenize: Tokenize,
    hard_negatives: int,
    pool: Iterable[str] = (),
) -> TrainingSet:
    """Tokenise each unique text once and number it.

    Args:
        examples: what `prep` wrote.
        passages: text by passage id.
        tokenize: the encoder's.
        hard_negatives: how many of the mined negatives are used, hardest first; an example with
            fewer keeps what it has.
        pool: ids of further passages, which may become negatives later.

    Raises:
        BadInput: fewer than two examples, an example without a positive, or a passage id that
            the corpus doesn't have.
    """
    if len(examples) < 2:
        raise BadInput(
            f"There are {len(examples)} training examples; contrastive training needs two.",
            safe="Samples and decisions are kept.",
            next_step="Give more documents, or keep more samples: review them, or lower "
            "sdg.threshold.",
        )
    _check(examples, passages)
    questions = _Numbering(example.question for example in examples)
    named = (key for example in examples for key in _used(example))
    texts = _Numbering(passages[key] for key in chain(named, pool))
    positives = [tuple(texts[passages[key]] for key in e.positives) for e in examples]
    known: list[set[int]] = [set() for _ in questions.texts]
    for example, answers in zip(examples, positives, strict=True):
        known[questions[example.question]].update(answers)
    rows = []
    for example, answers in zip(examples, positives, strict=True):
        query = questions[example.question]
        mined = dict.fromkeys(texts[passages[key]] for key, _ in example.negatives)
        negatives = [text for text in mined if text not in known[query]]
        rows.append(Row(query, answers, tuple(negatives[:hard_negatives])))
    return TrainingSet(
        TokenStore(tokenized(tokenize, questions.texts, "query")),
        TokenStore(tokenized(tokenize, texts.texts, "passage")),
        tuple(questions.texts),
        tuple(texts.texts),
        tuple(rows),
        tuple(frozenset(answers) for answers in known),
    )


def with_negatives(
    data: TrainingSet,
    passages: Mapping[str, str],
    negatives: Sequence[Sequence[str]],
    hard_negatives: int,
) -> tuple[Row, ...]:
    """The rows of a training set with other negatives; its texts keep their numbers.

    Args:
        data: read with the pool that the negatives are from.
        passages: text by passage id.
        negatives: passage ids of the pool by example, hardest first.
        hard_negatives: how many of them are used.
    """
    texts = _Numbering(data.passage_texts)
    rows = []
    for row, mined in zip(data.rows, negatives, strict=True):
        numbers = dict.fromkeys(texts[passages[key]] for key in mined)
        fresh = [text for text in numbers if text not in data.known[row.query]]
        rows.append(replace(row, negatives=tuple(fresh[:hard_negatives])))
    return tuple(rows)


class _Numbering:
    """Numbers for unique texts, in the order of their first appearance."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts: list[str] = []
        self._numbers: dict[bytes, int] = {}
        for text in texts:
            key = text_key(text)
            if key not in self._numbers:
                self._numbers[key] = len(self.texts)
                self.texts.append(text)

    def __getitem__(self, text: str) -> int:
        return self._numbers[text_key(text)]


def _used(example: TrainingExample) -> tuple[str, ...]:
    return (*example.positives, *(key for key, _ in example.negatives))


def _check(examples: Sequence[TrainingExample], passages: Mapping[str, str]) -> None:
    for example in examples:
        if not example.positives:
            raise _bad(example, "has no positive passage")
        for key in _used(example):
            if key not in passages:
                raise _bad(example, f"names the passage {key!r}, which the corpus doesn't have")


def _bad(example: TrainingExample, what: str) -> BadInput:
    return BadInput(
        f"The training example of query {example.query!r} {what}.",
        safe="Nothing was changed.",
        next_step="Run `embedsmith prep` again for this run.",
    )
