"""Entries: documents as a source gives them, before they are dealt and cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from pipeline.corpus.records import FileReport, ImportedSample, Role
from pipeline.corpus.splitting import Span
from pipeline.corpus.spool import Place, Spool
from pipeline.corpus.text import document_id


@dataclass(frozen=True)
class SpooledText:
    """A text that lies on the disk.

    Attributes:
        spool: where.
        place: in the spool.
        characters: that it has.
        id: of the document with this text.
    """

    spool: Spool
    place: Place
    characters: int
    id: str

    def read(self) -> str:
        """The text."""
        return self.spool.get(self.place).decode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class Entry:
    """One document that was read.

    Attributes:
        path: what the source calls it.
        kind: what it was read from; see `pipeline.corpus.records.FileReport`.
        content: the normalised text, or where it lies.
        title: a title that stands outside of the text, or empty.
        remark: what the report says of it although it is used.
        slices: the passages that the source supplied; None where they are cut here.
        headings: what stands above such a passage, outermost first; passages without are left out.
        family: entries of one family stay in one group and in one pilot slice; empty for an
            entry on its own.
    """

    path: str
    kind: str
    content: str | SpooledText
    title: str = ""
    remark: str = ""
    slices: tuple[Span, ...] | None = None
    family: str = ""
    headings: Mapping[Span, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def id(self) -> str:
        """The document's id."""
        return document_id(self.content) if isinstance(self.content, str) else self.content.id

    @property
    def text(self) -> str:
        """The normalised text; read from the disk each time if it lies there."""
        return self.content if isinstance(self.content, str) else self.content.read()

    @property
    def characters(self) -> int:
        """Of the text."""
        return len(self.content) if isinstance(self.content, str) else self.content.characters

    def held(self) -> Entry:
        """The same entry with its text in memory."""
        return replace(self, content=self.text)

    def spooled(self, spool: Spool) -> Entry:
        """The same entry with its text on the disk."""
        text = self.text
        place = spool.put(text.encode("utf-8", "surrogatepass"))
        return replace(self, content=SpooledText(spool, place, len(text), self.id))


class Texts(Mapping[str, str]):
    """The texts of entries by document id, read one at a time."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = {entry.id: entry for entry in entries}

    def __getitem__(self, document: str) -> str:
        return self._entries[document].text

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(frozen=True)
class Loaded:
    """Everything that a source holds.

    Attributes:
        entries: the documents, exact duplicates included.
        unused: reports of what could not be used.
        samples: questions that came along.
        roles: the roles that the source supplied, by document id; None where folds are dealt.
        warnings: sentences for the summary.
    """

    entries: tuple[Entry, ...]
    unused: tuple[FileReport, ...] = ()
    samples: tuple[ImportedSample, ...] = ()
    roles: Mapping[str, Role] | None = None
    warnings: tuple[str, ...] = ()
