"""What guards a training, in the stage as a whole: stopping, forgetting, refreshing, failing."""

from __future__ import annotations

import json
import random
import re
import shutil
from dataclasses import replace

import pytest
import torch

from pipeline.beir import EvalSet, write_beir
from pipeline.encoder import load_encoder
from pipeline.errors import BadInput, Cancelled, StageFailure, Terminated
from pipeline.files import digest_folder, write_jsonl
from pipeline.finetune import stopping
from pipeline.finetune.engine import Engine
from pipeline.finetune.stage import execute
from pipeline.identity import settings_of
from pipeline.prep.records import read_training, write_training
from pipeline.profiles import find_profile
from pipeline.recipe import Recipe, apply
from pipeline.settings import EncoderSettings
from pipeline.stage import find_stage

SHORT = {"finetune.epochs": 3, "finetune.validation_steps": 6}
"""Eighteen steps."""


@pytest.fixture
def general(toy):
    """What the training makes alike is to be told apart: question words and passage words."""
    numbers = range(12)
    task = EvalSet(
        {f"q-{n}": f"p{n} n{n}" for n in numbers},
        {f"p-{n}{kind}": f"{kind}{n} {kind}{n} n{n}" for n in numbers for kind in "pq"},
        {f"q-{n}": {f"p-{n}p": 1} for n in numbers},
    )
    write_beir(toy.root / "general", task, "test")
    return {"finetune.probe": str(toy.root / "general")}


def logs(context, words):
    return [e for e in context.events.of("log") if words in e["message"]]


def test_early_stopping_says_that_few_questions_cannot_tell_and_goes_on(toy):
    overrides = {"finetune.patience": 1, "finetune.learning_rate": 0.0, "finetune.epochs": 4}
    context = toy.context(overrides=overrides)
    outcome = execute(context)
    assert outcome.summary["steps"] == 24
    assert not outcome.summary["stopped_early"]
    (said,) = logs(context, "can't tell that from noise")
    assert "16 dev questions" in said["message"]
    assert said["level"] == "warning"


def test_early_stopping_ends_where_the_questions_can_tell(toy, monkeypatch):
    monkeypatch.setattr(stopping, "QUERIES_MIN", 10)
    overrides = {"finetune.patience": 1, "finetune.learning_rate": 0.0, "finetune.epochs": 8}
    context = toy.context(overrides=overrides)
    outcome = execute(context)
    assert outcome.summary["steps"] == 20, "nothing changes, so the second validation ends it"
    assert outcome.summary["best_step"] == 10
    assert outcome.summary["stopped_early"]
    assert not outcome.partial
    assert logs(context, "training ends here")
    assert not any("Ended early" in warning for warning in outcome.summary["warnings"])
    assert "early stopping" in (context.folder / "model" / "README.md").read_text()


def test_what_was_forgotten_is_in_summary_journal_and_card(toy, general):
    context = toy.context(overrides={**general, "finetune.probe_tolerance": 0.001})
    outcome = execute(context)
    probe = outcome.summary["probe"]
    assert probe["queries"] == 12
    assert probe["ndcg_at_10"] < probe["ndcg_at_10_base"]
    assert any("The model forgot" in warning for warning in outcome.summary["warnings"])
    (told,) = context.events.of("metric", "probe_ndcg_at_10")
    assert told["probe_ndcg_at_10"] == probe["ndcg_at_10"]
    card = (context.folder / "model" / "README.md").read_text()
    assert "More was lost than is tolerated" in card
    assert str(toy.root) not in card
    json.dumps(outcome.summary, allow_nan=False)


