"""The stage as a whole, on the toy task."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.encoder import load_encoder
from pipeline.errors import BadInput, Cancelled, StageFailure, Terminated
from pipeline.files import digest_folder
from pipeline.finetune import stage
from pipeline.finetune.engine import Engine
from pipeline.finetune.stage import execute
from pipeline.finetune.validation import mean, measure
from pipeline.identity import settings_of
from pipeline.journal import read_journal
from pipeline.prep.records import read_held_out, read_training, write_training
from pipeline.profiles import REHEARSAL_PROFILE, known_profiles
from pipeline.recipe import Recipe, apply
from pipeline.stage import find_stage

_PROCESS = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[3])
from conftest import Toy
from pipeline.attempt import JournalEvents
from pipeline.finetune.stage import execute
from pipeline.journal import JournalWriter
context = Toy(Path(sys.argv[1]), Path(sys.argv[2])).context("killed")
journal = JournalWriter(context.folder / "journal.jsonl")
execute(replace(context, events=JournalEvents(journal)))
"""


def losses(context) -> dict[int, float]:
    """Loss by step; a repeated step counts as done last."""
    return {event["step"]: event["loss"] for event in context.events.of("metric", "loss")}


def scores(context) -> dict[int, float]:
    """Dev nDCG@10 by step."""
    return {e["step"]: e["ndcg_at_10"] for e in context.events.of("metric", "ndcg_at_10")}


def test_training_learns_the_toy_task(undisturbed):
    context, outcome = undisturbed
    told = list(losses(context).values())
    assert len(told) == outcome.summary["steps"] == outcome.summary["steps_planned"] == 6 * 8
    assert sum(told[-5:]) < 0.7 * sum(told[:5])
    assert outcome.summary["dev_ndcg_at_10"] > outcome.summary["dev_ndcg_at_10_base"] + 0.2
    assert not outcome.partial


def test_only_the_model_and_its_summary_remain(undisturbed):
    context, outcome = undisturbed
    assert outcome.outputs == ("model",)
    assert sorted(path.name for path in context.folder.iterdir()) == ["finished.json", "model"]


def test_every_step_and_every_validation_is_told(undisturbed):
    context, outcome = undisturbed
    steps = context.events.of("metric", "loss")
    assert [event["step"] for event in steps] == list(range(1, 49))
    assert {event["steps"] for event in steps} == {48}
    assert all(event["seconds_left"] > 0 for event in steps), "a validation follows each"
    assert steps[0].keys() == {
        "step",
        "steps",
        "epoch",
        "loss",
        "learning_rate",
        "gradient_norm",
        "samples_per_second",
        "tokens_per_second",
        "negatives_per_query",
        "hard_negatives_per_query",
        "masked_per_query",
        "loss_contrastive",
        "mfu",
        "memory_bytes",
        "seconds_left",
    }
    told = scores(context)
    assert list(told) == [0, 10, 20, 30, 40, 48]
    last = context.events.of("metric", "ndcg_at_10")[-1]
    assert last["base_ndcg_at_10"] == outcome.summary["dev_ndcg_at_10_base"]
    assert (last["best_step"], last["best_ndcg_at_10"]) == (
        outcome.summary["best_step"],
        outcome.summary["dev_ndcg_at_10"],
    )
    assert told.pop(0) == outcome.summary["dev_ndcg_at_10_base"]
    best = max(told.values())
    assert outcome.summary["dev_ndcg_at_10"] == best
    assert outcome.summary["best_step"] == next(s for s, score in told.items() if score == best)
    assert {"done": 48, "total": 48, "what": "training steps"} in context.events.of("progress")


def test_the_written_weights_are_those_of_the_best_step(toy):
    # So high a rate goes up and down from step to step.
    overrides = {
        "finetune.epochs": 3,
        "finetune.learning_rate": 5e-2,
        "finetune.validation_steps": 1,
    }
    context = toy.context(overrides=overrides)
    outcome = execute(context)
    assert outcome.summary["best_step"] < outcome.summary["steps"], "the toy no longer tells"
    folder = context.folder / "model"
    written = load_encoder(folder, context.profile, context.recipe.encoder, "cpu")
    dev = read_held_out(context.inputs["prep"].folder, "dev")
    assert dev is not None
    assert mean(measure(dev, written.encode)) == outcome.summary["dev_ndcg_at_10"]


