"""Samples and events for the tests of review."""

from __future__ import annotations

import pytest

from pipeline.review.decisions import Action, DecisionEvent
from pipeline.review.index import Entry
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
def make_entry():
    """A light entry with little to say."""

    def make(name, score=8.0, *, role="train", flags=(), blocking=False, **said):
        passage = said.pop("passage", f"p-{name}")
        fields = {
            "question": f"What is {name}?",
            "document": f"d-{passage}",
            "path": "",
            "hops": 1,
            "complexity": 0,
            "kind": "",
            "place": 0,
            "offset": 0,
            "length": 0,
        }
        return Entry(
            id=name,
            score=score,
            role=role,
            flags=tuple(flags) or (("leak",) if blocking else ()),
            blocking=blocking,
            passage=passage,
            **{**fields, **said},
        )

    return make


@pytest.fixture(scope="session")
def as_events():
    """Actions as the log would number them."""

    def number(actions: list[Action]) -> list[DecisionEvent]:
        return [DecisionEvent(seq, 100.0 + seq, a) for seq, a in enumerate(actions, start=1)]

    return number
