"""Eval sets in BEIR form: queries, passages and qrels, read and written.

Layout: `corpus.jsonl` (`_id`, `title`, `text`), `queries.jsonl` (`_id`, `text`) and
`qrels/<split>.tsv` with the header `query-id`, `corpus-id`, `score`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import BadInput
from pipeline.files import read_jsonl, replacing, write_jsonl

CORPUS = "corpus.jsonl"
QUERIES = "queries.jsonl"
QRELS_HEADER = ("query-id", "corpus-id", "score")
SPLITS = ("train", "dev", "test")

_USED = ("_id", "title", "text", "metadata")
_HALF = "holds half a surrogate pair (a broken emoji, mostly), which is no character"

Metrics = Mapping[str, float]
"""Values by metric name: measure, `@`, rank, such as `ndcg@10`."""

Ranking = tuple[tuple[str, float], ...]
"""Passage ids with their float32 scores, best first."""


@dataclass(frozen=True)
class EvalSet:
    """Queries with the passages that answer them.

    Attributes:
        queries: text by query id.
        passages: text by passage id, title and text already joined.
        qrels: relevance (1 or more) by query id, then passage id.
        details: further fields of a query, written as its `metadata`.
    """

    queries: Mapping[str, str]
    passages: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def passage_text(title: str, text: str) -> str:
    """Title and text as one string: the one rule for every encoder and server."""
    return f"{title} {text}".strip() if title else text


def is_beir_folder(folder: Path) -> bool:
    """Whether a folder holds a BEIR data set."""
    return (
        (folder / CORPUS).is_file() and (folder / QUERIES).is_file() and (folder / "qrels").is_dir()
    )


def beir_splits(folder: Path) -> tuple[str, ...]:
    """The splits that a BEIR folder has qrels for, in the order train, dev, test."""
    return tuple(split for split in SPLITS if (folder / "qrels" / f"{split}.tsv").is_file())


def read_beir(folder: Path, split: str, *, mended: bool = False) -> EvalSet:
    """Read one split. Queries without a relevant passage are left out.

    Args:
        folder: the BEIR folder.
        split: the name of its qrels.
        mended: whether the caller cleans texts itself, so that half a surrogate pair, as JSON may
            hold one (`"\\ud800"`), stops nothing.

    Raises:
        BadInput: a file is missing or damaged, an id is used twice, a text holds half a surrogate
            pair, or the qrels name a query or passage that isn't there; the message names file
            and line.
    """
    for name in (CORPUS, QUERIES, f"qrels/{split}.tsv"):
        if not (folder / name).is_file():
            raise _bad(folder / name, 0, "no such file; a BEIR folder has it")
    passages = {
        key: passage_text(str(row.get("title") or ""), str(row.get("text") or ""))
        for key, row in _by_id(folder / CORPUS, mended).items()
    }
    rows = _by_id(folder / QUERIES, mended)
    qrels = _read_qrels(folder / "qrels" / f"{split}.tsv", rows, passages)
    return EvalSet(
        queries={key: str(rows[key]["text"]) for key in rows if key in qrels},
        passages=passages,
        qrels=qrels,
        details={key: rows[key]["metadata"] for key in qrels if rows[key].get("metadata")},
    )


def write_beir(folder: Path, eval_set: EvalSet, split: str) -> None:
    """Write one split; ids in the order of the mappings.

    Raises:
        BadInput: a text holds half a surrogate pair, which no file can; its id is named.
        ValueError: a query and a passage share an id. BEIR drops such hits without a word.
    """
    if shared := eval_set.queries.keys() & eval_set.passages.keys():
        raise ValueError(f"query and passage share the ids {sorted(shared)[:3]}")
    _write_rows(
        folder / CORPUS,
        (
            {"_id": key, "title": "", "text": text, "metadata": {}}
            for key, text in eval_set.passages.items()
        ),
    )
    _write_rows(
        folder / QUERIES,
        (
            {"_id": key, "text": text, "metadata": dict(eval_set.details.get(key, {}))}
            for key, text in eval_set.queries.items()
        ),
    )
    with replacing(folder / "qrels" / f"{split}.tsv") as path:
        lines = ["\t".join(QRELS_HEADER)]
        for query, relevant in eval_set.qrels.items():
            lines += [f"{query}\t{passage}\t{score}" for passage, score in relevant.items()]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """As `write_jsonl`; a row that UTF-8 can't hold is named."""
    key = ""

    def noted() -> Iterator[Mapping[str, Any]]:
        nonlocal key
        for row in rows:
            key = row["_id"]
            yield row

    try:
        write_jsonl(path, noted())
    except UnicodeEncodeError as error:
        raise BadInput(
            f"{path} can't be written: {key!a} {_HALF}.",
            safe="The file is as it was before.",
            next_step="Mend that text where it came from and run the same command again.",
        ) from error


def _by_id(path: Path, mended: bool) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        key = str(row.get("_id", ""))
        if not key or not isinstance(row.get("text"), str):
            raise _bad(path, number, "needs an `_id` and a `text`")
        if key in rows:
            raise _bad(path, number, f"the id {key!r} was used before")
        if not (mended or _fits_utf8([row.get(name) for name in _USED])):
            raise _bad(path, number, f"{key!a} {_HALF}")
        rows[key] = row
    return rows


def _fits_utf8(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_qrels(
    path: Path, queries: Mapping[str, Any], passages: Mapping[str, Any]
) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    # A byte that is no UTF-8 belongs to no id, and so is named with its line.
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        for number, row in enumerate(csv.reader(stream, delimiter="\t"), start=1):
            if number == 1 and tuple(cell.strip() for cell in row) == QRELS_HEADER:
                continue
            if len(row) != 3:
                raise _bad(path, number, "needs three columns: query-id, corpus-id, score")
            query, passage, score = (cell.strip() for cell in row)
            if not score.lstrip("-").isdigit():
                raise _bad(path, number, f"the score {score!r} is no whole number")
            if query not in queries:
                raise _bad(path, number, f"there is no query {query!r}")
            if passage not in passages:
                raise _bad(path, number, f"there is no passage {passage!r}")
            if int(score) > 0:
                qrels.setdefault(query, {})[passage] = int(score)
    if not qrels:
        raise _bad(path, 0, "no query has a relevant passage")
    return qrels


def _bad(path: Path, line: int, what: str) -> BadInput:
    where = f"{path}, line {line}" if line else str(path)
    return BadInput(
        f"{where}: {what}.",
        safe="Nothing was changed.",
        next_step="Mend the file and run the same command again.",
    )