def test_interpolation_keeps_the_chosen_mean_and_records_the_sweep(toy, general):
    overrides = {**SHORT, **general, "finetune.interpolate": True}
    overrides["finetune.probe_tolerance"] = 0.05
    context = toy.context(overrides=overrides)
    outcome = execute(context)
    swept = outcome.summary["interpolation"]
    assert [point["alpha"] for point in swept["points"]] == [0.0, 0.25, 0.5, 0.75, 1.0]
    base = swept["points"][0]
    within = [p for p in swept["points"] if base["probe"] - p["probe"] <= 0.05]
    best = max(within, key=lambda point: (point["dev"], -point["alpha"]))
    assert swept["alpha"] == best["alpha"]
    assert outcome.summary["dev_ndcg_at_10"] == best["dev"]
    assert outcome.summary["probe"]["ndcg_at_10"] == best["probe"]
    assert 0 < swept["alpha"] < 1, "the toy no longer tells"
    assert outcome.summary["dev_gain"]["mean"] == pytest.approx(best["dev"] - base["dev"])
    assert (
        f"{swept['alpha']:g} of the tuned ones"
        in (context.folder / "model" / "README.md").read_text()
    )

    tuned = toy.context("tuned", overrides=SHORT)
    execute(tuned)
    base_weights, tuned_weights, kept = (
        dict(
            load_encoder(f, context.profile, context.recipe.encoder, "cpu").model.named_parameters()
        )
        for f in (toy.base, tuned.folder / "model", context.folder / "model")
    )
    alpha = swept["alpha"]
    for name, value in kept.items():
        assert torch.allclose(
            value, (1 - alpha) * base_weights[name] + alpha * tuned_weights[name], atol=1e-6
        )


class AfterTheLastStep:
    """A control that asks to leave while the probe is measured after the training."""

    finish_asked = False
    events = None

    def poll(self):
        told = self.events.events
        if self.events.of("metric", "loss") and told[-1][1].get("what", "").startswith("probe"):
            raise Cancelled


def test_who_leaves_while_the_probe_is_measured_has_no_step_to_repeat(toy, general):
    overrides = {**SHORT, **general, "finetune.checkpoint_steps": 100}
    stopped = toy.context("stopped", overrides=overrides, control=AfterTheLastStep())
    stopped.control.events = stopped.events
    with pytest.raises(Cancelled):
        execute(stopped)
    again = toy.context("stopped", overrides=overrides)
    execute(again)
    assert again.events.of("resumed") == [{"step": 18}]
    assert not again.events.of("metric", "loss")


def test_without_dev_questions_nothing_is_interpolated_and_that_is_said(toy_without_dev):
    overrides = {"finetune.epochs": 1, "finetune.interpolate": True}
    outcome = execute(toy_without_dev.context(overrides=overrides))
    assert "interpolation" not in outcome.summary
    assert any("finetune.interpolate chooses" in said for said in outcome.summary["warnings"])


def test_refreshed_negatives_come_from_the_weights_of_their_epoch(toy, monkeypatch):
    overrides = {**SHORT, "finetune.refresh_negatives": True, "prep.rule": "top"}
    context = toy.context(overrides=overrides)
    monkeypatch.setattr("pipeline.finetune.checkpoint.Checkpoints.remove", lambda self: None)
    outcome = execute(context)
    assert outcome.summary["steps"] == 18
    files = sorted((context.folder / "checkpoint").glob("negatives-*.json"))
    assert [path.name for path in files] == ["negatives-1.json", "negatives-2.json"]
    first, second = (json.loads(path.read_text()) for path in files)
    examples = list(read_training(toy.root / "prep"))
    before = [[key for key, _ in example.negatives] for example in examples]
    assert len(first) == len(second) == len(examples)
    assert first != before
    assert second != first
    assert all(not {*mined} & {*e.positives} for e, mined in zip(examples, second, strict=True))
    plain = toy.context("plain", overrides=SHORT)
    execute(plain)
    told, other = (
        {e["step"]: e["loss"] for e in c.events.of("metric", "loss")} for c in (context, plain)
    )
    assert [told[step] == other[step] for step in range(1, 7)] == [True] * 6
    assert told[8] != other[8]


def test_a_question_that_finds_no_negative_keeps_those_of_the_base(toy):
    # A limit below every cosine leaves none.
    settings = {"prep.rule": "absolute", "prep.score_max": -1.0}
    overrides = {"finetune.epochs": 2, "finetune.refresh_negatives": True, **settings}
    context = toy.context(overrides=overrides)
    execute(context)
    (said,) = logs(context, "mined anew")
    assert "48 have none that the rule allows" in said["message"]
    plain = toy.context("plain", overrides={"finetune.epochs": 2})
    execute(plain)
    told, other = (
        {e["step"]: e["loss"] for e in c.events.of("metric", "loss")} for c in (context, plain)
    )
    assert told == other


