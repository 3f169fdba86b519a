"""Sets of human questions with human labels, and how their documents are split for a training."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.beir import CORPUS, read_beir
from pipeline.corpus.records import Role
from pipeline.files import digest_value, read_jsonl

HELD_OUT_SHARE = 0.4
"""Of the documents that are asked about, how many measure."""
DEV_SHARE = 0.15
"""Of the others, how many choose the best weights, for a system that does so."""


@dataclass(frozen=True)
class LabelledSet:
    """Questions with the passages that answer them, and the passages' documents.

    Attributes:
        name: its folder's.
        questions: text by id.
        passages: text by id.
        qrels: relevance (1 or more) by question, then passage.
        documents: the document of each passage.
    """

    name: str
    questions: Mapping[str, str]
    passages: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    documents: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Hash of everything in it."""
        return digest_value([self.questions, self.passages, self.qrels, self.documents])

    def home(self, question: str) -> str:
        """The document that a question is about: that of its first relevant passage."""
        return self.documents[next(iter(self.qrels[question]))]


@dataclass(frozen=True)
class Split:
    """What is learned from and what is measured.

    Attributes:
        roles: by document.
        positives: by role, then question: its passages in documents of that role. A held-out
            question has all of its own.
    """

    roles: Mapping[str, Role]
    positives: Mapping[Role, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)


def read_labelled(folder: Path) -> LabelledSet:
    """Read a BEIR folder's test split; ids get a prefix, since a question may share a passage's.

    A passage's document is `doc` of its metadata; without one it is a document by itself.

    Raises:
        BadInput: the folder is no BEIR data set, or damaged.
    """
    beir = read_beir(folder, "test")
    documents = {
        f"p:{row['_id']}": str((row.get("metadata") or {}).get("doc") or row["_id"])
        for row in read_jsonl(folder / CORPUS)
    }
    return LabelledSet(
        name=folder.resolve().name,
        questions={f"q:{key}": text for key, text in beir.queries.items()},
        passages={f"p:{key}": text for key, text in beir.passages.items()},
        qrels={
            f"q:{key}": {f"p:{passage}": grade for passage, grade in relevant.items()}
            for key, relevant in beir.qrels.items()
        },
        documents=documents,
    )


def split(labelled: LabelledSet, seed: int, questions: int, dev: bool) -> Split:
    """Deal the documents to roles; no document that measures is ever learned from.

    Questions about one document stay together. A question with answers in several documents
    belongs to its home; where another's documents are held out, it loses those positives, and
    leaves where it has no other.

    Args:
        labelled: the set.
        seed: of the draw.
        questions: learn from so many at most, dev questions included; 0: from all.
        dev: whether some of them choose the best weights. They are drawn after the questions,
            so systems with and without get the same labels.
    """
    draw = random.Random(seed)
    test = _drawn(labelled, labelled.qrels, HELD_OUT_SHARE, draw)
    held: dict[str, Role] = {
        labelled.documents[key]: "test" for question in test for key in labelled.qrels[question]
    }
    learned = _without(labelled, set(labelled.qrels) - set(test), held)
    order = sorted(learned)
    draw.shuffle(order)
    chosen = {key: learned[key] for key in sorted(order[: questions or len(order)])}
    chooses = _drawn(labelled, chosen, DEV_SHARE, draw) if dev else []
    for question in chooses:
        held |= {labelled.documents[key]: "dev" for key in chosen[question]}
    roles: dict[str, Role] = {
        document: held.get(document, "train") for document in labelled.documents.values()
    }
    return Split(
        roles,
        {
            "train": _without(labelled, set(chosen) - set(chooses), held),
            "dev": {question: chosen[question] for question in chooses},
            "test": {question: tuple(labelled.qrels[question]) for question in test},
        },
    )


def _drawn(
    labelled: LabelledSet, questions: Iterable[str], share: float, draw: random.Random
) -> list[str]:
    """The questions about a share of the documents."""
    questions = sorted(questions)
    homes = sorted({labelled.home(question) for question in questions})
    draw.shuffle(homes)
    taken = set(homes[: max(1, round(share * len(homes)))])
    return [question for question in questions if labelled.home(question) in taken]


def _without(
    labelled: LabelledSet, questions: Iterable[str], held: Mapping[str, Role]
) -> dict[str, tuple[str, ...]]:
    """Questions with their positives outside of held documents; those without any are gone."""
    kept = {
        question: tuple(
            key for key in labelled.qrels[question] if labelled.documents[key] not in held
        )
        for question in sorted(questions)
    }
    return {question: positives for question, positives in kept.items() if positives}
