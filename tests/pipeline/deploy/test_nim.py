"""The NIM path: the command as a pure function, the start against a real executable."""

import socket
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from fake_docker import KEY

from pipeline.deploy.docker import LOG_LINES, RUN_LABEL, Docker, shown
from pipeline.deploy.nim import choose_port, require_ready, start_nim
from pipeline.deploy.nim_plan import docker_command, nim_form, prepare_nim
from pipeline.errors import (
    BadInput,
    BadRecipe,
    Busy,
    EndpointFailure,
    MissingPart,
    StageFailure,
    SystemRefusal,
    Terminated,
)
from pipeline.profiles import find_profile

LLAMA = "nvidia/llama-nemotron-embed-1b-v2"
NEMOTRON = "nvidia/Nemotron-3-Embed-1B-BF16"
GPU = "GPU-5d5ff4dc-ee1b-6c7f-1b1e-1f0a5e8e0a11"


@pytest.fixture
def onnx(tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"onnx")
    return folder


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_bytes(b"{}")
    return folder


def plan_for(profile, model, port=0, name="embedsmith-tea"):
    return prepare_nim(
        find_profile(profile),
        model,
        name=name,
        run="tea",
        cache=model.parent / "cache",
        gpu=GPU,
        port=choose_port(port),
        user=1000,
        tokens_max=512,
    )


@pytest.fixture
def plan(onnx):
    return plan_for(LLAMA, onnx)


def start(plan, docker, *, timeout=30.0, clock=time.monotonic, poll=lambda: None):
    return start_nim(
        plan,
        docker,
        timeout_seconds=timeout,
        clock=clock,
        sleep=lambda _: time.sleep(0.02),
        poll=poll,
    )


@pytest.mark.parametrize(
    ("tag", "variable", "kind", "cache", "tokens"),
    [
        ("1.10.1", "NIM_CUSTOM_MODEL", "onnx", "/opt/nim/.cache", ""),
        ("1.13.0", "NIM_CUSTOM_MODEL", "onnx", "/opt/nim/.cache", ""),
        ("2.0.0", "NIM_MODEL_PATH", "safetensors", "/opt/cache", "NIM_MAX_SEQ_LEN"),
        ("2.2.0", "NIM_MODEL_PATH", "safetensors", "/opt/cache", "NIM_MAX_SEQ_LEN"),
        ("2.3", "NIM_MODEL_PATH", "safetensors", "/opt/cache", "NIM_MAX_SEQ_LEN"),
        ("2.4.0", "NIM_ENGINE_MODEL_PATH", "safetensors", "/opt/cache", "NIM_PIPELINE_MAX_SEQ_LEN"),
        (
            "2.10.0",
            "NIM_ENGINE_MODEL_PATH",
            "safetensors",
            "/opt/cache",
            "NIM_PIPELINE_MAX_SEQ_LEN",
        ),
    ],
)
def test_each_release_takes_a_model_in_its_own_way(tag, variable, kind, cache, tokens):
    form = nim_form(f"registry.example:5000/nim/nvidia/some-model:{tag}@sha256:00ff")
    assert (form.variable, form.kind, form.cache_path, form.tokens_variable) == (
        variable,
        kind,
        cache,
        tokens,
    )


@pytest.mark.parametrize("tag", [":latest", ":3.0.0", ":0.9", "", ":1"])
def test_an_unknown_release_is_refused(tag):
    with pytest.raises(BadRecipe, match="of a version that embedsmith doesn't know"):
        nim_form(f"host:5000/nim/model{tag}")


def test_the_command_of_the_default_profile(onnx):
    plan = replace(plan_for(LLAMA, onnx), port=8123)
    assert docker_command(plan) == (
        "docker",
        "run",
        "--detach",
        "--name",
        "embedsmith-tea",
        "--label",
        "io.embedsmith.run=tea",
        "--runtime=nvidia",
        "--gpus",
        f'"device={GPU}"',
        "--shm-size=16GB",
        "--user",
        "1000",
        "--publish",
        "127.0.0.1:8123:8000",
        "--env",
        "NGC_API_KEY",
        "--env",
        "NIM_CUSTOM_MODEL=/opt/custom-model",
        "--volume",
        f"{onnx}:/opt/custom-model:ro",
        "--volume",
        f"{onnx.parent}/cache:/opt/nim/.cache",
        "nvcr.io/nim/nvidia/llama-nemotron-embed-1b-v2:1.13.0",
    )