def test_sentence_transformers_loads_the_best_weights(undisturbed, tiny_base):
    from sentence_transformers import SentenceTransformer

    context, _ = undisturbed
    texts = ["p3 p3 n1", "p5 n2", "p7 p7 p7 n4"]
    loaded = SentenceTransformer(str(context.folder / "model"), device="cpu").encode_document(texts)
    ours = load_encoder(
        context.folder / "model", context.profile, context.recipe.encoder, "cpu"
    ).encode(texts, "passage")
    base = load_encoder(tiny_base, context.profile, context.recipe.encoder, "cpu").encode(
        texts, "passage"
    )
    assert np.allclose(loaded, ours, atol=1e-5)
    assert not np.allclose(ours, base, atol=1e-2)


def test_a_killed_training_gives_the_same_bits(toy, undisturbed):
    calm, _ = undisturbed
    kill_at = random.randrange(8, 46)
    folder = toy.root / "finetune" / "killed"
    folder.mkdir(parents=True)
    command = [sys.executable, "-c", _PROCESS, toy.root, toy.base, Path(__file__).parent]
    with subprocess.Popen(
        list(map(str, command)),
        env=os.environ | {"PYTHONPATH": str(Path(stage.__file__).parents[2])},
    ) as process:
        until = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < until:
            steps = [e for e in read_journal(folder / "journal.jsonl") if "loss" in e.data]
            if steps and steps[-1].data["step"] >= kill_at:
                break
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, f"killed at step {kill_at}"
    assert not (folder / "finished.json").exists()

    again = toy.context("killed")
    execute(again)
    resumed = again.events.of("resumed")[0]["step"]
    assert 7 <= resumed < 48, f"killed at step {kill_at}"
    expected = {step: loss for step, loss in losses(calm).items() if step > resumed}
    assert losses(again) == expected
    assert digest_folder(again.folder / "model") == digest_folder(calm.folder / "model")


@pytest.mark.parametrize(
    ("stop_at", "error"),
    [
        pytest.param(30, Terminated, id="while the base is validated"),
        pytest.param(60, Cancelled, id="while step 10 is validated"),
        pytest.param(83, Terminated, id="between two steps"),
    ],
)
def test_a_training_asked_to_leave_goes_on_with_the_same_bits(
    toy, undisturbed, scripted, stop_at, error
):
    calm, _ = undisturbed
    stopped = toy.context("stopped", control=scripted(stop_at=stop_at, error=error))
    with pytest.raises(error):
        execute(stopped)
    told = losses(stopped)
    again = toy.context("stopped")
    execute(again)
    if told:
        assert again.events.of("resumed") == [{"step": max(told)}]
    assert {**told, **losses(again)} == losses(calm)
    assert digest_folder(again.folder / "model") == digest_folder(calm.folder / "model")


def test_a_finished_result_is_not_trained_again(undisturbed, toy):
    before, outcome = undisturbed
    context = toy.context()
    shutil.copytree(before.folder, context.folder, dirs_exist_ok=True)
    (context.folder / "checkpoint").mkdir()
    (context.folder / "checkpoint" / "left-over.part").touch()
    again = toy.context()
    assert execute(again) == outcome
    assert not again.events.of("metric")
    assert not (context.folder / "checkpoint").exists()


def test_finishing_early_keeps_the_best_so_far(toy, scripted):
    context = toy.context(control=scripted(finish_at=65))
    outcome = execute(context)
    assert outcome.partial
    steps = outcome.summary["steps"]
    assert 0 < steps < 48
    told = scores(context)
    assert max(told) == steps
    assert outcome.summary["dev_ndcg_at_10"] == max(v for step, v in told.items() if step)
    assert any("Ended early" in warning for warning in outcome.summary["warnings"])
    assert (context.folder / "model" / "model.safetensors").is_file()


