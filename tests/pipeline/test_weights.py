"""The identity of weights: what is remembered may be lost, and damage is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.errors import BadInput, MissingPart
from pipeline.profiles import REHEARSAL_PROFILE, find_profile
from pipeline.weights import find_weights, folder_digest


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "model"
    made.mkdir()
    (made / "model.safetensors").write_bytes(b"weights")
    (made / "config.json").write_text("{}")
    return made


@pytest.mark.parametrize("content", ["", "[1]", '{"a":', "\x00\x00"])
def test_a_damaged_memory_of_digests_is_made_again(folder, tmp_path, content):
    digest = folder_digest(folder, tmp_path / "cache")
    memory = tmp_path / "cache" / "weights.json"
    whole = memory.read_bytes()
    memory.write_text(content)
    assert folder_digest(folder, tmp_path / "cache") == digest
    assert memory.read_bytes() == whole


def test_the_digest_follows_the_files_and_no_other_ones(folder, tmp_path):
    digest = folder_digest(folder, tmp_path)
    (folder / "README.md").write_text("card")
    assert folder_digest(folder, tmp_path) == digest
    (folder / "model.safetensors").write_bytes(b"WEIGHTS")
    assert folder_digest(folder, tmp_path) != digest
    with pytest.raises(MissingPart, match="no folder"):
        folder_digest(folder / "nothing", tmp_path)


@pytest.mark.parametrize(
    "content", ["{}", "[]", '{"weight_map": ["a"]}', '{"weight_map": {"a": 1}}']
)
def test_a_list_of_shards_that_says_nothing_is_refused(folder, monkeypatch, content):
    profile = replace(find_profile(REHEARSAL_PROFILE), id=str(folder))
    monkeypatch.setattr("pipeline.weights.weights_folder", lambda profile: folder)
    assert find_weights(profile).size == 9
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(BadInput, match="which files hold the weights"):
        find_weights(profile)
