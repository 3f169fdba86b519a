"""What `prep` writes and later stages read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.beir import EvalSet, read_beir
from pipeline.corpus.records import Passage, Role, read_documents
from pipeline.files import read_jsonl, write_jsonl

TRAINING = "training.jsonl"
"""One `TrainingExample` a line; its texts are in the corpus result's passages."""

BEIR_FOLDERS: dict[Role, str] = {"dev": "dev_beir", "test": "eval_beir"}
"""The held-out questions over all passages, one folder a role; not there when it is empty."""


@dataclass(frozen=True)
class TrainingExample:
    """A training query with what it should and should not retrieve.

    Attributes:
        query: the sample's id.
        question: its text, without prefix.
        positives: ids of the passages that answer it, one or more.
        negatives: ids of the hard negatives with their score, hardest first. Who mined scored
            them: the base model, `prep.teacher` or `prep.reranker`.
        positive_score: of the positive that scores lowest, by the same.
        shortfall: why there are fewer negatives than asked for, or empty.
    """

    query: str
    question: str
    positives: tuple[str, ...]
    negatives: tuple[tuple[str, float], ...]
    positive_score: float
    shortfall: str


def write_training(folder: Path, examples: Iterable[TrainingExample]) -> None:
    """Write the training examples of a prep result."""
    write_jsonl(folder / TRAINING, (asdict(example) for example in examples))


def read_training(folder: Path) -> Iterator[TrainingExample]:
    """The training examples of a prep result, in written order."""
    for row in read_jsonl(folder / TRAINING):
        yield TrainingExample(
            **{
                **row,
                "positives": tuple(row["positives"]),
                "negatives": tuple((key, float(score)) for key, score in row["negatives"]),
            }
        )


def read_held_out(folder: Path, role: Role) -> EvalSet | None:
    """The dev or test questions of a prep result, or None when there are none."""
    beir = folder / BEIR_FOLDERS[role]
    return read_beir(beir, role) if beir.is_dir() else None


def passage_sources(corpus: Path, passages: Mapping[str, Passage], exclude: str) -> dict[str, str]:
    """What each passage comes from, by id, where that keeps it from being a negative.

    Args:
        corpus: the corpus result's folder.
        passages: by id.
        exclude: `prep.exclude`.
    """
    if exclude == "text":
        return {}
    if exclude == "document":
        return {key: passage.document for key, passage in passages.items()}
    groups = {each.id: each.group for each in read_documents(corpus)}
    # A corpus of ready passages may know no document.
    return {key: groups.get(p.document, p.document) for key, p in passages.items()}
