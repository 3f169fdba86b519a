"""Services outlive what started them, are listed, replaced and stopped, and never mistaken."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.deploy.records import read_service, write_service
from pipeline.deploy.services import find_service, list_services, stop_service
from pipeline.deploy.stage import execute
from pipeline.errors import (
    BadInput,
    BadRecipe,
    Busy,
    Cancelled,
    StageFailure,
    SystemRefusal,
)
from pipeline.launch import worker_environment


def gone(pid):
    """Whether the process has ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_service_is_started_listed_replaced_and_stopped(deploy_service, llama_export):
    context, outcome = deploy_service(llama_export)
    run = context.run
    (service,) = list_services(run)
    assert (service.name, service.export) == ("local", "d-export")
    assert service.url == outcome.summary["url"]
    assert service.url.startswith("http://127.0.0.1:")
    assert service.alive()
    assert service.serves("d-export")
    assert not service.serves("another")
    assert outcome.outputs == ()

    deploy_service(llama_export, run=run)
    after = find_service(run, "local")
    assert after.instance != service.instance
    assert after.alive()
    assert not service.alive()
    assert gone(service.record.pid)

    stop_service(run, "local")
    assert gone(after.record.pid)
    assert list_services(run) == []
    assert (run.service_path("local").parent / "server.log").is_file()
    with pytest.raises(BadInput, match="no service 'local'"):
        stop_service(run, "local")


def test_a_service_outlives_the_process_that_started_it_and_a_hang_up(
    tmp_path, llama_export, make_context
):
    script = tmp_path / "start.py"
    script.write_text(
        "import sys, json\n"
        "from pathlib import Path\n"
        "from surroundings import Control, Recorder, finished\n"
        "from pipeline.context import Context\n"
        "from pipeline.deploy.stage import execute\n"
        "from pipeline.profiles import *\n"
        "from pipeline.run import Run\n"
        "profile = find_profile(REHEARSAL_PROFILE)\n"
        "run = Run(Path(sys.argv[1]))\n"
        "execute(Context(run, base_recipe(profile), profile, '', run.path,\n"
        "    {'export': finished(Path(sys.argv[2]), 'export')}, Recorder(), Control(), 'cpu',\n"
        "    run.path))\n"
    )
    support = Path(__file__).parents[2] / "support"
    run = make_context({}).run
    subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path[:0] = {[str(support)]!r}; exec(open({str(script)!r}).read())",
            str(run.path),
            str(llama_export),
        ],
        env=worker_environment(os.environ),
        check=True,
        start_new_session=True,
    )
    (service,) = list_services(run)
    os.kill(service.record.pid, signal.SIGHUP)
    time.sleep(0.2)
    assert service.alive()
    assert os.getsid(service.record.pid) == service.record.pid
    arguments = Path(f"/proc/{service.record.pid}/cmdline").read_bytes().split(b"\0")
    assert arguments[1:4] == [b"-P", b"-m", b"pipeline.deploy.server"]
    stop_service(run, "local")
    assert gone(service.record.pid)


def test_a_foreign_process_with_the_same_id_is_left_alone(deploy_service, llama_export):
    context, _ = deploy_service(llama_export)
    path = context.run.service_path("local")
    service = find_service(context.run, "local")
    stop_service(context.run, "local")
    foreign = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        write_service(path, replace(service.record, pid=foreign.pid))
        assert not find_service(context.run, "local").alive()
        stop_service(context.run, "local")
        assert foreign.poll() is None
        assert not path.exists()
    finally:
        foreign.kill()
        foreign.wait()


def test_a_service_of_another_machine_is_not_alive_here_and_not_stopped(
    deploy_service, llama_export
):
    context, _ = deploy_service(llama_export)
    path = context.run.service_path("local")
    record = read_service(path)
    write_service(path, replace(record, host="elsewhere"))
    assert not find_service(context.run, "local").alive()
    with pytest.raises(SystemRefusal, match="elsewhere"):
        stop_service(context.run, "local")
    write_service(path, record)
    stop_service(context.run, "local")