def test_one_epoch_leaves_nothing_to_refresh_and_that_is_said(toy_without_dev):
    overrides = {"finetune.epochs": 1, "finetune.refresh_negatives": True}
    context = toy_without_dev.context(overrides=overrides)
    warnings = execute(context).summary["warnings"]
    assert any("nothing was mined anew" in warning for warning in warnings)
    assert "ANCE" not in (context.folder / "model" / "README.md").read_text()


def test_with_everything_on_a_training_goes_on_with_the_same_bits(toy, general, scripted):
    overrides = {
        **SHORT,
        **general,
        "finetune.refresh_negatives": True,
        "finetune.interpolate": True,
        "finetune.patience": 2,
        "finetune.checkpoint_steps": 4,
    }
    calm = toy.context("calm", overrides=overrides)
    expected = execute(calm)
    polls = calm.control.polls
    seed = random.randrange(10**6)
    for stop_at in sorted(random.Random(seed).sample(range(1, polls), k=2)):
        shutil.rmtree(toy.root / "finetune" / "stopped", ignore_errors=True)
        control = scripted(stop_at=stop_at, error=random.choice([Terminated, Cancelled]))
        with pytest.raises((Terminated, Cancelled)):
            execute(toy.context("stopped", overrides=overrides, control=control))
        again = toy.context("stopped", overrides=overrides)
        found = execute(again)
        assert found.summary["interpolation"] == expected.summary["interpolation"], (seed, stop_at)
        assert digest_folder(again.folder / "model") == digest_folder(calm.folder / "model"), (
            f"seed {seed}, poll {stop_at} of {polls}"
        )


def test_a_damaged_checkpoint_is_said_and_the_training_begins_anew(toy, undisturbed, scripted):
    calm, _ = undisturbed
    with pytest.raises(Terminated):
        execute(toy.context("torn", control=scripted(stop_at=83, error=Terminated)))
    (state,) = (toy.root / "finetune" / "torn" / "checkpoint").glob("state-*")
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
    again = toy.context("torn")
    execute(again)
    (said,) = logs(again, "checkpoint can't be used")
    assert said["level"] == "warning"
    assert not again.events.of("resumed")
    assert digest_folder(again.folder / "model") == digest_folder(calm.folder / "model")


@pytest.fixture
def vanishing_gpu(monkeypatch):
    """From the n-th forward pass on, the GPU is gone."""

    def at(count, error):
        passes = []
        whole = Engine.forward

        def forward(engine, batch):
            passes.append(len(batch))
            if len(passes) > count:
                raise error
            return whole(engine, batch)

        monkeypatch.setattr(Engine, "forward", forward)
        return monkeypatch

    return at


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: unspecified launch failure\nCUDA kernel errors ..."),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("cuBLAS error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    ],
)
def test_a_gpu_that_vanishes_names_the_checkpoint_to_go_on_from(
    toy, vanishing_gpu, scripted, error
):
    patched = vanishing_gpu(80, error)
    overrides = {"finetune.checkpoint_steps": 3, "finetune.validation_steps": 100}
    with pytest.raises(StageFailure) as caught:
        execute(toy.context("gone", overrides=overrides))
    assert str(error).splitlines()[0] in caught.value.happened
    (step,) = re.findall(r"checkpoint of step (\d+)", caught.value.safe)
    assert f"from step {step}" in caught.value.next_step
    patched.undo()
    again = toy.context("gone", overrides=overrides, control=scripted(finish_at=2))
    execute(again)
    assert again.events.of("resumed") == [{"step": int(step)}]


