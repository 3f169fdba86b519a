"""Live counts: what any threshold would keep, and the histogram of scores."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from pipeline.corpus.records import ROLES, Role
from pipeline.review.decisions import Decision, Verdict
from pipeline.review.index import Entry

BIN = 0.5
"""Width of a histogram's bin, in points of score."""

BINS = 20
"""Bins from 0 to 10; the last holds 10 itself."""

_SHARE = 4
"""Where more than this part of all samples changed, counting anew is faster."""

_MANY = 64
"""From so many new numbers on, sorting again beats inserting one by one."""


@dataclass(frozen=True)
class RoleCounts:
    """Of the samples of one role: how many are kept, and how many dropped."""

    kept: int
    dropped: int


@dataclass(frozen=True)
class Counts:
    """What a threshold means, with every decision counted.

    Attributes:
        threshold: the least score, of 10.
        kept: samples that are kept.
        dropped: samples that are not.
        accepted: accepted by hand, edits and bulk included.
        rejected: rejected by hand.
        accepted_below: accepted although score or a flag would drop them.
        rejected_above: rejected although score and flags would keep them.
        by_role: the same for train, dev and test.
    """

    threshold: float
    kept: int
    dropped: int
    accepted: int
    rejected: int
    accepted_below: int
    rejected_above: int
    by_role: Mapping[Role, RoleCounts]

    @property
    def total(self) -> int:
        """All samples."""
        return self.kept + self.dropped

    @property
    def decided(self) -> int:
        """Samples with a decision."""
        return self.accepted + self.rejected

    @property
    def overrides(self) -> int:
        """Decisions that differ from what score and flags say."""
        return self.accepted_below + self.rejected_above


@dataclass(frozen=True)
class Bin:
    """A bar of the histogram.

    Attributes:
        low: the least score in it; it ends before `low + BIN`, the last one with 10.
        count: samples, decided or not.
        accepted: of them, accepted by hand.
        rejected: of them, rejected by hand.
    """

    low: float
    count: int
    accepted: int
    rejected: int


@dataclass(frozen=True)
class Histogram:
    """How scores lie.

    Attributes:
        bins: `BINS` bars from 0 to 10.
        unscored: samples without a score; they stand in no bar.
    """

    bins: tuple[Bin, ...]
    unscored: int


class _Group:
    """Samples of one role and one verdict (or none), by what score and flags say of them."""

    def __init__(self) -> None:
        self.scores: list[float] = []
        self.always = 0
        self.never = 0

    def above(self, threshold: float) -> int:
        """How many score and flags alone would keep."""
        return self.always + len(self.scores) - bisect_left(self.scores, threshold)

    @property
    def size(self) -> int:
        return self.always + self.never + len(self.scores)

    def add(self, entries: Iterable[Entry]) -> None:
        scores = []
        for entry in entries:
            if entry.blocking:
                self.never += 1
            elif entry.score is None:
                self.always += 1
            else:
                scores.append(entry.score)
        if len(scores) < _MANY:
            for score in scores:
                insort(self.scores, score)
        else:
            self.scores.extend(scores)
            self.scores.sort()

    def remove(self, entries: Iterable[Entry]) -> None:
        scores: dict[float, int] = {}
        for entry in entries:
            if entry.blocking:
                self.never -= 1
            elif entry.score is None:
                self.always -= 1
            else:
                scores[entry.score] = scores.get(entry.score, 0) + 1
        if len(scores) < _MANY:
            for score, count in scores.items():
                place = bisect_left(self.scores, score)
                del self.scores[place : place + count]
            return
        left = []
        for score in self.scores:
            if scores.get(score):
                scores[score] -= 1
            else:
                left.append(score)
        self.scores = left


_Key = tuple[Role, Verdict | None]


