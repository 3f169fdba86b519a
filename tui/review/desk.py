"""The review of one run as a window holds it: samples, decisions, counts, order and filter.

Everything here follows from the run folder; only the order, the filter and a threshold that is
being moved are the window's own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

from pipeline.corpus.records import Passage
from pipeline.review.agreement import Suggestion, suggest_threshold
from pipeline.review.decisions import Action, Decision, DecisionEvent
from pipeline.review.draw import AuditDraw
from pipeline.review.edit_text import Edited, current_words
from pipeline.review.filters import EVERYTHING, Filter, bulk_targets, select
from pipeline.review.index import Entry, IndexReader, SampleIndex, keeps_entry, read_sample
from pipeline.review.log import DecisionReader, append_decision
from pipeline.review.passages import PassageIndex
from pipeline.review.progress import ReviewProgress, review_progress
from pipeline.review.queue import Order, build_order, extend_order
from pipeline.review.standing import Standing
from pipeline.review.tally import Counts, Histogram, Tally
from pipeline.sdg.records import Sample
from tui.review.evidence import Evidence, joined
from tui.review.source import Source

LOOK_BYTES = 1 << 18
"""Of arriving samples, read at one look: a few milliseconds of work between two keys."""

THRESHOLD_MAX = 10.0


@dataclass(frozen=True)
class Followed:
    """What came into the decision log since the last look.

    Attributes:
        changed: samples whose decision or skip mark changed.
        events: what was done, in order.
        subject: what the last undo took back or the last redo did again, or None.
    """

    changed: Collection[str] = ()
    events: tuple[DecisionEvent, ...] = ()
    subject: Action | None = None


@dataclass(frozen=True)
class SampleView:
    """One sample as it is shown.

    Attributes:
        entry: of the list.
        sample: the whole.
        words: question and answer as they stand now.
        decision: what a person said, or None.
        skipped: whether it was seen and left undecided.
        kept: whether it is kept.
        threshold: by which.
        evidence: its passages, in the sample's order.
    """

    entry: Entry
    sample: Sample
    words: Edited
    decision: Decision | None
    skipped: bool
    kept: bool
    threshold: float
    evidence: tuple[Evidence, ...]


@dataclass
class _Read:
    """The sample that was read last, so that moving the threshold reads nothing."""

    sample: Sample
    evidence: tuple[Evidence, ...] = field(default=())


class ReviewDesk:
    """Holds a review; `load` may run in a thread, everything else in one alone."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.order: Order = "queue"
        self.filter: Filter = EVERYTHING
        self.pending: float | None = None
        """The threshold that it is being moved to, not yet written down."""
        self.listed: list[str] = []
        """Ids of the samples that pass the filter, in order; frozen until asked for anew."""
        self._passages = PassageIndex(source.corpus)
        self._reader = IndexReader(source.samples, self._passages)
        self._log = DecisionReader(source.run.decisions_path)
        self._index, self._standing, self._tally = SampleIndex(), Standing(), Tally()
        self._draw = AuditDraw(source.seed)
        self._ordered: tuple[str, ...] = ()
        self._places: dict[str, int] = {}
        self._test: list[str] = []
        self._audit: tuple[str, ...] = ()
        self._progress: ReviewProgress | None = None
        self._shown: _Read | None = None

    # Reading

    def load(self, tell: Callable[[int, int], None], stop: Callable[[], bool]) -> None:
        """Read passages, samples and decisions, and put the samples in order.

        Args:
            tell: takes how many samples were read and how many bytes are left.
            stop: whether nobody waits any more.

        Raises:
            BadInput: a file cannot be read; file and line are named.
        """
        while not stop() and self._passages.read():
            pass
        while not stop() and (arrived := self._reader.read()).entries:
            self._index.extend(arrived.entries)
            tell(len(self._index), self._reader.remaining)
        for event in self._log.read().events:
            self._standing.apply(event)
        self._tally.add(self._index.entries, self._standing.decisions)
        self._draw.add(self._index.entries)
        self._look_again()
        self._reorder()

    def follow(self) -> Followed:
        """Take in the decisions that came since the last look, this window's and others'.

        Raises:
            BadInput: a line of the log is damaged.
        """
        found = self._log.read()
        if not (found.events or found.restarted):
            return Followed()
        changed: set[str] = set()
        if found.restarted:
            changed.update(self._standing.decisions, self._standing.skipped)
            self._standing = Standing()
        subject = None
        for event in found.events:
            standing, kind = self._standing, event.action.kind
            if kind in ("undo", "redo"):
                subject = standing.next_undo if kind == "undo" else standing.next_redo
            changed |= standing.apply(event)
        self._tally.update(changed, self._standing.decisions)
        self._look_again()
        return Followed(changed, found.events, subject)

    def arrive(self) -> int:
        """Take in the samples that were written since; they follow the others.

        Returns:
            How many are new; -1: the file was replaced, and the review is to be opened anew.

        Raises:
            BadInput: a line is no sample.
        """
        arrived = self._reader.read(LOOK_BYTES)
        if arrived.restarted:
            return -1
        new = self._index.extend(arrived.entries)
        if not new:
            return 0
        self._tally.add(new, self._standing.decisions)
        self._draw.add(new)
        before = len(self._ordered)
        self._ordered = extend_order(self._ordered, self.order, new, self.threshold)
        added = [self._index[name] for name in self._ordered[before:]]
        self._test += [entry.id for entry in added if entry.role == "test"]
        self._list(self._passing(added))
        self._look_again()
        return len(new)

    def resume(self, before: ReviewDesk) -> None:
        """Go on as another desk of the same run stood: order, filter and what was first."""
        self.order, self.filter = before.order, before.filter
        known = [name for name in before._ordered if self._index.get(name)]
        if known:
            there = frozenset(known)
            rest = [entry for entry in self._index.entries if entry.id not in there]
            self._ordered = extend_order(known, self.order, rest, self.threshold)
        self._relist()

    # What is shown

    @property
    def total(self) -> int:
        """All samples."""
        return len(self._index)

    @property
    def threshold(self) -> float:
        """The one that holds, or that it is being moved to."""
        return self.settled_threshold if self.pending is None else self.pending

    @property
    def settled_threshold(self) -> float:
        """The one that is written down."""
        moved = self._standing.threshold
        return self.source.threshold if moved is None else moved

    def counts(self) -> Counts:
        """What the threshold means."""
        return self._tally.counts(self.threshold)

    def histogram(self) -> Histogram:
        """How scores lie."""
        return self._tally.histogram()

    def progress(self) -> ReviewProgress:
        """How far the reading has come."""
        if self._progress is None:
            self._progress = review_progress(
                self._test,
                self._audit,
                self._standing.decisions,
                self._standing.skipped,
                self.source.complete,
            )
        return self._progress

    def entry(self, index: int) -> Entry:
        """The listed sample at a place."""
        return self._index[self.listed[index]]

    def marks(self, entry: Entry) -> tuple[Decision | None, bool, bool]:
        """Of a sample: what was said, whether it was skipped, whether it is kept."""
        decision = self._standing.decisions.get(entry.id)
        kept = keeps_entry(entry, decision, self.threshold)
        return decision, entry.id in self._standing.skipped, kept

    def place(self, sample: str) -> int | None:
        """Where a sample is listed, or None."""
        return self._places.get(sample)

    def view(self, sample: str) -> SampleView:
        """A sample with its evidence.

        Raises:
            BadInput: a file is not the one that was indexed.
        """
        entry = self._index[sample]
        if self._shown is None or self._shown.sample.id != sample:
            whole = read_sample(self.source.samples, entry)
            self._shown = _Read(whole, tuple(self._evidence(whole)))
        decision, skipped, kept = self.marks(entry)
        return SampleView(
            entry=entry,
            sample=self._shown.sample,
            words=current_words(self._shown.sample, decision),
            decision=decision,
            skipped=skipped,
            kept=kept,
            threshold=self.threshold,
            evidence=self._shown.evidence,
        )

    def _evidence(self, sample: Sample) -> Iterable[Evidence]:
        for name in sample.passages:
            passage, document = self._passages.passage(name), self._passages.document(name)
            yield Evidence(
                passage=name,
                path=document.path if document else "",
                headings=passage.headings if passage else (),
                text=passage.text if passage else "",
                start=passage.start if passage else -1,
                quotes=joined(sample.quotes, name) if passage else (),
            )

    def passages(self, sample: Sample) -> tuple[Passage, ...]:
        """The evidence passages of a sample that are in the corpus.

        Raises:
            BadInput: the file is not the one that was indexed.
        """
        found = (self._passages.passage(name) for name in sample.passages)
        return tuple(passage for passage in found if passage)

    @property
    def undo_depth(self) -> int:
        """Actions that can be undone."""
        return self._standing.undo_depth

    @property
    def redo_depth(self) -> int:
        """Undone actions that can be done again."""
        return self._standing.redo_depth

    def suggestion(self) -> Suggestion | None:
        """Where the threshold would agree best with the decisions; None before there are enough."""
        decisions = self._standing.decisions
        decided = (entry for name in decisions if (entry := self._index.get(name)))
        return suggest_threshold(decided, decisions, self.threshold)

    # Moving

    def next_undecided(self, after: int) -> int | None:
        """The next listed sample that nobody decided or skipped, from the top again at the end."""
        decisions, skipped = self._standing.decisions, self._standing.skipped
        for index in chain(range(after + 1, len(self.listed)), range(after + 1)):
            name = self.listed[index]
            if name not in decisions and name not in skipped:
                return index
        return None

    def next_of_audit(self, after: str) -> str | None:
        """The audit's next sample, unread ones first; None where there is nothing to audit."""
        decisions, skipped = self._standing.decisions, self._standing.skipped
        unread = [n for n in self._audit if n not in decisions and n not in skipped]
        names = unread or list(self._audit)
        if not names:
            return None
        if after not in self._audit:
            return names[0]
        at = self._audit.index(after)
        return next((name for name in names if self._audit.index(name) > at), names[0])

    def audit_place(self, sample: str) -> int:
        """A sample's number in the audit, from 1; 0 when it isn't drawn."""
        return self._audit.index(sample) + 1 if sample in self._audit else 0

    # Doing

    def do(self, action: Action) -> Followed:
        """Write an action down, then take it in; nothing changes when it can't be written.

        Raises:
            Busy: another window kept the log locked.
            OSError: the disk is full.
            BadInput: a line of the log is damaged.
        """
        append_decision(self.source.run.decisions_path, action)
        return self.follow()

    def move_threshold(self, by: float) -> None:
        """Move the threshold; `settle` writes it down."""
        moved = round(min(THRESHOLD_MAX, max(0.0, self.threshold + by)), 1)
        self.pending = None if moved == self.settled_threshold else moved

    def settle(self) -> None:
        """Write down where the threshold was moved to: one event for a row of keys.

        Raises:
            Busy: another window kept the log locked; the move is still pending.
            OSError: the disk is full; the move is still pending.
        """
        if self.pending is not None:
            self.do(Action("threshold", value=self.pending))
            self.pending = None

    def bulk(self, verdict: Literal["accept", "reject"]) -> tuple[str, ...]:
        """Ids of what is listed and doesn't have this verdict yet."""
        entries = (self._index[name] for name in self.listed)
        return bulk_targets(verdict, entries, self._standing.decisions)

    def show_filter(self, wanted: Filter) -> None:
        """List what passes another filter."""
        self.filter = wanted
        self._relist()

    def show_order(self, order: Order) -> None:
        """Put everything in order anew."""
        self.order = order
        self._reorder()

    # Inside

    def _look_again(self) -> None:
        """Decisions or samples changed: the audit and the progress follow."""
        self._audit = self._draw.draw(self.settled_threshold, self._standing.decisions)
        self._progress = None

    def _reorder(self) -> None:
        entries, threshold = self._index.entries, self.threshold
        self._ordered = build_order(self.order, entries, threshold, self._audit)
        self._relist()

    def _relist(self) -> None:
        ordered = [self._index[name] for name in self._ordered]
        self._test = [entry.id for entry in ordered if entry.role == "test"]
        self.listed, self._places, self._progress = [], {}, None
        self._list(self._passing(ordered))

    def _passing(self, entries: Sequence[Entry]) -> list[Entry]:
        decisions, skipped = self._standing.decisions, self._standing.skipped
        return select(self.filter, entries, decisions, skipped, self.threshold)

    def _list(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._places[entry.id] = len(self.listed)
            self.listed.append(entry.id)