def test_finishing_at_once_still_trains_one_step(toy_without_dev, scripted):
    outcome = execute(toy_without_dev.context(control=scripted(finish_at=1)))
    assert outcome.partial
    assert outcome.summary["steps"] == 1


def test_without_dev_questions_the_last_weights_are_kept_and_it_is_said(toy_without_dev):
    overrides = {"finetune.epochs": 1}
    context = toy_without_dev.context(overrides=overrides)
    outcome = execute(context)
    assert outcome.summary["best_step"] == 6
    assert outcome.summary["dev_ndcg_at_10"] is None
    assert any("no dev questions" in warning for warning in outcome.summary["warnings"])
    assert "these are the last weights" in (context.folder / "model" / "README.md").read_text()


def test_a_training_that_does_not_beat_the_base_says_so(toy):
    overrides = {"finetune.learning_rate": 0.0, "finetune.epochs": 1}
    outcome = execute(toy.context(overrides=overrides))
    assert outcome.summary["dev_ndcg_at_10"] == outcome.summary["dev_ndcg_at_10_base"]
    assert outcome.summary["best_step"] == 6
    assert any("No trained weights beat" in warning for warning in outcome.summary["warnings"])


def test_equal_scores_keep_the_earlier_weights(toy):
    overrides = {"finetune.learning_rate": 0.0, "finetune.epochs": 2}
    assert execute(toy.context(overrides=overrides)).summary["best_step"] == 10


def test_a_diverged_training_ends_with_its_remedy_and_keeps_the_checkpoint(toy):
    # AdamW moves each weight by about the rate: at 1e30 the squares overflow.
    overrides = {"finetune.learning_rate": 1e30, "finetune.checkpoint_steps": 1}
    context = toy.context(overrides=overrides)
    with pytest.raises(StageFailure) as caught:
        execute(context)
    assert "diverged at step" in caught.value.happened
    assert "finetune.learning_rate" in caught.value.next_step
    assert all(np.isfinite(loss) for loss in losses(context).values())
    assert (context.folder / "checkpoint" / "manifest.json").is_file()
    # What is advised is another result, so this checkpoint is no help to it.
    training, other = find_stage("finetune"), {"finetune.learning_rate": 1e-5}
    assert settings_of(training, context.recipe) != settings_of(
        training, apply(context.recipe, other, "test")
    )
    assert "heckpoint" not in caught.value.safe
    assert "begins at the first step" in caught.value.next_step


def test_a_divergence_that_the_validation_sees_first_is_told_as_one(toy):
    # The last step's loss is finite, and what it made of the weights is not.
    overrides = {
        "finetune.learning_rate": 1e38,
        "finetune.batch_size": 1000,
        "finetune.auto_scale": False,
        "finetune.epochs": 1,
        "finetune.warmup_steps": 0,
        "finetune.gradient_clip": 0.0,
    }
    with pytest.raises(StageFailure) as caught:
        execute(toy.context(overrides=overrides))
    assert "diverged by step 1: the model gives numbers that are not" in caught.value.happened
    assert "--set finetune.learning_rate=1e+37" in caught.value.next_step


def test_one_example_is_refused(toy):
    examples = list(read_training(toy.root / "prep"))
    write_training(toy.root / "prep", examples[:1])
    with pytest.raises(BadInput, match="1 training example"):
        execute(toy.context())


def test_a_training_without_negatives_is_refused_before_it_begins(toy):
    examples = [replace(e, negatives=()) for e in read_training(toy.root / "prep")]
    write_training(toy.root / "prep", examples)
    context = toy.context(overrides={"finetune.in_batch_negatives": False})
    with pytest.raises(BadInput, match="No batch of this training has a negative"):
        execute(context)
    assert not context.events.of("metric")


