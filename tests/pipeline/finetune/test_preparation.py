"""What a training says of its batches before it begins, and before an epoch of other negatives."""

from __future__ import annotations

from dataclasses import replace

from pipeline.finetune.stage import execute
from pipeline.prep.records import read_training, write_training


def warnings(context):
    return [said["message"] for said in context.events.of("log") if said["level"] == "warning"]


def one_answer_for_most(toy):
    """No mined negative, and the same answer to 40 of 48 questions: some batches hold no other."""
    examples = [
        replace(one, positives=("p-000",) if n < 40 else one.positives, negatives=())
        for n, one in enumerate(read_training(toy.root / "prep"))
    ]
    write_training(toy.root / "prep", examples)


def test_batches_without_negatives_are_said_once_and_cost_their_steps_alone(toy):
    one_answer_for_most(toy)
    context = toy.context(overrides={"finetune.epochs": 3})
    outcome = execute(context)
    steps = context.events.of("metric", "loss")
    idle = [step for step in steps if not step["negatives_per_query"]]
    assert 0 < len(idle) < len(steps) == outcome.summary["steps"] == 18
    assert all(step["loss"] == step["gradient_norm"] == 0 for step in idle)
    (said,) = [line for line in warnings(context) if "teach nothing" in line]
    assert f"In {len(idle)} of the training steps 1 to 18" in said


def test_an_epoch_with_other_negatives_is_looked_at_too(toy):
    one_answer_for_most(toy)
    # A limit below every cosine leaves none.
    settings = {"prep.rule": "absolute", "prep.score_max": -1.0, "finetune.epochs": 2}
    context = toy.context(overrides={"finetune.refresh_negatives": True, **settings})
    execute(context)
    said = [line for line in warnings(context) if "teach nothing" in line]
    assert ["steps 1 to 12" in line for line in said] == [True, False]
    assert "steps 7 to 12" in said[1]
