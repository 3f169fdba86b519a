"""Samples while they come: a file to read along, and the funnel's numbers as events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from pipeline.context import Events
from pipeline.files import canonical_json
from pipeline.sdg.found import BASE, BM25, found_share
from pipeline.sdg.ranks import Ranks
from pipeline.sdg.records import ARRIVING, Sample, passes
from pipeline.sdg.samples import Samples
from pipeline.sdg.writer import Draft, Lost

METRIC_SECONDS = 0.25
"""At most one metric event in this time, and always a last one."""


class Arrivals:
    """Keeps `ARRIVING` and the funnel up to date. Use it as a context manager.

    The file holds rows as `samples.jsonl` does, whole lines, in the order in which questions were
    done: scores are the judge's, but twins aren't flagged and ranks aren't known before all
    questions are there. It begins anew with every attempt and is no part of the result.
    """

    def __init__(
        self,
        folder: Path,
        events: Events,
        samples: Samples,
        ranks: Ranks,
        threshold: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts the file.

        Args:
            folder: the result's folder.
            events: where metrics go.
            samples: makes samples of drafts.
            ranks: is handed every sample.
            threshold: the recipe's, for the count of what is kept.
            clock: seconds, only ever growing.
        """
        self._events = events
        self._samples = samples
        self._ranks = ranks
        self._threshold = threshold
        self._clock = clock
        self._told = clock()
        self._seen: set[str] = set()
        self._kept: set[str] = set()
        self._funnel = {"asked": 0, "written": 0, "checked": 0, "judged": 0, "kept": 0}
        self.calls = self.tokens_in = self.tokens_out = 0
        """Replies used, those of earlier attempts included, and their tokens."""
        self.used: set[str] = set()
        """Their keys in the call journal."""
        # Unbuffered: whoever reads along finds whole lines.
        self._stream = (folder / ARRIVING).open("wb", buffering=0)

    def __enter__(self) -> Arrivals:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def asked(self, questions: int) -> None:
        """So many further questions are asked for."""
        self._funnel["asked"] += questions
        self._tell()

    def answered(self, key: str, tokens_in: int, tokens_out: int) -> None:
        """A reply was read."""
        self.calls += 1
        self.used.add(key)
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out
        self._tell()

    def wrote(self, questions: int) -> None:
        """So many questions have their words, and no grade yet."""
        self._funnel["written"] += questions
        self._tell()

    def arrived(self, entries: Iterable[Draft | Lost]) -> None:
        """These are done: checked, and judged where there was something to judge."""
        samples = [self._samples.of(entry) for entry in entries if isinstance(entry, Draft)]
        for sample in samples:
            self._keep(sample)
        self._ranks.add(samples)
        self._tell()

    def settle(self, samples: Iterable[Sample]) -> None:
        """All questions are there and twins are flagged: tell the funnel as it is."""
        self._funnel |= {"written": 0, "checked": 0, "judged": 0, "kept": 0}
        self._kept.clear()
        for sample in samples:
            self._funnel["written"] += 1
            self._count(sample)
        self._tell(last=True)

    def found(self) -> dict[str, float]:
        """The share of the kept whose evidence is found: `found` by the base model, `found_bm25`.

        What isn't ranked yet doesn't count; nothing while nothing is.
        """
        ranks = self._ranks.known(self._kept)
        shares = {"found": found_share(ranks, BASE), "found_bm25": found_share(ranks, BM25)}
        return {name: round(share, 4) for name, share in shares.items() if share is not None}

    def _keep(self, sample: Sample) -> None:
        if sample.id in self._seen:
            return
        self._seen.add(sample.id)
        self._stream.write(canonical_json(asdict(sample)).encode() + b"\n")
        self._count(sample)

    def _count(self, sample: Sample) -> None:
        blocked = any(flag.blocking for flag in sample.flags)
        self._funnel["checked"] += not blocked
        self._funnel["judged"] += sample.score is not None
        if passes(sample.score, blocked, self._threshold):
            self._kept.add(sample.id)
            self._funnel["kept"] += 1

    def _tell(self, *, last: bool = False) -> None:
        now = self._clock()
        if last or now - self._told >= METRIC_SECONDS:
            self._told = now
            tokens = {"tokens_in": self.tokens_in, "tokens_out": self.tokens_out}
            self._events.metric(**self._funnel, calls=self.calls, **tokens, **self.found())
