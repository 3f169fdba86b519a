"""Docker's command line, played by a real executable of that name."""

import os
import shlex
import subprocess
import time

import pytest
from fake_docker import KEY

from pipeline.deploy.docker import (
    LOG_LINES,
    RUN_LABEL,
    Docker,
    find_container,
    last_lines,
    list_containers,
    require_docker,
    shown,
    stop_container,
)
from pipeline.errors import Busy, MissingPart, StageFailure, SystemRefusal, Terminated


def test_docker_on_the_path_with_its_runtime_is_ready(docker, fake):
    assert require_docker(docker) == "28.2.2"
    assert [command[0] for command in fake.commands] == ["version", "info"]


def test_a_missing_program_is_named_with_the_way_out(tmp_path):
    with pytest.raises(MissingPart, match="docker is not on this machine") as caught:
        require_docker(Docker({"PATH": str(tmp_path)}))
    assert "Install Docker Engine" in caught.value.next_step
    assert "deploy.target=local" in caught.value.next_step


def test_a_daemon_that_is_down_is_told_from_a_missing_program(docker, fake):
    fake.set(daemon="Cannot connect to the Docker daemon at unix:///var/run/docker.sock.")
    with pytest.raises(MissingPart, match="daemon can't be reached: Cannot connect") as caught:
        require_docker(docker)
    assert "systemctl start docker" in caught.value.next_step


def test_a_user_without_permission_is_told_the_group(docker, fake):
    fake.set(daemon="permission denied while trying to connect to the Docker daemon socket")
    with pytest.raises(SystemRefusal, match="No permission") as caught:
        require_docker(docker)
    assert "usermod -aG docker" in caught.value.next_step


@pytest.mark.parametrize("runtimes", [{"runc": {"path": "runc"}}, None])
def test_docker_without_the_nvidia_runtime_is_refused(docker, fake, runtimes):
    fake.set(runtimes=runtimes)
    with pytest.raises(MissingPart, match="no NVIDIA runtime") as caught:
        require_docker(docker)
    assert "nvidia-ctk" in caught.value.next_step


def test_a_hung_daemon_does_not_hang_us(docker, fake):
    fake.set(hang=True)
    with pytest.raises(MissingPart, match="doesn't answer"):
        docker.run((docker.program, "version"), timeout_seconds=0.3)


def test_a_request_to_end_kills_a_long_docker_command(docker, fake):
    fake.set(hang=True)
    started = fake.folder / "pid"

    def poll():
        if started.exists() and started.read_text():
            raise Terminated

    began = time.monotonic()
    with pytest.raises(Terminated):
        docker.run((docker.program, "pull", "image"), poll)
    assert time.monotonic() - began < 10
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


def test_a_container_is_found_by_name_and_by_id_with_its_owner(docker, fake):
    id_ = fake.add("ours", {RUN_LABEL: "tea"}, status="exited")
    fake.add("theirs", None)
    assert find_container(docker, "nothing") is None
    ours = find_container(docker, "ours")
    assert (ours.id, ours.name, ours.run, ours.status) == (id_, "ours", "tea", "exited")
    assert find_container(docker, id_) == ours
    assert find_container(docker, "theirs").run is None


def test_an_unclear_answer_is_a_failure_and_not_an_absence(docker, fake):
    fake.set(daemon="Error response from daemon: out of sorts")
    with pytest.raises(StageFailure, match="out of sorts"):
        find_container(docker, "ours")


def test_only_containers_with_our_label_are_listed(docker, fake):
    fake.add("z-ours", {RUN_LABEL: "tea"})
    fake.add("theirs", {"com.example": "x"})
    fake.add("a-ours", {RUN_LABEL: "coffee"}, status="exited")
    assert [(c.name, c.run) for c in list_containers(docker)] == [
        ("a-ours", "coffee"),
        ("z-ours", "tea"),
    ]


def test_our_container_is_stopped_and_removed_by_its_id(docker, fake):
    id_ = fake.add("ours", {RUN_LABEL: "tea"})
    assert stop_container(docker, "ours")
    assert fake.containers == {}
    assert fake.commands[-2:] == [["container", "stop", id_], ["container", "rm", "--force", id_]]
    assert not stop_container(docker, "ours")


@pytest.mark.parametrize("labels", [None, {}, {"com.example": "tea"}])
def test_a_foreign_container_is_never_stopped(docker, fake, labels):
    fake.add("theirs", labels)
    with pytest.raises(Busy, match="embedsmith did not start it") as caught:
        stop_container(docker, "theirs")
    assert "docker rename theirs" in caught.value.next_step
    assert fake.containers == {"theirs": "running"}
    assert all(command[1] == "inspect" for command in fake.commands)


def test_the_end_of_a_log_is_bounded_printable_and_without_secrets(docker, fake):
    log = "\n".join(f"line {n}" for n in range(200)) + f"\n\x1b[31mkey is {KEY}\x1b[0m\x07"
    fake.add("ours", {RUN_LABEL: "tea"}, log=log)
    text = last_lines(docker, find_container(docker, "ours"))
    lines = text.splitlines()
    assert len(lines) == LOG_LINES
    assert lines[-1] == "key is <NGC_API_KEY>"
    assert lines[0] == "line 151"


def test_a_shown_command_is_what_a_shell_would_run():
    command = ("docker", "run", "--gpus", '"device=GPU-1"', "-v", "/a folder/x:/y:ro", "$(id)")
    assert tuple(shlex.split(shown(command))) == command
    script = f"printf '%s\\n' {shown(command[1:])}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert tuple(done.stdout.splitlines()) == command[1:]
