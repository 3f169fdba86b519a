"""The snippets run as they stand, against a server."""

import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest

from pipeline.deploy.records import ServiceRecord
from pipeline.deploy.services import find_service
from pipeline.deploy.snippet import key_variable_of, snippets

MODEL = "it's a model"


def record(url="http://127.0.0.1:8000", target="local", model=MODEL):
    return ServiceRecord("local", target, url, model, "d", "i", "h", 1, "", "log", 0.0)


def body_of(command):
    words = shlex.split(command)
    return json.loads(words[words.index("-d") + 1])


def test_the_curl_command_is_one_shell_command_with_a_valid_body():
    command = snippets(record(), dimension=64)["curl"]
    assert shlex.split(command.replace("\\\n", ""))[:3] == [
        *("curl", "-sS", "http://127.0.0.1:8000/v1/embeddings")
    ]
    assert body_of(command)["model"] == MODEL
    assert body_of(command)["input_type"] == "query"
    assert "Authorization" not in command


def test_a_key_is_named_and_never_written():
    texts = snippets(record(), dimension=64, key_variable="EMBEDSMITH_API_KEY")
    assert '-H "Authorization: Bearer $EMBEDSMITH_API_KEY"' in texts["curl"]
    assert 'api_key=os.environ["EMBEDSMITH_API_KEY"]' in texts["python"]
    compile(texts["python"], "snippet", "exec")


@pytest.mark.parametrize(
    ("url", "target", "environment", "variable"),
    [
        ("http://127.0.0.1:8000", "local", {}, ""),
        ("http://127.0.0.1:8000", "local", {"EMBEDSMITH_API_KEY": "x"}, "EMBEDSMITH_API_KEY"),
        ("http://192.168.1.4:8000", "local", {}, "EMBEDSMITH_API_KEY"),
        ("http://127.0.0.1:8000", "nim", {"EMBEDSMITH_API_KEY": "x"}, ""),
    ],
)
def test_a_key_is_wanted_beyond_loopback_or_where_it_is_set(url, target, environment, variable):
    assert key_variable_of(record(url, target), environment) == variable


def test_reindexing_names_dimension_model_and_input_type():
    text = snippets(record(), dimension=64)["reindex"]
    assert "64 dimensions" in text
    assert MODEL in text
    assert 'input_type "passage"' in text


@pytest.fixture(scope="module")
def service(minilm_service):
    run, _ = minilm_service
    return find_service(run, "local").record


def test_the_python_snippet_runs_as_it_stands(service):
    environment = {name: v for name, v in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        [sys.executable, "-c", snippets(service, dimension=384)["python"]],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == "384", done.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_the_curl_command_runs_as_it_stands(service):
    environment = {name: v for name, v in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        ["sh", "-c", snippets(service, dimension=384)["curl"]],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert len(json.loads(done.stdout)["data"][0]["embedding"]) == 384, done.stderr
