"""The NIM target of the stage, with an executable that behaves like docker."""

import os
from dataclasses import replace

import pytest
from fake_docker import FakeDocker
from surroundings import finished

from pipeline.deploy.container import plan_container
from pipeline.deploy.services import find_service, stop_service
from pipeline.deploy.stage import execute
from pipeline.errors import BadInput, BadRecipe, MissingPart
from pipeline.export.records import read_manifest
from pipeline.files import write_json
from pipeline.profiles import find_profile

KEY = "nvapi-0123456789abcdef"
GPU = "GPU-5d5ff4dc-ee1b-6c7f-1b1e-1f0a5e8e0a11"


@pytest.fixture
def context(make_context, llama_export, monkeypatch):
    """A deployment of the small Llama's export as if it were the default profile's."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", GPU)
    monkeypatch.setenv("NGC_API_KEY", KEY)
    context = make_context({"export": llama_export}, deploy__target="nim")
    return replace(context, profile=find_profile("nvidia/llama-nemotron-embed-1b-v2"))


@pytest.fixture
def fake(tmp_path, monkeypatch):
    fake = FakeDocker(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{fake.folder}:{os.environ['PATH']}")
    yield fake
    fake.close()


def test_a_nim_gets_the_served_graph_alone_is_recorded_and_stopped(context, fake, llama_export):
    outcome = execute(context)
    service = find_service(context.run, "nim")
    assert (service.model, service.export) == ("served", "d-export")
    assert service.alive()
    assert outcome.summary["url"] == service.url
    model = context.run.service_path("nim").parent / "model"
    assert sorted(p.relative_to(model).as_posix() for p in model.rglob("*") if p.is_file()) == [
        "model.onnx",
        "tokenizer/tokenizer.json",
    ]
    assert (model / "model.onnx").samefile(llama_export / "model.onnx")
    (said,) = [text for _, text in context.events.logs if "docker run" in text]
    assert GPU in said
    assert KEY not in said
    assert KEY not in context.run.service_path("nim").read_text()
    stop_service(context.run, "nim")
    assert fake.containers == {}
    assert find_service(context.run, "nim") is None


def test_the_command_is_shown_where_docker_is_not(context, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPart, match="docker is not on this machine"):
        execute(context)
    assert any("docker run" in text for _, text in context.events.logs)
    assert find_service(context.run, "nim") is None


def test_a_nim_that_loads_weights_gets_the_model_that_was_exported(context, llama_export):
    context = replace(context, profile=find_profile("nvidia/Nemotron-3-Embed-1B-BF16"))
    manifest = read_manifest(llama_export)
    with pytest.raises(BadInput, match="no longer there"):
        plan_container(context, manifest, "nim")
    for number, digest in (("a", "d-other"), ("b", "d-finetune")):
        folder = context.run.result_folder("finetune", number)
        (folder / "model").mkdir(parents=True)
        (folder / "journal.jsonl").touch()
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            (folder / "model" / name).touch()
        done = finished(folder, "finetune", digest)
        row = {name: getattr(done, name) for name in ("digest", "origin", "partial", "finished")}
        write_json(folder / "done.json", {**row, "format": 1, "summary": {}, "seconds": 0.0})
    plan = plan_container(context, manifest, "nim")
    assert plan.model == context.run.result_folder("finetune", "b") / "model"
    assert (plan.gpu, plan.tokens_max) == (GPU, 128)
    assert plan.port > 0


def test_a_nim_is_never_opened_to_others(make_context, llama_export, monkeypatch):
    monkeypatch.setenv("EMBEDSMITH_API_KEY", "right")
    context = make_context({"export": llama_export}, deploy__target="nim", deploy__host="0.0.0.0")
    with pytest.raises(BadRecipe, match="asks nobody for a key"):
        execute(context)


def test_a_profile_without_a_nim_is_refused_by_name(make_context, llama_export):
    with pytest.raises(BadRecipe, match="all-MiniLM-L6-v2"):
        execute(make_context({"export": llama_export}, deploy__target="nim"))
