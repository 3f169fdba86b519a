"""What a base model asks for: said before use, refused where it can't be met."""

from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace

import pytest
from fake_nvml import FakeNvml, h200

from pipeline.attempt import _admit
from pipeline.base_checks import licence_check, require_tuning_memory, training_check
from pipeline.errors import BadRecipe
from pipeline.gate import read_machine, require_gpu
from pipeline.journal import JournalWriter
from pipeline.preflight import judge, read_surroundings
from pipeline.profiles import known_profiles
from pipeline.recipe import Recipe, apply
from pipeline.stage import find_stage

LARGE = known_profiles()["nvidia/llama-embed-nemotron-8b"]
SMALL = known_profiles()["nvidia/llama-nemotron-embed-1b-v2"]


def gpu_of(gigabytes):
    found = require_gpu(read_machine(FakeNvml(h200()), {}))
    return replace(found, memory_total=gigabytes * 10**9)


def test_a_licence_without_commercial_use_warns_and_others_are_said():
    warned = licence_check(LARGE)
    assert (warned.verdict, LARGE.licence in warned.detail) == ("warn", True)
    assert "commercial" in warned.remedy
    for profile in known_profiles().values():
        check = licence_check(profile)
        assert profile.licence in check.detail
        assert (check.verdict == "pass") == profile.commercial
    assert [p for p in known_profiles().values() if not p.commercial] == [LARGE]


@pytest.mark.parametrize(
    ("gigabytes", "fits"), [(80, False), (143, False), (160, True), (192, True)]
)
def test_below_160_gb_only_adapters_of_the_8b_are_trained(gigabytes, fits):
    gpu = gpu_of(gigabytes)
    assert training_check(LARGE, gpu).verdict == ("pass" if fits else "warn")
    if fits:
        require_tuning_memory(LARGE, Recipe(), gpu)
    else:
        with pytest.raises(BadRecipe, match=f"{gigabytes} GB") as caught:
            require_tuning_memory(LARGE, Recipe(), gpu)
        assert "--set finetune.lora.rank=16" in caught.value.next_step
        asked = apply(Recipe(), caught.value.remedy, "the remedy")
        require_tuning_memory(LARGE, asked, gpu)
    require_tuning_memory(SMALL, Recipe(), gpu)


def test_the_preflight_says_both_beside_the_gate(tmp_path):
    report = read_machine(FakeNvml(h200()), {})
    found = read_surroundings(tmp_path, "KEY", {"PATH": "", "HF_HUB_OFFLINE": "1"}, LARGE)
    checks = {check.name: check for check in judge(report, found).checks}
    assert checks["licence"].verdict == "warn"
    assert "finetune.lora.rank" in checks["training"].remedy


def test_a_worker_refuses_to_train_all_weights_of_the_8b_and_trains_adapters(tmp_path):
    def admit(recipe, stage="finetune"):
        job = SimpleNamespace(stage=find_stage(stage), recipe=recipe)
        journal = JournalWriter(tmp_path / f"{stage}.jsonl")
        with ExitStack() as held:
            return _admit(LARGE, job, journal, held, FakeNvml(h200()))

    with pytest.raises(BadRecipe, match="160 GB"):
        admit(Recipe())
    assert admit(apply(Recipe(), {"finetune.lora.rank": 8}, "here")) == "cuda"
    assert admit(Recipe(), "prep") == "cuda"


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path):
    """What a worker pins, and its lock on the GPU, are gone after each test."""
    monkeypatch.setenv("EMBEDSMITH_HOME", str(tmp_path / "home"))
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
