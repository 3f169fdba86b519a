"""What the fine-tuned model misses, query by query, and what it newly finds.

Pure but for `load_misses`; imports no numpy.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.beir import EvalSet, Ranking
from pipeline.errors import BadInput
from pipeline.eval.records import (
    SYSTEMS,
    QueryResult,
    System,
    read_per_query,
    read_rankings,
    read_set,
    sets_of,
)

WINNERS = 3
"""So many passages that won instead are shown."""


@dataclass(frozen=True)
class Relevant:
    """A passage that answers the query."""

    id: str
    text: str


@dataclass(frozen=True)
class Winner:
    """A passage that doesn't answer the query, and that the fine-tuned model put on top.

    Attributes:
        id: its id.
        text: its text.
        rank: from 1.
        score: what the model gave it.
    """

    id: str
    text: str
    rank: int
    score: float


@dataclass(frozen=True)
class Miss:
    """One query, where every system found its first relevant passage, and what won instead.

    Attributes:
        query: its id.
        text: its words.
        relevant: the passages that answer it, the most relevant first.
        ranks: the rank, from 1, of the first relevant passage, by system; None when it is not
            in the system's list.
        winners: the passages above the first relevant one in the fine-tuned model's list, the
            best few.
    """

    query: str
    text: str
    relevant: tuple[Relevant, ...]
    ranks: Mapping[System, int | None]
    winners: tuple[Winner, ...]

    @property
    def worse(self) -> bool:
        """Whether the fine-tuned model does worse here than the base."""
        return _place(self.ranks["finetuned"]) > _place(self.ranks["base"])


@dataclass(frozen=True)
class Misses:
    """The misses and wins of one eval set.

    Attributes:
        set: its name.
        k: the rank that counts.
        queries: how many the set has.
        misses: by harm, see `find_misses`.
        wins: see `find_wins`.
    """

    set: str
    k: int
    queries: int
    misses: tuple[Miss, ...]
    wins: tuple[Miss, ...]


def find_misses(
    eval_set: EvalSet,
    per_query: Iterable[QueryResult],
    finetuned: Mapping[str, Ranking],
    k: int,
) -> tuple[Miss, ...]:
    """Queries for which the fine-tuned model has no relevant passage among its first `k`.

    By harm: those where the base did better first, by what reciprocal rank they lost; then
    those where it did not, the lowest rank first. Equal ones stay in the set's order.

    Args:
        eval_set: queries, passages and relevance.
        per_query: every query by every system.
        finetuned: the fine-tuned model's rankings, by query id.
        k: the rank that counts, from 1.
    """
    ranks = _ranks(per_query)
    missed = [query for query in eval_set.qrels if _place(ranks[query]["finetuned"]) > k]
    missed.sort(key=lambda query: _harm(ranks[query]))
    return tuple(_miss(eval_set, query, ranks[query], finetuned) for query in missed)


def find_wins(
    eval_set: EvalSet,
    per_query: Iterable[QueryResult],
    finetuned: Mapping[str, Ranking],
    k: int,
) -> tuple[Miss, ...]:
    """Queries that the base misses at `k` and the fine-tuned model finds, the best rank first.

    The arguments are those of `find_misses`.
    """
    ranks = _ranks(per_query)
    won = [
        query
        for query in eval_set.qrels
        if _place(ranks[query]["base"]) > k >= _place(ranks[query]["finetuned"])
    ]
    won.sort(key=lambda query: _place(ranks[query]["finetuned"]))
    return tuple(_miss(eval_set, query, ranks[query], finetuned) for query in won)


def load_misses(folder: Path, set_name: str, k: int) -> Misses:
    """The misses and wins of one set of an eval result.

    Args:
        folder: the eval result.
        set_name: one of its sets.
        k: the rank that counts, from 1.

    Raises:
        BadInput: the result has no set of that name, or a file of it is damaged.
    """
    names = sets_of(folder)
    if set_name not in names:
        raise BadInput(
            f"The evaluation has no set {set_name!r}.",
            safe="Nothing was changed.",
            next_step=f"Its sets: {', '.join(names)}.",
        )
    eval_set = read_set(folder, set_name)
    per_query = list(read_per_query(folder, set_name))
    finetuned = read_rankings(folder, set_name, "finetuned")
    return Misses(
        set=set_name,
        k=k,
        queries=len(eval_set.qrels),
        misses=find_misses(eval_set, per_query, finetuned, k),
        wins=find_wins(eval_set, per_query, finetuned, k),
    )


Ranks = Mapping[System, int | None]


def _ranks(per_query: Iterable[QueryResult]) -> Mapping[str, Ranks]:
    ranks: defaultdict[str, dict[System, int | None]] = defaultdict(lambda: dict.fromkeys(SYSTEMS))
    for row in per_query:
        ranks[row.query][row.system] = row.first_relevant
    return ranks


def _place(rank: int | None) -> float:
    """A rank that can be compared; not found is the worst."""
    return math.inf if rank is None else rank


def _harm(ranks: Ranks) -> tuple[float, float]:
    """Sorts the most harm first."""
    base, tuned = _place(ranks["base"]), _place(ranks["finetuned"])
    return (1 / tuned - 1 / base if tuned > base else 0.0, -tuned)


def _miss(eval_set: EvalSet, query: str, ranks: Ranks, finetuned: Mapping[str, Ranking]) -> Miss:
    relevance = eval_set.qrels[query]
    best_first = sorted(relevance, key=lambda passage: -relevance[passage])
    above = _place(ranks["finetuned"])
    return Miss(
        query=query,
        text=eval_set.queries[query],
        relevant=tuple(Relevant(key, eval_set.passages[key]) for key in best_first),
        ranks=ranks,
        winners=tuple(
            Winner(key, eval_set.passages[key], rank, score)
            for rank, (key, score) in enumerate(finetuned.get(query, ())[:WINNERS], start=1)
            if rank < above
        ),
    )
