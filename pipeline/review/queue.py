"""The orders in which samples are read. An order is frozen when built: nothing reshuffles."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal, get_args

from pipeline.review.index import Entry

Order = Literal["queue", "document", "score", "flags"]
ORDERS: tuple[Order, ...] = get_args(Order)

IN_A_ROW = 3
"""The most samples of one document that the queue gives one after another."""

_ID = attrgetter("id")

_BAND = 0.5
"""Points of distance within which samples of one passage are read together."""


def build_order(
    order: Order, entries: Iterable[Entry], threshold: float, audit: Sequence[str] = ()
) -> tuple[str, ...]:
    """Sample ids in the order of reading; every entry once.

    - `queue`: the test questions, which measure everything; the audit; then the others. Test
      questions and others go from the threshold outwards in bands of half a point; in a band
      those of one passage stand together, and at most `IN_A_ROW` of one document follow one
      another while another document is left.
    - `document`: by path and reading order.
    - `score`: the highest first, those without a score last.
    - `flags`: the flagged, the highest score first, for there checks and judge disagree; then
      the unflagged, nearest the threshold first.

    Args:
        order: a word of `ORDERS`.
        entries: what to order.
        threshold: the least score, of 10.
        audit: `AuditDraw.draw`'s ids; for `queue`, ids without an entry are left out.
    """
    if order == "queue":
        return _queue(list(entries), threshold, audit)
    keys: dict[str, Callable[[Entry], Any]] = {
        "document": lambda e: (e.path, e.place, e.offset),
        "score": _from_the_top,
        "flags": lambda e: _disagreement(e, threshold),
    }
    return tuple(entry.id for entry in sorted(entries, key=keys[order]))


def extend_order(
    before: Sequence[str], order: Order, arrived: Iterable[Entry], threshold: float
) -> tuple[str, ...]:
    """An order with the samples that arrived since: what stood keeps its place.

    Args:
        before: an order that was built or extended.
        order: the same word as it was built with.
        arrived: new entries (`SampleIndex.extend`'s); they follow, ordered among themselves.
        threshold: the least score, of 10.
    """
    return (*before, *build_order(order, arrived, threshold))


def _queue(entries: list[Entry], threshold: float, audit: Sequence[str]) -> tuple[str, ...]:
    there = {entry.id for entry in entries}
    drawn = dict.fromkeys(name for name in audit if name in there)
    test = [entry for entry in entries if entry.role == "test"]
    others = [entry for entry in entries if entry.role != "test" and entry.id not in drawn]
    return (*_outwards(test, threshold), *drawn, *_outwards(others, threshold))


def _outwards(entries: list[Entry], threshold: float) -> list[str]:
    """From the threshold outwards, mixed by document."""

    def band_of(entry: Entry) -> float:
        return -1.0 if entry.score is None else abs(entry.score - threshold) // _BAND

    # Two stable sorts by one field each: several times as fast as one by pairs.
    ranked = sorted(entries, key=_ID)
    ranked.sort(key=lambda entry: _distance(entry, threshold))
    runs: list[list[Entry]] = []
    for _, band in groupby(ranked, key=band_of):
        passages: dict[str, list[Entry]] = {}
        for entry in band:
            passages.setdefault(entry.passage or entry.id, []).append(entry)
        for same in passages.values():
            runs.extend(same[n : n + IN_A_ROW] for n in range(0, len(same), IN_A_ROW))
    return [entry.id for entry in _mixed(runs)]


def _mixed(runs: Iterable[list[Entry]]) -> list[Entry]:
    """Runs one after another; one that would make a document's row too long waits.

    Only one document waits at a time: as soon as another one was read, it comes first.
    """
    mixed: list[Entry] = []
    waiting: deque[list[Entry]] = deque()
    row = 0

    def fits(run: list[Entry]) -> bool:
        same = bool(mixed) and mixed[-1].document == run[0].document
        return (row if same else 0) + len(run) <= IN_A_ROW

    def read(run: list[Entry]) -> None:
        nonlocal row
        same = bool(mixed) and mixed[-1].document == run[0].document
        row = (row if same else 0) + len(run)
        mixed.extend(run)

    for run in runs:
        waits = waiting and waiting[0][0].document == run[0].document
        if waits or not fits(run):
            waiting.append(run)
        else:
            read(run)
        while waiting and fits(waiting[0]):
            read(waiting.popleft())
    for run in waiting:
        read(run)
    return mixed


def _distance(entry: Entry, threshold: float) -> float:
    return math.inf if entry.score is None else abs(entry.score - threshold)


def _from_the_top(entry: Entry) -> float:
    return math.inf if entry.score is None else -entry.score


def _disagreement(entry: Entry, threshold: float) -> tuple[bool, float, str]:
    if not entry.flags:
        return True, _distance(entry, threshold), entry.id
    return False, _from_the_top(entry), entry.id
