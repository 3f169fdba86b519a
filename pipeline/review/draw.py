"""The random audit: which samples are read to speak for those that nobody reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from itertools import islice

from pipeline.review.audit import AUDIT_SIZE
from pipeline.review.decisions import Decision
from pipeline.review.index import Entry, keeps_entry


class AuditDraw:
    """Draws the audit from what is kept without being read: by score and flags, or in bulk.

    Every sample has a fixed random key: a hash of seed and id. The audit is the `AUDIT_SIZE`
    least keys among the training and dev samples that are kept so, which is a random draw from
    them. So it stays put: a sample leaves only when the threshold or a bulk reject drops it, and
    then the next key stands in; it comes back when they do; one that arrives, or is accepted in
    bulk, enters only with a key among the least. A decision made one by one moves nothing, on
    top of a bulk action, too. Test questions are all read anyway.
    """

    def __init__(self, seed: int) -> None:
        """Nothing to draw from yet.

        Args:
            seed: the recipe's.
        """
        self._seed = seed
        self._keyed: list[tuple[bytes, Entry]] = []

    def add(self, entries: Iterable[Entry]) -> None:
        """Take in samples that are new (`SampleIndex.extend`'s)."""
        self._keyed.extend((self._key(e.id), e) for e in entries if e.role != "test")
        self._keyed.sort(key=lambda keyed: keyed[0])

    def draw(self, threshold: float, decisions: Mapping[str, Decision]) -> tuple[str, ...]:
        """Ids of the audit, in the order of reading; fewer than `AUDIT_SIZE`: it is all there is.

        Args:
            threshold: the least score, of 10.
            decisions: what was said, by sample id; only what was said in bulk counts here.
        """
        drawn = (
            entry.id
            for _, entry in self._keyed
            if _kept_unread(entry, decisions.get(entry.id), threshold)
        )
        return tuple(islice(drawn, AUDIT_SIZE))

    def _key(self, sample: str) -> bytes:
        return hashlib.sha256(f"{self._seed} {sample}".encode()).digest()[:8]


def _kept_unread(entry: Entry, decision: Decision | None, threshold: float) -> bool:
    in_bulk = decision.in_bulk if decision else None
    return keeps_entry(entry, None, threshold) if in_bulk is None else in_bulk == "accept"
