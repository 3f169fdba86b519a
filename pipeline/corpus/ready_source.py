"""Ready passages as a corpus: every row is one passage, whole; rows of one document stand in one
document, in their order, a blank line between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from pipeline.corpus.decoding import decode
from pipeline.corpus.entries import Entry, Loaded
from pipeline.corpus.fields import Passage, passage_of
from pipeline.corpus.records import FileReport
from pipeline.corpus.sdg_records import parquet_rows
from pipeline.corpus.source import Source, SourceFile
from pipeline.corpus.splitting import Span
from pipeline.corpus.tables import Row, table_rows
from pipeline.corpus.text import one_line
from pipeline.files import digest_bytes
from pipeline.settings import CorpusSettings

BETWEEN = "\n\n"
"""What stands between two passages of one document."""


@dataclass
class _Document:
    """The rows of one document so far."""

    title: str
    texts: list[str] = field(default_factory=list)
    headings: list[tuple[str, ...]] = field(default_factory=list)


class _Import:
    """Collects documents and reports over all rows."""

    def __init__(self, kind: str, text_field: str) -> None:
        self._kind, self._text_field = kind, text_field
        self._documents: dict[tuple[str, bool], _Document] = {}
        self._first: dict[str, str] = {}
        self.unused: list[FileReport] = []

    def add(self, row: Row) -> None:
        """Take one row in."""
        if row.record is None:
            self._leave(row, "skipped", row.reason)
            return
        passage = passage_of(row.record, self._text_field)
        if isinstance(passage, str):
            self._leave(row, "skipped", passage)
            return
        # A text that stands in the corpus twice would be its own hard negative.
        mark = digest_bytes(" ".join(passage.text.split()).encode())[:32]
        first = self._first.setdefault(mark, row.where)
        if first is not row.where:
            self._leave(row, "duplicate", f"the same text as {first}", len(passage.text))
            return
        document = self._documents.setdefault(self._home(row, passage), _Document(passage.title))
        document.title = document.title or passage.title
        document.texts.append(passage.text)
        document.headings.append(passage.headings)

    def _home(self, row: Row, passage: Passage) -> tuple[str, bool]:
        """The document's name, and whether other rows may belong to it."""
        if passage.document:
            return passage.document, True
        name = passage.key or one_line(row.where)
        return (name if (name, False) not in self._documents else f"{name} ({row.where})"), False

    def _leave(self, row: Row, status: str, reason: str, characters: int = 0) -> None:
        where = one_line(row.where, 300)
        self.unused.append(
            FileReport(where, self._kind, status, reason, characters)  # type: ignore[arg-type]
        )

    def entries(self) -> Iterator[Entry]:
        """The documents, in the order of their first rows; each is let go of here."""
        for name, shared in list(self._documents):
            document = self._documents.pop((name, shared))
            spans = list(_spans(document.texts))
            yield Entry(
                path=name,
                kind=self._kind,
                content=BETWEEN.join(document.texts),
                title=document.title,
                slices=tuple(spans),
                headings={
                    span: headings
                    for span, headings in zip(spans, document.headings, strict=True)
                    if headings
                },
            )


def load_ready(source: Source, settings: CorpusSettings, each: Callable[[int], None]) -> Loaded:
    """Read ready passages.

    Args:
        source: the tables.
        settings: where the text is, and the encoding of what is not UTF-8.
        each: called with the number of rows read so far.
    """
    guessed: list[str] = []
    rows = (row for file in source.files for row in _rows(file, settings.encoding, guessed))
    loaded = take_rows(rows, "ready", settings.text_field, each)
    return replace(loaded, warnings=tuple(guessed))


def take_rows(
    rows: Iterable[Row], kind: str, text_field: str, each: Callable[[int], None]
) -> Loaded:
    """Rows as documents and their passages.

    Args:
        rows: in their order; rows of one document need not follow one another.
        kind: the documents' kind.
        text_field: what holds the text; empty: the usual names.
        each: called with the number of rows taken so far.
    """
    collected = _Import(kind, text_field)
    for number, row in enumerate(rows, start=1):
        collected.add(row)
        each(number)
    return Loaded(tuple(collected.entries()), tuple(collected.unused))


def _rows(file: SourceFile, encoding: str, guessed: list[str]) -> Iterator[Row]:
    """The rows of one file; a sentence goes to `guessed` where its encoding is a guess."""
    try:
        if file.path.suffix.lower() == ".parquet":
            yield from parquet_rows(file)
            return
        decoded = decode(file.path.read_bytes(), encoding)
        if not isinstance(decoded, tuple):
            yield Row(file.name, None, decoded.reason)
            return
        text, remark = decoded
        if remark:
            guessed.append(f"{one_line(file.name)}: {remark}.")
        yield from table_rows(file.name, text)
    except (OSError, UnicodeDecodeError) as error:
        yield Row(file.name, None, f"it cannot be read: {one_line(str(error))}")


def _spans(texts: Iterable[str]) -> Iterator[Span]:
    start = 0
    for text in texts:
        yield start, start + len(text)
        start += len(text) + len(BETWEEN)
