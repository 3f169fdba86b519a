"""Models that several tests encode with: the real MiniLM, and a small bidirectional Llama."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest


@pytest.fixture(scope="session")
def minilm():
    """The rehearsal's encoder, real weights."""
    import torch

    from pipeline.encoder import load_encoder
    from pipeline.profiles import REHEARSAL_PROFILE, base_recipe, find_profile, weights_folder

    torch.set_num_threads(2)
    profile = find_profile(REHEARSAL_PROFILE)
    return load_encoder(weights_folder(profile), profile, base_recipe(profile).encoder, "cpu")


@pytest.fixture(scope="session")
def llama_profile():
    """The default profile at the size of the small Llama."""
    from pipeline.profiles import known_profiles

    published = known_profiles()["nvidia/llama-nemotron-embed-1b-v2"]
    return replace(published, dimension=64, matryoshka=(16, 32, 64), tokens_max=128)


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory):
    """A small, randomly initialised checkpoint, published the way that NVIDIA does it.

    Its config asks for remote code, and that code leaves a mark when it is run.
    """
    import torch
    from transformers import LlamaConfig, LlamaModel

    folder = tmp_path_factory.mktemp("models") / "llama"
    torch.manual_seed(0)
    shape = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 300,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-05,
    }
    rope = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0}
    rope |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    config = LlamaConfig(**shape, rope_parameters={**rope, "rope_theta": 500000.0})
    LlamaModel(config).save_pretrained(folder)
    published = {
        **shape,
        "model_type": "llama_bidirec",
        "architectures": ["LlamaBidirectionalModel"],
        "auto_map": {
            "AutoConfig": "remote.LlamaBidirectionalConfig",
            "AutoModel": "remote.LlamaBidirectionalModel",
        },
        "hidden_act": "silu",
        "pooling": "avg",
        "rope_scaling": rope,
        "rope_theta": 500000.0,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.44.2",
        "use_cache": True,
    }
    (folder / "config.json").write_text(json.dumps(published))
    (folder / "remote.py").write_text(f"open({str(folder / 'ran')!r}, 'w').close()\n")
    save_tokenizer(folder, 280)
    return folder


def save_tokenizer(folder, words):
    """A word tokenizer that puts `<s>` first, has no padding token and cuts nothing."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<s>": 0, "</s>": 1, "<unk>": 2, "query": 3, "passage": 4, ":": 5}
    vocabulary |= {f"w{number}": number + 6 for number in range(words - 6)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing("<s> $A", None, [("<s>", 0)])
    PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
