"""The warm-up: it learns, reads the training fold alone, is repeatable, and survives a kill."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from pipeline.corpus.records import PASSAGES, Passage, to_row
from pipeline.encoder import load_encoder
from pipeline.errors import BadInput, BadRecipe, Cancelled, StageFailure
from pipeline.files import digest_folder, write_jsonl
from pipeline.finetune.examples import TokenStore
from pipeline.finetune.lora import adapt
from pipeline.finetune.stage import MODEL, execute
from pipeline.finetune.warmup import FOLDER, Surroundings, warm_up
from pipeline.finetune.warmup_objectives import (
    DeletedTokens,
    MaskedTokens,
    WeakPairs,
    objective_for,
)
from pipeline.journal import read_journal
from pipeline.profiles import find_profile
from pipeline.settings import EncoderSettings, FinetuneSettings, LoraSettings, WarmupSettings

TOPICS = 16
SLOW = {
    "finetune.epochs": 1,
    "finetune.warmup.epochs": 4,
    "finetune.warmup.batch_size": 4,
    "finetune.warmup.checkpoint_steps": 5,
}
_PROCESS = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[3])
from conftest import Toy
from test_warmup import SLOW
from pipeline.attempt import JournalEvents
from pipeline.finetune.stage import execute
from pipeline.journal import JournalWriter
overrides = SLOW | {"finetune.warmup.objective": sys.argv[4]}
context = Toy(Path(sys.argv[1]), Path(sys.argv[2])).context("killed", overrides)
journal = JournalWriter(context.folder / "journal.jsonl")
execute(replace(context, events=JournalEvents(journal)))
"""


def corpus_of(role="train"):
    """Two passages a document, with the topic's word as heading."""
    return [
        Passage(
            f"p-{topic:03d}{part}",
            f"d{topic}",
            0,
            9,
            f"p{topic} p{topic} n{part} n{topic % 3} p{topic}",
            (f"q{topic}",),
            9,
            role,
        )
        for topic in range(TOPICS)
        for part in range(2)
    ]


@pytest.fixture(scope="session")
def masked_base(tiny_base, tmp_path_factory) -> Path:
    """The tiny base, with a mask token."""
    folder = shutil.copytree(tiny_base, tmp_path_factory.mktemp("masked") / "tiny")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.mask_token = "n19"
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def masked_encoder(masked_base):
    return load_encoder(masked_base, find_profile(str(masked_base)), EncoderSettings(), "cpu")


@pytest.fixture
def corpus_toy(toy, masked_base):
    """The toy task over a corpus with documents, headings and neighbours."""
    path = toy.root / "corpus" / PASSAGES
    for passage in corpus_of():
        assert passage.role == "train"
    # The passages that examples name stay; those of a document are new.
    old = path.read_text()
    write_jsonl(path, map(to_row, corpus_of()))
    path.write_text(old + path.read_text())
    return replace(toy, base=masked_base)


class Told:
    """Events and control of a warm-up on its own."""

    finish_asked = False

    def __init__(self):
        self.losses, self.lines = [], []

    def metric(self, **values):
        self.losses.append(values["warmup_loss"])

    def log(self, message, *, level="info"):
        self.lines.append(message)

    def progress(self, done, total, what):
        pass

    def resumed(self, **where):
        pass

    def poll(self):
        pass


def warmed(encoder, folder, objective, passages=None, told=None, **changes):
    told = told or Told()
    table = WarmupSettings(objective=objective, epochs=12, batch_size=8, learning_rate=3e-3)
    settings = FinetuneSettings(warmup=replace(table, **changes), temperature=0.1)
    around = Surroundings(folder, told, told)
    warm_up(encoder, corpus_of() if passages is None else passages, settings, 3, around)
    return told


@pytest.mark.parametrize("objective", ["mlm", "tsdae", "pairs"])
def test_each_objective_learns_and_moves_the_encoder(masked_encoder, tmp_path, objective):
    before = masked_encoder.encode(["p1 n1", "p2"], "passage")
    told = warmed(masked_encoder, tmp_path, objective)
    assert np.mean(told.losses[-6:]) < 0.8 * np.mean(told.losses[:6])
    assert np.abs(masked_encoder.encode(["p1 n1", "p2"], "passage") - before).max() > 1e-2
    assert objective in told.lines[0]


@pytest.mark.parametrize("objective", ["mlm", "tsdae", "pairs"])
def test_with_adapters_nothing_else_moves(masked_encoder, tmp_path, objective):
    adapt(masked_encoder.model, LoraSettings(rank=4), seed=1)
    before = {name: p.clone() for name, p in masked_encoder.model.named_parameters()}
    warmed(masked_encoder, tmp_path, objective, epochs=1)
    moved = {
        name
        for name, p in masked_encoder.model.named_parameters()
        if not torch.equal(p, before[name])
    }
    assert moved
    assert all(".lora_" in name for name in moved)


