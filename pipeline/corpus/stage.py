"""The stage `corpus`: files to documents, groups, folds and passages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pipeline.context import Context, Outcome
from pipeline.corpus.account import (
    Corpus,
    nothing_usable,
    summary_of,
    used_reports,
    warnings_of,
)
from pipeline.corpus.blocks import Block, first_heading, markdown_blocks, text_blocks
from pipeline.corpus.entries import Entry
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
from pipeline.corpus.passages import Slice, cut_passages, passage_id
from pipeline.corpus.records import (
    DOCUMENTS,
    IMPORTED,
    PASSAGES,
    REPORT,
    Document,
    FileReport,
    Passage,
    Role,
    to_row,
)
from pipeline.corpus.selection import pilot_slice, present_samples, shared_groups, unique
from pipeline.corpus.source import open_source
from pipeline.corpus.text import one_line
from pipeline.corpus.tokens import Counter, profile_counter
from pipeline.files import write_jsonl
from pipeline.locks import Lock
from pipeline.recipe import CorpusSettings
from pipeline.run import Run

_LEDGER_PATIENCE = 60.0
"""Seconds to wait while another variant's corpus is being dealt."""


def execute(context: Context) -> Outcome:
    """Make the corpus of a run.

    Raises:
        BadInput: the source is missing, empty, damaged, or holds no usable document.
        MissingPart: the tokenizer is not on this machine.
    """
    corpus = _make(context)
    folder = context.folder
    outputs = [DOCUMENTS, PASSAGES, REPORT]
    write_jsonl(folder / DOCUMENTS, map(to_row, corpus.documents))
    write_jsonl(folder / PASSAGES, map(to_row, corpus.passages))
    write_jsonl(folder / REPORT, map(to_row, corpus.report))
    if corpus.imported:
        write_jsonl(folder / IMPORTED, map(to_row, corpus.samples))
        outputs.append(IMPORTED)
    for name in outputs:
        context.events.artifact(name, f"corpus: {name.partition('.')[0]}")
    for warning in corpus.warnings:
        context.events.log(warning, level="warning")
    return Outcome(tuple(outputs), summary_of(corpus), imported=corpus.imported)


def _make(context: Context) -> Corpus:
    settings, seed = context.recipe.corpus, context.recipe.seed

    def step(done: int, total: int, what: str) -> None:
        context.events.progress(done, total, what)
        context.control.poll()

    source = open_source(settings.source, settings)
    counter = profile_counter(settings.tokenizer)
    loaded = load(source, settings, step)
    entries, duplicates = unique(loaded.entries)
    if not entries:
        raise nothing_usable(settings.source, loaded.unused)
    chosen, outside = pilot_slice(entries, settings.documents, seed)
    samples, lost = present_samples(loaded.samples, chosen, whole_evidence=source.kind == "sdg")
    groups = group_documents(
        {entry.id: entry.text for entry in chosen},
        settings.near_duplicate_containment,
        shared_groups(chosen, () if loaded.roles is not None else samples),
    )
    context.control.poll()
    assignments = _assign(context.run, chosen, groups, loaded.roles)
    documents, passages = _cut(chosen, groups, assignments, counter, settings, step)
    used = used_reports(chosen, documents, passages, groups, dealt=loaded.roles is None)
    report = sorted([*used, *duplicates, *outside, *loaded.unused], key=_report_order)
    corpus = Corpus(
        documents=tuple(documents),
        passages=tuple(passages),
        report=tuple(report),
        samples=tuple(samples),
        warnings=loaded.warnings,
        kind=source.kind,
    )
    return replace(corpus, warnings=(*loaded.warnings, *warnings_of(corpus, lost, settings)))


def _report_order(entry: FileReport) -> tuple[str, ...]:
    return (entry.path, entry.status, entry.reason, entry.document)


def _cut(
    entries: Sequence[Entry],
    groups: Mapping[str, Sequence[str]],
    assignments: Mapping[str, Assignment],
    counter: Counter,
    settings: CorpusSettings,
    step: Step,
) -> tuple[list[Document], list[Passage]]:
    homes = {member: group for group, members in groups.items() for member in members}
    documents: list[Document] = []
    passages: list[Passage] = []
    for done, entry in enumerate(entries, start=1):
        blocks = _blocks(entry)
        document = _document(entry, blocks, homes[entry.id], assignments[entry.id])
        documents.append(document)
        passages += _passages(document, _slices(entry, blocks, counter, settings))
        step(done, len(entries), "documents cut into passages")
    return documents, passages


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
    return text_blocks(entry.text) if entry.kind == "text" else markdown_blocks(entry.text)


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


def _slices(
    entry: Entry, blocks: Sequence[Block], counter: Counter, settings: CorpusSettings
) -> list[Slice]:
    if entry.slices is None:
        return cut_passages(entry.text, blocks, counter, settings)
    counts = counter.count([entry.text[start:end] for start, end in entry.slices])
    return [
        Slice(start, end, entry.headings.get((start, end), ()), count)
        for (start, end), count in zip(entry.slices, counts, strict=True)
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
        )
        for one in slices
    ]
