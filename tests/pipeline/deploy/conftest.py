"""Real exports of MiniLM and of a small Llama, evaluated and served on loopback."""

from __future__ import annotations

import os
import shutil
from collections import ChainMap
from dataclasses import replace

import pytest
from fake_docker import KEY, FakeDocker
from openai import DefaultHttpxClient, OpenAI
from surroundings import Control, Recorder, finished, save_finetuned

from pipeline.beir import EvalSet, write_beir
from pipeline.context import Context
from pipeline.deploy.docker import Docker
from pipeline.deploy.services import list_services, stop_service
from pipeline.profiles import REHEARSAL_PROFILE, base_recipe, find_profile, weights_folder
from pipeline.recipe import apply
from pipeline.run import Run
from pipeline.settings import EncoderSettings


@pytest.fixture(scope="session")
def finetuned(tmp_path_factory):
    """The folder of a finetune result."""
    return save_finetuned(tmp_path_factory.mktemp("finetuned"))


@pytest.fixture(scope="session")
def prep(tmp_path_factory):
    """A prep result with 100 held-out questions: as few as the tolerance allows."""
    things = ("bridge", "museum", "tunnel", "harbour", "library")
    things += ("theatre", "station", "garden", "tower", "market")
    places = ["Oslo", "Lima", "Cairo", "Quito", "Perth"]
    passages = {
        f"p-{thing}-{place}": f"The {thing} of {place} was opened in {1800 + 7 * n}."
        for n, (thing, place) in enumerate((t, p) for t in things for p in places)
    }
    queries, qrels = {}, {}
    for key in passages:
        _, thing, place = key.split("-")
        for word, text in (
            ("when", f"When did the {thing} of {place} open?"),
            ("old", f"{place} {thing} age"),
        ):
            queries[f"q-{word}-{thing}-{place}"] = text
            qrels[f"q-{word}-{thing}-{place}"] = {key: 1}
    folder = tmp_path_factory.mktemp("prep")
    write_beir(folder / "eval_beir", EvalSet(queries, passages, qrels), "test")
    return folder


@pytest.fixture(scope="session")
def make_context(tmp_path_factory):
    """Gives a context over a run of its own, or over `run`."""

    def make(inputs, folder=None, run=None, variant="", control=None, options=None, **settings):
        profile = find_profile(REHEARSAL_PROFILE)
        run = run or Run(tmp_path_factory.mktemp("run"))
        dotted = {name.replace("__", "."): value for name, value in settings.items()}
        return Context(
            run=run,
            recipe=apply(base_recipe(profile), dotted, "a test"),
            profile=profile,
            variant=variant,
            folder=folder or tmp_path_factory.mktemp("result"),
            inputs={name: finished(path, name, f"d-{name}") for name, path in inputs.items()},
            events=Recorder(),
            control=control or Control(),
            device="cpu",
            cache=run.path / "cache",
            options=options or {},
        )

    return make


@pytest.fixture(scope="session")
def minilm_export(make_context, finetuned, prep):
    """The folder of an export result."""
    from pipeline.export.stage import execute

    context = make_context({"prep": prep, "finetune": finetuned})
    execute(context)
    return context.folder


@pytest.fixture(scope="session")
def base_export(tmp_path_factory, minilm_export):
    """The fine-tuned model's export, but with the base model in the graph."""
    from pipeline.encoder import load_encoder
    from pipeline.export.graph import make_graph, write_onnx
    from pipeline.export.records import read_manifest, write_manifest

    folder = tmp_path_factory.mktemp("base") / "export"
    shutil.copytree(minilm_export, folder)
    profile = find_profile(REHEARSAL_PROFILE)
    encoder = load_encoder(weights_folder(profile), profile, base_recipe(profile).encoder, "cpu")
    write_onnx(make_graph(encoder, "fp32"), folder / "model.onnx", 17)
    _sign(folder, read_manifest, write_manifest)
    return folder