def test_only_passages_of_the_training_fold_are_read(masked_encoder):
    mixed = [*corpus_of(), *corpus_of("dev"), *corpus_of("test")]
    told = warmed(masked_encoder, Path("/nonexistent"), "none", mixed)
    assert told.losses == []
    train = [passage for passage in mixed if passage.role == "train"]
    settings = FinetuneSettings(warmup=WarmupSettings(objective="mlm"))
    assert objective_for(settings, masked_encoder, train).items == len(train)


def test_held_out_passages_change_no_bit(masked_base, tmp_path):
    found = []
    for number, extra in enumerate(([], [*corpus_of("dev"), *corpus_of("test")])):
        encoder = load_encoder(
            masked_base, find_profile(str(masked_base)), EncoderSettings(), "cpu"
        )
        told = warmed(encoder, tmp_path / str(number), "pairs", [*corpus_of(), *extra], epochs=2)
        found.append(told.losses)
    assert found[0] == found[1]


def test_the_decoder_of_tsdae_shares_all_but_its_look_at_the_vector(masked_encoder):
    texts = TokenStore(masked_encoder.tokenize(["p1 n1 n2"] * 2, "passage"))
    objective = DeletedTokens(masked_encoder, texts)
    shared = {id(parameter) for parameter in masked_encoder.model.parameters()}
    own = {name for name, p in objective.head.named_parameters() if id(p) not in shared}
    assert own
    assert all("crossattention" in name or name.startswith("cls.") for name in own), own
    generator = np.random.default_rng(0)
    masked_encoder.model.zero_grad()
    objective.backward([0, 1], generator)
    gradients = {
        name: float(p.grad.abs().sum())
        for name, p in masked_encoder.model.named_parameters()
        if p.grad is not None
    }
    assert all(value > 0 for name, value in gradients.items() if "key.bias" not in name)


def test_what_a_model_cannot_learn_is_refused_with_what_it_can(
    llama_folder, llama_profile, tmp_path
):
    encoder = load_encoder(llama_folder, llama_profile, EncoderSettings(), "cpu")
    passages = [replace(passage, text=f"w{n} w3 w4") for n, passage in enumerate(corpus_of())]
    for objective in ("mlm", "tsdae"):
        with pytest.raises(BadRecipe, match=objective) as caught:
            warmed(encoder, tmp_path, objective, passages)
        assert "pairs" in caught.value.next_step
    told = warmed(encoder, tmp_path, "pairs", passages, epochs=1)
    assert len(told.losses) == 6


@pytest.mark.parametrize("objective", ["mlm", "tsdae", "pairs"])
def test_too_little_text_is_said(masked_encoder, tmp_path, objective):
    with pytest.raises(BadInput, match="training fold"):
        warmed(masked_encoder, tmp_path, objective, [])


def test_one_document_makes_no_negatives(masked_encoder, tmp_path):
    with pytest.raises(BadInput, match="two documents"):
        warmed(masked_encoder, tmp_path, "pairs", corpus_of()[:2])


def test_a_warm_up_that_diverges_says_which_setting_to_lower(masked_encoder, tmp_path):
    with pytest.raises(StageFailure, match="diverged") as caught:
        warmed(masked_encoder, tmp_path, "mlm", learning_rate=1e30)
    assert "finetune.warmup.learning_rate" in caught.value.next_step
    assert "heckpoint" not in caught.value.safe, "it is another result's"
    assert "begins at the first step" in caught.value.next_step


def test_a_warm_up_that_fills_the_memory_names_the_setting_that_counts(
    masked_encoder, tmp_path, monkeypatch
):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(DeletedTokens, "backward", full)
    with pytest.raises(StageFailure) as caught:
        warmed(masked_encoder, tmp_path, "tsdae")
    assert "finetune.warmup.batch_size = 8" in caught.value.happened
    assert caught.value.remedy == {"finetune.warmup.batch_size": 4}


@pytest.fixture
def small_memory(monkeypatch):
    """Passes over weak pairs of more tokens than that find the memory full, from the n-th on."""

    def limit(tokens, after):
        passes, whole = [], WeakPairs._forward

        def forward(objective, texts):
            passes.append(sum(map(len, texts)))
            if len(passes) > after and passes[-1] > tokens:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return whole(objective, texts)

        monkeypatch.setattr(WeakPairs, "_forward", forward)
        return passes

    return limit


