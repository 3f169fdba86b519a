"""Training questions and passages as mining wants them, from any model's vectors.

`prep` mines with the base model or another teacher; a training may mine again, between epochs,
with the weights as they are (`refresh`, after ANCE, arXiv 2007.00808).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.mining.mine import Mined, Miner, Pool, Wanted
from pipeline.mining.scores import Vectors
from pipeline.settings import PrepSettings
from pipeline.texts import normalised

Encode = Callable[[Sequence[str], Literal["query", "passage"]], Vectors]
"""Texts without prefix to vectors, (n, dimension) float32, in the order given."""


@dataclass(frozen=True)
class Asked:
    """A training question.

    Attributes:
        name: its id.
        question: its text, without prefix.
        positives: ids of the passages that answer it.
    """

    name: str
    question: str
    positives: tuple[str, ...]


@dataclass(frozen=True)
class Library:
    """The passages of a training.

    Attributes:
        texts: by id, of the pool and of every positive.
        pool: ids of the passages that may become negatives.
        sources: what passages come from, by id, where no negative may share it with a positive;
            else empty.
    """

    texts: Mapping[str, str]
    pool: frozenset[str]
    sources: Mapping[str, str]


@dataclass(frozen=True)
class Material:
    """What mining starts from; questions in the order given."""

    wanted: tuple[Wanted, ...]
    pool: Pool


def encode_material(asked: Sequence[Asked], library: Library, encode: Encode) -> Material:
    """Encode passages, then questions; the pool's vectors are not copied."""
    ids = sorted(library.pool)
    outside = {key for one in asked for key in one.positives} - library.pool
    needed = [*ids, *sorted(outside)]
    vectors = encode([library.texts[key] for key in needed], "passage")
    questions = encode([one.question for one in asked], "query")
    row_of = {key: row for row, key in enumerate(needed)}
    answers = _answers(asked)
    wanted = tuple(
        Wanted(
            vector=vector,
            positives=vectors[[row_of[key] for key in one.positives]],
            positive_texts=tuple(
                library.texts[key]
                for key in dict.fromkeys((*one.positives, *answers[normalised(one.question)]))
            ),
            question=one.question,
            name=one.name,
            sources=tuple(
                sorted({library.sources[k] for k in one.positives if k in library.sources})
            ),
        )
        for one, vector in zip(asked, questions, strict=True)
    )
    sources = tuple(library.sources[key] for key in ids) if library.sources else ()
    texts = tuple(library.texts[key] for key in ids)
    return Material(wanted, Pool(tuple(ids), texts, vectors[: len(ids)], sources))


def refresh(
    asked: Sequence[Asked],
    library: Library,
    encode: Encode,
    settings: PrepSettings,
    device: str,
    on_queries: Callable[[int, int], None] = lambda done, total: None,
) -> list[Mined]:
    """Mine again by the same rule with a model as it is now.

    Args:
        asked: the training questions.
        library: the passages.
        encode: the model; its weights change, so it should not go through a cache.
        settings: the rule; its teacher and reranker have no say here.
        device: where to search, `cpu` or `cuda`.
        on_queries: called with (done, total) now and then; it may raise to stop.

    Returns:
        For each question, in the order given, its new negatives; fewer than asked for where the
        rule leaves fewer, and then none of the old ones comes back.
    """
    material = encode_material(asked, library, encode)
    return Miner(material.pool, device).mine(material.wanted, settings, on_queries)


def _answers(asked: Sequence[Asked]) -> Mapping[str, Sequence[str]]:
    """Passage ids by normalised question: one asked twice has the answers of both."""
    answers: defaultdict[str, list[str]] = defaultdict(list)
    for one in asked:
        answers[normalised(one.question)] += one.positives
    return answers
