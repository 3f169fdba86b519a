"""Gradients: the same with and without caching."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
import torch

from pipeline.finetune.gradients import (
    PASS_TOKENS_MAX,
    Budget,
    activation_budget,
    activation_bytes,
    backward,
    cut,
    measured_budget,
    tokens_a_pass,
    tokens_kept,
)
from pipeline.memory import TEXTS_A_PASS

TEXTS = [[2, *[5 + (i * 7 + j) % 40 for j in range(2 + i * 5 % 17)], 3] for i in range(13)]


def gradients_of(encoder, kept_tokens, pass_tokens=40):
    """Loss, gradients, and what the random generator gives afterwards."""
    encoder.model.train()
    encoder.model.zero_grad()
    torch.manual_seed(3)

    def loss_of(vectors):
        similarity = vectors[:5] @ vectors[5:].T
        return torch.nn.functional.cross_entropy(similarity / 0.1, torch.arange(5))

    loss = backward(
        encoder.forward, TEXTS, loss_of, Budget(pass_tokens, kept_tokens), encoder.model
    )
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in encoder.model.named_parameters()
        if parameter.grad is not None
    }
    return loss, gradients, torch.rand(3)


def plain_gradients(encoder):
    """Autograd on its own: one graph, nothing computed twice."""
    encoder.model.train()
    encoder.model.zero_grad()
    torch.manual_seed(3)
    parts = cut([len(text) for text in TEXTS], Budget(40, 0))
    assert len(parts) > 3
    outputs = torch.cat([encoder.forward([TEXTS[text] for text in part.texts]) for part in parts])
    vectors = outputs[torch.argsort(torch.tensor([text for part in parts for text in part.texts]))]
    similarity = vectors[:5] @ vectors[5:].T
    loss = torch.nn.functional.cross_entropy(similarity / 0.1, torch.arange(5))
    loss.backward()
    return loss.detach(), {
        name: parameter.grad
        for name, parameter in encoder.model.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize("kept_tokens", [0, 60, 10_000])
def test_caching_changes_no_gradient_with_dropout_on(tiny_encoder, kept_tokens):
    encoder = tiny_encoder()
    expected_loss, expected = plain_gradients(encoder)
    loss, gradients, _ = gradients_of(encoder, kept_tokens)
    assert loss == expected_loss
    assert gradients.keys() == expected.keys()
    scale = max(gradient.abs().max() for gradient in expected.values())
    assert scale > 0.01
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, expected[name], rtol=1e-5, atol=1e-6), name


def test_caching_leaves_the_random_generator_where_plain_training_does(tiny_encoder):
    encoder = tiny_encoder()
    assert torch.equal(gradients_of(encoder, 0)[2], gradients_of(encoder, 10_000)[2])


def test_the_tokens_of_a_pass_change_no_gradient(tiny_encoder):
    encoder = tiny_encoder(dropout=False)
    _, one, _ = gradients_of(encoder, 40, pass_tokens=1)
    _, all_at_once, _ = gradients_of(encoder, 40, pass_tokens=1000)
    for name, gradient in one.items():
        assert torch.allclose(gradient, all_at_once[name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("padded", [False, True])
def test_micro_batches_hold_every_text_once_within_their_budget(padded):
    lengths = random.Random(1).choices(range(1, 60), k=37)
    parts = cut(lengths, Budget(100, 0, padded))
    assert sorted(text for part in parts for text in part.texts) == list(range(37))
    longest = [max(lengths[text] for text in part.texts) for part in parts]
    assert longest == sorted(longest)
    assert max(part.tokens for part in parts) <= 100
    for part, top in zip(parts, longest, strict=True):
        whole = len(part.texts) * top if padded else sum(lengths[text] for text in part.texts)
        assert part.tokens == whole
    for part, after in pairwise(parts):  # none is smaller than it must be
        top = lengths[after.texts[0]]
        assert ((len(part.texts) + 1) * top if padded else part.tokens + top) > 100


def test_a_text_longer_than_the_budget_goes_alone():
    parts = cut([500, 3, 4], Budget(10, 0))
    assert [part.texts for part in parts] == [(1, 2), (0,)]


def test_a_budget_is_halved_until_every_text_goes_alone_and_nothing_is_kept():
    lengths = [3, 5, 8, 2]
    budgets = [Budget(1000, 10**6)]
    while (smaller := budgets[-1].halved(lengths)) is not None:
        budgets.append(smaller)
    assert [part.texts for part in cut(lengths, budgets[-1])] == [(3,), (0,), (1,), (2,)]
    assert budgets[-1].kept_tokens < 2
    # What is far above the need is not halved again and again.
    assert budgets[1] == Budget(9, 9)
    assert len(budgets) < 8


def test_a_budget_is_halved_by_the_largest_batch_of_a_step():
    large = [100] * 300
    assert Budget(32_768, 35_000).halved([10] * 20) == Budget(100, 100)
    assert Budget(32_768, 35_000).halved([10] * 20, large) == Budget(15_000, 15_000)
    # The smaller one goes through text by text long before the larger one does.
    alone = Budget(10, 0)
    assert alone.halved([10] * 20) is None
    assert alone.halved([10] * 20, [4] * 9) == Budget(5, 0)


def test_activations_are_measured_without_the_weights_and_grow_with_the_texts(tiny_encoder):
    encoder = tiny_encoder()
    encoder.model.train()
    weights = list(encoder.model.parameters())
    before = torch.get_rng_state()
    few = activation_bytes(encoder.forward, TEXTS[:1], weights)
    many = activation_bytes(encoder.forward, TEXTS[:1] * 8, weights)
    assert torch.equal(torch.get_rng_state(), before)
    assert 0 < 7 * few < many < 9 * few


@pytest.mark.parametrize(
    ("kept", "expected"),
    [(20_000, 20_000), (10**6, PASS_TOKENS_MAX), (300, 512)],
)
def test_a_gpu_computes_at_once_what_its_memory_keeps_within_bounds(kept, expected):
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert tokens_a_pass(0, 512, kept, gpu) == expected
    assert tokens_a_pass(0, 512, kept, cpu) == TEXTS_A_PASS * 512
    for device in (gpu, cpu):
        assert tokens_a_pass(3, 512, kept, device) == 3 * 512


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("count", [0, 3, 50])
def test_a_budget_is_measured_with_the_longest_texts(tiny_encoder, count, padded):
    encoder = tiny_encoder()
    encoder.model.train()
    asked = []

    def longest(texts):
        asked.append(texts)
        return sorted(TEXTS, key=len)[-texts:]

    budget = measured_budget(encoder.forward, longest, count, encoder.model, padded)
    texts = count or TEXTS_A_PASS
    assert asked == [texts]
    sample = sorted(TEXTS, key=len)[-texts:]
    assert budget.pass_tokens == texts * len(sample[-1])
    computed = len(sample) * len(sample[-1]) if padded else sum(map(len, sample))
    held = activation_bytes(encoder.forward, sample, list(encoder.model.parameters()))
    assert budget.kept_tokens == activation_budget(torch.device("cpu")) * computed // held
    assert budget.padded == padded


def test_what_a_pass_holds_once_is_counted_once_a_pass():
    weights, token = 2_000, 100

    def held(tokens):
        return weights + token * tokens

    # Few tokens: one pass holds them all, and the budget is full.
    assert tokens_kept(held(5_000), held(8), 8, held(1)) in range(4_995, 5_001)
    kept = tokens_kept(10 * held(PASS_TOKENS_MAX), held(8), 8, held(1))
    assert kept in range(10 * PASS_TOKENS_MAX - 20, 10 * PASS_TOKENS_MAX + 1)
    # Nothing fits: something is measured all the same.
    assert tokens_kept(0, held(8), 8, held(1)) == 0
    assert tokens_kept(10, 5, 1, 5) >= 0


def test_gradients_of_parts_are_taken_without_another_index():
    """An index made on the CPU lets it wait for a GPU, at every part."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counting(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.indexed = 0

        def __torch_dispatch__(self, call, types, args=(), kwargs=None):
            self.indexed += call is torch.ops.aten.index.Tensor
            return call(*args, **(kwargs or {}))

    counts = []
    weight = torch.ones(1, requires_grad=True)
    for pass_tokens in (10_000, 30):
        with Counting() as counting:
            backward(
                lambda texts: torch.tensor([[float(len(ids))] for ids in texts]) * weight,
                TEXTS,
                lambda vectors: vectors.square().sum(),
                Budget(pass_tokens, 10_000),
                torch.nn.Module(),
            )
        counts.append(counting.indexed)
    assert counts == [2, 2]
