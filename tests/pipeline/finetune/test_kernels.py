"""Other ways to compute layers: the same gradients, the same names, and clear refusals."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from transformers import AttentionInterface, BertConfig, BertModel, LlamaConfig, LlamaModel
from transformers.models.llama import modeling_llama

from pipeline import attention
from pipeline.encoder import Encoder
from pipeline.errors import BadRecipe, MissingPart, StageFailure
from pipeline.files import digest_folder
from pipeline.finetune.gradients import Budget, activation_bytes, backward
from pipeline.finetune.kernels import (
    checkpoint,
    compile_layers,
    equip,
    fuse,
    is_compiled,
    require_kernels,
)
from pipeline.finetune.lora import adapt
from pipeline.finetune.stage import MODEL, execute
from pipeline.identity import settings_of
from pipeline.recipe import Recipe, apply
from pipeline.settings import FinetuneSettings, LoraSettings
from pipeline.stage import find_stage

TEXTS = [[2, *[5 + (i * 7 + j) % 40 for j in range(2 + i * 5 % 17)], 3] for i in range(13)]
SHAPE = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
MODELS = {
    "bert": lambda layers, dropout: BertModel(
        BertConfig(
            **SHAPE,
            num_hidden_layers=layers,
            max_position_embeddings=48,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
    ),
    "llama": lambda layers, dropout: LlamaModel(
        LlamaConfig(
            **SHAPE,
            num_hidden_layers=layers,
            num_key_value_heads=2,
            attention_dropout=dropout,
            is_causal=False,
            use_cache=False,
            pad_token_id=0,
        )
    ),
}


@pytest.fixture
def encoder_of(tiny_encoder):
    """An encoder of either shape, always with the same weights."""

    def make(kind, layers=3, dropout=0.1, packed=True):
        torch.manual_seed(4)
        like = tiny_encoder()
        model = MODELS[kind](layers, dropout).train(False)
        encoder = Encoder(model, like.tokenizer, like.profile, like.settings, like.device)
        if not packed:
            model.set_attn_implementation("sdpa")
        assert encoder.packs == packed
        return encoder

    return make


def gradients_of(encoder, texts=TEXTS, kept_tokens=10_000):
    """Loss, gradients by name, and what the random generator gives afterwards."""
    encoder.model.train()
    encoder.model.zero_grad()
    torch.manual_seed(3)

    def loss_of(vectors):
        similarity = vectors @ vectors[:5].T
        wanted = torch.arange(len(texts)) % 5
        return torch.nn.functional.cross_entropy(similarity / 0.1, wanted)

    loss = backward(encoder.forward, texts, loss_of, Budget(40, kept_tokens), encoder.model)
    named = encoder.model.named_parameters()
    gradients = {n: p.grad.clone() for n, p in named if p.grad is not None}
    assert len(gradients) > 10
    return loss, gradients, torch.rand(3)


def assert_close(ours, theirs):
    """Losses and gradients agree to 1e-5 of the largest number, and as much was drawn."""
    most = max(float(gradient.abs().max()) for gradient in theirs[1].values())
    assert float((ours[0] - theirs[0]).abs()) <= 1e-5
    assert ours[1].keys() == theirs[1].keys()
    for name, gradient in theirs[1].items():
        assert float((ours[1][name] - gradient).abs().max()) <= 1e-5 * most, name
    assert torch.equal(ours[2], theirs[2])


@pytest.mark.parametrize("kept_tokens", [0, 60, 10_000])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", MODELS)
def test_checkpointing_changes_no_bit_of_a_gradient_with_dropout_on(
    encoder_of, kind, packed, kept_tokens
):
    plain = gradients_of(encoder_of(kind, packed=packed), kept_tokens=kept_tokens)
    encoder = encoder_of(kind, packed=packed)
    checkpoint(encoder.model)
    loss, gradients, drawn = gradients_of(encoder, kept_tokens=kept_tokens)
    assert torch.equal(loss, plain[0])
    assert gradients.keys() == plain[1].keys()
    assert all(torch.equal(gradient, plain[1][name]) for name, gradient in gradients.items())
    assert torch.equal(drawn, plain[2])


@pytest.mark.parametrize("kind", MODELS)
def test_checkpointing_is_seen_by_the_probe_of_the_memory(encoder_of, kind):
    encoder = encoder_of(kind, layers=6)
    encoder.model.train()
    weights = list(encoder.model.parameters())
    before = activation_bytes(encoder.forward, TEXTS, weights)
    checkpoint(encoder.model)
    after = activation_bytes(encoder.forward, TEXTS, weights)
    inputs = 6 * sum(map(len, TEXTS)) * 32 * 4
    assert inputs <= after < before / 3


def test_a_checkpointed_training_makes_the_same_model_and_has_the_same_identity(toy, undisturbed):
    context = toy.context(overrides={"finetune.gradient_checkpointing": True})
    execute(context)
    assert digest_folder(context.folder / MODEL) == digest_folder(undisturbed[0].folder / MODEL)
    training = find_stage("finetune")
    assert settings_of(training, context.recipe) == settings_of(training, undisturbed[0].recipe)


def test_adapters_learn_under_checkpointed_layers(encoder_of):
    found = []
    for checkpointed in (False, True):
        encoder = encoder_of("llama")
        adapt(encoder.model, LoraSettings(rank=4, alpha=8.0), seed=3)
        equip(encoder, FinetuneSettings(gradient_checkpointing=checkpointed), pytest.fail)
        found.append(gradients_of(encoder))
    assert all(".lora_" in name for name in found[0][1])
    assert_close(*found)


@pytest.fixture
def compiler():
    """What compiling leaves behind in the process is taken back."""
    yield torch._dynamo
    torch._dynamo.reset()
    AttentionInterface.register(attention.NAME, attention._attention)


@pytest.mark.parametrize(
    ("kind", "dropout", "backend"), [("bert", 0.1, "aot_eager"), ("llama", 0.0, "eager")]
)
def test_compiled_layers_give_the_same_gradients_and_are_compiled_once(
    encoder_of, compiler, kind, dropout, backend
):
    """By the compiler's front, which takes the model apart: C++ would take a minute here.

    Some passes keep their graph and some are computed twice.
    """
    plain, encoder = encoder_of(kind, dropout=dropout), encoder_of(kind, dropout=dropout)
    names = list(encoder.model.state_dict())
    vectors = encoder.encode(["q0 p1", "n3"], "query")
    compiler.utils.counters.clear()
    compile_layers(encoder, pytest.fail, backend)
    assert is_compiled(encoder.model)
    assert not is_compiled(plain.model)
    assert list(encoder.model.state_dict()) == names
    assert_close(gradients_of(encoder, kept_tokens=60), gradients_of(plain, kept_tokens=60))
    graphs = compiler.utils.counters["stats"]["unique_graphs"]
    assert 0 < graphs <= 8, "around attention, with and without gradients, not once a layer"
    for count in (6, 9, 11):
        gradients_of(encoder, TEXTS[:count], kept_tokens=30)
    assert compiler.utils.counters["stats"]["unique_graphs"] == graphs
    assert np.array_equal(encoder.encode(["q0 p1", "n3"], "query"), vectors)


def test_compiled_layers_can_be_checkpointed_too(encoder_of, compiler):
    plain, encoder = encoder_of("bert", 2), encoder_of("bert", 2)
    checkpoint(encoder.model)
    before = activation_bytes(encoder.forward, TEXTS, list(encoder.model.parameters()))
    compile_layers(encoder, pytest.fail, "eager")
    assert_close(gradients_of(encoder), gradients_of(plain))
    after = activation_bytes(encoder.forward, TEXTS, list(encoder.model.parameters()))
    assert after <= before


@pytest.mark.filterwarnings("ignore:dynamo_pgo force disabled")
def test_without_a_compiler_the_layers_stay_and_it_is_said(encoder_of, compiler, monkeypatch):
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(config, "force_disable_caches", True)
    plain, encoder, told = encoder_of("llama", 1), encoder_of("llama", 1), []
    equip(encoder, FinetuneSettings(compile=True), told.append)
    assert not is_compiled(encoder.model)
    (line,) = told
    assert "It is trained without a compiler." in line
    assert_close(gradients_of(encoder), gradients_of(plain))


_LIGER = """
import transformers.models.llama.modeling_llama as modeling

