"""What people decide about samples, and the fold that says where the decisions stand.

Undo and redo are actions like every other: the log keeps them, so they reach back without end
and across restarts. One action is one undo unit, however many samples it names.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

Verdict = Literal["accept", "reject"]
Kind = Literal["accept", "reject", "edit", "clear", "skip", "threshold", "undo", "redo"]
Source = Literal["manual", "bulk", "edit"]

REASONS: Mapping[str, str] = {
    "leak": "leaks the passage's wording",
    "unanswerable": "not answerable from the passage",
    "wrong": "wrong answer",
    "generic": "too generic",
    "duplicate": "duplicate of another question",
    "other": "other",
}
"""Why a sample is rejected: the word in the log, and its meaning for a person."""

_SAMPLED = frozenset({"accept", "reject", "edit", "clear", "skip"})


@dataclass(frozen=True)
class Action:
    """One thing that a person did.

    Attributes:
        kind: what was done. An edit counts as accept; a skip marks what nobody decided as
            seen; `clear` gives up decision and mark.
        samples: ids of the samples it concerns; empty for threshold, undo and redo.
        reason: a word of `REASONS`, or empty; for reject only.
        question: the new question of an edit; None leaves it as it is.
        answer: the new answer of an edit; None leaves it as it is.
        value: the new threshold, of 10.
        source: one by one, in bulk, or by an edit.

    Raises:
        ValueError: the fields don't fit the kind.
    """

    kind: Kind
    samples: tuple[str, ...] = ()
    reason: str = ""
    question: str | None = None
    answer: str | None = None
    value: float | None = None
    source: Source = "manual"

    def __post_init__(self) -> None:
        if fault := _fault(self):
            raise ValueError(f"{self.kind}: {fault}")


@dataclass(frozen=True)
class DecisionEvent:
    """One line of the decision log.

    Attributes:
        seq: position in the log, from 1, without gaps.
        time: seconds since the epoch.
        action: what was done.
    """

    seq: int
    time: float
    action: Action


@dataclass(frozen=True)
class Decision:
    """What a person said about one sample.

    Attributes:
        verdict: accept or reject.
        reason: a word of `REASONS`, or empty.
        question: the edited question, or None for the original.
        answer: the edited answer, or None for the original.
        source: how the verdict was given.
        bulk_before: what a bulk action had said before the verdict was given one by one; None
            where none had.
    """

    verdict: Verdict
    reason: str = ""
    question: str | None = None
    answer: str | None = None
    source: Source = "manual"
    bulk_before: Verdict | None = None

    @property
    def edited(self) -> bool:
        """Whether its words are a person's."""
        return self.question is not None or self.answer is not None

    @property
    def in_bulk(self) -> Verdict | None:
        """What bulk actions alone say of it; None where they say nothing."""
        return self.verdict if self.source == "bulk" else self.bulk_before


Mark = Decision | Literal["skipped"] | None
"""What stands about one sample: a decision, that it was seen, or nothing."""


@dataclass(frozen=True)
class ReviewState:
    """Where the decisions stand.

    Attributes:
        decisions: what was said, by sample id; a sample without an entry is left to its score.
        threshold: the one that was moved to, or None while the recipe's first one holds.
        undo_depth: actions that can be undone.
        redo_depth: undone actions that can be done again.
        skipped: samples that were seen and left undecided; none of them has a decision.
    """

    decisions: Mapping[str, Decision] = field(default_factory=dict)
    threshold: float | None = None
    undo_depth: int = 0
    redo_depth: int = 0
    skipped: Set[str] = frozenset()


def fold(events: Iterable[DecisionEvent]) -> ReviewState:
    """The state after all events, in the order of the log.

    An undo takes back the last action that stands, a redo the last undo; a new action ends
    what could be redone. Undo and redo with nothing to do change nothing.
    """
    standing: list[Action] = []
    undone: list[Action] = []
    for event in events:
        if event.action.kind == "undo":
            if standing:
                undone.append(standing.pop())
        elif event.action.kind == "redo":
            if undone:
                standing.append(undone.pop())
        else:
            standing.append(event.action)
            undone.clear()
    marks: dict[str, Mark] = {}
    threshold: float | None = None
    for action in standing:
        if action.kind == "threshold":
            threshold = action.value
        for sample in action.samples:
            marks[sample] = mark_after(action, marks.get(sample))
    return ReviewState(
        decisions={name: mark for name, mark in marks.items() if isinstance(mark, Decision)},
        threshold=threshold,
        undo_depth=len(standing),
        redo_depth=len(undone),
        skipped=frozenset(name for name, mark in marks.items() if mark == "skipped"),
    )


def mark_after(action: Action, before: Mark) -> Mark:
    """What stands about a sample once an action that names it was done.

    A later accept or reject keeps an edit's words: only `clear` gives them up. A skip never
    takes a decision back. A bulk action that says what was said one by one already changes its
    reason at most: the sample was read all the same.

    Args:
        action: an accept, reject, edit, clear or skip.
        before: what stood until then.
    """
    if action.kind == "clear":
        return None
    said = before if isinstance(before, Decision) else None
    if action.kind == "skip":
        return said or "skipped"
    verdict: Verdict = "reject" if action.kind == "reject" else "accept"
    bulk = action.source == "bulk"
    if said and bulk and said.source != "bulk" and said.verdict == verdict:
        return replace(said, reason=action.reason)
    edited = said or Decision("accept")
    return Decision(
        verdict=verdict,
        reason=action.reason,
        question=edited.question if action.question is None else action.question,
        answer=edited.answer if action.answer is None else action.answer,
        source=action.source,
        bulk_before=None if bulk or said is None else said.in_bulk,
    )


def _fault(action: Action) -> str:
    """What is wrong with an action, or nothing."""
    edited = action.question is not None or action.answer is not None
    if action.kind not in get_args(Kind) or action.source not in get_args(Source):
        return "unknown kind or source"
    if (action.kind in _SAMPLED) != bool(action.samples):
        return "names samples where it must not, or none where it must"
    if (action.kind == "edit") != edited or (edited and len(action.samples) > 1):
        return "an edit has a new question or answer, and one sample"
    if action.question is not None and not action.question.strip():
        return "the question is empty"
    if action.reason and (action.kind != "reject" or action.reason not in REASONS):
        return f"the reason {action.reason!r} is not in the table, or it is no reject"
    if (action.kind == "threshold") != (action.value is not None):
        return "a threshold has a value, and nothing else has"
    if action.value is not None and not math.isfinite(action.value):
        return "the threshold is no number"
    return ""
