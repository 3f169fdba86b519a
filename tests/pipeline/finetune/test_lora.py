"""Adapters: the base at first, alone in training, resumed bit for bit, gone in what is saved."""

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from pipeline.encoder import load_encoder
from pipeline.errors import BadRecipe
from pipeline.files import digest_folder
from pipeline.finetune.checkpoint import Checkpoints, Progress
from pipeline.finetune.engine import make_optimizer
from pipeline.finetune.lora import adapt, adapted_layers, is_adapted, merge
from pipeline.finetune.stage import MODEL, execute
from pipeline.profiles import find_profile
from pipeline.settings import EncoderSettings, FinetuneSettings, LoraSettings

TEXTS = ["q0 p0 n1", "p1", "n2 n3 n4 p5 p5"]
LORA = {"finetune.lora.rank": 4, "finetune.lora.alpha": 8.0, "finetune.lora.dropout": 0.1}


@pytest.fixture
def adapted(tiny_encoder):
    """An encoder with adapters that training has moved."""
    encoder = tiny_encoder()
    adapt(encoder.model, LoraSettings(rank=4, alpha=8.0), seed=3)
    optimizer = make_optimizer(encoder.model, FinetuneSettings(learning_rate=1e-2))
    for _ in range(3):
        vectors = encoder.forward(encoder.tokenize(TEXTS, "query"))
        (vectors @ vectors.T).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return encoder, optimizer


def test_a_model_with_new_adapters_is_the_base_bit_for_bit(tiny_encoder):
    base, encoder = tiny_encoder(), tiny_encoder()
    adapt(encoder.model, LoraSettings(rank=4), seed=3)
    assert is_adapted(encoder.model)
    assert np.array_equal(encoder.encode(TEXTS, "query"), base.encode(TEXTS, "query"))


def test_training_moves_adapters_alone_and_needs_far_less_memory(tiny_encoder, adapted):
    base, (encoder, optimizer) = dict(tiny_encoder().model.named_parameters()), adapted
    frozen = {
        name.replace(".base_layer", ""): parameter
        for name, parameter in encoder.model.named_parameters()
        if ".lora_" not in name
    }
    assert frozen.keys() == base.keys()
    assert all(torch.equal(base[name], parameter) for name, parameter in frozen.items())
    for name, parameter in encoder.model.named_parameters():
        assert parameter.requires_grad == (".lora_" in name)
    states = [state for state in optimizer.state.values() if state["exp_avg"].abs().sum() > 0]
    held = sum(state["exp_avg"].numel() for state in states)
    assert 0 < held < sum(p.numel() for p in base.values())
    assert not any(parameter.grad is not None for parameter in frozen.values())


def test_a_merged_model_gives_the_same_vectors_and_has_the_base_s_shape(tiny_encoder, adapted):
    encoder, _ = adapted
    apart = encoder.encode(TEXTS, "query")
    assert np.abs(apart - tiny_encoder().encode(TEXTS, "query")).max() > 1e-2
    merge(encoder.model)
    assert not is_adapted(encoder.model)
    assert np.abs(encoder.encode(TEXTS, "query") - apart).max() < 1e-5
    names = [name for name, _ in tiny_encoder().model.named_parameters()]
    assert [name for name, _ in encoder.model.named_parameters()] == names
    assert all(parameter.requires_grad for parameter in encoder.model.parameters())
    merge(encoder.model)  # nothing to do


def test_adapters_go_on_all_layers_that_make_vectors_or_on_those_named(tiny_encoder):
    model = tiny_encoder().model
    layers = adapted_layers(model, ())
    assert len(layers) == 2 * 6
    assert not any("pooler" in name for name in layers)
    only = adapted_layers(model, ("query", "attention.output.dense"))
    assert len(only) == 2 * 2
    with pytest.raises(BadRecipe, match="'q_proj'") as caught:
        adapted_layers(model, ("query", "q_proj"))
    assert "query" in caught.value.next_step


def test_a_checkpoint_holds_adapters_alone(adapted, tmp_path):
    from safetensors import safe_open

    encoder, optimizer = adapted
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(Progress(step=3), encoder.model, optimizer)
    checkpoints.wait()
    with safe_open(next(tmp_path.glob("state-*")), "pt") as tensors:
        weights = [name for name in [*tensors.keys()] if not name.startswith("random.")]
    assert weights
    assert all(".lora_" in name for name in weights)


def test_a_training_with_adapters_resumes_bit_for_bit_and_saves_a_plain_model(toy, scripted):
    from pipeline.errors import Cancelled

    whole = toy.context("whole", LORA)
    execute(whole)
    stopped = toy.context("stopped", LORA, control=scripted(stop_at=40, error=Cancelled))
    with pytest.raises(Cancelled):
        execute(stopped)
    assert (stopped.folder / "checkpoint").is_dir()
    again = toy.context("stopped", LORA)
    execute(again)
    assert digest_folder(again.folder / MODEL) == digest_folder(whole.folder / MODEL)
    losses = {e["step"]: e["loss"] for e in whole.events.of("metric", "loss")}
    resumed = {e["step"]: e["loss"] for e in again.events.of("metric", "loss")}
    assert resumed
    assert resumed.items() <= losses.items()
    ours = load_encoder(
        whole.folder / MODEL, find_profile(str(whole.folder / MODEL)), EncoderSettings(), "cpu"
    )
    theirs = SentenceTransformer(str(whole.folder / MODEL), device="cpu")
    assert np.abs(theirs.encode_query(TEXTS) - ours.encode(TEXTS, "query")).max() < 1e-5


def test_adapters_learn_the_task(toy):
    outcome = execute(toy.context(overrides={**LORA, "finetune.epochs": 16}))
    assert outcome.summary["dev_ndcg_at_10"] > outcome.summary["dev_ndcg_at_10_base"] + 0.2
