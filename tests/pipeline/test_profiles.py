"""Profiles: data, gated unless it is the rehearsal's, folders read for what they say."""

import json

import pytest

from pipeline.errors import BadInput, BadRecipe
from pipeline.profiles import (
    REHEARSAL_PROFILE,
    base_recipe,
    find_profile,
    known_profiles,
    profile_of,
    weights_folder,
)
from pipeline.recipe import Recipe, apply
from pipeline.weights import weights_digest


def test_every_profile_but_the_rehearsal_s_is_gated(tmp_path):
    assert {p.id for p in known_profiles().values() if not p.gated} == {REHEARSAL_PROFILE}
    folder = weights_folder(find_profile(REHEARSAL_PROFILE))
    assert find_profile(str(folder)).gated, "the same weights as a folder are gated too"
    assert not find_profile(str(folder)).rehearsal


def test_every_profile_s_own_defaults_make_a_valid_recipe():
    for profile in known_profiles().values():
        assert base_recipe(profile).profile == profile.id


def test_an_unknown_profile_is_refused_with_the_nearest():
    with pytest.raises(BadRecipe) as caught:
        find_profile("nvidia/llama-nemotron-embed-1b")
    assert "nvidia/llama-nemotron-embed-1b-v2" in caught.value.next_step


def test_a_folder_says_itself_how_it_pools():
    profile = find_profile(str(weights_folder(find_profile(REHEARSAL_PROFILE))))
    assert (profile.pooling, profile.normalize, profile.dimension, profile.tokens_max) == (
        "mean",
        True,
        384,
        256,
    )


def test_a_folder_with_foreign_modules_is_refused(tmp_path):
    (tmp_path / "modules.json").write_text(
        json.dumps([{"type": "x.Transformer"}, {"type": "Dense"}])
    )
    with pytest.raises(BadInput, match="Dense"):
        find_profile(str(tmp_path))
    (tmp_path / "modules.json").unlink()
    with pytest.raises(BadInput, match=r"modules\.json"):
        find_profile(str(tmp_path))


def test_weights_are_hashed_once_and_noticed_when_changed(tmp_path):
    cache = tmp_path / "cache"
    first = weights_digest(find_profile(REHEARSAL_PROFILE), cache)
    assert (cache / "weights.json").is_file()
    assert weights_digest(find_profile(REHEARSAL_PROFILE), cache) == first


def test_an_instruction_takes_its_place_in_the_query_prefix_alone():
    large = "nvidia/llama-embed-nemotron-8b"
    recipe = apply(Recipe(), {"profile": large, "encoder.instruction": "Find the\nlaw {0}"}, "here")
    profile, plain = profile_of(recipe), profile_of(apply(Recipe(), {"profile": large}, "here"))
    assert profile.query_prefix == "Instruct: Find the law {0}\nQuery: "
    assert profile.passage_prefix == ""
    assert plain == find_profile(large)


def test_an_instruction_for_a_model_that_takes_none_is_refused():
    with pytest.raises(BadRecipe, match="takes no instruction") as caught:
        profile_of(apply(Recipe(), {"encoder.instruction": "x"}, "here"))
    assert "llama-embed-nemotron-8b" in caught.value.next_step
