"""Tables: rows of CSV, TSV, JSON and JSON lines, each by itself, whatever is wrong with another.

It imports nothing heavy: the command line looks at tables, too.
"""

from __future__ import annotations

import csv
import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.corpus.decoding import decode
from pipeline.corpus.text import one_line

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
"""Files whose rows can be imported."""
HEAD_BYTES = 1_000_000
"""How much of a file is looked at to find out what fields it has."""
_HEAD_ROWS = 10

_LISTS = ("records", "data", "rows", "train", "passages", "chunks", "documents", "queries")
"""Where a JSON object may keep its list of records."""
_DELIMITERS = (",", "\t", ";", "|")
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_NEXT_OBJECT = re.compile(r"\}\s*,\s*(?=\{)")
_FIELD_MAX = 2**31 - 1
"""A cell may be as large as the C library can count."""


@dataclass(frozen=True)
class Row:
    """One row, or the reason why it could not be read.

    Attributes:
        where: file and line, for messages.
        record: its fields by name; None when unreadable.
        reason: why it is unreadable, or empty.
    """

    where: str
    record: Mapping[str, Any] | None
    reason: str = ""


def table_rows(name: str, text: str) -> Iterator[Row]:
    """The rows of a table, in order; one that cannot be read doesn't stop the others.

    What it is follows from its first character: `[` begins a list, `{` objects line by line or one
    that holds a list; everything else is delimited text with a header, unless its name says JSON.

    Args:
        name: the file's name; it stands in messages, and its ending may say JSON.
        text: all of it.
    """
    first = text.lstrip()[:1]
    if first == "[":
        yield from _listed(name, text, text.index("["))
    elif first == "{" or name.lower().endswith((".json", ".jsonl", ".ndjson")):
        yield from _objects(name, text)
    else:
        yield from _delimited(name, text)


def head_fields(path: Path, encoding: str) -> frozenset[str]:
    """The names of the fields in a table's head; empty where it is no table.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    found: set[str] = set()
    if len(head) == HEAD_BYTES and (cut := head.rfind(b"\n")) > 0:
        # Cut at a line end: half a character would look like another encoding.
        head = head[: cut + 1]
    decoded = decode(head, encoding)
    text = decoded[0] if isinstance(decoded, tuple) else ""
    for row, _ in zip(table_rows(path.name, text), range(_HEAD_ROWS), strict=False):
        found.update(row.record or ())
    return frozenset(found)


def delimiter_of(header: str) -> str:
    """The delimiter that makes the most columns of a header line."""
    return max(_DELIMITERS, key=lambda mark: (len(_cells(header, mark)), mark == ","))


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


class _Lines:
    """The lines of a text for a reader of records, which can be made to read some again."""

    def __init__(self, text: str) -> None:
        self._lines = (match[0] for match in _LINE.finditer(text))
        self._again: deque[str] = deque()
        self._record: list[str] = []
        self.number = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self._record.append(line)
        self.number += 1
        return line

    def begin(self) -> int:
        """A record begins here; returns the number of its first line."""
        self._record.clear()
        return self.number + 1

    def go_back(self) -> None:
        """All lines of the record but its first come again."""
        self._again.extendleft(reversed(self._record[1:]))
        self.number -= len(self._record) - 1


def _delimited(name: str, text: str) -> Iterator[Row]:
    csv.field_size_limit(_FIELD_MAX)
    lines = _Lines(text)
    header: list[str] = []
    delimiter = delimiter_of(text.lstrip().partition("\n")[0])
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        start = lines.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # A quote that nobody closed swallows what follows: that is read again without it.
            lines.go_back()
            yield Row(f"{name}, line {start}", None, f"its quoting is wrong: {error}")
            if not header:
                return
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            header = [cell.strip() for cell in cells]
            continue
        if any(cell.strip() for cell in cells[len(header) :]):
            reason = f"it has {len(cells)} columns; the header has {len(header)}"
            yield Row(f"{name}, line {start}", None, reason)
            continue
        fields = {key: cell for key, cell in zip(header, cells, strict=False) if key}
        yield Row(f"{name}, line {start}", fields)


def _objects(name: str, text: str) -> Iterator[Row]:
    """JSON lines, or one object, which may hold a list of records."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        # Other line ends may stand inside of a JSON text.
        for number, match in enumerate(re.finditer(r"[^\n]*\n|[^\n]+", text), start=1):
            if line := match[0].strip():
                yield parsed_row(f"{name}, line {number}", line)
        return
    if not isinstance(document, dict):
        yield object_row(f"{name}, line 1", document)
        return
    listed = next((document[key] for key in _LISTS if isinstance(document.get(key), list)), None)
    if listed is None:
        yield Row(f"{name}, line 1", document)
        return
    for number, record in enumerate(listed, start=1):
        yield object_row(f"{name}, record {number}", record)


def _listed(name: str, text: str, start: int) -> Iterator[Row]:
    """The elements of a JSON list, one by one; behind a damaged one the next is looked for."""
    decoder = json.JSONDecoder()
    at, line, counted = start + 1, 1, 0
    while (at := _skip(text, at)) < len(text) and text[at] != "]":
        line, counted = line + text.count("\n", counted, at), at
        where = f"{name}, line {line}"
        try:
            record, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            yield Row(where, None, f"it is no JSON: {one_line(str(error))}")
            at = _nextobject_row(text, at)
        else:
            yield object_row(where, record)
    if text[at + 1 :].strip() or at >= len(text):
        what = "something stands behind its list" if at < len(text) else "its list has no end"
        yield Row(name, None, f"{what}; that was not read")


def _skip(text: str, at: int) -> int:
    while at < len(text) and (text[at].isspace() or text[at] == ","):
        at += 1
    return at


def _nextobject_row(text: str, broken: int) -> int:
    """Where the next element begins: as far indented as the broken one, or behind a comma."""
    line = text.rfind("\n", 0, broken)
    indent = text[line:broken] if line >= 0 else ""
    if indent and not indent.strip():
        found = text.find(indent + "{", broken + 1)
        return found + len(indent) if found >= 0 else len(text)
    match = _NEXT_OBJECT.search(text, broken)
    return match.end() if match else len(text)


def parsed_row(where: str, line: str) -> Row:
    """A line of JSON lines as a row."""
    try:
        return object_row(where, json.loads(line))
    except (ValueError, RecursionError) as error:
        return Row(where, None, f"it is no JSON: {one_line(str(error))}")


def object_row(where: str, record: Any) -> Row:
    """A JSON value as a row."""
    if isinstance(record, dict):
        return Row(where, record)
    return Row(where, None, "it is no JSON object")
