"""Saved folders: compared as their base is, and never taken for written on a full disk."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from full_disk import on_a_full_disk

from pipeline.encoder import load_encoder
from pipeline.errors import SystemRefusal
from pipeline.profiles import REHEARSAL_PROFILE, find_profile, weights_folder
from pipeline.settings import EncoderSettings

TEXTS = ["How do I open a file?", "os.path.join joins one or more path segments.", "A cat."]


@pytest.fixture(params=[None, "cosine", "dot"])
def unscaled(request, tmp_path):
    """MiniLM without its Normalize module, and what it says of its similarity."""
    folder = shutil.copytree(weights_folder(find_profile(REHEARSAL_PROFILE)), tmp_path / "base")
    modules = folder / "modules.json"
    modules.write_text(json.dumps(json.loads(modules.read_text())[:2]))
    named = {"similarity_fn_name": request.param} if request.param else {}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(named))
    return folder


def test_a_model_without_normalize_keeps_its_similarity_here_and_when_saved(unscaled, tmp_path):
    from sentence_transformers import SentenceTransformer

    def theirs(folder):
        model = SentenceTransformer(str(folder), device="cpu")
        vectors = model.encode(TEXTS)
        return model.similarity(vectors, vectors).numpy(), model.similarity_fn_name

    expected, named = theirs(unscaled)
    profile = find_profile(str(unscaled))
    encoder = load_encoder(unscaled, profile, EncoderSettings(), "cpu")
    ours = encoder.encode(TEXTS, "passage")
    np.testing.assert_allclose(ours @ ours.T, expected, rtol=1e-5, atol=1e-5)
    encoder.save(tmp_path / "saved", "card")
    saved, saved_named = theirs(tmp_path / "saved")
    np.testing.assert_allclose(saved, expected, rtol=1e-5, atol=1e-5)
    assert saved_named == named
    assert find_profile(str(tmp_path / "saved")).normalize == profile.normalize


_FULL = """
import sys
from pathlib import Path
from pipeline.encoder import load_encoder
from pipeline.errors import as_failure
from pipeline.profiles import find_profile
from pipeline.settings import EncoderSettings
folder, base = Path(sys.argv[1]), Path(sys.argv[2])
encoder = load_encoder(base, find_profile(str(base)), EncoderSettings(), "cpu")
try:
    encoder.save(folder / "model", "card")
except Exception as error:
    print(as_failure(error).exit_code, as_failure(error).happened)
print((folder / "model").exists())
"""


def pages(path):
    """Bytes that a file takes on a file system in memory."""
    return -(-path.stat().st_size // 4096) * 4096


@pytest.mark.parametrize("unwritten", ["model.safetensors", "tokenizer.json"])
def test_a_full_disk_is_told_as_one_and_no_model_is_there(
    llama_folder, llama_profile, tmp_path, unwritten
):
    base, small = tmp_path / "base", tmp_path / "small"
    load_encoder(llama_folder, llama_profile, EncoderSettings(), "cpu").save(base, "card")
    order = ["config.json", "model.safetensors", "tokenizer.json"]
    fitting = [pages(base / name) for name in order[: order.index(unwritten)]]
    assert pages(base / unwritten) > 4096
    small.mkdir()
    failed, there = on_a_full_disk(small, sum(fitting) + 4096, _FULL, base)
    assert failed.startswith(f"{SystemRefusal.exit_code} The disk is full")
    assert there == "False"
