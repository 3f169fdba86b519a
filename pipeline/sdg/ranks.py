"""Where retrievers have the evidence of each question, found while questions arrive.

A thread of its own ranks, so that no call waits for it. It begins with the first question, not
before: loading a model would make the first call late. A rank depends on the question, its
evidence and the passages alone, never on when it arrived or with which others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy.typing as npt
from numpy import float64

from pipeline.bm25 import Bm25
from pipeline.context import Context
from pipeline.corpus.records import Passage
from pipeline.errors import Failure
from pipeline.sdg.found import BASE, BM25
from pipeline.sdg.records import Sample

_LOOK_SECONDS = 0.1
_BATCH = 16
"""Questions ranked at once on a CPU: few, so that the share found stays up to date."""


class Stopped(Exception):
    """Nobody waits for the ranks any more."""


@dataclass(frozen=True)
class Query:
    """A question with the rows of its evidence among the passages."""

    question: str
    evidence: tuple[int, ...]


class Retriever(Protocol):
    """Ranks the evidence of questions among all passages."""

    @property
    def pause(self) -> float:
        """Seconds to leave between two batches, so that each is worth its cost."""

    def ranks(self, queries: Sequence[Query]) -> list[int]:
        """The place of the worst evidence passage of each question, from 1.

        Passages that score higher stand before it; those that score the same, and the other
        evidence, don't.
        """

    def close(self) -> None:
        """No more questions will come."""


Notice = Callable[[int, int, str], None]
"""Done, total and the work; it may raise `Stopped`."""
Load = Callable[[Notice], Retriever]
"""Makes the retriever of the base model; may take a while, and raise a `Failure`."""


class LexicalRetriever:
    """BM25 over the passages. A question that shares no word with its evidence finds it last."""

    pause = 0.0

    def __init__(self, texts: Sequence[str]) -> None:
        self._index = Bm25(texts)

    def ranks(self, queries: Sequence[Query]) -> list[int]:
        """See `Retriever.ranks`."""
        return [self._rank(self._index.scores(query.question), query) for query in queries]

    def close(self) -> None:
        """Nothing is held."""

    def _rank(self, scores: npt.NDArray[float64], query: Query) -> int:
        rows = sorted(set(query.evidence))
        worst = scores[rows].min()
        if worst == 0:
            return len(scores) - len(rows) + 1
        ahead = scores > worst
        ahead[rows] = False
        return int(ahead.sum()) + 1


class Ranks:
    """Ranks samples as they are added; use it as a context manager.

    Without a base model, or where it fails, BM25 alone ranks, and `problem` says why.
    """

    def __init__(self, passages: Sequence[Passage], base: Load | str) -> None:
        """Nothing is loaded yet.

        Args:
            passages: all of the corpus.
            base: loads the base model's retriever, or why there is none; empty where nobody
                asked for it.
        """
        self._texts = [passage.text for passage in passages]
        self._rows = {passage.id: row for row, passage in enumerate(passages)}
        self._load = base if callable(base) else None
        self.problem = base if isinstance(base, str) else ""
        """Why the base model didn't rank; empty for nothing."""
        self.ended_early = False
        """Whether the base model was left out because somebody wanted to end."""
        self._found: dict[str, dict[str, int]] = {}
        self._added: set[str] = set()
        self._waiting: list[tuple[str, Query]] = []
        self._guard = threading.Condition()
        self._ending = self._stopping = False
        self._state = (0, 0, "questions ranked")
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="sdg-ranks", daemon=True)

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._stopping = True
            self._guard.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def add(self, samples: Iterable[Sample]) -> None:
        """Rank these as well, each once; returns at once."""
        with self._guard:
            for sample in samples:
                if sample.id not in self._added:
                    self._added.add(sample.id)
                    rows = tuple(self._rows[passage] for passage in sample.passages)
                    self._waiting.append((sample.id, Query(sample.question, rows)))
            if self._waiting and self._thread.ident is None:
                self._thread.start()
            self._guard.notify_all()

    def of(self, sample: str) -> Mapping[str, int]:
        """The ranks that are known of a sample, by retriever."""
        with self._guard:
            return dict(self._found.get(sample, {}))

    def known(self, samples: Iterable[str]) -> list[Mapping[str, int]]:
        """The ranks of those of the samples that have some."""
        with self._guard:
            return [dict(self._found[sample]) for sample in samples if sample in self._found]

    def finish(self, wait: Callable[[int, int, str], bool]) -> None:
        """Wait until all samples are ranked.

        Args:
            wait: told done, total and the work a few times a second; it may raise to stop, and
                returns whether to leave the base model out now.
        """
        with self._guard:
            self._ending = True
            self._guard.notify_all()
        while self._thread.is_alive():
            self._thread.join(_LOOK_SECONDS)
            if self._load and wait(*self._state):
                self.ended_early = True
                self._give_up("The stage was ended early.")
        if self._error is not None:
            raise self._error

    def _give_up(self, problem: str) -> None:
        """Let BM25 go on alone."""
        with self._guard:
            self._load, self.problem = None, self.problem or problem
            self._guard.notify_all()

    def _work(self) -> None:
        try:
            self._rank_all()
        except Stopped:
            return
        except BaseException as error:
            self._error = error

    def _rank_all(self) -> None:
        lexical = LexicalRetriever(self._texts)
        base: Retriever | None = None
        held: list[tuple[str, Query]] = []
        while batch := self._take(base.pause if base else 0.0):
            self._rank(BM25, lexical, batch)
            held += batch
            try:
                if self._load and base is None:
                    base = self._load(self._notice)
                if base and self._load:
                    self._rank(BASE, base, batch)
            # torch says with a RuntimeError what it has against a device.
            except (Failure, ImportError, RuntimeError) as failure:
                happened = failure.happened if isinstance(failure, Failure) else str(failure)
                self._give_up(happened)
            except _Given:
                pass
        if base:
            base.close()
        if not self._load:
            self._forget(BASE)

    def _take(self, pause: float) -> list[tuple[str, Query]]:
        """The next questions; none when all are done."""
        with self._guard:
            self._guard.wait_for(lambda: self._ending or self._stopping, pause)
            self._guard.wait_for(lambda: self._waiting or self._ending or self._stopping)
            if self._stopping:
                raise Stopped
            most = len(self._waiting) if pause else _BATCH
            batch, self._waiting = self._waiting[:most], self._waiting[most:]
            return batch

    def _rank(self, name: str, retriever: Retriever, batch: Sequence[tuple[str, Query]]) -> None:
        places = retriever.ranks([query for _, query in batch])
        with self._guard:
            for (sample, _), place in zip(batch, places, strict=True):
                self._found.setdefault(sample, {})[name] = place
            self._state = (len(self._found), len(self._added), "questions ranked")

    def _forget(self, name: str) -> None:
        """Some ranks of a retriever that didn't get through would mislead."""
        with self._guard:
            for ranks in self._found.values():
                ranks.pop(name, None)

    def _notice(self, done: int, total: int, what: str) -> None:
        with self._guard:
            if self._stopping:
                raise Stopped
            if not self._load:
                raise _Given
            self._state = (done, total, what)


class _Given(Exception):
    """The base model was given up while it loaded."""


def rank_all(ranks: Ranks, context: Context) -> list[str]:
    """Wait until every sample is ranked, doing as the user asks meanwhile; returns warnings.

    Raises:
        Interruption: the user asked the stage to end.
    """

    told = (0, 0, "")

    def wait(done: int, total: int, what: str) -> bool:
        nonlocal told
        if total and told != (done, total, what):
            context.events.progress(done, total, what)
        told = (done, total, what)
        context.control.poll()
        return context.control.finish_asked

    ranks.finish(wait)
    if not ranks.problem:
        return []
    return [f"The base model didn't rank the evidence, BM25 alone did. {ranks.problem}"]
