"""Bad input at the command line: three sentences, a stable exit code, nothing lost."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from commandline import Cli
from documents import write_documents

from pipeline.profiles import REHEARSAL_PROFILE, find_profile, weights_folder


@pytest.fixture
def cli(tmp_path):
    return Cli(tmp_path)


@pytest.fixture
def documents(tmp_path):
    return write_documents(tmp_path / "documents")


def refused(cli, code, *arguments):
    """The three sentences of a command that has to fail with `code`."""
    err = cli(*arguments, code=code).err
    lines = [line for line in err.splitlines() if line.startswith("What ")]
    assert [line[:14].strip() for line in lines] == ["What happened", "What is safe", "What to do"]
    return err


def test_a_folder_that_is_not_there(cli):
    assert "nowhere" in refused(cli, 4, "rehearse", "nowhere")
    assert not (cli.home / "runs").exists()


def test_a_folder_without_a_usable_document(cli, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(cli, 4, "rehearse", empty)
    (empty / "image.bin").write_bytes(b"\0\1\2" * 100)
    assert "image.bin" in refused(cli, 4, "rehearse", empty, "--to", "corpus")


def test_an_unknown_run_is_answered_with_those_that_exist(cli, documents):
    cli("rehearse", documents, "--to", "corpus")
    assert "rehearsal-documents" in refused(cli, 4, "show", "nothing")


def test_an_unknown_setting_and_an_unreadable_recipe(cli, documents):
    err = refused(cli, 5, "rehearse", documents, "--set", "finetune.epoch=3")
    assert "finetune.epochs" in err
    cli("rehearse", documents, "--to", "corpus")
    recipe = cli.run_folder("rehearsal-documents") / "recipe.toml"
    recipe.write_text(recipe.read_text() + "\n[[[")
    assert "recipe.toml" in refused(cli, 5, "show", "rehearsal-documents")


def test_an_unknown_profile(cli, documents):
    err = refused(cli, 5, "run", documents, "--profile", "nvidia/llama-nemotron")
    assert "nvidia/llama-nemotron-embed-1b-v2" in err


def test_a_gated_profile_without_its_gpu_makes_no_run(cli, documents):
    err = refused(cli, 3, "run", documents)
    assert "embedsmith rehearse" in err
    assert not list((cli.home / "runs").glob("*"))


@pytest.mark.parametrize("setting", ["profile=nvidia/llama-nemotron-embed-1b-v2", "profile={}"])
def test_a_rehearsal_can_not_become_a_gated_run(cli, documents, setting, tmp_path):
    cli("rehearse", documents, "--to", "corpus")
    folder = weights_folder(find_profile(REHEARSAL_PROFILE))
    text = setting.format(folder)
    refused(cli, 5, "rehearse", documents, "--set", text, "--to", "corpus")


def test_a_span_that_runs_backwards(cli, documents):
    cli("rehearse", documents, "--to", "corpus")
    refused(cli, 5, "run", "rehearsal-documents", "--from", "eval", "--to", "prep")


def test_a_stage_before_its_time_names_what_comes_first(cli, documents):
    cli("rehearse", documents, "--to", "corpus")
    assert "comes first" in refused(cli, 4, "eval", "rehearsal-documents")


def test_stopping_what_does_not_run(cli, documents):
    cli("rehearse", documents, "--to", "corpus")
    refused(cli, 4, "stop", "rehearsal-documents")
    refused(cli, 4, "stop", "rehearsal-documents", "local")


def test_failures_are_one_object_under_json(cli):
    (line,) = cli("show", "nothing", "--json", code=4).lines
    assert line["type"] == "failure"
    assert {"happened", "safe", "next", "exit_code"} <= set(line)


def endpoint(cli, documents, url, *more):
    return (
        *("rehearse", documents, "--to", "sdg", "--yes"),
        *("--set", "sdg.writer=endpoint", "--set", f"sdg.base_url={url}", *more),
    )


def test_a_missing_key_is_named_and_a_local_endpoint_needs_none(cli, documents):
    err = refused(cli, 7, *endpoint(cli, documents, "https://llm.invalid/v1"))
    assert "NVIDIA_API_KEY" in err


def test_an_endpoint_that_is_not_there(cli, documents):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"
    assert str(port) in refused(cli, 7, *endpoint(cli, documents, url))


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, '{"error": {"message": "bad key"}}', "application/json"),
        (404, '{"detail": "no such model"}', "application/json"),
        (410, '{"title": "Gone"}', "application/json"),
        (200, "<html><body>Sign in</body></html>", "text/html"),
    ],
)
def test_an_endpoint_that_refuses_is_told_apart(cli, documents, status, body, kind):
    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        refused(cli, 7, *endpoint(cli, documents, url))
    finally:
        server.shutdown()
    run = cli.run_folder("rehearsal-documents")
    assert json.loads(next(run.glob("corpus/*/done.json")).read_text())["summary"]["documents"] == 6
