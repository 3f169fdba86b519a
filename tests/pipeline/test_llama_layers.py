"""Layers with fewer bytes: the numbers of transformers' own, and less that is held."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaModel,
    Ministral3Config,
    Ministral3Model,
    Qwen3Config,
    Qwen3Model,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from pipeline.finetune.gradients import activation_bytes
from pipeline.llama_layers import FusedNorm, lighten

TOKENS = torch.tensor([[3, 9, 4, 7, 11, 2, 8, 5, 6, 3, 12, 19]])
SHAPE = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
}
GROUPED = {**SHAPE, "num_key_value_heads": 2, "use_cache": False}
FUSED = {
    "llama": lambda: LlamaModel(LlamaConfig(**GROUPED, is_causal=False)),
    "ministral3": lambda: Ministral3Model(Ministral3Config(**GROUPED, is_causal=False, head_dim=8)),
}
OTHERS = {
    "bert": lambda: BertModel(BertConfig(**SHAPE)),
    "qwen3": lambda: Qwen3Model(Qwen3Config(**GROUPED, head_dim=8)),
}


def a_model(make):
    torch.manual_seed(5)
    model = make().train(False)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.uniform_(0.5, 1.5)
    return model


def both(kind):
    own = a_model(FUSED[kind])
    fused = copy.deepcopy(own)
    lighten(fused)
    return own, fused


def states_of(model):
    return model(input_ids=TOKENS).last_hidden_state


@pytest.mark.parametrize("kind", FUSED)
def test_states_gradients_and_names_are_those_of_transformers(kind):
    own, fused = both(kind)
    weights = torch.linspace(-1, 1, 32)
    for model in (own, fused):
        (states_of(model) * weights).sum().backward()
    assert torch.allclose(states_of(own), states_of(fused), atol=1e-5)
    ours, theirs = dict(fused.named_parameters()), dict(own.named_parameters())
    assert ours.keys() == theirs.keys()
    most = max(float(weight.grad.abs().max()) for weight in theirs.values())
    for name, weight in theirs.items():
        assert float((ours[name].grad - weight.grad).abs().max()) < 1e-5 * most, name


@pytest.mark.parametrize("kind", FUSED)
def test_in_bfloat16_less_is_held_and_the_last_norm_stays_in_float32(kind):
    held, states = [], []
    for model in both(kind):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            weights = list(model.parameters())
            held.append(activation_bytes(lambda _, model=model: states_of(model), [], weights))
            states.append(states_of(model).detach())
    # Of what each norm makes, one copy in bfloat16 instead of three, or of two.
    assert held[0] - held[1] >= 2 * 3 * TOKENS.numel() * 32 * 2
    assert states[1].dtype == torch.float32
    assert float((states[0] - states[1]).abs().max()) < 0.05 * float(states[0].abs().max())


@pytest.mark.parametrize("kind", FUSED)
def test_in_bfloat16_queries_and_keys_are_not_widened(kind):
    """What attention is given, by transformers and by us."""
    widths = []
    for model in both(kind):
        seen = []

        def look(module, query, key, value, *others, seen=seen, **named):
            seen.append((query.dtype, key.dtype, value.dtype))
            return sdpa_attention_forward(module, query, key, value, *others, **named)

        AttentionInterface.register("looked_at", look)
        AttentionMaskInterface.register("looked_at", sdpa_mask)
        model.set_attn_implementation("looked_at")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            states_of(model)
        widths.append(set(seen))
    wide, narrow = torch.float32, torch.bfloat16
    assert widths == [{(wide, wide, narrow)}, {(narrow, narrow, narrow)}]


def test_only_the_norms_of_a_llamas_layers_are_fused():
    _, fused = both("llama")
    names = [name for name, module in fused.named_modules() if isinstance(module, FusedNorm)]
    norms = ("input_layernorm", "post_attention_layernorm")
    assert names == [f"layers.{layer}.{norm}" for layer in range(2) for norm in norms]
    for make in OTHERS.values():
        model = a_model(make)
        before = [(type(module), len(module._forward_hooks)) for module in model.modules()]
        lighten(model)
        assert before == [(type(module), len(module._forward_hooks)) for module in model.modules()]


def test_a_lighter_model_is_saved_as_a_plain_one(tmp_path):
    own, fused = both("llama")
    for name, model in (("own", own), ("fused", fused)):
        model.save_pretrained(tmp_path / name)
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "own" / file).read_bytes() == (tmp_path / "fused" / file).read_bytes()
