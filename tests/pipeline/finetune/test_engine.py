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
from pipeline.finetune.speed import Shape, training_flops
from pipeline.finetune.tasks import Pair, Task, Tasks
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


def engine_for(encoder, examples, passages, settings=SETTINGS, objective=None, tasks=None):
    data = read_training_set(examples, passages, encoder.tokenize, settings.hard_negatives)
    schedule = schedule_for(len(data.rows), settings)
    sampler = Sampler(data, schedule, 0, True)
    return Engine(encoder, data, sampler, schedule, settings, objective, tasks)


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
    engine.restore(Fitted(pass_tokens=10**9, kept_tokens=10**15, lanes=9, bf16=True))
    assert engine.fitted == Fitted(5, 7, 1, True)


def test_going_on_in_the_other_precision_measures_anew_in_it(tiny_encoder, monkeypatch):
    peaks = {True: 4e13, False: 1e13}
    monkeypatch.setattr("pipeline.finetune.engine.peak_flops", lambda device, bf16: peaks[bf16])
    # Little, so that it is what counts and not the texts.
    monkeypatch.setattr("pipeline.finetune.gradients.CPU_ACTIVATION_BYTES_MAX", 1 << 20)
    found = {}
    for bf16 in peaks:
        monkeypatch.setattr("pipeline.finetune.engine.pays_in_bf16", lambda *_, now=bf16: now)
        found[bf16] = engine_for(tiny_encoder(), *toy_examples())
    kept = {bf16: engine.fitted.kept_tokens for bf16, engine in found.items()}
    assert kept[False] < kept[True]
    other = found[False]
    torch.manual_seed(4)
    other.restore(found[True].fitted)
    drawn = torch.rand(3)
    assert other.fitted == found[True].fitted
    report = other.step(0)
    texts = [e.question for e in toy_examples()[0]], list(toy_examples()[1].values())
    lengths = [
        len(ids)
        for kind, some in zip(("query", "passage"), texts, strict=True)
        for ids in other.encoder.tokenize(some, kind)
    ]
    flops = training_flops(lengths, Shape.of(other.encoder.model))
    assert report.mfu == pytest.approx(flops / report.seconds / peaks[True], rel=1e-6)
    torch.manual_seed(4)
    assert torch.equal(drawn, torch.rand(3)), "measuring drew random numbers"


def test_going_on_after_another_choice_of_precision_gives_the_same_bits(tiny_encoder, monkeypatch):
    """Sums of gradients have the order of the graphs that are held, and bf16 holds fewer bytes."""
    monkeypatch.setattr("pipeline.finetune.gradients.CPU_ACTIVATION_BYTES_MAX", 1 << 20)
    settings, found = replace(SETTINGS, batch_size=16, micro_batch_size=2), []
    for bf16 in (True, False):
        monkeypatch.setattr("pipeline.finetune.engine.pays_in_bf16", lambda *_, now=bf16: now)
        engine = engine_for(tiny_encoder(), *toy_examples(16), settings)
        engine.restore(found[0][0] if found else engine.fitted)
        torch.manual_seed(6)
        engine.step(0)
        found.append((engine.fitted, list(engine.encoder.model.parameters())))
    (_, one), (_, other) = found
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def sts_task(pairs, words):
    """A task whose every batch has so many pairs, of so many words a side."""
    side = " ".join(["n1"] * words)
    rows = [Pair(f"q{n % 16} {side}", f"p{n % 16} {side}", n % 3) for n in range(pairs)]

    def make(encoder):
        return Tasks([Task("sts", rows, 1.0, encoder.tokenize, 0.1)], pairs, seed=1)

    return make


def test_a_step_counts_the_batches_of_other_tasks_in_its_time(tiny_encoder, monkeypatch):
    monkeypatch.setattr("pipeline.finetune.engine.peak_flops", lambda *_: 1e13)
    encoder = tiny_encoder()
    alone = engine_for(tiny_encoder(), *toy_examples()).step(0)
    both = engine_for(encoder, *toy_examples(), tasks=sts_task(6, 9)(encoder)).step(0)
    assert both.rows == alone.rows + 6
    lengths = [12] * 12  # a word, nine more, two special tokens
    assert both.tokens == alone.tokens + sum(lengths)
    more = training_flops(lengths, Shape.of(encoder.model)) / 1e13
    assert both.mfu * both.seconds == pytest.approx(alone.mfu * alone.seconds + more, rel=1e-6)
    assert both.negatives_per_query == alone.negatives_per_query == 19


def test_a_full_memory_is_answered_with_half_of_the_batch_that_filled_it(tiny_encoder, monkeypatch):
    """A task's batch may be far larger than the run's own."""
    encoder = tiny_encoder(dropout=False)
    settings = replace(SETTINGS, micro_batch_size=1000)
    engine = engine_for(encoder, *toy_examples(), settings, tasks=sts_task(50, 20)(encoder))
    whole = Engine.forward

    def forward(texts):
        if sum(map(len, texts)) > 1200:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(engine, texts)

    monkeypatch.setattr(engine, "forward", forward)
    report = engine.step(0)
    assert report.halvings == 1
    assert report.fitted.pass_tokens == 100 * 23 // 2


def test_hard_negatives_are_told_apart_from_those_of_other_questions(tiny_encoder):
    examples, passages = toy_examples()
    plain = engine_for(tiny_encoder(), examples, passages).step(0)
    assert plain.hard_negatives_per_query == 4
    # The first question is asked once more, and what answers it there was mined for it here.
    examples[1] = replace(examples[1], query="q-9", question=examples[0].question)
    answer = (examples[1].positives[0], 0.5)
    examples[0] = replace(examples[0], negatives=(answer, *examples[0].negatives[:3]))
    masked = engine_for(tiny_encoder(), examples, passages).step(0)
    assert masked.hard_negatives_per_query == (3 + 4 + 4 + 4) / 4
    assert masked.masked_per_query > 0


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
