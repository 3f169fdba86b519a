"""A fine-tuned MiniLM and the surroundings of the stage; small decoders of both architectures."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pipeline.beir import EvalSet, write_beir
from pipeline.context import Context
from pipeline.profiles import (
    REHEARSAL_PROFILE,
    base_recipe,
    find_profile,
    known_profiles,
    weights_folder,
)
from pipeline.recipe import EncoderSettings, apply
from pipeline.run import Result, Run


class Recorder:
    """A stage's events, kept in memory."""

    def __init__(self):
        self.steps, self.logs, self.artifacts = [], [], []

    def progress(self, done, total, what):
        self.steps.append((done, total, what))

    def metric(self, **values):
        raise AssertionError("export writes no metric events")

    def log(self, message, *, level="info"):
        self.logs.append((level, message))

    def artifact(self, path, what):
        self.artifacts.append(path)

    def resumed(self, **where):
        raise AssertionError("export starts over")


class Control:
    """Nobody asks anything."""

    finish_asked = False

    def poll(self):
        pass


@pytest.fixture(autouse=True)
def one_thread():
    """Models this small gain nothing from threads that wait for each other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def finetuned_folder(tmp_path_factory):
    """MiniLM with slightly other weights, saved as finetune saves it."""
    import torch

    from pipeline.encoder import load_encoder

    torch.set_num_threads(1)
    profile = find_profile(REHEARSAL_PROFILE)
    encoder = load_encoder(weights_folder(profile), profile, base_recipe(profile).encoder, "cpu")
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in encoder.model.parameters():
            weight += 0.01 * torch.randn(weight.shape, generator=generator)
    folder = tmp_path_factory.mktemp("finetuned")
    encoder.save(folder / "model", "# A test's model")
    return folder


@pytest.fixture(scope="session")
def make_context(tmp_path_factory, finetuned_folder):
    """Gives a context for export with some settings changed."""

    def make(**settings):
        folder = tmp_path_factory.mktemp("export")
        words = ("volcano", "bakery", "violin", "harbour", "glacier", "library")
        write_beir(
            folder / "prep" / "eval_beir",
            EvalSet(
                {f"q-{n}": f"When did the {word} open?" for n, word in enumerate(words)},
                {f"p-{n}": f"The {word} was opened in {1800 + n}." for n, word in enumerate(words)},
                {f"q-{n}": {f"p-{n}": 1} for n in range(len(words))},
            ),
            "test",
        )
        profile = find_profile(REHEARSAL_PROFILE)
        done = {"origin": "made", "partial": False, "finished": 0.0, "seconds": 0.0, "summary": {}}
        (folder / "result").mkdir()
        return Context(
            run=Run(folder / "run"),
            recipe=apply(
                base_recipe(profile), {f"export.{k}": v for k, v in settings.items()}, "a test"
            ),
            profile=profile,
            variant="",
            folder=folder / "result",
            inputs={
                "prep": Result(folder / "prep", "prep", "f1", "d1", **done),
                "finetune": Result(finetuned_folder, "finetune", "f2", "d2", **done),
            },
            events=Recorder(),
            control=Control(),
            device="cpu",
            cache=folder / "cache",
        )

    return make


@pytest.fixture(scope="session")
def exported(make_context):
    """The stage, once, in both precisions: its context and its outcome."""
    from pipeline.export.stage import execute

    context = make_context(dtypes=["fp16", "fp32"])
    return context, execute(context)


@pytest.fixture(scope="session")
def ministral_folder(tmp_path_factory, llama_folder):
    """A small, randomly initialised Ministral3 with the tokenizer of the small Llama."""
    import shutil

    import torch
    from transformers import Ministral3Config, Ministral3Model

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "ministral"
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    shape |= {"vocab_size": 300, "max_position_embeddings": 256}
    Ministral3Model(Ministral3Config(**shape)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(llama_folder / name, folder / name)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "ministral3"
    return folder


@pytest.fixture(params=["llama", "ministral", "llama cut", "llama last", "llama cls"])
def decoder(request, llama_folder, ministral_folder, llama_profile):
    """Small bidirectional decoders, with every pooling and a dimension cut."""
    from pipeline.encoder import load_encoder

    profile, settings, folder = llama_profile, EncoderSettings(), llama_folder
    if request.param == "ministral":
        published = known_profiles()["nvidia/Nemotron-3-Embed-1B-BF16"]
        profile, folder = replace(published, dimension=64, tokens_max=128), ministral_folder
    elif request.param == "llama cut":
        settings = EncoderSettings(dimension=16)
    elif request.param != "llama":
        profile = replace(llama_profile, pooling=request.param.split()[1])
    return load_encoder(folder, profile, settings, "cpu")


@pytest.fixture
def small_llama(llama_folder, llama_profile):
    """The small bidirectional Llama."""
    from pipeline.encoder import load_encoder

    return load_encoder(llama_folder, llama_profile, EncoderSettings(), "cpu")
