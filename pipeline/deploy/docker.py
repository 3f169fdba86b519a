"""The docker command line as an argument list: asked, never a shell, and only our containers.

The command line rather than an SDK: it honours contexts, rootless daemons and credential
helpers, and what runs can be shown to the user word for word.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import Busy, MissingPart, StageFailure, SystemRefusal
from pipeline.secrets import redact

RUN_LABEL = "io.embedsmith.run"
"""The label that every container of ours carries; its value is the run's name."""

LOG_LINES = 50
"""Lines of a container's log that a failure shows."""

_ASK_SECONDS = 15.0
"""How long docker may take to answer a question; a hung daemon answers never."""

_LOOK_SECONDS = 0.2
"""How often a long docker command is interrupted to look at requests."""

_CONTROL_CHARACTERS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_LOCAL_SERVER = "or serve with the local server: `--set deploy.target=local`"

_INSPECTED = (
    '{"id":{{json .Id}},"name":{{json .Name}},"labels":{{json .Config.Labels}},'
    '"status":{{json .State.Status}},"exit_code":{{json .State.ExitCode}}}'
)
"""Only these fields: a whole `inspect` would hold the key's value in `Config.Env`."""


@dataclass(frozen=True)
class Completed:
    """A docker command that ended: its exit code and what it wrote, secrets taken out."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Container:
    """A container, as docker describes it.

    Attributes:
        id: docker's own id.
        name: its name.
        run: the run that started it, from our label; None when it isn't ours.
        status: `created`, `running`, `exited`, ...
        exit_code: of its main process; 0 while that runs.
    """

    id: str
    name: str
    run: str | None
    status: str
    exit_code: int


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Docker:
    """Where the docker program is, and the environment that it runs in.

    Attributes:
        environment: the whole environment; `docker run -e NAME` takes values from it.
        program: the program's name or path.
        until: the moment, by the monotonic clock, after which no answer is waited for.
    """

    environment: Mapping[str, str]
    program: str = "docker"
    until: float = math.inf

    def ask(self, *arguments: str) -> Completed:
        """Run a command that answers quickly.

        Raises:
            MissingPart: docker is not installed, or its daemon doesn't answer.
        """
        left = min(_ASK_SECONDS, max(0.0, self.until - time.monotonic()))
        return self.run((self.program, *arguments), timeout_seconds=left)

    def run(
        self,
        command: Sequence[str],
        poll: Callable[[], None] = _nothing,
        timeout_seconds: float | None = None,
    ) -> Completed:
        """Run a whole command line; `poll` is called while it runs and may raise to end it.

        Raises:
            MissingPart: docker is not installed, or took longer than `timeout_seconds`.
        """
        try:
            process = subprocess.Popen(
                command,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
            raise _missing(self.program) from error
        until = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        with process:
            try:
                stdout, stderr = _communicate(process, poll, until)
            except BaseException:
                process.kill()
                raise
        return Completed(process.returncode, self.clean(stdout), self.clean(stderr))

    def clean(self, output: bytes) -> str:
        """Output as text without control characters and without the values of secrets."""
        text = _CONTROL_CHARACTERS.sub("", output.decode(errors="replace"))
        return redact(text, self.environment)


def _communicate(
    process: subprocess.Popen[bytes], poll: Callable[[], None], until: float | None
) -> tuple[bytes, bytes]:
    while True:
        try:
            return process.communicate(timeout=_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            poll()
            if until is not None and time.monotonic() > until:
                raise _unreachable("it doesn't answer") from None


def shown(command: Sequence[str]) -> str:
    """A command as a person would type it into a shell."""
    return shlex.join(command)


def require_docker(docker: Docker) -> str:
    """Check, in order, that docker is there, answers, and knows the NVIDIA runtime.

    Returns:
        The daemon's version.

    Raises:
        MissingPart: no docker, no daemon, or no NVIDIA runtime.
        SystemRefusal: this user may not talk to the daemon.
    """
    # `docker --version` would pass with the daemon down; the server's version doesn't.
    answer = docker.ask("version", "--format", "{{.Server.Version}}")
    if answer.exit_code != 0:
        if "permission denied" in answer.stderr.lower():
            raise SystemRefusal(
                f"No permission to talk to the docker daemon: {_last_line(answer.stderr)}",
                safe="No container was started or touched.",
                next_step="Add yourself to the group docker (`sudo usermod -aG docker $USER`) and "
                f"log in again, {_LOCAL_SERVER}.",
            )
        raise _unreachable(_last_line(answer.stderr))
    version = answer.stdout.strip()
    if not _has_nvidia_runtime(docker):
        raise MissingPart(
            f"Docker {version} has no NVIDIA runtime: a container would see no GPU.",
            safe="No container was started or touched.",
            next_step="Install the NVIDIA Container Toolkit, run `sudo nvidia-ctk runtime "
            f"configure --runtime=docker` and restart docker, {_LOCAL_SERVER}.",
        )
    return version


def _has_nvidia_runtime(docker: Docker) -> bool:
    answer = docker.ask("info", "--format", "{{json .Runtimes}}")
    try:
        runtimes = json.loads(answer.stdout)
    except json.JSONDecodeError:
        return False
    return answer.exit_code == 0 and isinstance(runtimes, dict) and "nvidia" in runtimes


def image_size(docker: Docker, image: str) -> int | None:
    """Bytes of an image on this machine; None when it was not pulled.

    Raises:
        MissingPart: docker is not there.
        StageFailure: docker gives no answer that can be read.
    """
    answer = docker.ask("image", "inspect", "--format", "{{json .Size}}", image)
    if answer.exit_code != 0:
        if "no such" in answer.stderr.lower():
            return None
        raise _unclear("image inspect", answer)
    try:
        return int(json.loads(answer.stdout))
    except (ValueError, TypeError) as error:
        raise _unclear("image inspect", answer) from error


def find_container(docker: Docker, name: str) -> Container | None:
    """The container of that name or id, running or not, ours or not; None when there is none.

    Raises:
        MissingPart: docker is not there.
        StageFailure: docker gives no answer that can be read.
    """
    answer = docker.ask("container", "inspect", "--format", _INSPECTED, name)
    if answer.exit_code != 0:
        if "no such" in answer.stderr.lower():
            return None
        raise _unclear("container inspect", answer)
    try:
        return _container(json.loads(answer.stdout))
    except (ValueError, KeyError, TypeError) as error:
        raise _unclear("container inspect", answer) from error


def list_containers(docker: Docker) -> tuple[Container, ...]:
    """Every container that carries our label, by name.

    Raises:
        MissingPart: docker is not there.
        StageFailure: docker gives no answer that can be read.
    """
    answer = docker.ask(
        "container", "ls", "--all", "--quiet", "--no-trunc", "--filter", f"label={RUN_LABEL}"
    )
    if answer.exit_code != 0:
        raise _unclear("container ls", answer)
    found = (find_container(docker, one) for one in answer.stdout.split())
    ours = (container for container in found if container and container.run is not None)
    return tuple(sorted(ours, key=lambda container: container.name))


def stop_container(docker: Docker, name: str) -> bool:
    """Stop and remove a container of ours.

    Returns:
        Whether there was one.

    Raises:
        Busy: the container of that name isn't ours; it is left alone.
        MissingPart: docker is not there.
        StageFailure: docker could not stop it.
    """
    container = find_container(docker, name)
    if container is None:
        return False
    if container.run is None:
        raise foreign(name)
    # By id: between the two commands the name could pass to somebody else's container.
    answer = docker.run((docker.program, "container", "stop", container.id))
    if answer.exit_code == 0:
        answer = docker.run((docker.program, "container", "rm", "--force", container.id))
    if answer.exit_code != 0 and "no such" not in answer.stderr.lower():
        raise _unclear("container stop", answer)
    return True


def last_lines(docker: Docker, container: Container) -> str:
    """The end of a container's log, at most `LOG_LINES` lines, secrets taken out."""
    answer = docker.ask("container", "logs", "--tail", str(LOG_LINES), container.id)
    lines = (answer.stdout + answer.stderr).strip().splitlines()
    return "\n".join(lines[-LOG_LINES:])


