"""Packed texts: the same vectors and gradients as padded ones, for every shape that packs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaModel,
    Ministral3Config,
    Ministral3Model,
    MistralConfig,
    MistralModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    Qwen3Config,
    Qwen3Model,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from pipeline import attention
from pipeline.dropout import draw_noise, drop
from pipeline.encoder import Encoder
from pipeline.packing import Packed, first_position, is_packing

TEXTS = [[5 + (i * 7 + j * j) % 40 for j in range(1 + i * 5 % 23)] for i in range(9)]
WIDTH = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
GROUPED = {**WIDTH, "num_key_value_heads": 2, "max_position_embeddings": 64}
TWO_WAYS = {**GROUPED, "is_causal": False, "use_cache": False}
SHAPES = {
    "bert": lambda: BertModel(BertConfig(**WIDTH, max_position_embeddings=64)),
    "roberta": lambda: XLMRobertaModel(XLMRobertaConfig(**WIDTH, max_position_embeddings=64)),
    "llama": lambda: LlamaModel(LlamaConfig(**TWO_WAYS)),
    "mistral": lambda: MistralModel(MistralConfig(**TWO_WAYS, head_dim=16, sliding_window=None)),
    "ministral3": lambda: Ministral3Model(Ministral3Config(**TWO_WAYS, head_dim=16)),
    "causal qwen3": lambda: Qwen3Model(Qwen3Config(**GROUPED, head_dim=16, use_cache=False)),
}
OTHERS = {
    "mpnet": lambda: MPNetModel(MPNetConfig(**WIDTH, max_position_embeddings=64)),
    "window": lambda: ModernBertModel(
        ModernBertConfig(**WIDTH, local_attention=8, global_attn_every_n_layers=2, pad_token_id=0)
    ),
}


def encoder_of(minilm, model, pooling="mean"):
    """An encoder around any model; its tokenizer isn't asked."""
    torch.manual_seed(4)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    model.eval()
    profile = replace(minilm.profile, pooling=pooling, dimension=32)
    return Encoder(model, minilm.tokenizer, profile, minilm.settings, torch.device("cpu"))


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def gradients(encoder, forward):
    encoder.model.zero_grad()
    vectors = forward(TEXTS)
    (vectors @ torch.linspace(-1, 1, vectors.shape[1])).pow(2).sum().backward()
    return {n: p.grad.clone() for n, p in encoder.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("name", SHAPES)
def test_packed_equals_padded(minilm, name, pooling):
    encoder = encoder_of(minilm, SHAPES[name](), pooling)
    assert encoder.packs
    with torch.inference_mode():
        packed, padded = encoder._packed(TEXTS), encoder._padded(TEXTS)
    assert packed.std() > 0.01
    assert (packed - padded).abs().max() < 1e-5


@pytest.mark.parametrize("name", SHAPES)
def test_packed_gradients_equal_padded_ones(minilm, name):
    encoder = encoder_of(minilm, SHAPES[name]())
    without_dropout(encoder.model)
    encoder.model.train()
    packed, padded = gradients(encoder, encoder._packed), gradients(encoder, encoder._padded)
    assert packed.keys() == padded.keys()
    scale = max(float(gradient.abs().max()) for gradient in padded.values())
    for key, gradient in packed.items():
        assert float((gradient - padded[key]).abs().max()) < 1e-5 * max(1.0, scale), key


def test_minilm_itself_is_packed_and_equal(minilm):
    texts = minilm.tokenize(["a", "How do I open a file?", "cycle " * 90, ""], "passage")
    assert minilm.packs
    with torch.inference_mode():
        assert (minilm._packed(texts) - minilm._padded(texts)).abs().max() < 1e-5


@pytest.mark.parametrize("name", OTHERS)
def test_what_cannot_be_packed_is_padded_and_stays_as_it_was(minilm, name):
    model = OTHERS[name]()
    before = model.config._attn_implementation
    encoder = encoder_of(minilm, model)
    assert not encoder.packs
    assert model.config._attn_implementation == before
    with torch.inference_mode():
        together = encoder.forward(TEXTS)
        alone = torch.cat([encoder.forward([text]) for text in TEXTS])
    assert (together - alone).abs().max() < 1e-5


def test_a_window_counts_only_where_texts_are_longer():
    config = MistralConfig(**TWO_WAYS, head_dim=16, sliding_window=16)
    assert first_position(MistralModel(config), tokens_max=64) is None
    assert first_position(MistralModel(config), tokens_max=16) == 0


class FailsPacked(LlamaModel):
    """A model whose packed pass, and that alone, meets a machine that fails."""

    def __init__(self, fail):
        super().__init__(LlamaConfig(**TWO_WAYS))
        self.fail = fail

    def forward(self, *inputs, **others):
        if "cu_seq_lens_q" in others:
            self.fail()
        return super().forward(*inputs, **others)


def fill_the_memory():
    torch.empty(1 << 60, dtype=torch.uint8)


def lose_the_gpu():
    raise torch.AcceleratorError("CUDA error: unspecified launch failure")


@pytest.mark.parametrize(
    ("fail", "said"),
    [(fill_the_memory, "allocate memory|not enough memory"), (lose_the_gpu, "launch failure")],
)
def test_a_machine_that_fails_says_nothing_about_the_model(fail, said):
    model = FailsPacked(fail)
    before = model.config._attn_implementation
    with pytest.raises(RuntimeError, match=said):
        first_position(model.train(), tokens_max=64)
    assert model.config._attn_implementation == before
    assert model.training
    model.fail = lambda: None
    assert first_position(model, tokens_max=64) == 0


def test_a_model_that_refuses_packed_texts_is_padded():
    def refuse():
        raise RuntimeError("this layer takes no packed texts")

    model = FailsPacked(refuse)
    before = model.config._attn_implementation
    assert first_position(model, tokens_max=64) is None
    assert model.config._attn_implementation == before


def test_a_model_with_another_attention_is_padded(minilm):
    encoder = encoder_of(minilm, SHAPES["llama"]())
    with torch.inference_mode():
        before = encoder.forward(TEXTS)
        encoder.model.set_attn_implementation("eager")
        assert not is_packing(encoder.model)
        assert not encoder.packs
        assert (encoder.forward(TEXTS) - before).abs().max() < 1e-5


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_the_path_is_chosen_in_one_place():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert attention.packs(cpu, 0.1)
    assert attention.kernel_for(cpu) is attention.attend_each
    assert attention.kernel_for(gpu) is attention.attend_varlen
    assert not attention.packs(gpu, 0.0), "its kernel takes half precision alone"
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert attention.packs(gpu, 0.0) is torch.is_autocast_enabled("cuda")
        assert not attention.packs(gpu, 0.1), "its kernel has no dropout"


def test_every_layer_goes_through_the_kernel(minilm):
    encoder = encoder_of(minilm, SHAPES["ministral3"]())
    seen = []

    def kernel(query, key, value, starts, longest, scale, causal, dropout):
        seen.append((query.shape, key.shape, starts.tolist(), longest, causal, dropout))
        return attention.attend_each(query, key, value, starts, longest, scale, causal, dropout)

    with attention.overridden(kernel), torch.inference_mode():
        encoder.forward([[7, 8, 9], [5]])
    assert seen == [((4, 4, 16), (2, 4, 16), [0, 3, 4], 3, False, 0.0)] * 2


def test_texts_lie_behind_one_another_and_positions_begin_anew():
    packed = Packed.of([[7, 8, 9], [5], [6, 4]], 2, torch.device("cpu"))
    assert packed.tokens.tolist() == [[7, 8, 9, 5, 6, 4]]
    assert packed.positions.tolist() == [[2, 3, 4, 2, 2, 3]]
    assert packed.starts.tolist() == [0, 3, 4, 6]
    assert packed.starts.dtype == torch.int32
    assert packed.longest == 3


def test_attention_dropout_is_that_of_sdpa():
    """The same mask by hand, and the share and scale that the probability says."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 50, 8, requires_grad=True) for _ in range(3))
    starts = torch.tensor([0, 20, 50])
    torch.manual_seed(9)
    out = attention.attend_each(query, key, value, starts, 30, 0.3, False, 0.25)
    torch.manual_seed(9)
    noises = draw_noise((2 * 20 * 20 + 2 * 30 * 30,)).split((2 * 20 * 20, 2 * 30 * 30))
    parts = []
    for (a, b), noise in zip(((0, 20), (20, 50)), noises, strict=True):
        mask = drop(torch.ones(2, b - a, b - a), noise.view(2, b - a, b - a), 0.25) > 0
        chances = torch.softmax(query[:, a:b] @ key[:, a:b].transpose(1, 2) * 0.3, dim=-1)
        parts.append((chances * mask / 0.75) @ value[:, a:b])
    expected = torch.cat(parts, dim=1)
    assert torch.allclose(out, expected, atol=1e-6)
    weights = torch.randn_like(out)
    ours = torch.autograd.grad((out * weights).sum(), (query, key, value))
    theirs = torch.autograd.grad((expected * weights).sum(), (query, key, value))
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, atol=1e-5)
