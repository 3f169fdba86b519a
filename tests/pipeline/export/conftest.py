"""A fine-tuned MiniLM and the surroundings of the stage; small decoders of both architectures."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from surroundings import Control, Recorder, finished, save_finetuned

from pipeline.beir import EvalSet, write_beir
from pipeline.context import Context
from pipeline.profiles import (
    REHEARSAL_PROFILE,
    base_recipe,
    find_profile,
    known_profiles,
)
from pipeline.recipe import apply
from pipeline.run import Run
from pipeline.settings import EncoderSettings


@pytest.fixture(autouse=True)
def one_thread():
    """Models this small gain nothing from threads that wait for each other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def finetuned_folder(tmp_path_factory):
    """MiniLM with slightly other weights, as finetune saves it."""
    return save_finetuned(tmp_path_factory.mktemp("finetuned"))


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
                "prep": finished(folder / "prep", "prep"),
                "finetune": finished(finetuned_folder, "finetune", "d2"),
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


@pytest.fixture
def make_decoder(llama_folder, ministral_folder, llama_profile):
    """Gives a small bidirectional decoder, by architecture, pooling or dimension cut."""
    from pipeline.encoder import load_encoder

    published = known_profiles()["nvidia/Nemotron-3-Embed-1B-BF16"]

    def make(what):
        profile, settings, folder = llama_profile, EncoderSettings(), llama_folder
        if what == "ministral":
            profile = replace(published, dimension=64, tokens_max=128)
            folder = ministral_folder
        elif what == "cut":
            settings = EncoderSettings(dimension=16)
        elif what in ("last", "cls"):
            profile = replace(llama_profile, pooling=what)
        return load_encoder(folder, profile, settings, "cpu")

    return make


@pytest.fixture
def small_llama(llama_folder, llama_profile):
    """The small bidirectional Llama."""
    from pipeline.encoder import load_encoder

    return load_encoder(llama_folder, llama_profile, EncoderSettings(), "cpu")
