"""One step, held against sentence-transformers."""

from __future__ import annotations

import random

import pytest
import torch

from pipeline.encoder import load_encoder
from pipeline.finetune.batches import Sampler
from pipeline.finetune.engine import Engine, make_optimizer
from pipeline.finetune.examples import read_training_set
from pipeline.prep.records import TrainingExample
from pipeline.profiles import REHEARSAL_PROFILE, find_profile, known_profiles, weights_folder
from pipeline.recipe import EncoderSettings, FinetuneSettings
from pipeline.schedule import schedule_for

SETTINGS = FinetuneSettings(batch_size=8, auto_scale=False, gradient_clip=0.0, temperature=0.05)


def toy_examples(rows: int = 4):
    """Rows without a shared text: nothing is masked."""
    words = random.Random(5)
    passages = {
        f"p-{n}": " ".join(
            f"p{words.randrange(16)} n{words.randrange(20)}" for _ in range(1 + n % 6)
        )
        + f" p{n % 16} n{n % 20}"
        for n in range(rows * 5)
    }
    examples = [
        TrainingExample(
            query=f"q-{row}",
            question=f"q{row} n{row} q{row + 4}",
            positives=(f"p-{row * 5}",),
            negatives=tuple((f"p-{row * 5 + k}", 0.5) for k in range(1, 5)),
            positive_score=0.9,
            shortfall="",
        )
        for row in range(rows)
    ]
    assert len(set(passages.values())) == len(passages)
    return examples, passages


def engine_for(encoder, examples, passages, settings=SETTINGS):
    data = read_training_set(examples, passages, encoder.tokenize, settings.hard_negatives)
    schedule = schedule_for(len(data.rows), settings)
    return Engine(encoder, data, Sampler(data, schedule, 0, True), schedule, settings)


def switch_dropout_off(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


@pytest.mark.parametrize("which", ["tiny", "MiniLM"])
def test_a_step_equals_multiple_negatives_ranking_loss(which, tiny_base):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    minilm = known_profiles()[REHEARSAL_PROFILE]
    profile = minilm if which == "MiniLM" else find_profile(str(tiny_base))
    examples, passages = toy_examples()
    encoder = load_encoder(weights_folder(profile), profile, EncoderSettings(), "cpu")
    switch_dropout_off(encoder.model)
    report = engine_for(encoder, examples, passages).step(0)

    theirs = SentenceTransformer(str(weights_folder(profile)), device="cpu")
    theirs.eval()
    columns = [[example.question for example in examples]]
    columns.append([passages[example.positives[0]] for example in examples])
    columns += [[passages[e.negatives[k][0]] for e in examples] for k in range(4)]
    loss_function = MultipleNegativesRankingLoss(theirs, scale=1 / SETTINGS.temperature)
    loss = loss_function([theirs.preprocess(texts) for texts in columns], torch.zeros(4))
    loss.backward()
    expected = {
        name.removeprefix("model."): parameter.grad
        for name, parameter in theirs[0].named_parameters()
        if parameter.grad is not None
    }
    ours = {
        name: parameter.grad
        for name, parameter in encoder.model.named_parameters()
        if parameter.grad is not None
    }
    assert report.loss == pytest.approx(loss.item(), abs=1e-5)
    assert report.negatives_per_query == 19
    assert len(ours) > 20
    assert {name.rpartition("auto_model.")[2] for name in expected} == ours.keys()
    for name, gradient in expected.items():
        mine = ours[name.rpartition("auto_model.")[2]]
        assert torch.allclose(mine, gradient, atol=1e-5, rtol=1e-4), name


def test_known_answers_of_the_batch_change_the_loss(tiny_encoder):
    examples, passages = toy_examples()
    plain = engine_for(tiny_encoder(dropout=False), examples, passages).step(0)
    same_answer = [
        TrainingExample(**{**vars(example), "positives": examples[0].positives})
        for example in examples
    ]
    masked = engine_for(tiny_encoder(dropout=False), same_answer, passages).step(0)
    assert masked.negatives_per_query == 16  # no longer the 3 other positives
    assert plain.negatives_per_query == 19


def test_a_step_moves_the_weights_by_the_schedule_and_counts_what_it_did(tiny_encoder):
    examples, passages = toy_examples()
    encoder = tiny_encoder()
    engine = engine_for(encoder, examples, passages)
    before = {name: p.detach().clone() for name, p in encoder.model.named_parameters()}
    report = engine.step(0)
    assert report.rows == 4
    assert report.epoch == 1.0
    assert report.tokens == sum(
        map(len, encoder.tokenize([e.question for e in examples], "query"))
    ) + sum(map(len, encoder.tokenize(list(passages.values()), "passage")))
    moved = {
        name: float((p.detach() - before[name]).abs().max())
        for name, p in encoder.model.named_parameters()
    }
    # The first step of AdamW moves a weight by the learning rate, and decay by less.
    assert max(moved.values()) == pytest.approx(report.learning_rate, rel=0.1)


def test_biases_and_norms_do_not_decay(tiny_encoder):
    encoder = tiny_encoder()
    optimizer = make_optimizer(encoder.model, FinetuneSettings(weight_decay=0.5))
    decay = {
        id(parameter): group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for name, parameter in encoder.model.named_parameters():
        without = name.endswith("bias") or "LayerNorm" in name
        assert decay[id(parameter)] == (0.0 if without else 0.5), name


def test_the_gradient_is_clipped(tiny_encoder):
    examples, passages = toy_examples()
    encoder = tiny_encoder(dropout=False)
    clipped = FinetuneSettings(batch_size=8, auto_scale=False, gradient_clip=0.25)
    report = engine_for(encoder, examples, passages, clipped).step(0)
    norm = torch.stack(
        [p.grad.norm() for p in encoder.model.parameters() if p.grad is not None]
    ).norm()
    assert report.gradient_norm > 1
    assert float(norm) == pytest.approx(0.25, rel=1e-3)
