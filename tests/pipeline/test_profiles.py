"""Profiles: data, gated unless it is the rehearsal's, folders read for what they say."""

import json
import shutil
from pathlib import Path

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


@pytest.fixture
def described(tmp_path):
    """What a sentence-transformers folder says of itself; its weights are not there."""
    folder = weights_folder(find_profile(REHEARSAL_PROFILE))
    return Path(
        shutil.copytree(folder, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("1_Pooling/config.json", None, "it has no 1_Pooling/config.json"),
        ("1_Pooling/config.json", '{"pooling', "1_Pooling/config.json can't be read"),
        ("1_Pooling/config.json", "[]", "1_Pooling/config.json holds no JSON object"),
        ("1_Pooling/config.json", '{"pooling_mode": "mean"}', "says no dimension"),
        ("1_Pooling/config.json", '{"pooling_mode": "weightedmean"}', "mean, cls and last are"),
        ("1_Pooling/config.json", '{"pooling_mode_max_tokens": true}', "mean, cls and last are"),
        ("1_Pooling/config.json", "{}", "mean, cls and last are"),
        ("modules.json", None, "it has no modules.json"),
        ("modules.json", "{", "modules.json can't be read"),
        ("modules.json", '{"a": 1}', "modules.json lists no modules"),
        ("modules.json", "[1]", "modules.json lists no modules"),
        ("config.json", None, "it has no config.json"),
        ("config.json", "\x80", "config.json can't be read"),
        ("config.json", "7", "config.json holds no JSON object"),
        ("config.json", '{"max_position_embeddings": "many"}', "says no max_position_embeddings"),
        (
            "config.json",
            '{"model_type": "roberta", "pad_token_id": [1]}',
            r"says no pad_token_id \(\[1\]\)",
        ),
        ("config_sentence_transformers.json", "[]", "holds no JSON object"),
        ("config_sentence_transformers.json", '{"prompts": [1]}', "the prompts in"),
        ("config_sentence_transformers.json", '{"prompts": {"query": 1}}', "the prompts in"),
        ("sentence_bert_config.json", '{"max_seq_length": "long"}', "says no max_seq_length"),
        ("tokenizer_config.json", "{", "tokenizer_config.json can't be read"),
    ],
)
def test_a_damaged_folder_is_refused_with_what_is_wrong_in_it(described, name, content, said):
    path = described / name
    if content is None:
        path.unlink()
    else:
        path.write_text(content, encoding="latin-1")
    with pytest.raises(BadInput, match=said) as caught:
        find_profile(str(described))
    assert str(described) in caught.value.happened
    assert caught.value.safe
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("pooling", "understood"),
    [("mean", "mean"), ("cls", "cls"), ("lasttoken", "last"), ("last", "last")],
)
def test_a_pooling_is_understood_by_either_way_of_saying_it(described, pooling, understood):
    path = described / "1_Pooling" / "config.json"
    path.write_text(json.dumps({"pooling_mode": pooling, "embedding_dimension": 384}))
    assert find_profile(str(described)).pooling == understood
    named = {"mean": "mean_tokens", "cls": "cls_token"}.get(pooling, "lasttoken")
    flags = {f"pooling_mode_{named}": True, "word_embedding_dimension": 384}
    path.write_text(json.dumps(flags))
    assert find_profile(str(described)).pooling == understood


def edit(path, **changes):
    """Change entries of a JSON object; None takes one away."""
    document = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in document.items() if v is not None}))


def without_normalize(folder):
    path = folder / "modules.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:2]))


@pytest.mark.parametrize(
    ("similarity", "with_module", "normalize"),
    [
        (None, False, True),
        ("cosine", False, True),
        ("dot", False, False),
        (None, True, True),
        ("dot", True, True),
    ],
)
def test_vectors_stay_as_they_are_only_where_they_are_compared_by_dot_product(
    described, similarity, with_module, normalize
):
    edit(described / "config_sentence_transformers.json", similarity_fn_name=similarity)
    if not with_module:
        without_normalize(described)
    profile = find_profile(str(described))
    assert profile.normalize == normalize
    usual = Recipe().finetune.temperature
    assert base_recipe(profile).finetune.temperature == (usual if normalize else 1.0)


@pytest.mark.parametrize("similarity", ["euclidean", "manhattan", "maxsim", ["cosine"]])
def test_another_similarity_is_refused_by_name(described, similarity):
    edit(described / "config_sentence_transformers.json", similarity_fn_name=similarity)
    with pytest.raises(BadInput, match="similarity_fn_name") as caught:
        find_profile(str(described))
    assert repr(similarity) in caught.value.happened


@pytest.mark.parametrize("kind", ["query", "passage", "document"])
def test_a_model_that_leaves_its_prompts_out_of_the_pooling_is_refused(described, kind):
    edit(described / "1_Pooling" / "config.json", include_prompt=False)
    assert find_profile(str(described)).pooling == "mean", "without prompts it changes nothing"
    edit(described / "config_sentence_transformers.json", prompts={kind: "read: "})
    with pytest.raises(BadInput, match="include_prompt"):
        find_profile(str(described))
    edit(described / "1_Pooling" / "config.json", include_prompt=True)
    assert find_profile(str(described)).pooling == "mean"


KEEPS_CASE = {"type": "BertNormalizer", "lowercase": False}
LOWERCASES = {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}


@pytest.mark.parametrize(
    ("normalizer", "configured", "refused"),
    [
        ({"type": "BertNormalizer", "lowercase": True}, True, False),
        ({"type": "BertNormalizer", "lowercase": True}, False, True),
        ({"type": "Lowercase"}, None, False),
        (LOWERCASES, None, False),
        (KEEPS_CASE, None, True),
        ({"type": "Sequence", "normalizers": [{"type": "NFC"}]}, None, True),
        (None, None, True),
    ],
)
def test_texts_that_only_sentence_transformers_would_lowercase_are_refused(
    described, normalizer, configured, refused
):
    edit(described / "tokenizer.json", normalizer=normalizer)
    edit(described / "tokenizer_config.json", do_lower_case=configured)
    assert find_profile(str(described)), "do_lower_case is false"
    edit(described / "sentence_bert_config.json", do_lower_case=True)
    if not refused:
        assert find_profile(str(described)).tokens_max == 256
        return
    with pytest.raises(BadInput, match="do_lower_case"):
        find_profile(str(described))


def test_prompts_that_are_not_there_or_nothing_are_none(described):
    path = described / "config_sentence_transformers.json"
    path.write_text('{"prompts": {"query": null, "document": "read: ", "sts": null}}')
    profile = find_profile(str(described))
    assert (profile.query_prefix, profile.passage_prefix) == ("", "read: ")
    path.unlink()
    assert find_profile(str(described)).query_prefix == ""


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
