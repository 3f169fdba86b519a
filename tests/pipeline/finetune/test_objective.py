"""The objective: which losses make a batch's loss, at which cuts, with which weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.errors import BadRecipe
from pipeline.finetune.batches import Sampler
from pipeline.finetune.examples import read_training_set
from pipeline.finetune.losses import (
    embedding_distance,
    info_nce,
    margin_mse,
    multi_positive_info_nce,
    score_divergence,
    triplet,
)
from pipeline.finetune.objective import Objective, Teaching, matryoshka_cuts, shortened
from pipeline.finetune.teacher import FalseNegatives, PairScores, TeacherVectors
from pipeline.prep.records import TrainingExample
from pipeline.profiles import REHEARSAL_PROFILE, find_profile
from pipeline.schedule import schedule_for
from pipeline.settings import (
    DistillationSettings,
    EncoderSettings,
    FinetuneSettings,
    TripletSettings,
)

CPU = torch.device("cpu")
PLAIN = FinetuneSettings(batch_size=8, auto_scale=False, temperature=0.1)
PASSAGES = {f"p-{n}": f"passage {n}" for n in range(12)}
ROWS = (((0, 1), (4, 5)), ((1,), (6,)), ((2,), ()))
"""Positives and negatives of each question: ragged, one without any negative of its own."""


def training_set(rows=ROWS):
    examples = [
        TrainingExample(
            query=f"q-{number}",
            question=f"question {number}",
            positives=tuple(f"p-{n}" for n in positives),
            negatives=tuple((f"p-{n}", 0.5) for n in negatives),
            positive_score=0.9,
            shortfall="",
        )
        for number, (positives, negatives) in enumerate(rows)
    ]
    return read_training_set(examples, PASSAGES, lambda texts, kind: [[0] for _ in texts], 4)


def batch_of(data, settings=PLAIN, false_negatives=None, in_batch=True):
    schedule = schedule_for(len(data.rows), settings)
    return Sampler(data, schedule, 1, in_batch, settings.positives, false_negatives).batch(0)


def vectors_for(batch, width: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    count = len(batch.queries) + len(batch.passages)
    vectors = torch.randn(count, width, generator=generator)
    return torch.nn.functional.normalize(vectors, dim=1).requires_grad_()


def similarity_of(batch, vectors):
    return vectors[: len(batch.queries)][batch.row_query] @ vectors[len(batch.queries) :].T


def loss_of(settings, batch, vectors, **more):
    return Objective(settings, **more).of(batch, CPU)(vectors)


def test_without_other_settings_it_is_info_nce_bit_for_bit():
    batch = batch_of(training_set())
    vectors = vectors_for(batch)
    found = loss_of(PLAIN, batch, vectors)
    plain = info_nce(similarity_of(batch, vectors), batch.positive, batch.allowed, 0.1)
    assert torch.equal(found.total, plain)
    assert found.parts == {"contrastive": plain}
    ours, theirs = (torch.autograd.grad(loss, vectors)[0] for loss in (found.total, plain))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("form", ["each", "supervised", "any"])
def test_all_positives_of_a_question_come_in_one_batch(form):
    settings = replace(PLAIN, positives=form)
    data = training_set()
    batch = batch_of(data, settings)
    counts = dict(zip(batch.queries, batch.positives.sum(dim=1).tolist(), strict=True))
    assert counts == {0: 2, 1: 1, 2: 1}
    vectors = vectors_for(batch)
    wanted = multi_positive_info_nce(
        similarity_of(batch, vectors), batch.positives, batch.allowed & ~batch.positives, 0.1, form
    )
    assert torch.equal(loss_of(settings, batch, vectors).total, wanted)


def test_matryoshka_is_the_mean_over_cuts_that_are_scaled_again():
    batch = batch_of(training_set())
    vectors = vectors_for(batch)
    found = loss_of(PLAIN, batch, vectors, cuts=(16, 8, 4))
    losses = {
        width: loss_of(PLAIN, batch, torch.nn.functional.normalize(vectors[:, :width], dim=1)).total
        for width in (16, 8, 4)
    }
    assert found.total.item() == pytest.approx(sum(losses.values()).item() / 3, abs=1e-6)
    assert found.parts.keys() == {"contrastive", *(f"contrastive_at_{w}" for w in losses)}
    for width, loss in losses.items():
        assert found.parts[f"contrastive_at_{width}"].item() == pytest.approx(loss.item(), abs=1e-6)


def test_a_model_without_normalisation_is_cut_without_it():
    vectors = torch.arange(8.0).reshape(2, 4)
    assert shortened(vectors, 2, normalize=False).tolist() == [[0, 1], [4, 5]]
    assert shortened(vectors, 4, normalize=True) is vectors


def test_losses_add_up_by_their_weights():
    batch = batch_of(training_set())
    vectors = vectors_for(batch)
    settings = replace(PLAIN, contrastive_weight=0.5, triplet=TripletSettings(2.0, 0.3))
    found = loss_of(settings, batch, vectors)
    similarity = similarity_of(batch, vectors)
    row, positive, negative = batch.triplets().T
    assert len(row) == 3
    wanted = triplet(similarity[row, positive], similarity[row, negative], 0.3)
    assert found.parts["triplet"].item() == pytest.approx(wanted.item())
    assert wanted.item() > 0
    alone = loss_of(PLAIN, batch, vectors).total
    assert found.total.item() == pytest.approx((0.5 * alone + 2.0 * wanted).item())
    only = loss_of(replace(settings, contrastive_weight=0.0), batch, vectors)
    assert only.parts.keys() == {"triplet"}


def distilling(loss: str, temperature: float = 1.0):
    return replace(
        PLAIN,
        contrastive_weight=0.0,
        distillation=DistillationSettings(1.0, "base", loss, temperature),
    )


def reranker_scores(data) -> PairScores:
    pairs = ((row.query, text) for row in data.rows for text in (*row.positives, *row.negatives))
    return PairScores({(query, text): query - 0.7 * text for query, text in pairs})


def test_a_reranker_teaches_margins_and_rankings_within_each_group():
    data = training_set()
    batch = batch_of(data)
    vectors = vectors_for(batch)
    similarity = similarity_of(batch, vectors)
    scores = reranker_scores(data)
    teaching = Teaching(scores=scores)

    def taught(row: int, column: int) -> float:
        return scores.scores[batch.queries[row], batch.passages[column]]

    triplets = batch.triplets().tolist()
    student = torch.stack([similarity[r, p] - similarity[r, n] for r, p, n in triplets])
    teacher = torch.tensor([taught(r, p) - taught(r, n) for r, p, n in triplets])
    found = loss_of(distilling("margin_mse", 4.0), batch, vectors, teaching=teaching)
    assert found.total.item() == pytest.approx(margin_mse(student, teacher / 4.0).item())

    divergences = []
    for row in range(len(batch.row_query)):
        group = torch.nonzero(batch.positives[row] | batch.mined[row]).flatten().tolist()
        ours = similarity[row, group][None]
        theirs = torch.tensor([[taught(row, column) for column in group]])
        members = torch.ones(1, len(group), dtype=torch.bool)
        divergences.append(score_divergence(ours, theirs, members, 0.1, 2.0))
    found = loss_of(distilling("kl", 2.0), batch, vectors, teaching=teaching)
    assert found.total.item() == pytest.approx((sum(divergences) / 3).item(), abs=1e-6)


@pytest.mark.parametrize("measure", ["cosine", "mse"])
def test_vectors_of_a_teacher_are_those_of_the_batchs_texts(measure):
    data = training_set()
    batch = batch_of(data)
    vectors = vectors_for(batch)
    generator = np.random.default_rng(0)
    rows = [
        generator.normal(size=(len(texts), 16)).astype(np.float32)
        for texts in (data.query_texts, data.passage_texts)
    ]
    teaching = Teaching(targets=TeacherVectors(*rows))
    # Cuts are for similarities: a teacher's space has none.
    found = loss_of(distilling(measure), batch, vectors, teaching=teaching, cuts=(16, 8))
    targets = torch.from_numpy(
        np.concatenate([rows[0][list(batch.queries)], rows[1][list(batch.passages)]])
    )
    assert torch.equal(found.total, embedding_distance(vectors, targets, measure))
    perfect = torch.nn.functional.normalize(targets, dim=1) if measure == "cosine" else targets
    assert loss_of(distilling(measure), batch, perfect, teaching=teaching).total.item() < 1e-6


@pytest.mark.parametrize("loss", ["contrastive", "triplet", "kl", "margin_mse"])
def test_a_batch_where_everything_is_masked_gives_zero_and_finite_gradients(loss):
    data = training_set((((0,), (4, 5)),) * 2)
    same = np.ones((12, 3), dtype=np.float32)
    suspects = FalseNegatives(TeacherVectors(same, same), 0.5)
    settings = {
        "contrastive": PLAIN,
        "triplet": replace(PLAIN, contrastive_weight=0.0, triplet=TripletSettings(1.0)),
    }.get(loss) or distilling(loss)
    batch = batch_of(data, settings, suspects)
    assert batch.negatives == 0
    assert batch.masked == 2 * 2
    vectors = vectors_for(batch)
    found = loss_of(settings, batch, vectors, teaching=Teaching(scores=reranker_scores(data)))
    (gradient,) = torch.autograd.grad(found.total, vectors)
    assert found.total.item() == 0.0
    assert not gradient.any()


@pytest.mark.parametrize("form", ["one", "each", "supervised", "any"])
def test_a_batch_of_one_learns_from_its_own_negatives(form):
    data = training_set((((0,), (4, 5)), ((1,), (6,))))
    settings = replace(PLAIN, positives=form, batch_size=1)
    batch = batch_of(data, settings)
    assert len(batch.row_query) == 1
    vectors = vectors_for(batch)
    total = loss_of(settings, batch, vectors).total
    assert torch.isfinite(total)
    assert torch.autograd.grad(total, vectors)[0].any()


def test_suspects_get_no_gradient():
    data = training_set()
    generator = np.random.default_rng(1)
    teacher = TeacherVectors(
        *(generator.normal(size=(count, 4)).astype(np.float32) for count in (3, 12))
    )
    batch = batch_of(data, PLAIN, FalseNegatives(teacher, 0.05))
    scores = teacher.matrix([batch.queries[q] for q in batch.row_query], batch.passages)
    lowest = scores[torch.arange(3), batch.positive][:, None]
    suspected = (scores > lowest - 0.05 * abs(lowest)) & ~batch.positives.numpy()
    assert suspected.any()
    assert not (batch.allowed.numpy() & suspected).any()
    plain = batch_of(data)
    assert batch.negatives + batch.masked == plain.negatives + plain.masked
    similarity = similarity_of(batch, vectors_for(batch)).detach().requires_grad_()
    info_nce(similarity, batch.positive, batch.allowed, 0.1).backward()
    assert not similarity.grad[torch.from_numpy(suspected)].any()


def test_cuts_are_the_profiles_unless_named_and_always_hold_the_whole():
    profile = find_profile("nvidia/llama-nemotron-embed-1b-v2")
    on = FinetuneSettings(matryoshka=True)
    assert matryoshka_cuts(FinetuneSettings(), EncoderSettings(), profile) == ()
    assert matryoshka_cuts(on, EncoderSettings(), profile) == (2048, 1024, 768, 512, 384)
    assert matryoshka_cuts(on, EncoderSettings(dimension=600), profile) == (600, 512, 384)
    named = replace(on, matryoshka_dimensions=(64, 128))
    minilm = find_profile(REHEARSAL_PROFILE)
    assert matryoshka_cuts(named, EncoderSettings(), minilm) == (384, 128, 64)


def test_cuts_that_cannot_be_made_are_refused():
    minilm = find_profile(REHEARSAL_PROFILE)
    on = FinetuneSettings(matryoshka=True)
    with pytest.raises(BadRecipe, match="no dimension below 384"):
        matryoshka_cuts(on, EncoderSettings(), minilm)
    with pytest.raises(BadRecipe, match="has only 384"):
        matryoshka_cuts(replace(on, matryoshka_dimensions=(512,)), EncoderSettings(), minilm)


@pytest.mark.parametrize(
    ("changes", "with_mined", "without"),
    [
        pytest.param({}, True, False, id="InfoNCE"),
        pytest.param({"triplet": TripletSettings(weight=1.0)}, True, False, id="triplet"),
        pytest.param({"distillation": distilling("margin_mse").distillation}, True, False),
        pytest.param({"distillation": distilling("kl").distillation}, True, False),
        pytest.param({"distillation": distilling("cosine").distillation}, True, True),
    ],
)
def test_a_batch_teaches_where_a_loss_has_what_it_needs(changes, with_mined, without):
    weight = 0.0 if changes else 1.0
    objective = Objective(replace(PLAIN, contrastive_weight=weight, **changes))
    assert objective.teaches(batch_of(training_set(), in_batch=False)) is with_mined
    bare = batch_of(training_set([((0,), ()), ((1,), ())]), in_batch=False)
    assert objective.teaches(bare) is without


def test_passages_of_the_batch_are_enough_for_infonce_alone():
    bare = batch_of(training_set([((0,), ()), ((1,), ())]))
    assert Objective(PLAIN).teaches(bare)
    triplets = replace(PLAIN, contrastive_weight=0.0, triplet=TripletSettings(weight=1.0))
    assert not Objective(triplets).teaches(bare)
