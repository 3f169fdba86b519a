"""The recipe: published defaults, round trips, refusals by name, scaling rules."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadRecipe
from pipeline.recipe import Recipe, apply, flatten, parse_setting, read_overrides, write_overrides
from pipeline.schedule import schedule_for
from pipeline.settings import FinetuneSettings


def test_the_published_numbers_are_the_defaults():
    flat = flatten(Recipe())
    published = {
        "profile": "nvidia/llama-nemotron-embed-1b-v2",
        "sdg.model": "nvidia/nemotron-3-nano-30b-a3b",
        "sdg.threshold": 7.0,
        "sdg.questions_per_document": 7,
        "sdg.complexity_min": 2,
        "sdg.hops_max": 3,
        "prep.hard_negatives": 5,
        "prep.positive_percentage": 0.95,
        "finetune.epochs": 3,
        "finetune.learning_rate": 1e-5,
        "finetune.warmup_steps": 5,
        "finetune.schedule": "cosine",
        "finetune.batch_size": 128,
        "finetune.hard_negatives": 4,
        "finetune.temperature": 0.02,
        "encoder.query_tokens": 512,
        "encoder.passage_tokens": 512,
        "eval.k": (1, 5, 10, 100),
        "export.opset": 17,
        "verify.tolerance_low_k": 0.03,
        "verify.tolerance": 0.01,
    }
    assert {name: flat[name] for name in published} == published


def test_a_recipe_survives_its_file(tmp_path):
    changed = apply(Recipe(), {"eval.k": [1, 3], "sdg.threshold": 8, "seed": 7}, "here")
    path = tmp_path / "recipe.toml"
    write_overrides(path, flatten(changed))
    assert apply(Recipe(), read_overrides(path), str(path)) == changed


def test_an_unknown_setting_is_refused_with_the_nearest_name():
    with pytest.raises(BadRecipe, match=r"no setting sdg\.treshold") as caught:
        apply(Recipe(), {"sdg.treshold": 7}, "recipe.toml")
    assert "sdg.threshold" in caught.value.next_step


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("finetune.epochs", 0),
        ("finetune.epochs", 1.5),
        ("finetune.learning_rate", float("nan")),
        ("finetune.learning_rate", float("inf")),
        ("sdg.base_url", "https://me:secret@host/v1"),
        ("finetune.epochs", True),
        ("finetune.schedule", "square"),
        ("sdg.threshold", 11),
        ("sdg.complexity_min", 6),
        ("prep.positive_percentage", 1.2),
        ("prep.positive_percentage", 0),
        ("prep.positive_percentage", -0.95),
        ("eval.k", []),
        ("eval.k", [0]),
        ("export.dtypes", ["int8"]),
        ("finetune.hard_negatives", 9),
        ("finetune.contrastive_weight", 0),
        ("finetune.positives", "several"),
        ("finetune.matryoshka_dimensions", [0]),
        ("finetune.distillation.loss", "huber"),
        ("finetune.false_negatives.margin", 1.5),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(BadRecipe, match=name.replace(".", r"\.")):
        apply(Recipe(), {name: value}, "--set")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.95, 1])
def test_a_share_of_the_positives_score_up_to_all_of_it_is_taken(share):
    applied = apply(Recipe(), {"prep.positive_percentage": share}, "test")
    assert applied.prep.positive_percentage == share


def test_distillation_without_a_teacher_is_refused_by_name():
    with pytest.raises(BadRecipe, match=r"finetune\.distillation\.teacher"):
        apply(Recipe(), {"finetune.distillation.weight": 1.0}, "--set")
    taught = {"finetune.distillation.weight": 1.0, "finetune.distillation.teacher": "base"}
    assert apply(Recipe(), {**taught, "finetune.contrastive_weight": 0}, "--set")


@pytest.mark.parametrize("content", ["profile = ", "format = 99\n"])
def test_an_unreadable_recipe_is_refused_by_path(tmp_path, content):
    path = tmp_path / "recipe.toml"
    path.write_text(content)
    with pytest.raises(BadRecipe, match=r"recipe\.toml"):
        read_overrides(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sdg.threshold=7.5", ("sdg.threshold", 7.5)),
        ("sdg.model=nvidia/some-model", ("sdg.model", "nvidia/some-model")),
        ("eval.k=[1, 3]", ("eval.k", [1, 3])),
        ("sdg.base_url=http://127.0.0.1:1/v1?a=b", ("sdg.base_url", "http://127.0.0.1:1/v1?a=b")),
    ],
)
def test_a_setting_is_read_as_toml_or_as_a_word(text, expected):
    assert parse_setting(text) == expected


def test_the_published_scaling_rule():
    settings = FinetuneSettings()
    batches = {n: schedule_for(n, settings).batch_size for n in (20, 135, 136, 300, 512, 1999)}
    assert batches == {20: 16, 135: 16, 136: 17, 300: 37, 512: 64, 1999: 64}
    assert schedule_for(2000, settings).batch_size == 128
    kept = dataclasses.replace(settings, auto_scale=False)
    assert schedule_for(300, kept).batch_size == 128


@pytest.mark.parametrize(
    ("examples", "intervals"), [(1999, 32), (2000, 16), (4266, 34), (12_800, 100)]
)
def test_every_size_of_data_has_three_checkpoints_and_validations(examples, intervals):
    schedule = schedule_for(examples, FinetuneSettings())
    assert schedule.checkpoint_steps == schedule.validation_steps == intervals
    kept = schedule_for(examples, FinetuneSettings(auto_scale=False))
    assert kept.checkpoint_steps == kept.validation_steps == 100


def test_an_interval_that_comes_up_often_enough_stays():
    schedule = schedule_for(2000, FinetuneSettings(checkpoint_steps=16, validation_steps=17))
    assert schedule.total_steps == 48
    assert (schedule.checkpoint_steps, schedule.validation_steps) == (16, 16)


@given(examples=st.integers(1, 20_000), epochs=st.integers(1, 5), warmup=st.integers(0, 50))
def test_no_data_size_breaks_the_schedule(examples, epochs, warmup):
    settings = FinetuneSettings(epochs=epochs, warmup_steps=warmup)
    schedule = schedule_for(examples, settings)
    assert 1 <= schedule.batch_size <= max(128, examples)
    assert schedule.total_steps == schedule.steps_per_epoch * epochs
    assert schedule.steps_per_epoch * schedule.batch_size >= examples
    assert 10 * schedule.warmup_steps <= schedule.total_steps
    for interval in (schedule.checkpoint_steps, schedule.validation_steps):
        assert interval >= 1
        assert schedule.total_steps // interval >= min(3, schedule.total_steps)


def test_a_table_of_a_technique_is_written_and_read_like_every_section(tmp_path):
    wanted = {"finetune.lora.rank": 8, "finetune.lora.modules": ["q_proj"], "finetune.epochs": 2}
    changed = apply(Recipe(), wanted, "here")
    assert changed.finetune.lora.rank == 8
    assert changed.finetune.lora.modules == ("q_proj",)
    assert changed.finetune.warmup == Recipe().finetune.warmup
    path = tmp_path / "recipe.toml"
    write_overrides(path, wanted)
    assert "[finetune.lora]" in path.read_text()
    assert apply(Recipe(), read_overrides(path), str(path)) == changed
    with pytest.raises(BadRecipe, match=r"finetune\.lora\.rnk"):
        apply(Recipe(), {"finetune.lora.rnk": 8}, "here")
    with pytest.raises(BadRecipe, match=r"finetune\.warmup\.objective"):
        apply(Recipe(), {"finetune.warmup.objective": "gpl"}, "here")


def test_a_technique_that_is_off_is_no_part_of_an_identity():
    from pipeline.identity import settings_of
    from pipeline.stage import find_stage

    settings = settings_of(find_stage("finetune"), Recipe())
    assert not [name for name in settings if name.startswith(("finetune.lora", "finetune.warmup."))]
    on = apply(Recipe(), {"finetune.lora.rank": 8}, "here")
    assert settings_of(find_stage("finetune"), on)["finetune.lora.rank"] == 8
