"""Every shape of model: ours, sentence-transformers and plain transformers give one vector.

The shapes are the profiles' own, made small and given random weights; none runs remote code.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaModel,
    Ministral3Config,
    Ministral3Model,
)

from pipeline.encoder import load_encoder
from pipeline.errors import StageFailure
from pipeline.profiles import find_profile, known_profiles
from pipeline.settings import EncoderSettings

SETTINGS = EncoderSettings(query_tokens=64, passage_tokens=64)
TEXTS = ["w1 w2 w3", "w4", " ".join(f"w{n}" for n in range(70)), "", "w9 w8 w7 w6 w5 w1 w1"]
GROUPED = {"num_attention_heads": 8, "num_key_value_heads": 2, "hidden_size": 64}
SMALL = {
    "vocab_size": 300,
    "num_hidden_layers": 3,
    "intermediate_size": 96,
    "max_position_embeddings": 128,
}
PUBLISHED = {
    "model_type": "llama_bidirec",
    "architectures": ["LlamaBidirectionalModel"],
    "auto_map": {"AutoModel": "remote.LlamaBidirectionalModel"},
    "pooling": "avg",
    "torch_dtype": "bfloat16",
}
SHAPES = {
    "llama 1B": (
        "nvidia/llama-nemotron-embed-1b-v2",
        LlamaModel,
        LlamaConfig(**SMALL, hidden_size=64, num_attention_heads=4, num_key_value_heads=2),
        PUBLISHED,
    ),
    "ministral 1B": (
        "nvidia/Nemotron-3-Embed-1B-BF16",
        Ministral3Model,
        Ministral3Config(**SMALL, **GROUPED, head_dim=16, is_causal=False),
        {},
    ),
    "llama 8B": (
        "nvidia/llama-embed-nemotron-8b",
        LlamaModel,
        # As Llama 3.1 8B: four queries to a key, a head dimension of its own, base 500,000.
        LlamaConfig(
            **SMALL, **GROUPED, rope_parameters={"rope_type": "default", "rope_theta": 5e5}
        ),
        PUBLISHED,
    ),
    "bert": ("", BertModel, BertConfig(**SMALL, hidden_size=64, num_attention_heads=4), {}),
}


@pytest.fixture(scope="module", params=SHAPES)
def encoder(request, llama_folder, llama_profile, tmp_path_factory):
    """A loaded encoder of each shape, from the files that its makers publish."""
    profile_id, kind, config, published = SHAPES[request.param]
    folder = tmp_path_factory.mktemp("shape") / "base"
    torch.manual_seed(5)
    kind(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(llama_folder / name, folder / name)
    path = folder / "config.json"
    document = json.loads(path.read_text()) | published
    if published:
        document.pop("is_causal", None)
    path.write_text(json.dumps(document))
    if profile_id:
        profile = replace(known_profiles()[profile_id], dimension=64, tokens_max=64)
    else:
        profile = replace(llama_profile, architecture="sentence_transformers", tokens_max=64)
    return load_encoder(folder, profile, SETTINGS, "cpu")


def plain(folder, texts, prefix, together):
    """Plain transformers over the saved folder: mean over tokens, length 1."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    if together:
        batches = [[prefix + text for text in texts]]
    else:
        batches = [[prefix + text] for text in texts]
    vectors = []
    for batch in batches:
        inputs = tokenizer(
            batch, padding=together, truncation=True, max_length=64, return_tensors="pt"
        )
        mask = inputs["attention_mask"].unsqueeze(-1)
        with torch.inference_mode():
            hidden = model(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
            ).last_hidden_state
        vectors.append(functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1))
    return torch.cat(vectors).numpy()


def test_three_libraries_agree_padded_and_unpadded(encoder, tmp_path):
    from sentence_transformers import SentenceTransformer

    encoder.save(tmp_path / "model", "card")
    theirs = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    for kind, encode in (("query", theirs.encode_query), ("passage", theirs.encode_document)):
        ours = encoder.encode(TEXTS, kind)
        ids = encoder.tokenize(TEXTS, kind)
        with torch.inference_mode():
            assert encoder.packs
            packed = encoder.forward(ids).numpy()
            alone = torch.cat([encoder.forward([one]) for one in ids]).numpy()
            padded = functional.normalize(encoder._padded(ids), dim=1).numpy()
        found = {
            "packed": packed,
            "padded": padded,
            "one by one": alone,
            "sentence-transformers, padded": encode(TEXTS, batch_size=len(TEXTS)),
            "sentence-transformers, unpadded": encode(TEXTS, batch_size=1),
            "transformers, padded": plain(tmp_path / "model", TEXTS, encoder.prefix(kind), True),
            "transformers, unpadded": plain(tmp_path / "model", TEXTS, encoder.prefix(kind), False),
        }
        apart = {name: float(np.abs(vectors - ours).max()) for name, vectors in found.items()}
        assert max(apart.values()) < 1e-5, apart


def test_what_is_saved_says_that_it_is_no_causal_model(encoder, tmp_path):
    encoder.save(tmp_path / "model", "card")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    expected = None if config["model_type"] == "bert" else False
    assert config.get("is_causal") is expected
    again = load_encoder(tmp_path / "model", find_profile(str(tmp_path / "model")), SETTINGS, "cpu")
    assert np.abs(again.encode(TEXTS, "query") - encoder.encode(TEXTS, "query")).max() < 1e-6


@pytest.mark.parametrize("flag", [True, None])
def test_a_model_that_has_become_causal_is_not_saved(encoder, tmp_path, flag):
    if encoder.model.config.model_type == "bert":
        pytest.skip("an encoder has no such flag")
    encoder.save(tmp_path / "model", "before")
    encoder.model.config.is_causal = flag
    if flag is None:
        del encoder.model.config.is_causal
    try:
        with pytest.raises(StageFailure, match="left to right"):
            encoder.save(tmp_path / "model", "after")
    finally:
        encoder.model.config.is_causal = False
    assert (tmp_path / "model" / "README.md").read_text() == "before"


def test_only_the_8b_takes_an_instruction_and_passages_have_none():
    takers = [profile for profile in known_profiles().values() if profile.instruction]
    assert [profile.id for profile in takers] == ["nvidia/llama-embed-nemotron-8b"]
    (profile,) = takers
    assert profile.query_prefix == f"Instruct: {profile.instruction}\nQuery: "
    assert profile.passage_prefix == ""