def test_a_gpu_that_vanishes_while_a_training_is_taken_up_names_the_checkpoint_too(
    toy, monkeypatch, scripted
):
    with pytest.raises(Terminated):
        execute(toy.context("gone", control=scripted(stop_at=83, error=Terminated)))
    manifest = json.loads((toy.root / "finetune/gone/checkpoint/manifest.json").read_text())
    step = manifest["progress"]["step"]

    def lost(*_):
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr("pipeline.finetune.preparation.measure", lost)
    overrides = {"finetune.probe": "python"}
    with pytest.raises(StageFailure) as caught:
        execute(toy.context("gone", overrides=overrides))
    assert f"checkpoint of step {step} is whole" in caught.value.safe


def test_a_gpu_that_vanishes_before_the_first_checkpoint_says_so(toy, vanishing_gpu):
    vanishing_gpu(3, RuntimeError("CUDA error: device-side assert triggered"))
    with pytest.raises(StageFailure) as caught:
        execute(toy.context())
    assert "No checkpoint was due yet" in caught.value.safe
    assert "begins at the first step" in caught.value.next_step


def test_another_error_of_the_machine_keeps_its_own_name(toy, vanishing_gpu):
    vanishing_gpu(3, RuntimeError("a matrix of the wrong shape"))
    with pytest.raises(RuntimeError, match="wrong shape"):
        execute(toy.context())


def test_all_identical_passages_are_refused_before_training(toy):
    corpus = toy.root / "corpus" / "passages.jsonl"
    rows = [json.loads(line) for line in corpus.read_text().splitlines()]
    write_jsonl(corpus, ({**row, "text": "p1 p1 n1"} for row in rows))
    context = toy.context()
    with pytest.raises(BadInput, match="has a negative for any query"):
        execute(context)
    assert not context.events.of("metric", "loss")


def test_one_document_of_one_passage_is_refused_before_training(toy):
    examples = [
        replace(e, positives=("p-000",), negatives=()) for e in read_training(toy.root / "prep")
    ]
    write_training(toy.root / "prep", examples)
    with pytest.raises(BadInput, match="has a negative for any query"):
        execute(toy.context())


def test_the_published_guidance_is_told_with_the_setting_that_takes_it(toy):
    context = toy.context(overrides={"finetune.epochs": 4})
    outcome = execute(context)
    (said,) = logs(context, "published guidance")
    assert "--set finetune.epochs=3" in said["message"]
    assert outcome.summary["suggestion"]["settings"]["finetune.epochs"] == 3


def test_a_result_of_another_version_of_the_checkpoint_is_said(toy):
    context = toy.context(overrides={"finetune.epochs": 1})
    folder = context.folder / "checkpoint"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"format": 1}')
    execute(context)
    assert logs(context, "written by another version")


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_token_numbered_beyond_the_embedding_table_is_refused_at_load(tiny_base, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(tiny_base, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["n19"] = 4000
    edit(folder / "tokenizer.json", model={**tokenizer["model"], "vocab": vocabulary})
    with pytest.raises(BadInput, match=r"'n19' 4000.*ends at 55"):
        load_encoder(folder, find_profile(str(folder)), EncoderSettings(), "cpu")


def test_positions_that_begin_after_the_padding_are_not_counted_as_tokens(tiny_base, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(tiny_base, folder)
    for name, key in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        edit(folder / name, **{key: 514})
    edit(folder / "config.json", model_type="xlm-roberta", max_position_embeddings=514)
    edit(folder / "config.json", pad_token_id=1)
    assert find_profile(str(folder)).tokens_max == 512


def test_lengths_beyond_the_model_are_cut_and_that_is_said(toy):
    overrides = {"finetune.epochs": 1, "encoder.passage_tokens": 512}
    outcome = execute(toy.context(overrides=overrides))
    (said,) = [warning for warning in outcome.summary["warnings"] if "512" in warning]
    assert "encoder.passage_tokens = 512" in said
    assert "48 tokens" in said


def test_another_probe_is_another_result_and_no_probe_is_the_one_of_before():
    training = find_stage("finetune")
    plain = settings_of(training, Recipe())
    assert not {name for name in plain if "probe" in name}
    probed = apply(Recipe(), {"finetune.probe": "python"}, "test")
    assert settings_of(training, probed)["finetune.probe"] == "python"
