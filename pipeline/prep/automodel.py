"""The training files of NVIDIA's recipe, readable by NeMo Automodel.

`train.json` holds queries and positives, `train_mined.automodel.json` adds scores, negatives
and how they were mined, `train_mined.automodel_unrolled.json` has one row a positive, which is
what a training reads. All refer to `corpus/`, beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.files import replacing, write_json
from pipeline.mining.mine import Mined
from pipeline.prep.records import TrainingExample

CORPUS_ID = "embedsmith"
CORPUS = "corpus"
TRAIN = "train.json"
MINED = "train_mined.automodel.json"
UNROLLED = "train_mined.automodel_unrolled.json"
AUTOMODEL_FILES = (CORPUS, TRAIN, MINED, UNROLLED)


def write_automodel(
    folder: Path,
    passages: Mapping[str, str],
    examples: Sequence[TrainingExample],
    mined: Sequence[Mined],
    arguments: Mapping[str, Any],
) -> None:
    """Write the corpus and the three training files.

    Args:
        folder: the prep result.
        passages: text by id of every passage that an example names, and of the whole pool.
        examples: the training examples.
        mined: what mining found for each of them.
        arguments: how the negatives were mined.

    Raises:
        OSError: the disk is full.
    """
    _write_corpus(folder / CORPUS, passages)
    bare = [_row(e.query, e.question, [{"id": key} for key in e.positives], ()) for e in examples]
    rows = [_mined_row(e, one) for e, one in zip(examples, mined, strict=True)]
    _write(folder / TRAIN, bare)
    _write(folder / MINED, rows, arguments)
    _write(folder / UNROLLED, [part for row in rows if row["neg_doc"] for part in unroll(row)])


def unroll(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row of k positives as k rows of one, with the same negatives.

    A row with one positive keeps its id, others get `_0` to `_k-1`.
    """
    if len(row["pos_doc"]) == 1:
        return [dict(row)]
    return [
        {**row, "question_id": f"{row['question_id']}_{place}", "pos_doc": [positive]}
        for place, positive in enumerate(row["pos_doc"])
    ]


def _mined_row(example: TrainingExample, mined: Mined) -> dict[str, Any]:
    positives = [
        {"id": key, "score": score}
        for key, score in zip(example.positives, mined.positive_scores, strict=True)
    ]
    return _row(example.query, example.question, positives, example.negatives)


def _row(
    query: str,
    question: str,
    positives: list[dict[str, Any]],
    negatives: Sequence[tuple[str, float]],
) -> dict[str, Any]:
    return {
        "question_id": query,
        "question": question,
        "corpus_id": CORPUS_ID,
        "pos_doc": positives,
        "neg_doc": [{"id": key, "score": score} for key, score in negatives],
    }


def _write(
    path: Path, rows: list[dict[str, Any]], arguments: Mapping[str, Any] | None = None
) -> None:
    document: dict[str, Any] = {"corpus": {"path": f"./{CORPUS}/"}, "data": rows}
    if arguments is not None:
        document["mining_args"] = dict(arguments)
    write_json(path, document)


def _write_corpus(folder: Path, passages: Mapping[str, str]) -> None:
    table = pa.table(
        {"id": pa.array(passages, pa.string()), "text": pa.array(passages.values(), pa.string())}
    )
    with replacing(folder / "train.parquet") as temporary:
        pq.write_table(table, temporary)
    write_json(folder / "merlin_metadata.json", {"corpus_id": CORPUS_ID, "class": "TextQADataset"})
