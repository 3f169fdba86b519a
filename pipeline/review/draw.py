"""The random audit: which samples are read to speak for those that nobody reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from itertools import islice

from pipeline.review.audit import AUDIT_SIZE
from pipeline.review.decisions import Decision
from pipeline.review.index import Entry, keeps_entry


class AuditDraw:
    """Draws the audit from what score and flags alone would keep.

    Every sample has a fixed random key: a hash of seed and id. The audit is the `AUDIT_SIZE`
    least keys among the kept training and dev samples, which is a random draw from them. So it
    stays put: a sample leaves only when the threshold or a bulk reject drops it, and then the
    next key stands in; it comes back when they do; one that arrives enters only with a key among
    the least. A decision made one by one moves nothing. Test questions are all read anyway.
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
            decisions: what was said, by sample id; only bulk rejects count here.
        """
        drawn = (
            entry.id
            for _, entry in self._keyed
            if keeps_entry(entry, None, threshold)
            and not _rejected_in_bulk(decisions.get(entry.id))
        )
        return tuple(islice(drawn, AUDIT_SIZE))

    def _key(self, sample: str) -> bytes:
        return hashlib.sha256(f"{self._seed} {sample}".encode()).digest()[:8]


def _rejected_in_bulk(decision: Decision | None) -> bool:
    return decision is not None and decision.source == "bulk" and decision.verdict == "reject"
