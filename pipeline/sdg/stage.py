"""The stage `sdg`: passages to judged questions."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.context import Context, Control, Events, Outcome
from pipeline.corpus.records import (
    Document,
    ImportedSample,
    Passage,
    read_documents,
    read_imported,
    read_passages,
)
from pipeline.errors import BadInput
from pipeline.files import write_json, write_jsonl
from pipeline.sdg.arrivals import Arrivals
from pipeline.sdg.calls import CallJournal
from pipeline.sdg.consent import leaving_of, require_consent
from pipeline.sdg.imported import IMPORTED, imported_samples
from pipeline.sdg.offline import OfflineWriter
from pipeline.sdg.plan import Assignment, plan
from pipeline.sdg.records import FUNNEL, SAMPLES, Sample
from pipeline.sdg.samples import Samples
from pipeline.sdg.writer import OFFLINE, Draft, Lost, Writer

_PROGRESS_EVERY = 50


@dataclass(frozen=True)
class _Written:
    """What a writer made of a plan."""

    writer: str
    drafts: Sequence[Draft | Lost]
    details: Mapping[str, Any]
    warnings: Sequence[str]


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
    if imported := list(read_imported(corpus)):
        return _take_over(context, imported, passages)
    return write_samples(context, list(read_documents(corpus)), passages, {})


def write_samples(
    context: Context,
    documents: Sequence[Document],
    passages: Sequence[Passage],
    about: Mapping[str, Any],
) -> Outcome:
    """Write the samples of some documents.

    Args:
        context: the stage's or the trial's surroundings.
        documents: those to ask about.
        passages: all of the corpus.
        about: further fields of the funnel.

    Raises:
        BadInput, NoConsent, EndpointFailure, Busy, Interruption: as `execute`.
    """
    assignments = plan(documents, passages, context.recipe.sdg, context.recipe.seed)
    if not assignments:
        raise BadInput(
            "The corpus has no passages to write questions about.",
            safe="Nothing was changed and nothing was asked.",
            next_step="Look at `embedsmith corpus` for why its files were skipped.",
        )
    written, samples = _write(context, documents, passages, assignments)
    funnel = {**_funnel(assignments, written.drafts, samples), **about}
    write_jsonl(context.folder / SAMPLES, (asdict(sample) for sample in samples))
    write_json(context.folder / FUNNEL, funnel)
    warnings = [*written.warnings, *_losses(written.drafts)]
    for warning in warnings:
        context.events.log(warning, level="warning")
    context.events.artifact(SAMPLES, f"{len(samples)} questions by {written.writer}")
    return Outcome(
        outputs=(SAMPLES, FUNNEL),
        summary={
            "writer": written.writer,
            **{step: funnel[step] for step in ("asked", "written", "scored", "unblocked")},
            "flags": funnel["flags"],
            **written.details,
            "warnings": warnings,
        },
        partial=len(written.drafts) < len(assignments),
    )


def _write(
    context: Context,
    documents: Sequence[Document],
    passages: Sequence[Passage],
    assignments: Sequence[Assignment],
) -> tuple[_Written, list[Sample]]:
    settings = context.recipe.sdg
    offline = settings.writer == OFFLINE
    made = Samples(passages, OFFLINE if offline else settings.model)
    asked, threshold = len(assignments), settings.threshold
    with Arrivals(context.folder, context.events, made, asked, threshold) as arrivals:
        if offline:
            writer = OfflineWriter(passages, context.recipe.seed)
            written = _drain(context, writer, assignments, arrivals)
        else:
            require_consent(context.run, leaving_of(documents, passages, settings))
            written = _ask(context, assignments, arrivals)
        samples = made.all(written.drafts, settings.duplicate_similarity)
        arrivals.settle(samples)
    return written, samples


def _drain(
    context: Context, writer: Writer, assignments: Sequence[Assignment], arrivals: Arrivals
) -> _Written:
    drafts: list[Draft | Lost] = []
    for draft in writer.write(assignments):
        drafts.append(draft)
        arrivals.wrote(isinstance(draft, Draft))
        arrivals.arrived([draft])
        if len(drafts) % _PROGRESS_EVERY == 0 or len(drafts) == len(assignments):
            context.events.progress(len(drafts), len(assignments), "questions written")
            context.control.poll()
            if context.control.finish_asked:
                break
    return _Written(writer.name, drafts, {"tokens": 0}, ())


def _ask(context: Context, assignments: Sequence[Assignment], arrivals: Arrivals) -> _Written:
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
        drafts = list(writer.write(assignments))
    details = {
        "judge": writer.judge,
        "calls_paid": client.paid,
        "tokens_in": arrivals.tokens_in,
        "tokens_out": arrivals.tokens_out,
        "tokens": arrivals.tokens_in + arrivals.tokens_out,
    }
    return _Written(writer.name, drafts, details, client.warnings())


def _losses(drafts: Sequence[Draft | Lost]) -> list[str]:
    lost = sum(isinstance(draft, Lost) for draft in drafts)
    if 2 * lost <= len(drafts):
        return []
    return [f"{lost} of {len(drafts)} questions came to nothing; see {FUNNEL} for why."]


def _funnel(
    assignments: Sequence[Assignment], drafts: Sequence[Draft | Lost], samples: Sequence[Sample]
) -> dict[str, Any]:
    """How many were left at each step, and what became of the others."""
    lost = [draft for draft in drafts if isinstance(draft, Lost)]
    flags = Counter(flag.name for sample in samples for flag in sample.flags)
    return {
        "asked": len(assignments),
        "written": len(samples),
        "scored": sum(sample.score is not None for sample in samples),
        "unblocked": sum(not any(f.blocking for f in sample.flags) for sample in samples),
        "repeated": len(drafts) - len(lost) - len(samples),
        "flags": dict(sorted(flags.items())),
        "documents": len({assignment.document for assignment in assignments}),
        "roles": dict(sorted(Counter(sample.role for sample in samples).items())),
        "lost": [
            {
                "assignment": loss.assignment.id,
                "reason": loss.reason,
                "call": loss.call,
                "parked": loss.parked,
            }
            for loss in lost
        ],
    }


def _take_over(
    context: Context, imported: Sequence[ImportedSample], passages: Sequence[Passage]
) -> Outcome:
    samples = list(imported_samples(imported, {passage.id: passage for passage in passages}))
    write_jsonl(context.folder / SAMPLES, (asdict(sample) for sample in samples))
    funnel = {
        "asked": 0,
        "written": len(samples),
        "scored": sum(sample.score is not None for sample in samples),
        "unblocked": len(samples),
        "repeated": len(imported) - len(samples),
    }
    write_json(context.folder / FUNNEL, funnel)
    return Outcome(
        outputs=(SAMPLES, FUNNEL),
        summary={"writer": IMPORTED, **funnel, "flags": {}, "tokens": 0, "warnings": []},
        imported=True,
    )
