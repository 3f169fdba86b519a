"""Where the decisions stand, kept up to date action by action."""

from __future__ import annotations

from collections.abc import Mapping, Set
from types import MappingProxyType
from typing import NamedTuple

from pipeline.review.decisions import (
    Action,
    Decision,
    DecisionEvent,
    Mark,
    ReviewState,
    mark_after,
)


class _Done(NamedTuple):
    """An action that stands, and what it replaced; light, for there may be 100,000."""

    action: Action
    marks: tuple[Mark, ...]
    threshold: float | None


class Standing:
    """The fold of `pipeline.review.decisions.fold`, one event at a time.

    `decisions` and `skipped` are live views: they follow every `apply` and copy nothing.
    """

    def __init__(self) -> None:
        self._decisions: dict[str, Decision] = {}
        self._skipped: set[str] = set()
        self._threshold: float | None = None
        self._done: list[_Done] = []
        self._undone: list[Action] = []
        self._view = MappingProxyType(self._decisions)

    @property
    def decisions(self) -> Mapping[str, Decision]:
        """What was said, by sample id; a live view."""
        return self._view

    @property
    def skipped(self) -> Set[str]:
        """Samples that were seen and left undecided; a live view, not to be changed."""
        return self._skipped

    @property
    def threshold(self) -> float | None:
        """The one that was moved to, or None while the recipe's first one holds."""
        return self._threshold

    @property
    def undo_depth(self) -> int:
        """Actions that can be undone."""
        return len(self._done)

    @property
    def redo_depth(self) -> int:
        """Undone actions that can be done again."""
        return len(self._undone)

    @property
    def next_undo(self) -> Action | None:
        """What the next undo takes back, or None."""
        return self._done[-1].action if self._done else None

    @property
    def next_redo(self) -> Action | None:
        """What the next redo does again, or None."""
        return self._undone[-1] if self._undone else None

    def state(self) -> ReviewState:
        """A frozen copy, as `fold` gives it; costs a copy of all decisions."""
        return ReviewState(
            decisions=dict(self._decisions),
            threshold=self._threshold,
            undo_depth=self.undo_depth,
            redo_depth=self.redo_depth,
            skipped=frozenset(self._skipped),
        )

    def apply(self, event: DecisionEvent) -> frozenset[str]:
        """Take in the log's next event, in time proportional to the samples it names.

        Returns:
            Ids of the samples whose decision or skip mark changed; none for a threshold.
        """
        action = event.action
        if action.kind == "undo":
            return self._undo() if self._done else frozenset()
        if action.kind == "redo":
            return self._do(self._undone.pop()) if self._undone else frozenset()
        self._undone.clear()
        return self._do(action)

    def _do(self, action: Action) -> frozenset[str]:
        marks = tuple(map(self._mark, action.samples))
        self._done.append(_Done(action, marks, self._threshold))
        if action.kind == "threshold":
            self._threshold = action.value
        changed = set()
        # Most samples of a bulk action had nothing said of them: they share one decision.
        fresh = mark_after(action, None) if action.samples else None
        for sample, before in zip(action.samples, marks, strict=True):
            after = fresh if before is None else mark_after(action, before)
            if after != before:
                self._set(sample, after)
                changed.add(sample)
        return frozenset(changed)

    def _undo(self) -> frozenset[str]:
        done = self._done.pop()
        self._undone.append(done.action)
        self._threshold = done.threshold
        changed = set()
        for sample, before in zip(done.action.samples, done.marks, strict=True):
            if self._mark(sample) != before:
                self._set(sample, before)
                changed.add(sample)
        return frozenset(changed)

    def _mark(self, sample: str) -> Mark:
        if sample in self._skipped:
            return "skipped"
        return self._decisions.get(sample)

    def _set(self, sample: str, mark: Mark) -> None:
        self._decisions.pop(sample, None)
        self._skipped.discard(sample)
        if mark == "skipped":
            self._skipped.add(sample)
        elif mark is not None:
            self._decisions[sample] = mark
