"""The stage `sdg`: passages to judged questions."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.context import Context, Control, Events, Outcome
from pipeline.corpus.records import (
    Document,
    Passage,
    read_documents,
    read_imported,
    read_passages,
)
from pipeline.errors import BadInput
from pipeline.files import write_json, write_jsonl
from pipeline.queries import read_queries
from pipeline.sdg.arrivals import Arrivals
from pipeline.sdg.base_ranks import base_of
from pipeline.sdg.calls import CallJournal
from pipeline.sdg.consent import leaving_of, require_consent
from pipeline.sdg.funnel import funnel_rows
from pipeline.sdg.imported import take_over
from pipeline.sdg.offline import OfflineWriter
from pipeline.sdg.plan import Assignment
from pipeline.sdg.ranks import Ranks, rank_all
from pipeline.sdg.records import FUNNEL, SAMPLES, Sample, passes
from pipeline.sdg.rounds import Portions, last_round, portions
from pipeline.sdg.samples import Samples, ranked
from pipeline.sdg.spending import spent
from pipeline.sdg.summary import Written, funnel_document, summary_of
from pipeline.sdg.writer import OFFLINE, Draft, Lost

_PROGRESS_EVERY = 50

Entries = Sequence[Draft | Lost]
Write = Callable[[Sequence[Assignment]], Entries]
"""Writes one portion; fewer entries than it was given mean that it was ended early."""


@dataclass(frozen=True)
class _Telling:
    """The control that is polled while calls are out: it tells what they wait for, too."""

    control: Control
    take_notes: Callable[[], list[str]]
    events: Events

    @property
    def finish_asked(self) -> bool:
        """Whether to end now and keep the best."""
        return self.control.finish_asked

    def poll(self) -> None:
        """Tell, then do as asked."""
        for note in self.take_notes():
            self.events.log(note, level="warning")
        self.control.poll()


def execute(context: Context) -> Outcome:
    """Write the samples of a corpus.

    Raises:
        BadInput: the corpus has no passages to ask about.
        NoConsent: nobody has agreed that the documents leave for the endpoint.
        EndpointFailure: the endpoint refuses, is gone, answers nonsense, or its key is missing.
        Busy: another process is asking for this run.
        Interruption: the user asked the stage to end; replies are kept.
    """
    corpus = context.inputs["corpus"].folder
    passages = list(read_passages(corpus))
    with Ranks(passages, base_of(context, passages)) as ranks:
        if imported := list(read_imported(corpus)):
            return take_over(context, imported, passages, ranks)
        return write_samples(context, list(read_documents(corpus)), passages, ranks, {})


def write_samples(
    context: Context,
    documents: Sequence[Document],
    passages: Sequence[Passage],
    ranks: Ranks,
    about: Mapping[str, Any],
) -> Outcome:
    """Write the samples of some documents.

    Args:
        context: the stage's or the trial's surroundings.
        documents: those to ask about.
        passages: all of the corpus.
        ranks: ranks the evidence.
        about: further fields of the funnel.

    Raises:
        BadInput, NoConsent, EndpointFailure, Busy, Interruption: as `execute`.
    """
    settings = context.recipe.sdg
    writer = OFFLINE if settings.writer == OFFLINE else settings.model
    own = read_queries(context.run)
    made = Samples(passages, writer, own, settings.duplicate_similarity)
    with Arrivals(context.folder, context.events, made, ranks, settings.threshold) as arrivals:
        written = _write(context, documents, passages, made, arrivals)
        warnings = rank_all(ranks, context)
        samples = ranked(made.all(written.entries), ranks.of)
        arrivals.settle(samples)
        found = arrivals.found()
    rows = funnel_rows(
        documents, passages, written.assignments, written.entries, made.ids(written.entries)
    )
    funnel = {**funnel_document(written, samples, rows), **about}
    write_jsonl(context.folder / SAMPLES, (asdict(sample) for sample in samples))
    write_json(context.folder / FUNNEL, funnel)
    summary = summary_of(written, funnel, samples, found, settings, context.run.name)
    summary["warnings"] += warnings
    for note in summary["notes"]:
        context.events.log(note)
    for warning in summary["warnings"]:
        context.events.log(warning, level="warning")
    context.events.artifact(SAMPLES, f"{len(samples)} questions by {written.writer}")
    return Outcome(
        outputs=(SAMPLES, FUNNEL), summary=summary, partial=written.partial or ranks.ended_early
    )


def _write(
    context: Context,
    documents: Sequence[Document],
    passages: Sequence[Passage],
    made: Samples,
    arrivals: Arrivals,
) -> Written:
    settings, seed = context.recipe.sdg, context.recipe.seed
    steps = portions(documents, passages, settings, seed)
    first = next(steps)
    if not first:
        raise BadInput(
            "The corpus has no passages to write questions about.",
            safe="Nothing was changed and nothing was asked.",
            next_step="Look at `embedsmith corpus` for why its files were skipped.",
        )
    hold = _Rounds(context, first, steps, made, arrivals)
    if settings.writer == OFFLINE:
        offline = OfflineWriter(passages, seed)
        entries = hold.through(lambda portion: _drain(context, offline, portion, arrivals))
        return Written(OFFLINE, hold.asked, entries, {"tokens": 0})
    require_consent(context.run, leaving_of(documents, passages, settings))
    return _ask(context, hold, arrivals)


class _Rounds:
    """Goes through the portions, each chosen by what was kept of those before it."""

    def __init__(
        self,
        context: Context,
        first: Sequence[Assignment],
        steps: Portions,
        made: Samples,
        arrivals: Arrivals,
    ) -> None:
        self._settings = context.recipe.sdg
        self._events = context.events
        self._next = first
        self._steps = steps
        self._made = made
        self._arrivals = arrivals
        self.asked: list[Assignment] = []

    def through(self, write: Write) -> list[Draft | Lost]:
        """Everything that was written, up to the last portion or the first unfinished one."""
        entries: list[Draft | Lost] = []
        while self._next:
            self._tell()
            self._arrivals.asked(len(self._next))
            written = write(self._next)
            whole = len(written) == len(self._next)
            self.asked += self._next
            entries += written
            if not whole or last_round(self._settings) == 1:
                break
            try:
                self._next = self._steps.send(self._kept(entries))
            except StopIteration:
                break
        return entries

    def _tell(self) -> None:
        if self.asked:
            documents = len({assignment.document for assignment in self._next})
            self._events.log(
                f"Round {self._next[0].round}: {len(self._next):,} more questions about "
                f"{documents:,} documents."
            )

    def _kept(self, entries: Iterable[Draft | Lost]) -> Mapping[str, int]:
        """Questions kept so far, by document id."""
        drafts = [entry for entry in entries if isinstance(entry, Draft)]
        passing = {sample.id for sample in self._made.all(drafts) if self._passes(sample)}
        kept: Counter[str] = Counter()
        for draft in drafts:
            name = self._made.of(draft).id
            if name in passing:
                # The same question twice counts once.
                passing.remove(name)
                kept[draft.assignment.document] += 1
        return kept

    def _passes(self, sample: Sample) -> bool:
        blocked = any(flag.blocking for flag in sample.flags)
        return passes(sample.score, blocked, self._settings.threshold)


def _drain(
    context: Context,
    writer: OfflineWriter,
    assignments: Sequence[Assignment],
    arrivals: Arrivals,
) -> list[Draft | Lost]:
    entries: list[Draft | Lost] = []
    for entry in writer.write(assignments):
        entries.append(entry)
        arrivals.wrote(isinstance(entry, Draft))
        arrivals.arrived([entry])
        if len(entries) % _PROGRESS_EVERY == 0 or len(entries) == len(assignments):
            context.events.progress(len(entries), len(assignments), "questions written")
            context.control.poll()
            if context.control.finish_asked:
                break
    return entries


def _ask(context: Context, hold: _Rounds, arrivals: Arrivals) -> Written:
    # The client takes half a second to load, and a rehearsal needs none.
    from pipeline.sdg.client import Client, Clock
    from pipeline.sdg.endpoint import EndpointWriter

    settings = context.recipe.sdg
    stop = threading.Event()
    with CallJournal(context.run.calls_path) as journal:
        client = Client(settings, os.environ, journal, Clock(time.time, stop.wait), stop)
        control, events = (
            _Telling(context.control, client.take_notes, context.events),
            context.events,
        )
        writer = EndpointWriter(settings, client, journal, control, events, arrivals, stop)
        entries = hold.through(lambda portion: list(writer.write(portion)))
    details = {
        "judge": writer.judge,
        "calls_paid": client.paid,
        "tokens_in": arrivals.tokens_in,
        "tokens_out": arrivals.tokens_out,
        "tokens": arrivals.tokens_in + arrivals.tokens_out,
    }
    taken = spent(context.run.calls_path, arrivals.used)
    return Written(writer.name, hold.asked, entries, details, client.warnings(), taken)
