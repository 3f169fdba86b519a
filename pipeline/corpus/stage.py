"""The stage `corpus`: files to documents, groups, folds and passages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.context import Context, Outcome
from pipeline.corpus.account import (
    Corpus,
    Placed,
    nothing_usable,
    summary_of,
    used_reports,
    warnings_of,
)
from pipeline.corpus.blocks import Block, first_heading, markdown_blocks, text_blocks
from pipeline.corpus.entries import Entry, Texts
from pipeline.corpus.findings import find_in
from pipeline.corpus.folds import (
    Assignment,
    deal,
    read_ledger,
    role_of,
    supplied_assignment,
    write_ledger,
)
from pipeline.corpus.groups import group_documents
from pipeline.corpus.loading import Step, load
from pipeline.corpus.passages import Slice, count_slices, cut_all, passage_id
from pipeline.corpus.records import (
    DOCUMENTS,
    FINDINGS,
    IMPORTED,
    PASSAGES,
    REPORT,
    Document,
    FileReport,
    Finding,
    Passage,
    Role,
    to_row,
)
from pipeline.corpus.rst_blocks import rst_blocks
from pipeline.corpus.selection import pilot_slice, present_samples, shared_groups, unique
from pipeline.corpus.source import open_source
from pipeline.corpus.spool import Spool
from pipeline.corpus.text import one_line
from pipeline.corpus.tokens import Counter, profile_counter
from pipeline.files import write_jsonl, writing_jsonl
from pipeline.locks import Lock
from pipeline.run import Run
from pipeline.settings import CorpusSettings

_LEDGER_PATIENCE = 60.0
"""Seconds to wait while another variant's corpus is being dealt."""
_BATCH_CHARACTERS = 500_000
"""Documents of so many characters are measured at once."""
_READERS = {"text": text_blocks, "rst": rst_blocks}
"""What finds the blocks of a kind; everything else is read as Markdown."""


def execute(context: Context) -> Outcome:
    """Make the corpus of a run.

    Raises:
        BadInput: the source is missing, empty, damaged, or holds no usable document.
        MissingPart: the tokenizer is not on this machine.
    """
    with Spool(context.folder) as spool:
        corpus = _make(context, spool)
    folder = context.folder
    outputs = [DOCUMENTS, PASSAGES, REPORT, FINDINGS]
    write_jsonl(folder / REPORT, map(to_row, corpus.report))
    write_jsonl(folder / FINDINGS, map(to_row, corpus.findings))
    if corpus.imported:
        write_jsonl(folder / IMPORTED, map(to_row, corpus.samples))
        outputs.append(IMPORTED)
    for name in outputs:
        context.events.artifact(name, f"corpus: {name.partition('.')[0]}")
    for warning in corpus.warnings:
        context.events.log(warning, level="warning")
    return Outcome(tuple(outputs), summary_of(corpus), imported=corpus.imported)


def _make(context: Context, spool: Spool) -> Corpus:
    """Everything but the report; documents and passages are written as they are cut."""
    settings, seed = context.recipe.corpus, context.recipe.seed
    source = open_source(settings.source, settings)
    counter = profile_counter(settings.tokenizer)
    loaded = load(source, settings, context.report, spool)
    entries, duplicates = unique(loaded.entries)
    if not entries:
        raise nothing_usable(settings.source, loaded.unused)
    chosen, outside = pilot_slice(entries, settings.documents, seed)
    samples, lost = present_samples(loaded.samples, chosen, whole_evidence=source.kind == "sdg")
    groups = group_documents(
        Texts(chosen),
        settings.near_duplicate_containment,
        shared_groups(chosen, () if loaded.roles is not None else samples),
        spool,
    )
    context.control.poll()
    assignments = _assign(context.run, chosen, groups, loaded.roles)
    cut = _write_cut(context.folder, chosen, groups, assignments, counter, settings, context.report)
    used = used_reports(chosen, cut.documents, cut.passages, groups, dealt=loaded.roles is None)
    report = sorted([*used, *duplicates, *outside, *loaded.unused], key=_report_order)
    corpus = Corpus(
        documents=tuple(cut.documents),
        cut=cut.passages,
        long=cut.long,
        findings=tuple(cut.findings),
        report=tuple(report),
        samples=tuple(samples),
        warnings=loaded.warnings,
        kind=source.kind,
    )
    return replace(corpus, warnings=(*loaded.warnings, *warnings_of(corpus, lost, settings)))


def _report_order(entry: FileReport) -> tuple[str, ...]:
    return (entry.path, entry.status, entry.reason, entry.document)


