"""Selection: which entries and samples make the corpus, and which of them stay together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pipeline.corpus.entries import Entry
from pipeline.corpus.passages import passage_id
from pipeline.corpus.records import FileReport, ImportedSample
from pipeline.files import digest_value


def unique(entries: Iterable[Entry]) -> tuple[list[Entry], list[FileReport]]:
    """Entries with different texts, sorted by path, and reports of the exact duplicates.

    The passages that a source supplied with a duplicate go to the entry that stays.
    """
    kept: dict[str, Entry] = {}
    duplicates: list[FileReport] = []
    for entry in sorted(entries, key=lambda entry: (entry.path, entry.id)):
        first = kept.setdefault(entry.id, entry)
        if first is entry:
            continue
        if entry.slices and first.slices is not None:
            merged = tuple(sorted({*first.slices, *entry.slices}))
            kept[entry.id] = replace(first, slices=merged)
        reason = f"the same text as {first.path}"
        characters = entry.characters
        duplicates.append(
            FileReport(entry.path, entry.kind, "duplicate", reason, characters, 0, entry.id)
        )
    return list(kept.values()), duplicates


def pilot_slice(
    entries: Sequence[Entry], documents: int, seed: int
) -> tuple[list[Entry], list[FileReport]]:
    """The entries of a slice of `documents` documents, and reports of those outside.

    Documents are ranked by a hash of seed and id, so a larger slice holds the smaller one. A
    family counts as one document. 0 takes all.
    """
    families = {entry.family or entry.id for entry in entries}
    ranked = sorted(families, key=lambda family: digest_value([seed, family]))
    inside = set(ranked[:documents] if documents else ranked)
    reason = f"outside of the pilot slice (corpus.documents = {documents})"
    chosen: list[Entry] = []
    outside: list[FileReport] = []
    for entry in entries:
        if (entry.family or entry.id) in inside:
            chosen.append(entry)
        else:
            outside.append(
                FileReport(entry.path, entry.kind, "skipped", reason, entry.characters, 0, entry.id)
            )
    return chosen, outside


def present_samples(
    samples: Iterable[ImportedSample], entries: Sequence[Entry], *, whole_evidence: bool
) -> tuple[list[ImportedSample], int]:
    """The samples whose evidence is in the corpus, and how many lost theirs.

    A generated question needs all of its evidence; a BEIR query only one relevant passage.
    """
    there = {
        passage_id(entry.id, start, end) for entry in entries for start, end in entry.slices or ()
    }
    kept: list[ImportedSample] = []
    total = 0
    for sample in samples:
        total += 1
        present = tuple(passage for passage in sample.passages if passage in there)
        if present == sample.passages or (present and not whole_evidence):
            kept.append(replace(sample, passages=present))
    return kept, total - len(kept)


def shared_groups(
    entries: Sequence[Entry], samples: Iterable[ImportedSample]
) -> list[tuple[str, ...]]:
    """Ids that share a group: those of one family, and those that answer one question."""
    families: dict[str, list[str]] = {}
    owner: dict[str, str] = {}
    for entry in entries:
        if entry.family:
            families.setdefault(entry.family, []).append(entry.id)
        for start, end in entry.slices or ():
            owner[passage_id(entry.id, start, end)] = entry.id
    evidence = [tuple(owner[passage] for passage in sample.passages) for sample in samples]
    return [*map(tuple, families.values()), *evidence]
