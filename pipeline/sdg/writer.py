"""The one interface behind which questions are written, with an LLM or without."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.sdg.plan import Assignment
from pipeline.sdg.records import Quote

OFFLINE = "offline"
"""The name of the writer that needs no LLM."""


@dataclass(frozen=True)
class Draft:
    """A question as its writer left it, before the checks.

    Attributes:
        assignment: what was asked for.
        question: as written.
        answer: as written.
        quotes: the evidence that was found in the passages.
        unlocated: quotes that stand in none of them.
        kind: what sort of question it is.
        complexity: 1 to 5, or 0 where the writer can't steer it.
        hops: distinct passages needed.
        score: 0 to 10, or None when nobody scored it.
        levels: what the score was computed from.
        judge: the model that graded it; empty where code did, or nobody.
        hops_needed: how many of its passages the judge found necessary, if it said so.
    """

    assignment: Assignment
    question: str
    answer: str
    quotes: tuple[Quote, ...]
    unlocated: tuple[str, ...] = ()
    kind: str = ""
    complexity: int = 0
    hops: int = 1
    score: float | None = None
    levels: Mapping[str, float] = field(default_factory=dict)
    judge: str = ""
    hops_needed: int | None = None

    @property
    def passages(self) -> tuple[str, ...]:
        """Ids of the passages with evidence, or of the assigned ones when none was located.

        Those that were assigned come first, in the plan's order: a question belongs to the
        document of its first passage.
        """
        assigned = [passage.id for passage in self.assignment.passages]
        quoted = dict.fromkeys(quote.passage for quote in self.quotes)
        planned = [identity for identity in assigned if identity in quoted]
        return tuple(dict.fromkeys([*planned, *quoted])) or tuple(assigned)

    @property
    def style(self) -> str:
        """The way of asking that was asked for."""
        return self.assignment.style

    @property
    def language(self) -> str:
        """The language that was asked for; empty for the passages' own."""
        return self.assignment.language

    @property
    def gradable(self) -> bool:
        """Whether there is something to grade: words, and evidence to hold them against."""
        return bool(self.question and self.answer and self.quotes)


@dataclass(frozen=True)
class Lost:
    """An assignment that yielded no question.

    Attributes:
        assignment: what was asked for.
        reason: why, in words.
        call: the key of the last reply in the call journal, raw text and all; may be empty.
        parked: a damaged reply used up `sdg.attempts`; with more of them it is asked for again.
    """

    assignment: Assignment
    reason: str
    call: str = ""
    parked: bool = False


class Watcher(Protocol):
    """Who wants to know how writing goes on, before drafts come in order."""

    def answered(self, key: str, tokens_in: int, tokens_out: int) -> None:
        """A reply was read; its key is that in the call journal."""

    def wrote(self, questions: int) -> None:
        """So many questions have their words."""

    def arrived(self, entries: Iterable[Draft | Lost]) -> None:
        """These are done."""


class Writer(Protocol):
    """Writes questions. The same assignments give the same drafts."""

    @property
    def name(self) -> str:
        """The model's name, or `offline`."""

    def write(self, assignments: Iterable[Assignment]) -> Iterator[Draft | Lost]:
        """One draft or loss for each assignment, in order.

        Raises:
            EndpointFailure: the endpoint refuses or cannot be reached.
            Interruption: somebody asked the stage to end.
        """
