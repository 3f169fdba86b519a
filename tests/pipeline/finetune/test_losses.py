"""Losses: by hand, by sentence-transformers, and what masks, raggedness and emptiness do."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity

from pipeline.finetune.losses import (
    contrastive_pairs,
    cosent,
    embedding_distance,
    info_nce,
    margin_mse,
    multi_positive_info_nce,
    score_divergence,
    triplet,
)

FORMS = ("each", "supervised", "any")


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(*shape, generator=generator), dim=-1)


def cosines(rows: int, columns: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, columns, generator=generator) * 2 - 1


def pairwise(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return (first * second).sum(dim=1)


def gradient_of(loss_of, *tensors: torch.Tensor):
    """The loss of leaves, and their gradients."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    loss = loss_of(*leaves)
    loss.backward()
    return loss.detach(), [leaf.grad for leaf in leaves]


def assert_same(ours, theirs, *tensors: torch.Tensor) -> None:
    """Loss and gradients to 1e-5."""
    (one, gradients), (other, expected) = (gradient_of(f, *tensors) for f in (ours, theirs))
    assert one.item() == pytest.approx(other.item(), abs=1e-5)
    assert other.item() != 0
    for mine, wanted in zip(gradients, expected, strict=True):
        assert torch.allclose(mine, wanted, atol=1e-5)


def masks(data, rows: int, columns: int, seed: int):
    """Positives (one at least a row) and negatives that are no positives."""
    generator = torch.Generator().manual_seed(seed + 1)
    positives = torch.rand(rows, columns, generator=generator) < 0.3
    positives[torch.arange(rows), torch.randint(columns, (rows,), generator=generator)] = True
    share = data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    negatives = (torch.rand(rows, columns, generator=generator) < share) & ~positives
    return positives, negatives


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


@settings(deadline=None, max_examples=60)
@given(data=st.data(), form=st.sampled_from(FORMS), seed=st.integers(0, 10_000))
def test_several_positives_mask_exactly_too_and_no_mask_makes_a_nan(data, form, seed):
    rows, columns = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 7))
    similarity = cosines(rows, columns, seed)
    positives, negatives = masks(data, rows, columns, seed)
    allowed = positives | negatives
    disturbed = torch.where(allowed, similarity, similarity + 1e4)
    results = [
        gradient_of(lambda s: multi_positive_info_nce(s, positives, negatives, 0.05, form), values)
        for values in (similarity, disturbed)
    ]
    (loss, [gradient]), (other, [same]) = results
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()
    assert loss == other
    assert torch.equal(gradient, same)
    assert not gradient[~allowed].any()
    if not negatives.any() and form != "supervised":
        assert loss == 0.0
        assert not gradient.any()


