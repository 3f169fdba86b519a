"""Passes side by side: the same gradients as one after another, and the same bits at any time."""

from __future__ import annotations

import random
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dropout import make_cheap
from pipeline.finetune.gradients import LANE_TOKENS, Budget, backward, cut
from pipeline.finetune.kernels import checkpoint
from pipeline.finetune.passes import InTurn, SideBySide, lanes_for, shares

TEXTS = [[2, *[5 + (i * 7 + j) % 40 for j in range(2 + i * 5 % 17)], 3] for i in range(300)]


@pytest.fixture(autouse=True)
def two_threads(one_thread):
    torch.set_num_threads(2)


@pytest.fixture
def encoder(tiny_encoder):
    encoder = tiny_encoder()
    make_cheap(encoder.model)
    encoder.model.train()
    return encoder


def loss_of(vectors):
    similarity = vectors[:100] @ vectors[100:].T
    return torch.nn.functional.cross_entropy(similarity / 0.1, torch.arange(100))


def gradients_of(encoder, budget, forward=None):
    """The loss, all gradients in one, and what torch's generator gives afterwards."""
    encoder.model.zero_grad()
    torch.manual_seed(3)
    loss = backward(forward or encoder.forward, TEXTS, loss_of, budget, encoder.model)
    found = [w.grad.flatten() for w in encoder.model.parameters() if w.grad is not None]
    return loss, torch.cat(found), torch.rand(3)


def test_side_by_side_gives_the_gradients_of_one_after_another(tiny_encoder):
    encoder = tiny_encoder(dropout=False)
    encoder.model.train()
    expected_loss, expected, _ = gradients_of(encoder, Budget(400, 10**6))
    for lanes in (2, 3):
        loss, found, _ = gradients_of(encoder, Budget(400, 10**6, lanes=lanes))
        assert float(loss) == pytest.approx(float(expected_loss), abs=1e-5)
        assert torch.allclose(found, expected, atol=1e-5, rtol=1e-4)
    assert float(expected.abs().max()) > 0.01


@pytest.mark.parametrize("count", [0, 3])
def test_what_is_computed_again_draws_the_same_noise(encoder, count):
    parts = [TEXTS[start : start + 30] for start in range(0, len(TEXTS), 30)]
    results = []
    for kept in (len(parts), count):
        encoder.model.zero_grad()
        torch.manual_seed(3)
        keeps = [place < kept for place in range(len(parts))]
        passes = SideBySide(encoder.forward, parts, keeps, encoder.model, 2)
        passes.backward([torch.ones_like(output) for output in passes.forward()])
        found = [w.grad.flatten() for w in encoder.model.parameters() if w.grad is not None]
        results.append(torch.cat(found))
    assert torch.allclose(*results, rtol=1e-4, atol=1e-4)
    assert float(results[0].abs().max()) > 1


def test_the_bits_do_not_depend_on_who_comes_first(encoder):
    budget = Budget(400, 10**6, lanes=2)
    loss, gradients, after = gradients_of(encoder, budget)
    moods = random.Random(4)

    def hindered(texts):
        time.sleep(moods.uniform(0, 0.02))
        return encoder.forward(texts)

    for _ in range(3):
        again = gradients_of(encoder, budget, hindered)
        assert torch.equal(again[0], loss)
        assert torch.equal(again[1], gradients)
        assert torch.equal(again[2], after)


def test_gradients_of_a_second_loss_are_added(encoder):
    budget = Budget(400, 10**6, lanes=2)
    _, once, _ = gradients_of(encoder, budget)
    torch.manual_seed(3)
    backward(encoder.forward, TEXTS, loss_of, budget, encoder.model)
    twice = [w.grad.flatten() for w in encoder.model.parameters() if w.grad is not None]
    assert torch.allclose(torch.cat(twice), 2 * once, rtol=1e-5, atol=1e-7)


def test_an_error_in_a_lane_comes_through_and_leaves_no_gradient(encoder):
    def failing(texts):
        if len(texts[0]) > 15:
            raise RuntimeError("shapes")
        return encoder.forward(texts)

    with pytest.raises(RuntimeError, match="shapes"):
        gradients_of(encoder, Budget(400, 10**6, lanes=2), failing)
    assert all(weight.grad is None for weight in encoder.model.parameters())
    assert torch.get_num_threads() == 2


def test_frozen_weights_get_no_gradient(encoder):
    frozen = encoder.model.get_input_embeddings().weight.requires_grad_(False)
    try:
        gradients_of(encoder, Budget(400, 10**6, lanes=2))
        assert frozen.grad is None
    finally:
        frozen.requires_grad_()


def test_lanes_are_for_models_that_draw_nothing_from_the_common_generator(tiny_encoder):
    plain, quiet, checkpointed = tiny_encoder(), tiny_encoder(dropout=False), tiny_encoder()
    cheap = tiny_encoder()
    for encoder in (cheap, checkpointed):
        make_cheap(encoder.model)
    checkpoint(checkpointed.model)
    before = torch.get_rng_state()
    for encoder, expected in ((plain, 1), (quiet, 2), (cheap, 2), (checkpointed, 1)):
        encoder.model.train()
        assert lanes_for(encoder.forward, TEXTS[:1], encoder.model, 10**9) == expected
    assert torch.equal(torch.get_rng_state(), before)
    torch.set_num_threads(1)
    assert lanes_for(cheap.forward, TEXTS[:1], cheap.model, 10**9) == 1


def test_lanes_have_room_for_their_gradients(encoder):
    weights = sum(weight.nbytes for weight in encoder.model.parameters())
    torch.set_num_threads(4)
    for memory, expected in ((0, 1), (5, 2), (7, 3), (100, 4)):
        found = lanes_for(encoder.forward, TEXTS[:1], encoder.model, memory * weights)
        assert found == expected


@given(st.lists(st.integers(1, 100), max_size=40), st.integers(1, 9))
def test_work_is_dealt_out_once_and_evenly(work, count):
    dealt = shares(work, count)
    assert sorted(number for share in dealt for number in share) == list(range(len(work)))
    sums = [sum(work[number] for number in share) for share in dealt]
    assert len(dealt) == count
    if len(work) >= count:
        assert all(dealt)
        assert max(sums) - min(sums) <= max(work)


def test_a_lane_needs_a_thousand_tokens_of_a_batch_and_full_passes():
    budget = Budget(700, 10**6, lanes=4)
    assert [budget.lanes_over(LANE_TOKENS * n) for n in (0, 1, 2, 3, 9)] == [1, 1, 2, 3, 4]
    assert budget.pass_tokens_over(100) == 700
    # Two lanes of 1,100 tokens, two passes each.
    assert budget.pass_tokens_over(2200) == 550
    # All lanes together compute no more at once than may be kept.
    assert Budget(10**6, 800, lanes=4).pass_tokens_over(8000) == 200


def test_the_parts_of_a_large_batch_go_to_lanes_and_those_of_a_small_one_in_turn(encoder):
    from pipeline.finetune import gradients

    def passes_over(texts, budget):
        parts = cut([len(text) for text in texts], budget)
        return type(gradients._passes(encoder.forward, texts, parts, budget, encoder.model))

    assert passes_over(TEXTS, Budget(400, 10**6, lanes=2)) is SideBySide
    assert passes_over(TEXTS, Budget(400, 10**6)) is InTurn
    assert passes_over(TEXTS[:50], Budget(400, 10**6, lanes=2)) is InTurn
    assert passes_over([[7] * 3000], Budget(400, 10**6, lanes=2)) is InTurn
