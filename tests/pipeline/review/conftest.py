"""Samples and events for the tests of review."""

from __future__ import annotations

import pytest

from pipeline.review.decisions import Action, DecisionEvent
from pipeline.sdg.records import Flag, Sample


@pytest.fixture(scope="session")
def make_sample():
    """A sample with little to say: id, score, role, and whether a check blocks it."""

    def make(name, score=8.0, *, role="train", blocked=False, flagged=False):
        flags = (Flag("leak", "copies eight words", blocked),) if blocked or flagged else ()
        return Sample(
            id=name,
            question=f"What is {name}?",
            answer="A thing.",
            passages=("p-1",),
            quotes=(),
            role=role,
            score=score,
            flags=flags,
        )

    return make


@pytest.fixture(scope="session")
def as_events():
    """Actions as the log would number them."""

    def number(actions: list[Action]) -> list[DecisionEvent]:
        return [DecisionEvent(seq, 100.0 + seq, a) for seq, a in enumerate(actions, start=1)]

    return number