@dataclass
class _Cut:
    """What is left in memory of the documents that were cut.

    Attributes:
        documents: in written order.
        passages: how many each document has.
        long: passages over the cap.
        findings: what should perhaps not be sent away.
    """

    documents: list[Placed] = field(default_factory=list)
    passages: dict[str, int] = field(default_factory=dict)
    long: int = 0
    findings: list[Finding] = field(default_factory=list)


def _write_cut(
    folder: Path,
    entries: Sequence[Entry],
    groups: Mapping[str, Sequence[str]],
    assignments: Mapping[str, Assignment],
    counter: Counter,
    settings: CorpusSettings,
    step: Step,
) -> _Cut:
    """Cut the documents, and write them and their passages one after another."""
    homes = {member: group for group, members in groups.items() for member in members}
    cut = _Cut()
    with (
        writing_jsonl(folder / DOCUMENTS) as write_document,
        writing_jsonl(folder / PASSAGES) as write_passage,
    ):
        for entry, blocks, slices in _sliced(entries, counter, settings):
            document = _document(entry, blocks, homes[entry.id], assignments[entry.id])
            write_document(to_row(document))
            for passage in _passages(document, slices):
                write_passage(to_row(passage))
            cut.documents.append(Placed(document.id, document.group, document.fold, document.role))
            cut.passages[document.id] = len(slices)
            cut.long += sum(one.tokens > settings.passage_tokens_max for one in slices)
            cut.findings += find_in(document.id, document.path, document.text)
            step(len(cut.documents), len(entries), "documents cut into passages")
    return cut


def _sliced(
    entries: Sequence[Entry], counter: Counter, settings: CorpusSettings
) -> Iterator[tuple[Entry, Sequence[Block], Sequence[Slice]]]:
    """Entries with their blocks and slices; many are measured at once."""
    for batch in _batches(entries):
        blocks = [_blocks(entry) for entry in batch]
        own = [number for number, entry in enumerate(batch) if entry.slices is None]
        texts = [(batch[number].text, blocks[number]) for number in own]
        slices = dict(zip(own, cut_all(texts, counter, settings), strict=True))
        supplied = [number for number, entry in enumerate(batch) if entry.slices is not None]
        given = _supplied([batch[number] for number in supplied], counter)
        slices |= zip(supplied, given, strict=True)
        yield from ((entry, blocks[n], slices[n]) for n, entry in enumerate(batch))


def _batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    characters = 0
    for entry in entries:
        if batch and characters + entry.characters > _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
        batch.append(entry.held())
        characters += entry.characters
    if batch:
        yield batch


def _assign(
    run: Run,
    entries: Sequence[Entry],
    groups: Mapping[str, Sequence[str]],
    roles: Mapping[str, Role] | None,
) -> Mapping[str, Assignment]:
    """Where every document goes: as the source says, or dealt once and for good."""
    if roles is not None:
        return {entry.id: supplied_assignment(entry.id, roles[entry.id]) for entry in entries}
    paths = {entry.id: entry.path for entry in entries}
    lock = Lock(run.folds_path.with_suffix(".lock"), "The file of fold assignments")
    with lock.held(_LEDGER_PATIENCE):
        before = read_ledger(run.folds_path)
        after = deal(groups, paths, before)
        if after != before:
            write_ledger(run.folds_path, after)
    return after.documents


def _blocks(entry: Entry) -> list[Block]:
    if entry.slices is not None:
        return []
    return _READERS.get(entry.kind, markdown_blocks)(entry.text)


def _document(
    entry: Entry, blocks: Sequence[Block], group: str, assignment: Assignment
) -> Document:
    return Document(
        id=entry.id,
        path=entry.path,
        title=one_line(first_heading(blocks) or entry.title or entry.path),
        text=entry.text,
        group=group,
        fold=assignment.fold,
        role=role_of(assignment),
    )


def _supplied(entries: Sequence[Entry], counter: Counter) -> list[list[Slice]]:
    """The slices that a source supplied."""
    spans = [entry.slices or () for entry in entries]
    counts = count_slices([entry.text for entry in entries], spans, counter)
    return [
        [
            Slice(start, end, entry.headings.get((start, end), ()), tokens)
            for (start, end), tokens in zip(own, found, strict=True)
        ]
        for entry, own, found in zip(entries, spans, counts, strict=True)
    ]


def _passages(document: Document, slices: Iterable[Slice]) -> list[Passage]:
    return [
        Passage(
            id=passage_id(document.id, one.start, one.end),
            document=document.id,
            start=one.start,
            end=one.end,
            text=document.text[one.start : one.end],
            headings=one.headings,
            tokens=one.tokens,
            role=document.role,
            table_header=one.table_header,
        )
        for one in slices
    ]
