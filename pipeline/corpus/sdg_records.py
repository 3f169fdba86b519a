"""NVIDIA SDG records: JSON, JSONL or Parquet to plain rows, whatever nests in what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pipeline.corpus.source import SourceFile
from pipeline.corpus.tables import Row, object_row, parsed_row
from pipeline.corpus.text import one_line

_LISTS = ("records", "data", "rows", "train")
"""Where a JSON file may keep its list of records."""


def read_rows(file: SourceFile) -> Iterator[Row]:
    """The records of one file, in order; an unreadable one doesn't stop the others."""
    try:
        if file.path.suffix == ".parquet":
            yield from parquet_rows(file)
        elif file.path.suffix == ".json":
            yield from _json_rows(file)
        else:
            yield from _jsonl_rows(file)
    except (OSError, UnicodeDecodeError) as error:
        yield Row(file.name, None, f"the file cannot be read: {one_line(str(error))}")


def plain(value: Any) -> Any:
    """A field as plain JSON: arrays become lists, and JSON kept in a string is opened."""
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def as_list(value: Any) -> list[Any]:
    """A field that should be a list: None becomes empty, a single value a list of it."""
    value = plain(value)
    if value is None:
        return []
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else [value]


def as_mapping(value: Any) -> dict[str, Any]:
    """A field that should be an object; anything else becomes empty."""
    value = plain(value)
    return value if isinstance(value, dict) else {}


def _jsonl_rows(file: SourceFile) -> Iterator[Row]:
    with file.path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            yield parsed_row(f"{file.name}, line {number}", line)


def _json_rows(file: SourceFile) -> Iterator[Row]:
    try:
        document = json.loads(file.path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, RecursionError):
        # Some writers put JSON lines into a .json file.
        yield from _jsonl_rows(file)
        return
    if isinstance(document, dict):
        listed = next(
            (document[key] for key in _LISTS if isinstance(document.get(key), list)), None
        )
        document = [document] if listed is None else listed
    for number, record in enumerate(document if isinstance(document, list) else [], start=1):
        yield object_row(f"{file.name}, record {number}", record)


def parquet_rows(file: SourceFile) -> Iterator[Row]:
    """The rows of a Parquet file, in order.

    Raises:
        OSError: it cannot be opened.
    """
    # Imported here: only this format needs it, and it is slow to load.
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(file.path) as table:
            for batch in table.iter_batches(batch_size=64):
                for record in batch.to_pylist():
                    number += 1
                    yield object_row(f"{file.name}, record {number}", record)
    except pa.ArrowException as error:
        where = f"{file.name}, behind record {number}"
        yield Row(where, None, f"the Parquet file is damaged: {one_line(str(error))}")