@settings(deadline=None, max_examples=40)
@given(data=st.data(), form=st.sampled_from(FORMS), seed=st.integers(0, 10_000))
def test_the_order_of_rows_and_passages_does_not_matter(data, form, seed):
    rows, columns = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 7))
    similarity = cosines(rows, columns, seed)
    positives, negatives = masks(data, rows, columns, seed)
    down = data.draw(st.permutations(range(rows)))
    across = data.draw(st.permutations(range(columns)))

    def loss(*tensors: torch.Tensor) -> float:
        return multi_positive_info_nce(*tensors, 0.05, form).item()

    plain = (similarity, positives, negatives)
    moved = (tensor[down][:, across] for tensor in plain)
    assert loss(*moved) == pytest.approx(loss(*plain), abs=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_with_one_positive_every_form_is_info_nce(form):
    positive = torch.tensor([2, 0, 4])
    positives = torch.nn.functional.one_hot(positive, 6).bool()
    negatives = (cosines(3, 6, seed=9) > -0.5) & ~positives
    assert_same(
        lambda s: multi_positive_info_nce(s, positives, negatives, 0.1, form),
        lambda s: info_nce(s, positive, positives | negatives, 0.1),
        cosines(3, 6, seed=3),
    )


def test_each_positive_against_the_negatives_is_the_mean_of_drawing_one():
    positives = torch.tensor([[True, True, True, False, False, False]])
    negatives = torch.tensor([[False, False, False, True, False, True]])
    drawn = [torch.tensor([column]) for column in range(3)]

    def mean_of_draws(similarity: torch.Tensor) -> torch.Tensor:
        losses = []
        for positive in drawn:
            allowed = negatives.clone()
            allowed[0, positive] = True
            losses.append(info_nce(similarity, positive, allowed, 0.1))
        return torch.stack(losses).mean()

    assert_same(
        lambda s: multi_positive_info_nce(s, positives, negatives, 0.1, "each"),
        mean_of_draws,
        cosines(1, 6, seed=4),
    )


def test_supervised_and_any_by_hand():
    similarity = torch.tensor([[0.4, 0.2, 0.1, 0.9]])
    positives = torch.tensor([[True, True, False, False]])
    negatives = torch.tensor([[False, False, True, False]])
    good, bad = [math.exp(0.8), math.exp(0.4)], math.exp(0.2)
    supervised = multi_positive_info_nce(similarity, positives, negatives, 0.5, "supervised")
    wanted = sum(-math.log(one / (sum(good) + bad)) for one in good) / 2
    assert supervised.item() == pytest.approx(wanted, abs=1e-6)
    either = multi_positive_info_nce(similarity, positives, negatives, 0.5, "any")
    assert either.item() == pytest.approx(-math.log(sum(good) / (sum(good) + bad)), abs=1e-6)


def test_triplet_equals_triplet_loss():
    from sentence_transformers.sentence_transformer.losses import TripletLoss
    from sentence_transformers.sentence_transformer.losses.triplet import TripletDistanceMetric

    theirs = TripletLoss(None, TripletDistanceMetric.COSINE, triplet_margin=0.3)
    assert_same(
        lambda q, p, n: triplet(cosine_similarity(q, p), cosine_similarity(q, n), 0.3),
        lambda q, p, n: theirs.compute_loss_from_embeddings([q, p, n], torch.zeros(8)),
        *(unit(8, 5, seed=seed) for seed in range(3)),
    )


def test_margin_mse_equals_margin_mse_loss():
    from sentence_transformers.sentence_transformer.losses import MarginMSELoss

    scores = cosines(8, 3, seed=7) * 5
    theirs = MarginMSELoss(None)

    def ours(q, p, n, m):
        student = torch.stack([pairwise(q, p) - pairwise(q, other) for other in (n, m)])
        return margin_mse(student.flatten(), (scores[:, :1] - scores[:, 1:]).T.flatten())

    assert_same(
        ours,
        lambda *vectors: theirs.compute_loss_from_embeddings(list(vectors), scores),
        *(unit(8, 5, seed=seed) for seed in range(4)),
    )


def test_score_divergence_equals_distill_kl_div_loss_but_for_hintons_square():
    from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss

    scores = cosines(6, 3, seed=8) * 3
    theirs = DistillKLDivLoss(None, student_temperature=0.2, teacher_temperature=1.5)

    def ours(q, *passages):
        student = torch.stack([pairwise(q, passage) for passage in passages], dim=1)
        members = torch.ones(6, 3, dtype=torch.bool)
        return score_divergence(student, scores, members, 0.2, 1.5) * 0.2**2

    assert_same(
        ours,
        lambda *vectors: theirs.compute_loss_from_embeddings(list(vectors), scores),
        *(unit(6, 5, seed=seed) for seed in range(4)),
    )


@pytest.mark.parametrize("measure", ["cosine", "mse"])
def test_embedding_distance_equals_embed_distill_loss(measure):
    from sentence_transformers.sentence_transformer.losses.embed_distill import EmbedDistillLoss

    targets = unit(7, 5, seed=1)
    theirs = EmbedDistillLoss(None, distance_metric=measure)
    assert_same(
        lambda vectors: embedding_distance(vectors, targets, measure),
        lambda vectors: theirs.compute_loss_from_embeddings([vectors], [targets]),
        unit(7, 5, seed=2),
    )


def test_cosent_equals_cosent_loss_with_ties():
    from sentence_transformers.sentence_transformer.losses import CoSENTLoss

    scores = torch.tensor([0.1, 0.8, 0.8, 0.3, 1.0, 0.3])
    theirs = CoSENTLoss(None, scale=20.0)
    assert_same(
        lambda a, b: cosent(cosine_similarity(a, b), scores, 0.05),
        lambda a, b: theirs.compute_loss_from_embeddings([a, b], scores),
        unit(6, 5, seed=1),
        unit(6, 5, seed=2),
    )


def test_contrastive_pairs_equal_contrastive_loss():
    from sentence_transformers.sentence_transformer.losses import ContrastiveLoss

    alike = torch.tensor([1, 0, 1, 0, 0])
    theirs = ContrastiveLoss(None, margin=0.9)
    assert_same(
        lambda a, b: contrastive_pairs(cosine_similarity(a, b), alike, 0.9),
        lambda a, b: theirs.compute_loss_from_embeddings([a, b], alike),
        unit(5, 5, seed=1),
        unit(5, 5, seed=2),
    )


@pytest.mark.parametrize(
    "loss_of",
    [
        lambda s: triplet(s, s, 0.1),
        lambda s: margin_mse(s, s.detach()),
        lambda s: cosent(s, torch.zeros(0), 0.05),
        lambda s: contrastive_pairs(s, torch.zeros(0), 0.5),
        lambda s: embedding_distance(s.reshape(0, 4), torch.zeros(0, 4), "mse"),
        lambda s: embedding_distance(s.reshape(0, 4), torch.zeros(0, 4), "cosine"),
        lambda s: score_divergence(
            s.reshape(2, 0), torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool), 0.1, 1.0
        ),
    ],
)
def test_nothing_to_compare_is_a_loss_of_zero(loss_of):
    loss, [gradient] = gradient_of(loss_of, torch.zeros(0))
    assert loss.item() == 0.0
    assert gradient.shape == (0,)


def test_equal_scores_and_a_single_pair_say_nothing_about_order():
    for count in (1, 3):
        loss, [gradient] = gradient_of(lambda s: cosent(s, torch.ones(len(s)), 0.05), unit(count))
        assert loss.item() == 0.0
        assert not gradient.any()


def test_ragged_groups_count_their_members_only():
    scores = torch.tensor([[2.0, 1.0, float("nan")], [1.0, float("nan"), float("nan")]])
    members = torch.tensor([[True, True, False], [True, False, False]])
    student = torch.tensor([[0.3, 0.5, float("nan")], [0.1, 0.2, 0.3]])
    loss, [gradient] = gradient_of(
        lambda s: score_divergence(s, scores, members, 0.5, 1.0), student
    )
    teacher = torch.softmax(torch.tensor([2.0, 1.0]), dim=0)
    ours = torch.log_softmax(torch.tensor([0.6, 1.0]), dim=0)
    assert loss.item() == pytest.approx(float((teacher * (teacher.log() - ours)).sum()) / 2)
    assert torch.isfinite(gradient).all()
    assert not gradient[~members].any()
    assert not gradient[1].any(), "a group of one has no ranking"
