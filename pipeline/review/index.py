"""The samples of a run as light entries: all that lists, orders, counts and filters need.

A whole sample is read from the disk when it is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

from pipeline.corpus.records import Role
from pipeline.review.decisions import Decision
from pipeline.review.kept import keeps
from pipeline.review.passages import CHUNK, PassageIndex, parse_line, read_row, unreadable
from pipeline.review.tail import LineTail
from pipeline.sdg.records import SAMPLES, Sample, to_sample


class Entry(NamedTuple):
    """What a list shows of one sample.

    Attributes:
        id: the sample's id.
        question: as written; an edit stands in its decision.
        score: 0 to 10, or None.
        role: of its evidence's documents.
        document: id of its first passage's document; empty while that is unknown.
        path: that document's path; empty while that is unknown.
        flags: names of what the checks found, in their order.
        blocking: whether one of them drops the sample unless a person accepts it.
        hops: distinct evidence passages needed.
        complexity: 1 to 5, as asked for; 0 where the writer can't steer it.
        kind: query kind and reasoning, as asked for.
        passage: id of its first evidence passage; empty without one.
        place: that passage's place in reading order, document by document; -1 while unknown.
        offset: of its line in the file, in bytes.
        length: of its line, in bytes.
        rank: the place of its evidence by the base model, else by BM25; 0 while unknown.
    """

    id: str
    question: str
    score: float | None
    role: Role
    document: str
    path: str
    flags: tuple[str, ...]
    blocking: bool
    hops: int
    complexity: int
    kind: str
    passage: str
    place: int
    offset: int
    length: int
    rank: int = 0


def keeps_entry(entry: Entry, decision: Decision | None, threshold: float) -> bool:
    """Whether an entry's sample is kept; the rule is `pipeline.review.kept.keeps`."""
    return keeps(entry.score, entry.blocking, decision, threshold)


@dataclass(frozen=True)
class Arrived:
    """What a look at the samples' file gave.

    Attributes:
        entries: those that came since the last look, in written order.
        restarted: the file was replaced, shortened or removed: begin a new `SampleIndex`.
    """

    entries: tuple[Entry, ...]
    restarted: bool


class IndexReader:
    """Reads `samples.jsonl` or `arriving.jsonl` into entries, part by part, while it grows."""

    def __init__(self, path: Path, passages: PassageIndex) -> None:
        """Nothing is read yet.

        Args:
            path: the file of samples, one a line; it need not exist yet.
            passages: read before, for the documents of the entries.
        """
        self.path = path
        self._passages = passages
        self._tail = LineTail(path)
        self._flags: dict[tuple[str, ...], tuple[str, ...]] = {}

    @property
    def remaining(self) -> int:
        """Bytes that the last read left; 0 when it reached the end."""
        return self._tail.remaining

    def read(self, max_bytes: int = CHUNK) -> Arrived:
        """The samples that came since the last call, at most about `max_bytes` of them.

        Raises:
            BadInput: a line is no sample; the message names file and line.
        """
        found = self._tail.read(max_bytes)
        entries, offset = [], found.start
        for number, line in enumerate(found.lines, start=found.number):
            if line:
                row = parse_line(self.path, number, line)
                try:
                    entries.append(self._entry(row, offset, len(line)))
                except (KeyError, TypeError) as error:
                    fault = f"line {number}: this is no sample ({error!r})"
                    raise unreadable(self.path, fault) from error
            offset += len(line) + 1
        return Arrived(tuple(entries), found.restarted)

    def _entry(self, row: dict[str, Any], offset: int, length: int) -> Entry:
        flags = row["flags"]
        names = tuple([flag["name"] for flag in flags])
        passages, ranks = row["passages"], row.get("ranks", {})
        passage = intern(passages[0]) if passages else ""
        ref = self._passages.get(passage)
        return Entry(
            row["id"],
            row["question"],
            row["score"],
            intern(row["role"]),  # type: ignore[arg-type]
            ref.document.id if ref else "",
            ref.document.path if ref else "",
            self._flags.setdefault(names, names),
            bool(flags) and any(flag["blocking"] for flag in flags),
            row.get("hops", 1),
            row.get("complexity", 0),
            intern(row.get("kind", "")),
            passage,
            ref.offset if ref else -1,
            offset,
            length,
            ranks.get("base", ranks.get("bm25", 0)),
        )


class SampleIndex:
    """Entries in written order and by id. One that arrives twice is there as it came first."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> Sequence[Entry]:
        """Every entry, in written order; a live view, not to be changed."""
        return self._entries

    def extend(self, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        """Take in what arrived; returns the entries of samples that are new."""
        new = []
        for entry in entries:
            if entry.id not in self._places:
                self._places[entry.id] = len(self._entries)
                self._entries.append(entry)
                new.append(entry)
        return tuple(new)

    def get(self, sample: str) -> Entry | None:
        """An entry by its sample's id, or None."""
        place = self._places.get(sample)
        return None if place is None else self._entries[place]

    def __getitem__(self, sample: str) -> Entry:
        """An entry by its sample's id.

        Raises:
            KeyError: there is none.
        """
        return self._entries[self._places[sample]]


def read_sample(path: Path, entry: Entry) -> Sample:
    """The whole sample of an entry.

    Args:
        path: the file that the entry was read from (`IndexReader.path`).
        entry: the entry.

    Raises:
        BadInput: the file is not the one that was indexed.
    """
    return to_sample(read_row(path, entry.offset, entry.length, entry.id))


def load_index(sdg_folder: Path, passages: PassageIndex) -> SampleIndex:
    """Every sample of a finished sdg result.

    Raises:
        BadInput: a line is no sample; the message names file and line.
    """
    reader, index = IndexReader(sdg_folder / SAMPLES, passages), SampleIndex()
    while arrived := reader.read().entries:
        index.extend(arrived)
    return index