@pytest.fixture(scope="session")
def llama_export(tmp_path_factory, llama_folder, llama_profile):
    """The export of a model with prefixes, Matryoshka dimensions and a short limit."""
    from importlib.metadata import version

    from pipeline.encoder import load_encoder
    from pipeline.export.graph import make_graph, write_onnx
    from pipeline.export.records import Manifest, read_manifest, write_manifest

    folder = tmp_path_factory.mktemp("llama") / "export"
    (folder / "tokenizer").mkdir(parents=True)
    encoder = load_encoder(llama_folder, llama_profile, EncoderSettings(), "cpu")
    shutil.copyfile(llama_folder / "tokenizer.json", folder / "tokenizer" / "tokenizer.json")
    write_onnx(make_graph(encoder, "fp32"), folder / "model.onnx", 17)
    manifest = Manifest(
        model="d-finetune",
        profile=llama_profile.title,
        rehearsal=False,
        dtypes=("fp32",),
        opset=17,
        pooling="mean",
        normalize=True,
        dimension=64,
        matryoshka=(16, 32, 64),
        query_prefix=llama_profile.query_prefix,
        passage_prefix=llama_profile.passage_prefix,
        query_tokens=128,
        passage_tokens=128,
        padding_side="right",
        padding_token=encoder.tokenizer.pad_token_id,
        files={},
        tensorrt={},
        versions={"torch": version("torch")},
    )
    write_manifest(folder, manifest)
    _sign(folder, read_manifest, write_manifest, ("tokenizer/tokenizer.json",))
    return folder


@pytest.fixture(scope="session")
def llama_encoder(llama_folder, llama_profile):
    """What the small Llama's vectors have to be."""
    from pipeline.encoder import load_encoder

    return load_encoder(llama_folder, llama_profile, EncoderSettings(), "cpu")


def _sign(folder, read, write, more=()):
    """Bring the manifest's hashes up to date."""
    from pipeline.files import digest_file

    manifest = read(folder)
    names = {*manifest.files, *more, "model.onnx"}
    write(folder, replace(manifest, files={n: digest_file(folder / n) for n in names}))


@pytest.fixture(scope="session")
def evaluation(make_context, prep, finetuned):
    """The folder of an eval result."""
    from pipeline.eval.stage import execute

    context = make_context({"prep": prep, "finetune": finetuned})
    execute(context)
    return context.folder


@pytest.fixture(scope="session")
def deploy_service(make_context):
    """Starts services by the stage; every one that is left is stopped at the end."""
    from pipeline.deploy.stage import execute

    runs = []

    def deploy(export, environment=None, **how):
        context = make_context({"export": export}, **how)
        runs.append(context.run)
        before = dict(os.environ)
        os.environ.update(environment or {})
        try:
            return context, execute(context)
        finally:
            for name in set(os.environ) - set(before):
                del os.environ[name]

    yield deploy
    for run in runs:
        for service in list_services(run):
            stop_service(run, service.name)


@pytest.fixture(scope="session")
def llama_service(deploy_service, llama_export):
    """The small Llama, served; gives the stage's summary."""
    return deploy_service(llama_export)[1].summary


@pytest.fixture(scope="session")
def minilm_service(deploy_service, minilm_export):
    """The fine-tuned MiniLM, served; gives the run that it belongs to and the summary."""
    context, outcome = deploy_service(minilm_export)
    return context.run, outcome.summary


@pytest.fixture(scope="session")
def client_for():
    """OpenAI's own client, for a URL."""
    clients = []

    def make(url, api_key="none", **settings):
        http = DefaultHttpxClient(trust_env=False)
        clients.append(
            OpenAI(
                **ChainMap(
                    settings,
                    {
                        "base_url": f"{url}/v1",
                        "api_key": api_key,
                        "max_retries": 0,
                        "http_client": http,
                    },
                )
            )
        )
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def fake(tmp_path):
    fake = FakeDocker(tmp_path / "bin")
    yield fake
    fake.close()


@pytest.fixture
def docker(fake):
    return Docker({"PATH": f"{fake.folder}:{os.environ['PATH']}", "NGC_API_KEY": KEY})