def test_a_release_that_takes_checkpoints_gets_its_folder_and_its_length(checkpoint):
    command = docker_command(plan_for(NEMOTRON, checkpoint))
    assert "NIM_MODEL_PATH=/model" in command
    assert "NIM_MAX_SEQ_LEN=512" in command
    assert f"{checkpoint}:/model:ro" in command
    assert f"{checkpoint.parent}/cache:/opt/cache" in command


def test_every_profile_has_a_known_release_or_is_refused_early(onnx, checkpoint):
    for profile in (
        "nvidia/llama-embed-nemotron-8b",
        "sentence-transformers/all-MiniLM-L6-v2",
    ):
        with pytest.raises(BadRecipe, match="there is no NIM for") as caught:
            plan_for(profile, onnx)
        assert "deploy.target=local" in caught.value.next_step
    assert plan_for(LLAMA, onnx).form.kind == "onnx"
    assert plan_for(NEMOTRON, checkpoint).form.kind == "safetensors"


def test_a_model_that_the_image_cannot_load_is_refused(onnx, checkpoint, tmp_path):
    with pytest.raises(BadInput, match=r"lacks \*\.onnx"):
        plan_for(LLAMA, checkpoint)
    with pytest.raises(BadInput, match=r"lacks \*\.safetensors, config\.json, tokenizer\.json"):
        plan_for(NEMOTRON, onnx)
    with pytest.raises(BadInput, match=r"nowhere lacks \*\.onnx"):
        plan_for(LLAMA, tmp_path / "nowhere")


def test_an_engine_is_a_model_too(tmp_path):
    (tmp_path / "model.plan").write_bytes(b"plan")
    assert plan_for(LLAMA, tmp_path).model == tmp_path


def test_a_path_that_docker_would_misread_is_refused(tmp_path):
    folder = tmp_path / "a:b"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"onnx")
    with pytest.raises(BadInput, match="has a colon"):
        plan_for(LLAMA, folder)


def test_the_command_is_built_and_shown_where_docker_is_absent(plan, tmp_path):
    text = shown(docker_command(plan))
    assert text.startswith("docker run --detach --name embedsmith-tea ")
    assert f"""--gpus '"device={GPU}"'""" in text
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MissingPart, match="docker is not on this machine"):
        start(plan, Docker({"PATH": str(empty), "NGC_API_KEY": KEY}))


@pytest.mark.parametrize("environment", [{}, {"NGC_API_KEY": ""}])
def test_a_missing_key_is_named(plan, docker, fake, environment):
    keyless = Docker({"PATH": docker.environment["PATH"]} | environment)
    with pytest.raises(EndpointFailure, match="NGC_API_KEY is empty") as caught:
        require_ready(plan, keyless)
    assert caught.value.exit_code == 7
    assert "https://org.ngc.nvidia.com" in caught.value.next_step
    assert fake.containers == {}


def test_a_port_in_use_is_refused_and_a_free_one_named(plan, docker, fake):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Busy, match=f"Port {port} on 127.0.0.1 is in use") as caught:
            start(replace(plan, port=port), docker)
        named = int(caught.value.next_step.partition("deploy.port=")[2].rstrip("`."))
        assert choose_port(named) == named > port
        assert fake.containers == {}


def test_port_0_takes_a_free_one():
    port = choose_port(0)
    assert port > 0
    assert choose_port(port) == port


def test_a_start_ends_healthy_with_the_name_that_the_service_gives_its_model(
    plan, docker, fake, monkeypatch
):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    fake.will(model="nvidia/some-name")
    service = start(plan, docker)
    assert service.name == "embedsmith-tea"
    assert service.url == f"http://127.0.0.1:{plan.port}"
    assert service.model == "nvidia/some-name"
    assert service.image == plan.image
    assert service.command == docker_command(plan)
    assert fake.containers == {"embedsmith-tea": "running"}
    assert plan.cache.is_dir()


def test_the_key_reaches_the_container_by_environment_and_never_by_argv(plan, docker, fake):
    service = start(plan, docker)
    assert fake.calls
    for call in fake.calls:
        assert KEY not in " ".join(call["argv"])
    started = next(call for call in fake.calls if call["argv"][1] == "run")
    assert started["environment"]["NGC_API_KEY"] == KEY
    assert KEY not in repr(service)
    assert KEY not in repr(plan)


def test_a_foreign_container_of_that_name_is_left_alone(plan, docker, fake):
    fake.add("embedsmith-tea", {"com.example": "theirs"})
    with pytest.raises(Busy, match="embedsmith did not start it"):
        start(plan, docker)
    assert fake.containers == {"embedsmith-tea": "running"}
    assert {command[1] for command in fake.commands if command[0] == "container"} == {"inspect"}
    assert not any(command[0] == "run" for command in fake.commands)