class Tally:
    """Counts for any threshold in O(log n); a decision costs as much as the samples it names."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._clear()

    def _clear(self) -> None:
        self._verdicts: dict[str, Verdict] = {}
        self._groups: dict[_Key, _Group] = {
            (role, verdict): _Group() for role in ROLES for verdict in (None, "accept", "reject")
        }
        self._bars: dict[Verdict | None, list[int]] = {
            verdict: [0] * BINS for verdict in (None, "accept", "reject")
        }
        self._unscored = 0

    def add(self, entries: Iterable[Entry], decisions: Mapping[str, Decision]) -> None:
        """Take in samples that are new (`SampleIndex.extend`'s), with what was said of them."""
        arrived: dict[_Key, list[Entry]] = {}
        entries = tuple(entries)
        self._entries.update((entry.id, entry) for entry in entries)
        for entry in entries:
            decision = decisions.get(entry.id)
            verdict = decision.verdict if decision else None
            if verdict:
                self._verdicts[entry.id] = verdict
            arrived.setdefault((entry.role, verdict), []).append(entry)
        for key, some in arrived.items():
            self._groups[key].add(some)
            self._draw(key[1], some, 1)
            self._unscored += sum(entry.score is None for entry in some)

    def update(self, changed: Collection[str], decisions: Mapping[str, Decision]) -> None:
        """Follow decisions.

        Args:
            changed: ids whose decision may have changed (`Standing.apply`'s); ids of samples
                that have not arrived count when they do.
            decisions: what stands now.
        """
        if len(changed) > max(_MANY, len(self._entries) // _SHARE):
            self._clear()
            self.add(self._entries.values(), decisions)
            return
        left: dict[_Key, list[Entry]] = {}
        came: dict[_Key, list[Entry]] = {}
        for name in changed:
            entry = self._entries.get(name)
            decision = decisions.get(name)
            before, after = self._verdicts.get(name), decision.verdict if decision else None
            if entry is None or before == after:
                continue
            left.setdefault((entry.role, before), []).append(entry)
            came.setdefault((entry.role, after), []).append(entry)
            if after:
                self._verdicts[name] = after
            else:
                del self._verdicts[name]
        for key, some in left.items():
            self._groups[key].remove(some)
            self._draw(key[1], some, -1)
        for key, some in came.items():
            self._groups[key].add(some)
            self._draw(key[1], some, 1)

    def counts(self, threshold: float) -> Counts:
        """What this threshold means."""
        by_role = {}
        for role in ROLES:
            undecided, accepted = self._groups[role, None], self._groups[role, "accept"]
            kept = undecided.above(threshold) + accepted.size
            size = undecided.size + accepted.size + self._groups[role, "reject"].size
            by_role[role] = RoleCounts(kept, size - kept)
        accepts = [self._groups[role, "accept"] for role in ROLES]
        rejects = [self._groups[role, "reject"] for role in ROLES]
        return Counts(
            threshold=threshold,
            kept=sum(counts.kept for counts in by_role.values()),
            dropped=sum(counts.dropped for counts in by_role.values()),
            accepted=sum(group.size for group in accepts),
            rejected=sum(group.size for group in rejects),
            accepted_below=sum(group.size - group.above(threshold) for group in accepts),
            rejected_above=sum(group.above(threshold) for group in rejects),
            by_role=by_role,
        )

    def histogram(self) -> Histogram:
        """How scores lie, and where decisions fell; it doesn't depend on the threshold."""
        undecided, accepted, rejected = (self._bars[v] for v in (None, "accept", "reject"))
        return Histogram(
            tuple(
                Bin(place * BIN, none + yes + no, yes, no)
                for place, (none, yes, no) in enumerate(
                    zip(undecided, accepted, rejected, strict=True)
                )
            ),
            self._unscored,
        )

    def _draw(self, verdict: Verdict | None, entries: Iterable[Entry], step: int) -> None:
        bars = self._bars[verdict]
        for entry in entries:
            if entry.score is not None:
                bars[bin_of(entry.score)] += step


def bin_of(score: float) -> int:
    """The place of the bar that a score of 0 to 10 stands in."""
    return min(BINS - 1, max(0, int(score / BIN)))
