"""Work, peak and share: counted by hand and against torch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.finetune.precision import computes_bf16, pays_in_bf16
from pipeline.finetune.speed import Shape, memory_bytes, peak_flops, training_flops

CPU = torch.device("cpu")


def test_the_work_is_six_a_weight_and_token_and_twelve_a_pair_of_tokens():
    shape = Shape(trained=1000, frozen=0, attention=10)
    assert training_flops([3, 5], shape) == 6 * 1000 * 8 + 12 * 10 * (9 + 25)
    assert training_flops([3, 5], Shape(100, 900, 10)) == 8 * (600 + 3600) + 12 * 10 * 34


def test_a_shape_is_counted_from_the_model(tiny_encoder):
    model = tiny_encoder().model
    # Two layers of four matrices of 32 x 32 and two of 32 x 64; the pooler is unused.
    layers = 2 * (4 * 32 * 32 + 2 * 32 * 64)
    assert Shape.of(model) == Shape(layers, 0, 2 * 32)
    for parameter in model.encoder.layer[0].parameters():
        parameter.requires_grad_(False)
    assert Shape.of(model) == Shape(layers // 2, layers // 2, 2 * 32)


def test_the_work_is_what_torch_counts(tiny_encoder):
    encoder = tiny_encoder(dropout=False)
    texts = [[2, *range(5, 5 + n), 3] for n in (4, 9, 30)]
    with FlopCounterMode(display=False) as counter:
        encoder.forward(texts).sum().backward()
    needed = training_flops([len(text) for text in texts], Shape.of(encoder.model))
    # The counter lacks the attention kernel of a CPU.
    pairs = 12 * 2 * 32 * sum(len(text) ** 2 for text in texts)
    assert counter.get_total_flops() == pytest.approx(needed - pairs, rel=0.35)


def test_the_peak_is_measured_without_random_numbers():
    state = torch.get_rng_state()
    assert 1e8 < peak_flops(CPU, bf16=False) < 1e14
    assert torch.equal(torch.get_rng_state(), state)


def test_the_memory_of_a_process_is_more_than_its_imports():
    assert 5e7 < memory_bytes(CPU) < 1e12


def test_bf16_is_measured_only_where_the_cpu_has_it(tiny_encoder):
    encoder = tiny_encoder()

    def refuse(texts):
        raise AssertionError("nothing is to be measured")

    assert pays_in_bf16(refuse, [[2, 3]], encoder.model, supported=lambda: False) is False
    assert isinstance(computes_bf16(), bool)


@pytest.mark.parametrize("faster", [True, False])
def test_bf16_is_taken_only_where_it_is_clearly_faster(tiny_encoder, monkeypatch, faster):
    encoder = tiny_encoder()
    clock = [0.0]

    def forward(texts):
        bf16 = torch.is_autocast_enabled("cpu")
        clock[0] += 1.0 if bf16 == faster else 1.1 if faster is False else 2.0
        return encoder.forward(texts)

    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    state = torch.get_rng_state()
    assert pays_in_bf16(forward, [[2, 7, 3]], encoder.model, lambda: True) is faster
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in encoder.model.parameters())
    assert not encoder.model.training
