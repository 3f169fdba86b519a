"""One step, held against sentence-transformers."""

from __future__ import annotations

import random
import threading
from dataclasses import replace

import pytest
import torch

from pipeline.encoder import load_encoder
from pipeline.errors import StageFailure
from pipeline.finetune.batches import Sampler
from pipeline.finetune.engine import Engine, Fitted, make_optimizer
from pipeline.finetune.examples import read_training_set
from pipeline.finetune.objective import Objective
from pipeline.prep.records import TrainingExample
from pipeline.profiles import REHEARSAL_PROFILE, find_profile, known_profiles, weights_folder
from pipeline.schedule import schedule_for
from pipeline.settings import EncoderSettings, FinetuneSettings

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


def engine_for(encoder, examples, passages, settings=SETTINGS, objective=None):
    data = read_training_set(examples, passages, encoder.tokenize, settings.hard_negatives)
    schedule = schedule_for(len(data.rows), settings)
    sampler = Sampler(data, schedule, 0, True)
    return Engine(encoder, data, sampler, schedule, settings, objective)


def switch_dropout_off(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


@pytest.mark.parametrize(
    ("which", "cuts"), [("tiny", ()), ("MiniLM", ()), ("tiny", (32, 8)), ("MiniLM", (384, 128, 64))]
)
def test_a_step_equals_multiple_negatives_ranking_loss(which, cuts, tiny_base):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import (
        MatryoshkaLoss,
        MultipleNegativesRankingLoss,
    )

    minilm = known_profiles()[REHEARSAL_PROFILE]
    profile = minilm if which == "MiniLM" else find_profile(str(tiny_base))
    examples, passages = toy_examples()
    encoder = load_encoder(weights_folder(profile), profile, EncoderSettings(), "cpu")
    switch_dropout_off(encoder.model)
    objective = Objective(SETTINGS, cuts)
    report = engine_for(encoder, examples, passages, objective=objective).step(0)

    theirs = SentenceTransformer(str(weights_folder(profile)), device="cpu")
    theirs.eval()
    columns = [[example.question for example in examples]]
    columns.append([passages[example.positives[0]] for example in examples])
    columns += [[passages[e.negatives[k][0]] for e in examples] for k in range(4)]
    loss_function = MultipleNegativesRankingLoss(theirs, scale=1 / SETTINGS.temperature)
    if cuts:
        weights = [1 / len(cuts)] * len(cuts)
        loss_function = MatryoshkaLoss(theirs, loss_function, list(cuts), weights)
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
    assert report.masked_per_query == 0
    assert report.parts["contrastive"] == pytest.approx(report.loss)
    assert len(report.parts) == 1 + len(cuts)
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
    assert masked.masked_per_query == 0  # one passage answers all: nothing else is left out
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


def engine_with_full_memory(encoder, tokens, monkeypatch):
    """An engine whose passes of more tokens than that find the memory full, after its start."""
    engine = engine_for(encoder, *toy_examples())
    passes = []

    def forward(texts):
        passes.append(sum(map(len, texts)))
        if passes[-1] > tokens:
            torch.rand(7)  # what a pass draws before it fails
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return Engine.forward(engine, texts)

    monkeypatch.setattr(engine, "forward", forward)
    return engine, passes


def test_a_full_memory_halves_what_goes_through_at_once(tiny_encoder, monkeypatch):
    undisturbed = engine_for(tiny_encoder(dropout=False), *toy_examples()).step(0)
    encoder = tiny_encoder(dropout=False)
    engine, passes = engine_with_full_memory(encoder, 24, monkeypatch)
    report = engine.step(0)
    assert report.halvings > 0
    assert max(passes) > 24 >= report.fitted.pass_tokens
    assert report.loss == pytest.approx(undisturbed.loss, rel=1e-5)
    assert report.gradient_norm == pytest.approx(undisturbed.gradient_norm, rel=1e-4)
    passes.clear()
    assert engine.step(0).halvings == 0
    assert max(passes) <= 24


def test_a_repeated_step_draws_the_same_random_numbers(tiny_encoder, monkeypatch):
    first = tiny_encoder()
    engine, _ = engine_with_full_memory(first, 24, monkeypatch)
    torch.manual_seed(6)
    report = engine.step(0)
    second = tiny_encoder()
    plain = engine_for(second, *toy_examples())
    plain.restore(report.fitted)
    torch.manual_seed(6)
    assert plain.step(0).loss == report.loss
    for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_one_text_that_is_too_much_ends_it(tiny_encoder, monkeypatch):
    engine, passes = engine_with_full_memory(tiny_encoder(), 1, monkeypatch)
    with pytest.raises(StageFailure, match="every text went through it alone"):
        engine.step(0)
    assert len(passes) < 20


def test_other_errors_pass(tiny_encoder, monkeypatch):
    engine = engine_for(tiny_encoder(), *toy_examples())

    def forward(texts):
        raise RuntimeError("shapes")

    monkeypatch.setattr(engine, "forward", forward)
    with pytest.raises(RuntimeError, match="shapes"):
        engine.step(0)


def test_going_on_takes_what_was_found_unless_less_is_asked_for(tiny_encoder):
    engine = engine_for(tiny_encoder(), *toy_examples())
    assert not engine.fitted.bf16
    engine.restore(Fitted(pass_tokens=5, kept_tokens=7, lanes=1, bf16=True))
    assert engine.fitted == Fitted(5, 7, 1, True)
    engine.restore(Fitted(pass_tokens=10**9, kept_tokens=10**15, lanes=9, bf16=False))
    assert engine.fitted == Fitted(5, 7, 1, False)


@pytest.fixture
def engine_in_lanes(tiny_encoder):
    """An engine of a large batch on two threads."""
    torch.set_num_threads(2)
    settings = replace(SETTINGS, batch_size=60)
    encoder = tiny_encoder(dropout=False)
    engine = engine_for(encoder, *toy_examples(60), settings=settings)
    assert engine.fitted.lanes == 2
    return engine


@pytest.mark.parametrize("kept_tokens", [0, 1100, 10**6])
def test_lanes_in_bfloat16_lose_no_weights_gradient(engine_in_lanes, kept_tokens):
    """A lane without a graph must not hand the weights that it cast to one with a graph."""
    gradients = []
    for lanes in (2, 1):
        engine_in_lanes.restore(Fitted(400, kept_tokens, lanes, True))
        assert engine_in_lanes.fitted.lanes == lanes
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine_in_lanes.optimizer, "step", lambda: None)
            engine_in_lanes.step(0)
        weights = engine_in_lanes.encoder.model.parameters()
        gradients.append([w.grad.flatten() for w in weights if w.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 20
    one, other = map(torch.cat, gradients)
    assert float(torch.cosine_similarity(one, other, dim=0)) > 0.999
    for found, expected in zip(*gradients, strict=True):
        assert bool(found.any()) == bool(expected.any())


def test_lanes_that_fill_the_memory_are_given_up(engine_in_lanes, monkeypatch):
    forward = engine_in_lanes.forward
    monkeypatch.setattr(engine_in_lanes.optimizer, "step", lambda: None)
    undisturbed = engine_in_lanes.step(0)

    def narrow(texts):
        if threading.current_thread() is not threading.main_thread():
            raise torch.OutOfMemoryError("CPU out of memory.")
        return forward(texts)

    monkeypatch.setattr(engine_in_lanes, "forward", narrow)
    report = engine_in_lanes.step(0)
    assert report.halvings == 1
    assert report.fitted.lanes == 1
    assert report.loss == pytest.approx(undisturbed.loss, rel=1e-5)
    assert report.gradient_norm == pytest.approx(undisturbed.gradient_norm, rel=1e-4)


def test_a_step_tells_how_well_the_machine_is_used(tiny_encoder):
    report = engine_for(tiny_encoder(), *toy_examples()).step(0)
    assert 0 < report.mfu < 1
    assert report.memory_bytes > 5e7
    assert report.halvings == 0
