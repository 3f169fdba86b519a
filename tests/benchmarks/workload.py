"""What `gpu.py` computes on: the shape of a model, lengths of texts, and what both cost at least.

Nothing here needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

TRAIN_PASSES = 3
"""A backward pass multiplies twice as much as the forward pass: by weights and by inputs."""


@dataclass(frozen=True)
class Shape:
    """A bidirectional Llama and the work that it gets.

    Attributes:
        hidden: width.
        layers: blocks.
        heads: of attention; a head is `hidden / heads` wide.
        key_heads: of keys and values.
        inner: width inside a block's MLP.
        vocabulary: tokens known.
        batch: queries an optimizer step.
        batches: different ones; a longer measurement sees them again.
        passages: a query, its positive among them.
        query_tokens: mean length.
        passage_tokens: mean length.
        tokens_max: longest text.
        square: side of the matrices that the rate is measured with.
        pool: passages searched.
        searches: queries that search them.
        plan: queries of the training that the floors are for.
        epochs: of that training.
    """

    hidden: int
    layers: int
    heads: int
    key_heads: int
    inner: int
    vocabulary: int
    batch: int
    batches: int
    passages: int
    query_tokens: int
    passage_tokens: int
    tokens_max: int
    square: int
    pool: int
    searches: int
    plan: int = 15_000
    epochs: int = 3

    @property
    def weights(self) -> int:
        """Those that are multiplied with: of all blocks, without embeddings and norms."""
        narrow = self.hidden * self.key_heads // self.heads
        attention = 2 * self.hidden * self.hidden + 2 * self.hidden * narrow
        return self.layers * (attention + 3 * self.hidden * self.inner)

    def forward_flops(self, lengths: NDArray[np.int64]) -> float:
        """Of one forward pass over texts of these lengths, without padding.

        Two for each weight and token; a layer's attention is two products of tokens x tokens x
        width, both ways (Kaplan et al., "Scaling Laws for Neural Language Models", 2020, table 1,
        without the causal half).
        """
        tokens = lengths.astype(np.float64)
        attention = 4 * self.layers * self.hidden * (tokens**2).sum()
        return float(2 * self.weights * tokens.sum() + attention)


LLAMA_1B = Shape(
    hidden=2048,
    layers=16,
    heads=32,
    key_heads=8,
    inner=8192,
    vocabulary=128_256,
    batch=128,
    batches=12,
    passages=5,
    query_tokens=30,
    passage_tokens=300,
    tokens_max=512,
    square=8192,
    pool=1_000_000,
    searches=15_000,
)
"""Llama-3.2-1B, and the case of the figures: 15,000 queries with five passages each."""

TINY = Shape(
    hidden=64,
    layers=2,
    heads=4,
    key_heads=2,
    inner=128,
    vocabulary=1_000,
    batch=4,
    batches=3,
    passages=5,
    query_tokens=6,
    passage_tokens=24,
    tokens_max=48,
    square=256,
    pool=20_000,
    searches=50,
)
"""The same path in seconds of a CPU."""

SHAPES = {"1b": LLAMA_1B, "tiny": TINY}


@dataclass(frozen=True)
class Workload:
    """Texts of random words; a word is a token.

    Attributes:
        shape: whose.
        queries: lengths in tokens, (batches * batch,).
        passages: lengths in tokens, (batches * batch, passages).
    """

    shape: Shape
    queries: NDArray[np.int64]
    passages: NDArray[np.int64]

    @cached_property
    def row_tokens(self) -> float:
        """Tokens of a query and its passages, without padding; the mean."""
        return float(self.queries.mean() + self.passages.sum(axis=1).mean())

    @cached_property
    def row_flops(self) -> float:
        """To train on a query and its passages, each embedded once; the mean."""
        lengths = np.concatenate([self.queries, self.passages.ravel()])
        return TRAIN_PASSES * self.shape.forward_flops(lengths) / len(self.queries)

    def query(self, row: int) -> list[int]:
        """Words of a query, as numbers below the vocabulary's size."""
        return self._words(row, 0, int(self.queries[row]))

    def passage(self, row: int, column: int) -> list[int]:
        """Words of a passage; no two passages are equal."""
        return self._words(row, column + 1, int(self.passages[row, column]))

    def _words(self, row: int, column: int, length: int) -> list[int]:
        generator = np.random.default_rng([row, column])
        words: list[int] = generator.integers(SPECIAL, self.shape.vocabulary, length).tolist()
        return words


SPECIAL = 2
"""Padding and the unknown word."""


def make_workload(shape: Shape, seed: int = 0) -> Workload:
    """Mixed lengths: gamma-distributed passages (a third of the mean wide), shorter queries."""
    generator = np.random.default_rng(seed)
    rows = shape.batch * shape.batches

    def lengths(mean: int, size: tuple[int, ...]) -> NDArray[np.int64]:
        drawn = generator.gamma(9.0, mean / 9.0, size)
        return np.clip(drawn.round(), 3, shape.tokens_max - 2).astype(np.int64)

    queries = lengths(shape.query_tokens, (rows,))
    return Workload(shape, queries, lengths(shape.passage_tokens, (rows, shape.passages)))


def floors(workload: Workload, rate: float) -> dict[str, float]:
    """The least that the whole training and the search can take at a rate of FLOP a second."""
    shape = workload.shape
    rows = shape.plan * shape.epochs
    return {
        "tokens a second at 100 % MFU": rate * workload.row_tokens / workload.row_flops,
        "training at 100 % MFU, s": rows * workload.row_flops / rate,
        "training at 50 % MFU, s": 2 * rows * workload.row_flops / rate,
        "search, s": 2.0 * shape.pool * shape.searches * shape.hidden / rate,
    }
