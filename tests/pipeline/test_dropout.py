"""Dropout with cheap random numbers: the same distribution, repeatable from torch's generator."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from pipeline.dropout import Dropout, draw_noise, drop, make_cheap, noise_from


def made(p):
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(p))
    make_cheap(model)
    return model[1]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.85])
def test_a_share_p_is_dropped_and_the_mean_stays(p):
    torch.manual_seed(1)
    out = made(p)(torch.ones(1000, 1003))
    assert float((out == 0).float().mean()) == pytest.approx(p, abs=0.002)
    assert float(out.mean()) == pytest.approx(1, abs=0.006)
    assert float(out.max()) == pytest.approx(1 / (1 - p), rel=1e-4)


def test_neighbours_in_rows_and_columns_are_independent():
    torch.manual_seed(2)
    kept = (drop(torch.ones(2000, 500), draw_noise((2000, 500)), 0.3) > 0).float() - 0.7
    for shift in ((0, 1), (0, 2), (0, 3), (0, 4), (1, 0)):
        moved = torch.roll(kept, shift, dims=(0, 1))
        assert abs(float((kept * moved).mean())) < 0.002


def test_the_gradient_goes_where_the_values_went():
    torch.manual_seed(3)
    x = torch.randn(7, 5, requires_grad=True)
    out = made(0.4)(x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.allclose(out, x * gradient)
    assert 0 < int((gradient == 0).sum()) < 35


@pytest.mark.parametrize("p", [0.0001, 0.1, 0.5, 0.99])
def test_half_precision_drops_the_same_elements(p):
    torch.manual_seed(4)
    noise, x = draw_noise((400, 500)), torch.ones(400, 500)
    assert torch.equal(drop(x, noise, p) > 0, drop(x.bfloat16(), noise, p) > 0)


def test_noise_repeats_from_a_restored_generator_and_differs_otherwise():
    state = torch.get_rng_state()
    first, second = draw_noise((99,)), draw_noise((99,))
    torch.set_rng_state(state)
    assert torch.equal(draw_noise((99,)), first)
    assert not torch.equal(first, second)


def test_noise_of_a_seed_is_a_threads_own_and_leaves_torchs_generator():
    before = torch.get_rng_state()

    def drawn(seed):
        with noise_from(seed):
            first = draw_noise((99,))
            with noise_from(7):
                draw_noise((3,))
            return torch.cat([first, draw_noise((50,))])

    with ThreadPoolExecutor(2) as pool:
        one, same, other = pool.map(drawn, (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one[:50], one[99:])
    assert torch.equal(torch.get_rng_state(), before)
    draw_noise((1,))
    assert not torch.equal(torch.get_rng_state(), before)


def test_without_training_or_a_chance_nothing_is_drawn():
    dropout = made(0.5)
    assert isinstance(dropout, Dropout)
    x, state = torch.randn(9), torch.get_rng_state()
    dropout.eval()
    assert torch.equal(dropout(x), x)
    dropout.train()
    dropout.p = 0.0
    assert torch.equal(dropout(x), x)
    assert torch.equal(torch.get_rng_state(), state)
    dropout.p = 1.0
    assert torch.equal(dropout(x), torch.zeros(9))