def foreign(name: str) -> Busy:
    """The refusal to touch a container that embedsmith did not start."""
    return Busy(
        f"A container named {name} exists, and embedsmith did not start it.",
        safe="It was left exactly as it is.",
        next_step=f"Rename it (`docker rename {name} OTHER`) or remove it yourself, then try "
        "again.",
    )


def _container(row: Mapping[str, Any]) -> Container:
    return Container(
        id=str(row["id"]),
        name=str(row["name"]).removeprefix("/"),
        run=(row["labels"] or {}).get(RUN_LABEL),
        status=str(row["status"]),
        exit_code=int(row["exit_code"]),
    )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1][:300]


def _missing(program: str) -> MissingPart:
    return MissingPart(
        f"The program {program} is not on this machine.",
        safe="No container was started or touched.",
        next_step="Install Docker Engine and the NVIDIA Container Toolkit, " + _LOCAL_SERVER + ".",
    )


def _unreachable(reason: str) -> MissingPart:
    return MissingPart(
        f"The docker daemon can't be reached: {reason}",
        safe="No container was started or touched.",
        next_step=f"Start it (`sudo systemctl start docker`), {_LOCAL_SERVER}.",
    )


def _unclear(what: str, answer: Completed) -> StageFailure:
    said = _last_line(answer.stderr or answer.stdout)
    return StageFailure(
        f"`docker {what}` ended with code {answer.exit_code}: {said}",
        safe="Results are untouched.",
        next_step="Look at it with `docker ps --all`, then run the same command again.",
    )
