"""InfoNCE over masks: what is masked has no say."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.finetune.losses import info_nce


def test_a_hand_computed_case():
    similarity = torch.tensor([[0.8, 0.2, 0.5], [0.1, 0.6, 0.9]])
    allowed = torch.tensor([[True, True, False], [True, True, True]])
    loss = info_nce(similarity, torch.tensor([0, 2]), allowed, temperature=0.5)
    first = -math.log(math.exp(1.6) / (math.exp(1.6) + math.exp(0.4)))
    second = -math.log(math.exp(1.8) / (math.exp(0.2) + math.exp(1.2) + math.exp(1.8)))
    assert loss.item() == pytest.approx((first + second) / 2, abs=1e-6)


def test_a_query_without_negatives_adds_nothing_and_gives_finite_gradients():
    similarity = torch.tensor([[0.3, 0.9]], requires_grad=True)
    loss = info_nce(similarity, torch.tensor([0]), torch.tensor([[True, False]]), temperature=0.02)
    loss.backward()
    assert loss.item() == 0.0
    assert similarity.grad is not None
    assert similarity.grad.tolist() == [[0.0, 0.0]]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_masked_pairs_never_influence_loss_or_gradient(data):
    rows = data.draw(st.integers(1, 5))
    columns = data.draw(st.integers(1, 7))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 10_000)))
    similarity = torch.rand(rows, columns, generator=generator) * 2 - 1
    positive = torch.randint(columns, (rows,), generator=generator)
    allowed = torch.rand(rows, columns, generator=generator) < 0.5
    allowed[torch.arange(rows), positive] = True
    noise = data.draw(st.sampled_from([1.0, -1.0, 1e4]))
    disturbed = torch.where(allowed, similarity, similarity + noise)
    results = []
    for values in (similarity, disturbed):
        leaf = values.clone().requires_grad_()
        loss = info_nce(leaf, positive, allowed, temperature=0.05)
        loss.backward()
        results.append((loss.item(), leaf.grad))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])
    assert not results[0][1][~allowed].any()
