"""What a dry run suggests for a training, once its questions are counted."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.profiles import REHEARSAL_PROFILE
from pipeline.recipe import Recipe, apply
from pipeline.run import Result
from pipeline.stage import STAGES
from pipeline.status import Status
from tui.commands.chain import say_suggestion


class Said:
    """An output that keeps what it was given."""

    def __init__(self):
        self.lines, self.records = [], []

    def say(self, text=""):
        self.lines.append(text)

    def record(self, kind, fields):
        self.records.append((kind, fields))


def statuses(examples, **states):
    """A chain in which prep has so many training questions."""
    summary = {"examples": examples, "dev_queries": 200}
    prep = Result(Path("prep"), "prep", "0" * 16, "digest", summary, "made", False, 0.0, 0.0)
    found = [Status(stage, "done", "made", None, None) for stage in STAGES]
    states = {"finetune": "new", **states}
    return [
        replace(one, state=states.get(one.stage.name, "done"), result=result)
        for one in found
        for result in [prep if one.stage.name == "prep" else None]
    ]


def test_a_dry_run_suggests_epochs_and_how_to_take_them():
    said = Said()
    say_suggestion(statuses(60_000), apply(Recipe(), {"finetune.epochs": 3}, "test"), said)
    (line,) = said.lines
    assert "For 60,000 training questions the published guidance is 1 epoch" in line
    assert "--set finetune.epochs=1" in line
    ((kind, fields),) = said.records
    assert kind == "suggestion"
    assert fields["settings"]["finetune.epochs"] == 1


@pytest.mark.parametrize(
    ("states", "settings"),
    [
        ({"finetune": "done"}, {}),
        ({"prep": "stale"}, {}),
        ({}, {"profile": REHEARSAL_PROFILE}),
        ({}, {"finetune.epochs": 1, "finetune.warmup_steps": 100}),
    ],
)
def test_it_is_silent_where_there_is_nothing_to_say(states, settings):
    said = Said()
    say_suggestion(statuses(60_000, **states), apply(Recipe(), settings, "test"), said)
    assert not said.lines
    assert not said.records
