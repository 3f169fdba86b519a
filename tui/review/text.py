"""Sentences of the Review step, and a sample as text. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.review.agreement import ENOUGH_A_SIDE, Suggestion
from pipeline.review.decisions import REASONS, Action
from pipeline.review.queue import Order
from pipeline.review.tally import BIN, Counts
from tui.review.desk import Followed, SampleView
from tui.rows import Row, row, table

REASON_KEYS: Sequence[str] = tuple(REASONS)
"""The word of each reason; its key is its place, from 1."""

_DONE = {
    "accept": "accept",
    "reject": "reject",
    "edit": "edit",
    "clear": "clearing",
    "skip": "skip",
}


ORDERS_SAID: Mapping[Order, str] = {
    "queue": "test questions, the audit, then nearest the threshold",
    "document": "by path and reading order",
    "score": "the highest first",
    "flags": "flagged ones first, then nearest the threshold",
}
"""What each order is, for a person."""


def reasons_sentence() -> str:
    """What may be said after a reject."""
    words = "  ".join(f"{place} {name}" for place, name in enumerate(REASON_KEYS, start=1))
    return f"Rejected. Why? {words}"


def undo_sentence(kind: str, followed: Followed, threshold: float) -> str:
    """What an undo took back, or a redo did again."""
    said = "Undone" if kind == "undo" else "Done again"
    action = followed.subject
    if action is None:
        return "There is nothing to undo." if kind == "undo" else "There is nothing to do again."
    return f"{said}: {action_words(action)}{_now(action, threshold)}."


def _now(action: Action, threshold: float) -> str:
    return f"; the threshold is {threshold:.1f}" if action.kind == "threshold" else ""


def action_words(action: Action) -> str:
    """An action in a few words."""
    if action.kind == "threshold":
        return f"threshold {action.value:.1f}"
    words = _DONE[action.kind]
    if action.reason:
        words += f" because {REASONS[action.reason]}"
    count = len(action.samples)
    return words if count == 1 else f"{words} of {count} samples"


def sample_text(view: SampleView) -> str:
    """A sample to be copied: its words, its evidence, and what was said of it."""
    score = "no score" if view.sample.score is None else f"score {view.sample.score:.2f}"
    lines = [
        f"{view.sample.id}  {score}  {'kept' if view.kept else 'dropped'}  {view.sample.role}",
        f"Q {view.words.question}",
        f"A {view.words.answer}",
    ]
    for evidence in view.evidence:
        lines += ["", " > ".join((evidence.path or evidence.passage, *evidence.headings))]
        lines += [f'"{evidence.text[start:end]}"' for start, end in evidence.quotes]
    lines += [f"{flag.name}: {flag.reason}" for flag in view.sample.flags]
    return "\n".join(lines)


def agreement_rows(suggestion: Suggestion | None, counts: Counts) -> list[Row]:
    """How decisions and scores agree, and the threshold that would agree best."""
    if suggestion is None:
        need = f"A suggestion needs {ENOUGH_A_SIDE} accepts and {ENOUGH_A_SIDE} rejects made one"
        have = f"There are {counts.accepted} accepts and {counts.rejected} rejects."
        return [row(f"{need} by one."), row(have)]
    lines = [
        (f"{bar.low:.1f} to {bar.low + BIN:.1f}", str(bar.accepted), str(bar.rejected))
        for bar in suggestion.bins
    ]
    sentence = suggestion.sentence[:1].upper() + suggestion.sentence[1:]
    moved = "It is never moved by itself: [ and ] do that."
    return [
        row((f"{sentence}.", "strong")),
        row((moved, "muted")),
        (),
        *table(("score", "accepted", "rejected"), lines, right=(1, 2)),
    ]