def test_a_killed_service_is_seen_and_started_anew(deploy_service, llama_export):
    context, _ = deploy_service(llama_export)
    service = find_service(context.run, "local")
    os.kill(service.record.pid, signal.SIGKILL)
    time.sleep(0.1)
    assert not service.alive()
    deploy_service(llama_export, run=context.run)
    assert find_service(context.run, "local").alive()


def test_a_variant_has_a_service_of_its_own(deploy_service, llama_export):
    context, _ = deploy_service(llama_export)
    _, outcome = deploy_service(llama_export, run=context.run, variant="hot")
    assert [service.name for service in list_services(context.run)] == ["hot", "local"]
    assert all(service.alive() for service in list_services(context.run))
    assert outcome.summary["model"].endswith("-hot")


def test_a_port_in_use_is_said_and_nothing_is_started(deploy_service, make_context, llama_export):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        context = make_context({"export": llama_export}, deploy__port=port)
        with pytest.raises(Busy, match=f"Port {port} on 127.0.0.1 is in use") as caught:
            execute(context)
    assert "deploy.port=0" in caught.value.next_step
    assert list_services(context.run) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
def test_another_host_than_this_machine_alone_needs_a_key(make_context, llama_export, host):
    context = make_context({"export": llama_export}, deploy__host=host)
    with pytest.raises(BadRecipe, match="EMBEDSMITH_API_KEY is empty"):
        execute(context)


def test_with_a_key_every_interface_may_be_served(deploy_service, llama_export):
    context, outcome = deploy_service(
        llama_export, environment={"EMBEDSMITH_API_KEY": "right"}, deploy__host="0.0.0.0"
    )
    assert outcome.summary["url"].startswith("http://127.0.0.1:")
    assert "right" not in context.run.service_path("local").read_text()
    record = read_service(context.run.service_path("local"))
    assert b"right" not in Path(f"/proc/{record.pid}/cmdline").read_bytes()


def test_a_host_that_is_not_this_machines_is_refused(make_context, llama_export, monkeypatch):
    monkeypatch.setenv("EMBEDSMITH_API_KEY", "right")
    with pytest.raises(BadRecipe, match="can't be listened on"):
        execute(make_context({"export": llama_export}, deploy__host="192.0.2.1"))


def copied(export, tmp_path):
    import shutil

    folder = tmp_path / "export"
    shutil.copytree(export, folder)
    return folder


def test_a_graph_that_is_not_the_exported_one_is_refused(make_context, llama_export, tmp_path):
    folder = copied(llama_export, tmp_path)
    (folder / "model.onnx").write_bytes(b"torn")
    with pytest.raises(BadInput, match=r"model\.onnx is missing or is not the file"):
        execute(make_context({"export": folder}))


def test_a_server_that_ends_shows_its_log_and_leaves_no_record(
    make_context, llama_export, tmp_path
):
    folder = copied(llama_export, tmp_path)
    (folder / "model.onnx").write_bytes(b"no graph")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"files": {}}))
    context = make_context({"export": folder})
    with pytest.raises(StageFailure, match=r"(?s)ended with code 1.*can't serve"):
        execute(context)
    assert list_services(context.run) == []


def test_a_cancel_while_waiting_ends_the_server(make_context, llama_export):
    from surroundings import Control

    context = make_context({"export": llama_export}, control=Control(Cancelled()))
    with pytest.raises(Cancelled):
        execute(context)
    assert list_services(context.run) == []
    instances = [
        path
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if str(context.run.path).encode() in _content(path)
    ]
    assert instances == []


def _content(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_server_whose_starter_was_killed_before_it_was_recorded_leaves(llama_export, tmp_path):
    code = (
        "import sys, pipeline.deploy.server as server\n"
        "server.RECORD_SECONDS = 0.3\n"
        "sys.exit(server.main(sys.argv[1:]))\n"
    )
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        arguments = ["--export", llama_export, "--model", "m", "--socket", str(bound.fileno())]
        arguments += ["--instance", "i", "--record", tmp_path / "service.json"]
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, *arguments],
            pass_fds=(bound.fileno(),),
            env=worker_environment(os.environ),
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0
    assert "no record of this server was written" in done.stderr