def test_an_example_of_another_corpus_is_refused_by_name(toy):
    examples = list(read_training(toy.root / "prep"))
    write_training(toy.root / "prep", [replace(examples[0], positives=("p-gone",)), *examples])
    with pytest.raises(BadInput, match=r"q-000.*p-gone"):
        execute(toy.context())


@pytest.fixture
def small_memory(monkeypatch):
    """Training passes of more texts than `texts` find the memory full, from the n-th on."""

    def limit(texts, after=0, error=torch.OutOfMemoryError):
        passes = []
        whole = Engine.forward

        def forward(engine, batch):
            if len(batch) > texts:
                passes.append(len(batch))
                if len(passes) > after:
                    raise error("CUDA out of memory. Tried to allocate 20.00 GiB")
            return whole(engine, batch)

        monkeypatch.setattr(Engine, "forward", forward)

    return limit


def test_after_a_full_memory_training_goes_on_with_less_at_once_and_says_so(toy, small_memory):
    small_memory(texts=4, after=60)
    context = toy.context()
    outcome = execute(context)
    told = [entry["message"] for entry in context.events.of("log")]
    assert any(message.startswith("The memory was full in step") for message in told)
    assert min(losses(context)) == 1
    assert outcome.summary["steps"] == 48
    assert outcome.summary["dev_ndcg_at_10"] > outcome.summary["dev_ndcg_at_10_base"] + 0.2


@pytest.mark.parametrize("texts", [4, 8])
def test_another_micro_batch_is_the_same_result(texts):
    before, after = Recipe(), apply(Recipe(), {"finetune.micro_batch_size": texts}, "test")
    training = find_stage("finetune")
    assert settings_of(training, before) == settings_of(training, after)


def test_on_a_cpu_the_machine_s_choice_is_eight_texts_bit_for_bit(toy, undisturbed):
    context = toy.context(overrides={"finetune.micro_batch_size": 8})
    execute(context)
    assert digest_folder(context.folder / "model") == digest_folder(undisturbed[0].folder / "model")


def test_a_text_that_alone_is_too_much_has_no_remedy_and_says_so(toy, small_memory):
    small_memory(texts=0, after=2)  # those that the machine is measured with
    with pytest.raises(StageFailure) as caught:
        execute(toy.context(overrides={"finetune.micro_batch_size": 1}))
    assert caught.value.remedy == {}
    assert "every text went through it alone" in caught.value.happened
    assert "encoder.passage_tokens" in caught.value.next_step
    assert "--set finetune.gradient_checkpointing=true" in caught.value.next_step


def test_a_memory_that_is_full_before_the_first_step_offers_the_smaller_setting(toy, small_memory):
    small_memory(texts=4)
    with pytest.raises(StageFailure) as caught:
        execute(toy.context())
    assert caught.value.remedy == {"finetune.micro_batch_size": 4}
    assert "--set finetune.micro_batch_size=4" in caught.value.next_step
    assert "finetune.micro_batch_size = 0" in caught.value.happened


def test_a_memory_that_is_full_while_dev_texts_are_encoded_names_the_other_setting(toy, scripted):
    full = scripted(stop_at=30, error=torch.OutOfMemoryError)
    with pytest.raises(StageFailure) as caught:
        execute(toy.context(control=full))
    assert "encoder.batch_size" in caught.value.happened
    assert caught.value.remedy == {}, "on a CPU texts are encoded one by one"


def test_a_rehearsal_says_so_on_its_card_and_in_its_summary(toy):
    profile = known_profiles()[REHEARSAL_PROFILE]
    overrides = {
        "profile": profile.id,
        "finetune.epochs": 1,
        "finetune.batch_size": 48,
        "finetune.learning_rate": 3e-5,
    }
    context = toy.context(overrides=overrides, profile=profile)
    outcome = execute(context)
    assert outcome.summary["rehearsal"] is True
    card = (context.folder / "model" / "README.md").read_text()
    assert "# Rehearsal: " in card
    assert "**This is a rehearsal.**" in card
    json.dumps(outcome.summary, allow_nan=False)