MEASURED = 3
"""Passes before the first step, of those that measure what memory holds; some are larger."""


class Leaves(Told):
    """Leaves after so many steps."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def poll(self):
        if len(self.losses) >= self.steps:
            raise Cancelled


def test_weak_pairs_that_fill_the_memory_go_on_with_fewer_at_once(
    masked_encoder, tmp_path, small_memory
):
    passes = small_memory(tokens=20, after=MEASURED)
    told = Leaves(5)
    with pytest.raises(Cancelled):
        warmed(masked_encoder, tmp_path, "pairs", told=told)
    assert max(passes[MEASURED:]) > 20
    assert any(words.startswith("The memory was full in step 1 of the") for words in told.lines)
    # Gone on with, it needn't find that out again.
    del passes[:]
    again = warmed(masked_encoder, tmp_path, "pairs")
    assert max(passes[MEASURED:]) <= 20
    assert not any("memory" in words for words in again.lines)
    assert len(told.losses) + len(again.losses) == 12 * 6
    assert np.mean(again.losses[-6:]) < 0.8 * np.mean(told.losses)


def test_a_weak_pair_of_one_text_that_is_too_much_says_that_fewer_don_t_help(
    masked_encoder, tmp_path, small_memory
):
    small_memory(tokens=1, after=MEASURED)
    with pytest.raises(StageFailure, match="every text went through it alone") as caught:
        warmed(masked_encoder, tmp_path, "pairs")
    assert not caught.value.remedy


@pytest.mark.parametrize("steps", [3, 12])
def test_a_gpu_that_vanishes_in_a_warm_up_names_the_warm_up_s_checkpoint(
    corpus_toy, monkeypatch, steps
):
    whole, done = MaskedTokens.backward, []

    def backward(objective, batch, generator):
        done.append(batch)
        if len(done) > steps:
            raise RuntimeError("CUDA error: unspecified launch failure")
        return whole(objective, batch, generator)

    with monkeypatch.context() as patched:
        patched.setattr(MaskedTokens, "backward", backward)
        with pytest.raises(StageFailure, match="in the middle of the warm-up") as caught:
            execute(warm_context(corpus_toy, "gone", "mlm"))
    again = stopping(corpus_toy, "gone", "mlm", StopsAt("warmup_step", 1, Cancelled))
    with pytest.raises(Cancelled):
        execute(again)
    if steps < SLOW["finetune.warmup.checkpoint_steps"]:
        assert "No checkpoint was due yet in the warm-up" in caught.value.safe
        assert "the warm-up begins at the first step" in caught.value.next_step
        assert not again.events.of("resumed")
    else:
        assert "The warm-up's checkpoint of step 10 is whole" in caught.value.safe
        assert "the warm-up goes on from step 10" in caught.value.next_step
        assert again.events.of("resumed") == [{"warmup_step": 10}]


def test_a_text_of_many_documents_is_not_its_own_negative(masked_encoder):
    alike = [
        Passage(f"p-{d}", d, 0, 9, "p1 p2 n1", (f"q{n}",), 9, "train") for n, d in enumerate("abcd")
    ]
    objective = WeakPairs(masked_encoder, alike, FinetuneSettings())
    assert float(objective.backward(range(4), np.random.default_rng(0))) == 0


def warm_context(toy, name, objective, **changes):
    return toy.context(name, SLOW | {"finetune.warmup.objective": objective}, **changes)


class StopsAt:
    """A control that asks for something once an event with `key` was told `number` times."""

    def __init__(self, key, number, error=None):
        self.key, self.number, self.error, self.events = key, number, error, None

    @property
    def reached(self):
        return len(self.events.of("metric", self.key)) >= self.number

    @property
    def finish_asked(self):
        return self.error is None and self.reached

    def poll(self):
        if self.error and self.reached:
            raise self.error


def stopping(toy, name, objective, control):
    context = warm_context(toy, name, objective, control=control)
    control.events = context.events
    return context


@pytest.fixture
def whole(corpus_toy):
    """Trainings with a warm-up, undisturbed, by objective."""
    made = {}

    def make(objective):
        if objective not in made:
            made[objective] = warm_context(corpus_toy, f"whole-{objective}", objective)
            execute(made[objective])
        return made[objective]

    return make


def test_a_warm_up_precedes_the_training_and_leaves_only_the_model(corpus_toy, whole):
    context = whole("mlm")
    steps = [event for event in context.events.of("metric") if {"warmup_step", "loss"} & {*event}]
    kinds = ["warmup_step" in event for event in steps]
    assert kinds == sorted(kinds, reverse=True)
    assert len(context.events.of("metric", "warmup_step")) == 4 * 12
    assert not (context.folder / FOLDER).exists()
    without = corpus_toy.context("without", {"finetune.epochs": 1})
    execute(without)
    assert digest_folder(without.folder / MODEL) != digest_folder(context.folder / MODEL)
    assert "finetune.warmup.objective | mlm" in (context.folder / MODEL / "README.md").read_text()
    assert "warmup.objective" not in (without.folder / MODEL / "README.md").read_text()


def test_a_stopped_warm_up_goes_on_bit_for_bit(corpus_toy, whole):
    stopped = stopping(corpus_toy, "stopped", "tsdae", StopsAt("warmup_step", 17, Cancelled))
    with pytest.raises(Cancelled):
        execute(stopped)
    again = warm_context(corpus_toy, "stopped", "tsdae")
    execute(again)
    assert again.events.of("resumed")
    told = {e["warmup_step"]: e["warmup_loss"] for e in again.events.of("metric", "warmup_step")}
    all_told = whole("tsdae").events.of("metric", "warmup_step")
    assert told.items() < {e["warmup_step"]: e["warmup_loss"] for e in all_told}.items()
    assert digest_folder(again.folder / MODEL) == digest_folder(whole("tsdae").folder / MODEL)


def test_a_damaged_warm_up_is_said_and_begins_anew(corpus_toy):
    control = StopsAt("warmup_step", 7, Cancelled)
    with pytest.raises(Cancelled):
        execute(stopping(corpus_toy, "torn", "mlm", control))
    (state,) = (corpus_toy.root / "finetune/torn" / FOLDER).glob("state-*")
    state.write_bytes(state.read_bytes()[:-100])
    again = stopping(corpus_toy, "torn", "mlm", StopsAt("warmup_step", 1, Cancelled))
    with pytest.raises(Cancelled):
        execute(again)
    (said,) = [e for e in again.events.of("log") if "can't be used" in e["message"]]
    assert said["level"] == "warning"


def test_a_training_that_is_stopped_after_its_warm_up_doesn_t_repeat_it(corpus_toy, whole):
    stopped = stopping(corpus_toy, "later", "pairs", StopsAt("loss", 3, Cancelled))
    with pytest.raises(Cancelled):
        execute(stopped)
    again = warm_context(corpus_toy, "later", "pairs")
    execute(again)
    assert not again.events.of("metric", "warmup_step")
    assert digest_folder(again.folder / MODEL) == digest_folder(whole("pairs").folder / MODEL)


def test_finish_ends_the_warm_up_and_the_training_after_a_step(corpus_toy):
    context = stopping(corpus_toy, "early", "mlm", StopsAt("warmup_step", 9))
    outcome = execute(context)
    assert len(context.events.of("metric", "warmup_step")) == 9
    assert outcome.partial
    assert outcome.summary["steps"] == 1
    said = outcome.summary["warnings"]
    assert "The warm-up was ended early, after 9 of 48 steps." in said
    assert any("the least there is" in warning for warning in said)


class BreaksOff(StopsAt):
    """Asks to finish in the warm-up, and is killed where the training begins."""

    finish_asked = property(lambda self: self.reached)

    def poll(self):
        if any("Warmed up" in event["message"] for event in self.events.of("log")):
            raise Cancelled


def test_a_training_after_a_warm_up_that_was_ended_early_is_called_partial(corpus_toy):
    with pytest.raises(Cancelled):
        execute(stopping(corpus_toy, "cut", "mlm", BreaksOff("warmup_step", 9)))
    again = warm_context(corpus_toy, "cut", "mlm")
    outcome = execute(again)
    assert not again.events.of("metric", "warmup_step")
    assert outcome.summary["steps"] == outcome.summary["steps_planned"]
    assert outcome.partial
    said = outcome.summary["warnings"]
    assert "The warm-up was ended early, after 9 of 48 steps." in said
    assert not any("Ended early" in warning for warning in said)


def test_a_killed_warm_up_gives_the_same_bits(corpus_toy, whole):
    folder = corpus_toy.root / "finetune" / "killed"
    command = [sys.executable, "-c", _PROCESS, corpus_toy.root, corpus_toy.base]
    with subprocess.Popen([*command, Path(__file__).parent, "mlm"]) as process:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            events = read_journal(folder / "journal.jsonl")
            if any(event.data.get("warmup_step", 0) >= 17 for event in events):
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    again = warm_context(corpus_toy, "killed", "mlm")
    execute(again)
    assert digest_folder(again.folder / MODEL) == digest_folder(whole("mlm").folder / MODEL)
