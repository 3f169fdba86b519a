"""Entries: documents as a source gives them, before they are dealt and cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pipeline.corpus.records import FileReport, ImportedSample, Role
from pipeline.corpus.splitting import Span
from pipeline.corpus.text import document_id


@dataclass(frozen=True)
class Entry:
    """One document that was read.

    Attributes:
        path: what the source calls it.
        kind: what it was read from; see `pipeline.corpus.records.FileReport`.
        text: the normalised text.
        title: a title that stands outside of the text, or empty.
        remark: what the report says of it although it is used.
        slices: the passages that the source supplied; None where they are cut here.
        headings: what stands above such a passage, outermost first; passages without are left out.
        family: entries of one family stay in one group and in one pilot slice; empty for an
            entry on its own.
    """

    path: str
    kind: str
    text: str
    title: str = ""
    remark: str = ""
    slices: tuple[Span, ...] | None = None
    family: str = ""
    headings: Mapping[Span, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def id(self) -> str:
        """The document's id."""
        return document_id(self.text)


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
