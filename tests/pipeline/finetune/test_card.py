"""The model card: true, complete, and free of this machine."""

from __future__ import annotations

from dataclasses import replace

import yaml

from pipeline.finetune.card import Facts, model_card
from pipeline.profiles import REHEARSAL_PROFILE, find_profile, known_profiles
from pipeline.recipe import EncoderSettings, FinetuneSettings, Recipe

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
