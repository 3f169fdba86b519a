"""What `sdg` writes and later stages read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.corpus.records import Role
from pipeline.files import digest_value, read_jsonl

SAMPLES = "samples.jsonl"
FUNNEL = "funnel.json"
ARRIVING = "arriving.jsonl"
"""Samples in the order in which they come, while a worker is at it; see `pipeline.sdg.arrivals`."""
EASY, SUSPECT = "easy", "suspect"
RANK_FLAGS = (EASY, SUSPECT)
"""Flags that say where a retriever has the evidence."""


@dataclass(frozen=True)
class Quote:
    """Words of a passage, copied exactly: `text == passage.text[start:end]`."""

    passage: str
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Flag:
    """What a mechanical check found.

    Attributes:
        name: the check.
        reason: what it saw, in words.
        blocking: whether the sample is dropped unless a person accepts it.
    """

    name: str
    reason: str
    blocking: bool


@dataclass(frozen=True)
class Sample:
    """A synthetic question with its answer, evidence, scores and flags.

    Attributes:
        id: `q-` and 16 hexadecimal digits of evidence and original question (`sample_id`).
        question: as written.
        answer: empty for an imported query without one.
        passages: ids of the evidence passages; the query's positives.
        quotes: where in the passages the evidence stands.
        role: the role of the evidence's documents, or the split that the source supplied.
        score: 0 to 10, or None where nobody gave one: an import without, or a question that
            carries a blocking flag for it.
        levels: the judge's level for each criterion.
        flags: what the mechanical checks found.
        complexity: 1 to 5, as asked for; 0 where the writer can't steer it.
        hops: distinct evidence passages needed.
        kind: query kind and reasoning, as asked for; offline what the rules could make:
            `question`, `symptom`, `keyword` or `heading`.
        writer: the model that wrote it, `offline`, or `imported`.
        judge: the model that graded it; empty where code did, or nobody.
        style: the way of asking that was asked for; empty for an import.
        language: of the question, as asked for, in the recipe's words or as an ISO 639-1 code.
        round: the round of writing, from 1.
        ranks: the place of the evidence among all passages, from 1, by retriever (`bm25`, `base`);
            of several evidence passages the worst, the others not counted before it.
    """

    id: str
    question: str
    answer: str
    passages: tuple[str, ...]
    quotes: tuple[Quote, ...]
    role: Role
    score: float | None
    levels: Mapping[str, float] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    complexity: int = 0
    hops: int = 1
    kind: str = ""
    writer: str = ""
    judge: str = ""
    style: str = ""
    language: str = ""
    round: int = 1
    ranks: Mapping[str, int] = field(default_factory=dict)


def passes(score: float | None, blocking: bool, threshold: float) -> bool:
    """Whether a sample is kept as long as nobody decides otherwise.

    Args:
        score: of 10; None (an import without one) counts as above the threshold.
        blocking: whether a flag blocks it.
        threshold: the least score.
    """
    return (score is None or score >= threshold) and not blocking


def sample_id(evidence_texts: Iterable[str], question: str) -> str:
    """The id of a sample, so that decisions stay with it whatever else changes."""
    return "q-" + digest_value([sorted(evidence_texts), question])[:16]


def read_samples(folder: Path) -> Iterator[Sample]:
    """The samples of an sdg result, in written order."""
    return (to_sample(row) for row in read_jsonl(folder / SAMPLES))


def to_sample(row: Mapping[str, Any]) -> Sample:
    """The sample that a line of `samples.jsonl` holds."""
    return Sample(
        **{
            **row,
            "passages": tuple(row["passages"]),
            "quotes": tuple(Quote(**quote) for quote in row["quotes"]),
            "flags": tuple(Flag(**flag) for flag in row["flags"]),
        }
    )
