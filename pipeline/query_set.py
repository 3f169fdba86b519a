"""The user's own queries as an eval set: all passages of a document that answers count."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from pipeline.beir import EvalSet, write_beir
from pipeline.corpus.records import Document, Passage, read_documents, read_passages, read_report
from pipeline.eval.records import SPLIT, SYNTHETIC
from pipeline.eval.sets import copy_eval_set
from pipeline.queries import OwnQuery, read_queries
from pipeline.run import Run, slug
from pipeline.texts import normalised

_HOST = re.compile(r"\A[a-z][a-z0-9+.-]*://[^/]*", re.IGNORECASE)
_NAMED = 3
"""So many documents that are not there are named."""


@dataclass(frozen=True)
class Matched:
    """Own queries held against a corpus.

    Attributes:
        content: the queries with a document of the corpus; without queries where none has one.
        lost: how many queries name documents, and none that the corpus has.
        unknown: names of documents that the corpus doesn't have, or has several of.
    """

    content: EvalSet
    lost: int
    unknown: tuple[str, ...]

    @property
    def words(self) -> str:
        """How many there are, and what is missing."""
        said = f"{len(self.content.queries):,} queries with documents of the corpus"
        if self.unknown:
            first = ", ".join(self.unknown[:_NAMED])
            more = ", ..." if len(self.unknown) > _NAMED else ""
            said += f"; {len(self.unknown):,} documents are not in it, or not by one name "
            said += f"({first}{more})"
            said += f", so {self.lost:,} queries are left out" if self.lost else ""
        return said


def match(
    queries: Iterable[OwnQuery],
    documents: Sequence[Document],
    passages: Sequence[Passage],
    also: Iterable[tuple[str, str]] = (),
) -> Matched:
    """Find the documents that queries name: by path, the end of a path or address, title or id.

    The id of a passage names that passage alone.

    Args:
        queries: those without documents are passed over.
        documents: of the corpus.
        passages: of the corpus.
        also: further paths of documents, with their ids: exact duplicates.
    """
    names = _Names(documents, also)
    parts: dict[str, list[str]] = {}
    for passage in passages:
        parts.setdefault(passage.document, []).append(passage.id)
        parts[passage.id] = [passage.id]
    texts: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    unknown: dict[str, None] = {}
    lost = 0
    for query in queries:
        relevant: dict[str, int] = {}
        for name in query.documents:
            found = parts.get(name) or parts.get(names.document(name), [])
            relevant |= dict.fromkeys(found, 1)
            if not found:
                unknown[name] = None
        if relevant:
            texts[query.id], qrels[query.id] = query.text, relevant
        lost += bool(query.documents and not relevant)
    content = EvalSet(texts, {passage.id: passage.text for passage in passages}, qrels)
    return Matched(content, lost, tuple(unknown))


def set_name(path: Path) -> str:
    """What the eval set of a file of queries is called."""
    name = slug(path.stem)
    return f"{name}-queries" if name == SYNTHETIC else name


def make_query_set(run: Run, corpus: Path, name: str) -> Matched:
    """Make an eval set of the run's own queries; one of this name is replaced.

    Nothing is written where no query has a document of the corpus.

    Args:
        run: the run.
        corpus: the folder of its corpus result.
        name: of the set.

    Raises:
        BadInput: a file is damaged.
        Busy: another set is being copied at this moment.
    """
    duplicates = (
        (row.path, row.document) for row in read_report(corpus) if row.status == "duplicate"
    )
    matched = match(
        read_queries(run), list(read_documents(corpus)), list(read_passages(corpus)), duplicates
    )
    if matched.content.queries:
        with tempfile.TemporaryDirectory(prefix="embedsmith-") as folder:
            write_beir(Path(folder), matched.content, SPLIT)
            copy_eval_set(run, Path(folder), name)
    return matched


class _Names:
    """Documents by everything that they may be called."""

    def __init__(self, documents: Iterable[Document], also: Iterable[tuple[str, str]]) -> None:
        self._exact: dict[str, str] = {}
        self._titles: dict[str, set[str]] = {}
        self._ends: dict[str, set[str]] = {}
        for document in documents:
            self._exact[document.id] = document.id
            self._add(document.path, document.id)
            self._titles.setdefault(normalised(document.title), set()).add(document.id)
        for path, document_id in also:
            self._add(path, document_id)

    def _add(self, path: str, document: str) -> None:
        self._exact.setdefault(path, document)
        for end in _ends(path):
            self._ends.setdefault(end, set()).add(document)

    def document(self, name: str) -> str:
        """The id of the one document that is meant; empty where there is none, or several."""
        if name in self._exact:
            return self._exact[name]
        for end in _ends(name):
            # The longest end that any path has decides: `a/b.md` never means `c/b.md`.
            if found := self._ends.get(end):
                return next(iter(found)) if len(found) == 1 else ""
        titled = self._titles.get(normalised(name), set())
        return next(iter(titled)) if len(titled) == 1 else ""


def _ends(path: str) -> Iterator[str]:
    """A path or address without its host, and its ends, the longest first."""
    bare = _HOST.sub("", path).partition("#")[0].partition("?")[0]
    parts = [part for part in unquote(bare).replace("\\", "/").split("/") if part not in ("", ".")]
    for start in range(len(parts)):
        yield "/".join(parts[start:])
