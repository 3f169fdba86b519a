"""What `corpus` writes and later stages read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.files import read_jsonl

Role = Literal["train", "dev", "test"]
ROLES: tuple[Role, ...] = ("train", "dev", "test")

PYDOC = "pydoc"
"""The source that is Python's own documentation."""

DOCUMENTS = "documents.jsonl"
PASSAGES = "passages.jsonl"
REPORT = "report.jsonl"
FINDINGS = "findings.jsonl"
"""Suspected secrets and personal data; none in results of earlier versions."""
IMPORTED = "imported.jsonl"
"""Samples that came with the source; only there for a BEIR folder or SDG output."""


@dataclass(frozen=True)
class Document:
    """A file of the corpus after normalisation.

    Attributes:
        id: hash of the normalised text.
        path: where it came from, relative to the source, POSIX form.
        title: its first heading, or its file's stem.
        text: the normalised text; every offset refers to it.
        group: near-duplicate documents share it.
        fold: 0 to 4, dealt once.
        role: what the document is used for; follows from its fold.
    """

    id: str
    path: str
    title: str
    text: str
    group: str
    fold: int
    role: Role


@dataclass(frozen=True)
class Passage:
    """A retrievable slice of a document: `text == document.text[start:end]`.

    Attributes:
        id: `p-` and 16 hexadecimal digits; a query's id begins with `q-`.
        document: the document's id.
        start: first character.
        end: one past the last character.
        text: the slice.
        headings: the headings above it, outermost first.
        tokens: its length by `corpus.tokenizer`, without special tokens.
        role: its document's role.
        table_header: the header rows of the table that the slice continues; mostly empty.
    """

    id: str
    document: str
    start: int
    end: int
    text: str
    headings: tuple[str, ...]
    tokens: int
    role: Role
    table_header: str = ""


@dataclass(frozen=True)
class FileReport:
    """What became of one file of the source.

    Attributes:
        path: relative to the source; of an imported record or pair, what the source calls it.
        kind: `text`, `markdown`, `beir`, `sdg`, `ready`, `hf`, `pydoc`, or `unknown`.
        status: `used`, `skipped` or `duplicate` (its text is another file's).
        reason: why it was skipped, or whose duplicate it is; a remark when used (a guessed
            encoding, near-duplicates in another fold), mostly empty.
        characters: length after normalisation.
        passages: how many were cut.
        document: its document's id; empty when skipped.
    """

    path: str
    kind: str
    status: Literal["used", "skipped", "duplicate"]
    reason: str = ""
    characters: int = 0
    passages: int = 0
    document: str = ""


@dataclass(frozen=True)
class Finding:
    """Something in a document that should perhaps not be sent away: a suspicion, no verdict.

    Attributes:
        document: the document's id.
        path: the document's path.
        kind: what it looks like, such as `aws access key` or `e-mail address`.
        group: `secret` or `personal`.
        line: line of the normalised text, from 1.
        excerpt: its first two characters and its length; never the value itself.
    """

    document: str
    path: str
    kind: str
    group: Literal["secret", "personal"]
    line: int
    excerpt: str


@dataclass(frozen=True)
class FindingsCounts:
    """How much was found in a corpus.

    Attributes:
        secrets: suspected secrets.
        personal: suspected personal data.
        documents: documents with either.
    """

    secrets: int
    personal: int
    documents: int


@dataclass(frozen=True)
class ImportedSample:
    """A question that came with the source.

    Attributes:
        question: the query's text.
        answer: empty when the source has none.
        passages: ids of the passages that answer it.
        role: the split that the source supplied, or None.
        score: the source's own quality score of 10, or None.
        details: fields of the source worth keeping (query type, hops, complexity).
    """

    question: str
    answer: str
    passages: tuple[str, ...]
    role: Role | None
    score: float | None
    details: Mapping[str, Any]


def to_row(record: object) -> dict[str, Any]:
    """A record as a JSON object; its fields hold no other records."""
    return dict(vars(record))


def read_documents(folder: Path) -> Iterator[Document]:
    """The documents of a corpus result, in written order."""
    return (Document(**row) for row in read_jsonl(folder / DOCUMENTS))


def read_passages(folder: Path) -> Iterator[Passage]:
    """The passages of a corpus result, document by document, in reading order."""
    return (
        Passage(**{**row, "headings": tuple(row["headings"])})
        for row in read_jsonl(folder / PASSAGES)
    )


def read_report(folder: Path) -> Iterator[FileReport]:
    """The report of a corpus result, one entry a file, sorted by path."""
    return (FileReport(**row) for row in read_jsonl(folder / REPORT))


def read_imported(folder: Path) -> Iterator[ImportedSample]:
    """The samples that came with the source; none for a folder of documents."""
    path = folder / IMPORTED
    if path.is_file():
        for row in read_jsonl(path):
            yield ImportedSample(**{**row, "passages": tuple(row["passages"])})


def read_findings(folder: Path) -> Iterator[Finding]:
    """Suspected secrets and personal data, by document, then line; none in an older result."""
    path = folder / FINDINGS
    if path.is_file():
        yield from (Finding(**row) for row in read_jsonl(path))


def count_findings(findings: Iterable[Finding]) -> FindingsCounts:
    """How many of each group, and in how many documents."""
    groups: Counter[str] = Counter()
    documents: set[str] = set()
    for finding in findings:
        groups[finding.group] += 1
        documents.add(finding.document)
    return FindingsCounts(groups["secret"], groups["personal"], len(documents))


def findings_counts(folder: Path) -> FindingsCounts:
    """How much was found in a corpus result."""
    return count_findings(read_findings(folder))
