"""Where the evidence lies: passages and their documents, found without loading their texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import orjson

from pipeline.corpus.records import DOCUMENTS, PASSAGES, Passage
from pipeline.errors import BadInput
from pipeline.review.tail import LineTail

CHUNK = 1 << 22
"""Bytes that are read at once: tens of milliseconds of work."""


class DocumentRef(NamedTuple):
    """A document without its text.

    Attributes:
        id: the document's id.
        path: where it came from, relative to the source.
        title: its first heading, or its file's stem.
    """

    id: str
    path: str
    title: str


class PassageRef(NamedTuple):
    """A passage without its text.

    Attributes:
        document: the document that it is a slice of.
        offset: of its line in `passages.jsonl`, in bytes; it grows in reading order, document
            by document.
        length: of its line, in bytes.
    """

    document: DocumentRef
    offset: int
    length: int


class PassageIndex:
    """The passages of a corpus result by id; a text is read when it is asked for."""

    def __init__(self, folder: Path) -> None:
        """Nothing is read yet.

        Args:
            folder: the corpus result's.
        """
        self._path = folder / PASSAGES
        self._documents_path = folder / DOCUMENTS
        self._document_tail = LineTail(self._documents_path)
        self._tail = LineTail(self._path)
        self._documents: dict[str, DocumentRef] = {}
        self._passages: dict[str, PassageRef] = {}

    def __len__(self) -> int:
        return len(self._passages)

    @property
    def documents(self) -> int:
        """How many documents were read."""
        return len(self._documents)

    def read(self, max_bytes: int = CHUNK) -> bool:
        """Read the next part, the documents first; returns whether there is more.

        Raises:
            BadInput: a line cannot be read; the message names file and line.
        """
        found = self._document_tail.read(max_bytes)
        for number, line in enumerate(found.lines, start=found.number):
            if line:
                ref = _document(parse_line(self._documents_path, number, line))
                self._documents[ref.id] = ref
        if found.lines:
            return True
        found = self._tail.read(max_bytes)
        offset = found.start
        for number, line in enumerate(found.lines, start=found.number):
            if line:
                row = parse_line(self._path, number, line)
                document = str(row.get("document", ""))
                known = self._documents.get(document) or DocumentRef(document, document, "")
                self._passages[str(row["id"])] = PassageRef(known, offset, len(line))
            offset += len(line) + 1
        return bool(found.lines)

    def read_all(self) -> PassageIndex:
        """Read what is left; returns the index itself."""
        while self.read():
            pass
        return self

    def get(self, passage: str) -> PassageRef | None:
        """A passage by id, or None while it is unknown."""
        return self._passages.get(passage)

    def document(self, passage: str) -> DocumentRef | None:
        """The document of a passage, or None while the passage is unknown."""
        ref = self._passages.get(passage)
        return ref.document if ref else None

    def passage(self, passage: str) -> Passage | None:
        """A whole passage, read from the disk; None while it is unknown.

        Raises:
            BadInput: the file is not the one that was indexed.
        """
        ref = self._passages.get(passage)
        if ref is None:
            return None
        row = read_row(self._path, ref.offset, ref.length, passage)
        return Passage(**{**row, "headings": tuple(row["headings"])})


def parse_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    """One line as a JSON object with an id.

    Raises:
        BadInput: it is none; the message names file and line.
    """
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise unreadable(path, f"line {number}: {error}") from error
    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
        raise unreadable(path, f"line {number}: no object with an id")
    return row


def read_row(path: Path, offset: int, length: int, wanted: str) -> dict[str, Any]:
    """The object at a place that an index remembers.

    Args:
        path: the JSON lines file.
        offset: of the line, in bytes.
        length: of the line, in bytes.
        wanted: the id that must stand there.

    Raises:
        BadInput: something else stands there: the file was replaced.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            row = orjson.loads(stream.read(length))
    except (FileNotFoundError, orjson.JSONDecodeError) as error:
        raise unreadable(path, f"{wanted} is no longer where it was: {error}") from error
    if not isinstance(row, dict) or row.get("id") != wanted:
        raise unreadable(path, f"{wanted} is no longer where it was")
    return row


def _document(row: dict[str, Any]) -> DocumentRef:
    return DocumentRef(row["id"], str(row.get("path", "")), str(row.get("title", "")))


def unreadable(path: Path, fault: str) -> BadInput:
    """The failure of a file that an index can't use."""
    return BadInput(
        f"{path}, {fault}.",
        safe="Nothing was changed; decisions are kept.",
        next_step="Open the review again; if it comes back, run that stage again.",
    )
