"""The model card: true, complete, and free of this machine."""

from __future__ import annotations

from dataclasses import replace

import yaml

from pipeline.finetune.card import Facts, model_card, techniques
from pipeline.finetune.forgetting import Forgetting
from pipeline.finetune.interpolation import Point
from pipeline.finetune.stopping import compare
from pipeline.profiles import REHEARSAL_PROFILE, find_profile, known_profiles
from pipeline.recipe import Recipe, apply
from pipeline.settings import EncoderSettings, FinetuneSettings

FACTS = Facts(
    examples=321,
    passages=1234,
    steps=56,
    batch_size=40,
    dev_queries=45,
    base_score=0.5,
    score=0.625,
    pooled=False,
)


def card_for(profile, facts=FACTS):
    return model_card(profile, EncoderSettings(), FinetuneSettings(), facts)


def test_it_tells_base_licence_counts_settings_and_scores():
    profile = known_profiles()[Recipe().profile]
    card = card_for(profile)
    for expected in (profile.id, profile.licence, "321", "1234", "0.5000", "0.6250", "1e-05"):
        assert expected in card
    assert "rehearsal" not in card.lower()
    assert "micro_batch_size" not in card


def test_its_metadata_is_yaml_that_names_the_base():
    profile = known_profiles()[REHEARSAL_PROFILE]
    metadata = yaml.safe_load(card_for(profile).split("---\n")[1])
    assert metadata["base_model"] == profile.id
    assert metadata["library_name"] == "sentence-transformers"
    assert "rehearsal" in metadata["tags"]


def test_a_rehearsal_is_named_in_the_title_and_in_a_notice():
    lines = card_for(known_profiles()[REHEARSAL_PROFILE]).splitlines()
    assert any(line.startswith("# Rehearsal: ") for line in lines)
    assert any(line.startswith("> **This is a rehearsal.**") for line in lines)


def test_a_base_in_a_folder_is_named_without_its_path(tiny_base):
    profile = find_profile(str(tiny_base))
    card = card_for(profile)
    assert str(tiny_base.parent) not in card
    assert "base_model" not in yaml.safe_load(card.split("---\n")[1])
    assert "tiny, fine-tuned" in card


def test_prefixes_and_licences_of_any_spelling_stay_in_their_place():
    odd = replace(
        known_profiles()[REHEARSAL_PROFILE], query_prefix='a "b"\nc: ', licence='x: "y"\n---'
    )
    metadata = yaml.safe_load(card_for(odd).split("---\n", 1)[1].split("\n---\n")[0])
    assert metadata["license_name"] == odd.licence


def test_without_dev_questions_there_is_no_score():
    facts = replace(FACTS, dev_queries=0, base_score=None, score=None)
    assert "these are the last weights" in card_for(known_profiles()[REHEARSAL_PROFILE], facts)


def test_every_technique_that_was_used_is_named_and_no_other():
    plain = card_for(known_profiles()[REHEARSAL_PROFILE])
    assert "- InfoNCE over mined hard negatives and the other passages of the batch" in plain
    for word in ("Matryoshka", "LoRA", "WiSE-FT", "ANCE", "early stopping", "distillation from"):
        assert word not in plain
    changed = {
        "finetune.lora.rank": 16,
        "finetune.refresh_negatives": True,
        "finetune.in_batch_negatives": False,
        "finetune.triplet.weight": 0.5,
    }
    settings = apply(Recipe(), changed, "test").finetune
    facts = replace(FACTS, stopped=True, cuts=(384, 128))
    said = "\n".join(techniques(settings, facts))
    for word in ("LoRA of rank 16", "ANCE", "early stopping", "384, 128", "triplet"):
        assert word in said
    assert "other passages" not in said


def test_files_of_this_machine_go_by_their_own_names():
    settings = replace(
        apply(Recipe(), {"finetune.tasks.sts": ["/home/secret/pairs.jsonl"]}, "test").finetune,
        probe="/home/secret/general",
    )
    profile = known_profiles()[REHEARSAL_PROFILE]
    card = model_card(profile, EncoderSettings(), settings, FACTS)
    assert "secret" not in card
    assert "pairs.jsonl" in card


def test_sweep_and_probe_have_their_tables():
    points = tuple(Point(alpha, 0.5 + alpha / 10, 0.8 - alpha / 10) for alpha in (0.0, 0.5, 1.0))
    lost = Forgetting("a set", True, 0.8, 0.75, compare((0.7, 0.8), (0.8, 0.8)), 0.02)
    facts = replace(
        FACTS,
        points=points,
        kept=points[1],
        forgetting=lost,
        gain=compare((0.9, 0.7) * 4, (0.5,) * 8),
    )
    card = card_for(known_profiles()[REHEARSAL_PROFILE], facts)
    assert "| 0.5 | 0.5500 | 0.7500 |" in card
    assert "0.5 of the base's and 0.5 of the tuned ones" in card
    assert "**More was lost than is tolerated.**" in card
    assert "| this one | 0.7500 |" in card
    assert "The gain over the base is +0.3000 (95 % interval" in card


def test_where_a_task_lies_changes_nothing():
    cards = [
        model_card(
            known_profiles()[REHEARSAL_PROFILE],
            EncoderSettings(),
            apply(Recipe(), {"finetune.tasks.sts": [path]}, "test").finetune,
            FACTS,
        )
        for path in ("data/pairs.jsonl", "pairs.jsonl", "/elsewhere/pairs.jsonl")
    ]
    assert cards[0] == cards[1] == cards[2]


def test_without_mined_negatives_none_are_claimed():
    settings = apply(Recipe(), {"finetune.hard_negatives": 0}, "test").finetune
    (said, *_) = techniques(settings, FACTS)
    assert said.startswith("InfoNCE over the other passages of the batch;")
