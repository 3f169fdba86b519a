"""Gradients: the same with and without caching."""

from __future__ import annotations

import random

import pytest
import torch

from pipeline.finetune.gradients import activation_bytes, backward, cut

TEXTS = [[2, *[5 + (i * 7 + j) % 40 for j in range(2 + i * 5 % 17)], 3] for i in range(13)]


def gradients_of(encoder, kept_tokens, micro_batch_size=3):
    """Loss, gradients, and what the random generator gives afterwards."""
    encoder.model.train()
    encoder.model.zero_grad()
    torch.manual_seed(3)

    def loss_of(vectors):
        similarity = vectors[:5] @ vectors[5:].T
        return torch.nn.functional.cross_entropy(similarity / 0.1, torch.arange(5))

    loss = backward(encoder.forward, TEXTS, loss_of, micro_batch_size, kept_tokens)
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
    parts = cut([len(text) for text in TEXTS], 3)
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


def test_the_micro_batch_size_changes_no_gradient(tiny_encoder):
    encoder = tiny_encoder(dropout=False)
    _, one, _ = gradients_of(encoder, 40, micro_batch_size=1)
    _, all_at_once, _ = gradients_of(encoder, 40, micro_batch_size=13)
    for name, gradient in one.items():
        assert torch.allclose(gradient, all_at_once[name], rtol=1e-4, atol=1e-6), name


def test_micro_batches_hold_every_text_once_and_little_padding():
    lengths = random.Random(1).choices(range(1, 60), k=37)
    parts = cut(lengths, 8)
    assert sorted(text for part in parts for text in part.texts) == list(range(37))
    assert [len(part.texts) for part in parts] == [8, 8, 8, 8, 5]
    longest = [max(lengths[text] for text in part.texts) for part in parts]
    assert longest == sorted(longest)
    assert [part.tokens for part in parts] == [
        len(part.texts) * top for part, top in zip(parts, longest, strict=True)
    ]


def test_activations_are_measured_without_the_weights_and_grow_with_the_texts(tiny_encoder):
    encoder = tiny_encoder()
    encoder.model.train()
    weights = list(encoder.model.parameters())
    before = torch.get_rng_state()
    few = activation_bytes(encoder.forward, TEXTS[:1], weights)
    many = activation_bytes(encoder.forward, TEXTS[:1] * 8, weights)
    assert torch.equal(torch.get_rng_state(), before)
    assert 0 < 7 * few < many < 9 * few
