"""What a training says of itself: of the weights that are kept, and never two things at once."""

from __future__ import annotations

import pytest

from pipeline.beir import EvalSet
from pipeline.finetune.checkpoint import Progress
from pipeline.finetune.ending import Ending
from pipeline.finetune.interpolation import Point
from pipeline.finetune.summary import Account, facts_of, summarise
from pipeline.finetune.validation import Validation
from pipeline.schedule import schedule_for
from pipeline.settings import FinetuneSettings

QUERIES = 16
BASE, TUNED, BETWEEN = (0.5,) * QUERIES, (0.25,) * QUERIES, (0.75,) * QUERIES
NAMES = [f"q-{n}" for n in range(QUERIES)]
DEV = EvalSet(dict.fromkeys(NAMES, "a"), {"p": "b"}, {name: {"p": 1} for name in NAMES})


def account(dev=None, kept=None, best=TUNED):
    """An account of 60 whole steps, with or without interpolation."""
    settings = FinetuneSettings(epochs=60, batch_size=8)
    return Account(
        rehearsal=False,
        settings=settings,
        schedule=schedule_for(8, settings),
        progress=Progress(step=60, best_step=30, best=best, seconds=1.0, samples=480),
        examples=8,
        passages=9,
        cuts=(),
        validation=Validation(DEV, BASE, pooled=False),
        ending=Ending(dev or best, None, kept=kept),
        notes=(),
    )


@pytest.mark.parametrize(
    ("dev", "kept", "said"),
    [
        pytest.param(None, None, ["the best trained ones were kept"], id="the base is better"),
        pytest.param(
            BASE, Point(0.0, 0.5, None), ["the kept model is the base"], id="the base is kept"
        ),
        pytest.param(BETWEEN, Point(0.25, 0.75, None), [], id="a mean of both is better"),
    ],
)
def test_warnings_speak_of_the_weights_that_are_kept(dev, kept, said):
    warnings = summarise(account(dev, kept))["warnings"]
    assert len(warnings) == len(said)
    assert all(words in warning for words, warning in zip(said, warnings, strict=True))


def test_score_and_gain_are_those_of_the_weights_that_are_kept():
    mixed = account(BETWEEN, Point(0.25, 0.75, None))
    told = summarise(mixed)
    assert told["dev_ndcg_at_10"] == 0.75
    assert told["dev_gain"] == {"mean": 0.25, "low": 0.25, "high": 0.25}
    gain = facts_of(mixed).gain
    assert gain is not None
    assert gain.mean == 0.25


def test_a_gain_on_one_question_is_called_what_it_is():
    one = account(best=(0.75,))
    validation = Validation(DEV, (0.5,), pooled=False)
    (said,) = summarise(Account(**{**vars(one), "validation": validation}))["warnings"]
    assert "1 dev question may be noise" in said
    assert "too few queries" in said