def _norm(self, x):
    wide = x.float()
    return self.weight * (wide * (wide.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt()).to(x.dtype)

def _feed_forward(self, x):
    import torch
    gate = {gate}
    return self.down_proj(gate * self.up_proj(x))

def _apply_liger_kernel_to_instance(model, rope=True, rms_norm=True, swiglu=True,
                                    cross_entropy=False, fused_linear_cross_entropy=True):
    if rope:
        modeling.apply_rotary_pos_emb = None
    if fused_linear_cross_entropy:
        model.forward = None
    modeling.LlamaRMSNorm = modeling.LlamaMLP = None
    for layer in model.layers:
        layer.mlp.__dict__["forward"] = _feed_forward.__get__(layer.mlp)
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            norm.__dict__["forward"] = _norm.__get__(norm)
"""
"""What liger-kernel 0.8 does to a model and to transformers' module, without its Triton."""


@pytest.fixture
def liger(tmp_path, monkeypatch):
    """A stand-in for the package, which needs a GPU."""

    def install(gate="torch.nn.functional.silu(self.gate_proj(x))"):
        (tmp_path / "liger_kernel").mkdir()
        (tmp_path / "liger_kernel" / "__init__.py").touch()
        (tmp_path / "liger_kernel" / "transformers.py").write_text(_LIGER.format(gate=gate))
        monkeypatch.syspath_prepend(tmp_path)

    yield install
    for name in [name for name in sys.modules if name.partition(".")[0] == "liger_kernel"]:
        del sys.modules[name]


def test_liger_changes_one_model_alone_and_no_name_of_a_weight(encoder_of, liger):
    liger()
    plain, encoder = encoder_of("llama"), encoder_of("llama")
    names, module = list(encoder.model.state_dict()), dict(vars(modeling_llama))
    fuse(encoder)
    assert encoder.model.layers[0].mlp.forward.__name__ == "_feed_forward"
    assert list(encoder.model.state_dict()) == names
    assert dict(vars(modeling_llama)) == module, "other models of this process stay as they are"
    assert_close(gradients_of(encoder), gradients_of(plain))


@pytest.mark.parametrize("gate", ["torch.relu(-self.gate_proj(x)) * 99", "self.no_such_layer(x)"])
def test_liger_that_computes_something_else_ends_it(encoder_of, liger, gate):
    liger(gate)
    with pytest.raises(StageFailure, match=r"Liger's kernels (gave|failed)") as caught:
        fuse(encoder_of("llama"))
    assert "finetune.liger=false" in caught.value.next_step


def test_what_can_not_be_had_is_refused_before_any_work(encoder_of, toy):
    asked = FinetuneSettings(liger=True)
    llama, bert = encoder_of("llama").model, encoder_of("bert").model
    with pytest.raises(BadRecipe, match="on a GPU alone"):
        require_kernels(llama, asked, "cpu")
    with pytest.raises(BadRecipe, match="its type is 'bert'"):
        require_kernels(bert, asked, "cuda")
    with pytest.raises(MissingPart, match="liger-kernel is not installed"):
        require_kernels(llama, asked, "cuda")
    llama.config.hidden_act = "gelu"
    with pytest.raises(BadRecipe, match="LlamaModel"):
        require_kernels(llama, asked, "cuda")
    bert.supports_gradient_checkpointing = False
    with pytest.raises(BadRecipe, match="gradient_checkpointing"):
        require_kernels(bert, FinetuneSettings(gradient_checkpointing=True), "cpu")
    require_kernels(bert, FinetuneSettings(compile=True), "cpu")
    context = toy.context(overrides={"finetune.liger": True})
    with pytest.raises(BadRecipe, match=r"finetune\.liger"):
        execute(context)
    assert not context.events.of("progress")


def test_kernels_are_part_of_the_identity_only_where_they_are_asked_for():
    training, plain = find_stage("finetune"), Recipe()
    for name in ("finetune.liger", "finetune.compile"):
        assert name not in settings_of(training, plain)
        assert settings_of(training, apply(plain, {name: True}, "test"))[name] is True