def test_a_container_of_another_run_is_left_alone(plan, docker, fake):
    fake.add("embedsmith-tea", {RUN_LABEL: "coffee"})
    with pytest.raises(Busy, match="serves the run coffee") as caught:
        start(plan, docker)
    assert "embedsmith stop coffee" in caught.value.next_step
    assert fake.containers == {"embedsmith-tea": "running"}


@pytest.mark.parametrize("status", ["exited", "created"])
def test_what_an_earlier_attempt_left_is_replaced(plan, docker, fake, status):
    left = fake.add("embedsmith-tea", {RUN_LABEL: "tea"}, status=status)
    service = start(plan, docker)
    assert service.container != left
    assert fake.containers == {"embedsmith-tea": "running"}


def test_the_same_plan_can_be_started_again_on_its_own_port(plan, docker, fake):
    first, second = start(plan, docker), start(plan, docker)
    assert (second.url, second.model) == (first.url, first.model)
    assert second.container != first.container


def test_a_container_that_ends_while_starting_fails_with_its_last_lines(plan, docker, fake):
    log = "\n".join(f"line {n}" for n in range(90)) + f"\nkey {KEY}\nCUDA error: out of memory"
    fake.will(status="exited", exit_code=137, log=log)
    with pytest.raises(StageFailure, match="ended with code 137") as caught:
        start(plan, docker)
    lines = caught.value.happened.splitlines()[1:]
    assert len(lines) == LOG_LINES
    assert lines[-2:] == ["key <NGC_API_KEY>", "CUDA error: out of memory"]
    assert "embedsmith check" in caught.value.next_step
    assert fake.containers == {}


def test_an_unwritable_cache_is_recognised_in_the_log(plan, docker, fake):
    fake.will(status="exited", exit_code=1, log="Permission denied (os error 13)")
    with pytest.raises(StageFailure) as caught:
        start(plan, docker)
    assert str(plan.cache) in caught.value.next_step


def test_a_container_that_ended_is_not_taken_for_whoever_answers_on_its_port(plan, docker, fake):
    fake.will(status="exited", exit_code=1)

    class Anything(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    squatters = []

    def poll():
        if fake.containers and not squatters:
            squatters.append(HTTPServer(("127.0.0.1", plan.port), Anything))
            threading.Thread(target=squatters[0].serve_forever, daemon=True).start()

    with pytest.raises(StageFailure, match="ended with code 1"):
        start(plan, docker, poll=poll)
    squatters[0].shutdown()
    squatters[0].server_close()


def test_a_container_that_never_answers_fails_in_time_and_is_removed(plan, docker, fake):
    fake.will(model="", log="still loading")
    ticks = iter(range(0, 10_000, 200))
    with pytest.raises(StageFailure, match="did not become healthy in time") as caught:
        start(plan, docker, timeout=600, clock=lambda: next(ticks))
    assert caught.value.happened.endswith("still loading")
    assert "deploy.health_timeout_seconds" in caught.value.next_step
    assert fake.containers == {}


def test_a_container_that_vanishes_while_starting_is_a_failure(plan, docker, fake):
    fake.will(model="")
    with pytest.raises(StageFailure, match="vanished"):
        start(plan, docker, poll=lambda: fake.set(containers=[]))


def test_a_request_to_end_leaves_no_container_behind(plan, docker, fake):
    fake.will(model="")

    def poll():
        if fake.containers:
            raise Terminated

    with pytest.raises(Terminated):
        start(plan, docker, poll=poll)
    assert fake.containers == {}


@pytest.mark.parametrize(
    ("said", "failure", "remedy"),
    [
        ("Bind for 127.0.0.1:1 failed: port is already allocated", Busy, "deploy.port=0"),
        ("unauthorized: authentication required", EndpointFailure, "docker login nvcr.io"),
        ("pull access denied: access denied", EndpointFailure, '"$NGC_API_KEY"'),
        ("write /var/lib/docker: no space left on device", SystemRefusal, "docker system df"),
        ("could not select device driver with capabilities: [[gpu]]", MissingPart, "nvidia-smi"),
        ("Conflict. The name is already in use by container 12", Busy, "docker rename"),
        (f"something new about {KEY}", StageFailure, "docker names"),
    ],
)
def test_what_docker_refuses_leads_to_its_remedy(plan, docker, fake, said, failure, remedy):
    fake.set(refuses=said)
    with pytest.raises(failure) as caught:
        start(plan, docker)
    assert remedy in caught.value.next_step
    assert KEY not in caught.value.happened
    assert fake.containers == {}
