"""Starts the container of a plan, waits for its health, and says where the service is."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from pipeline.deploy.docker import (
    Completed,
    Container,
    Docker,
    find_container,
    foreign,
    last_lines,
    require_docker,
    stop_container,
)
from pipeline.deploy.nim_plan import KEY_VARIABLE, LOOPBACK, NimPlan, docker_command
from pipeline.errors import (
    Busy,
    EndpointFailure,
    Failure,
    MissingPart,
    StageFailure,
    SystemRefusal,
)

HEALTH_SECONDS = 2.0
"""Pause between two looks at a container that is starting."""

_REQUEST_SECONDS = 5.0
_ANSWER_BYTES_MAX = 1_000_000

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A proxy of the environment has no business with this machine's own ports."""


@dataclass(frozen=True)
class NimService:
    """A NIM that runs and is healthy.

    Attributes:
        name: the container's name; `stop_container` takes it.
        url: without `/v1`.
        container: docker's id.
        image: registry, name and tag.
        model: the name that the service gives its model.
        command: what was run; holds no secret.
    """

    name: str
    url: str
    container: str
    image: str
    model: str
    command: tuple[str, ...]


def choose_port(port: int) -> int:
    """`port` when it is free on the loopback; for 0, a free one.

    Raises:
        Busy: something listens there; the next free port is named.
    """
    free = _bind(port)
    if free is not None:
        return free
    other = next((n for n in range(port + 1, 65536) if _bind(n) is not None), 0)
    raise Busy(
        f"Port {port} on {LOOPBACK} is in use.",
        safe="Nothing was started and nothing was stopped.",
        next_step=f"Free it, or use another: `--set deploy.port={other}`.",
        remedy={"deploy.port": other},
    )


def _bind(port: int) -> int | None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        # Connections of an ended server that still linger don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return None
        return int(probe.getsockname()[1])


def require_ready(plan: NimPlan, docker: Docker) -> Container | None:
    """Check everything that starting needs, in order; nothing is changed.

    Returns:
        What an earlier attempt of this run left under the plan's name.

    Raises:
        MissingPart: no docker, no daemon, no NVIDIA runtime.
        SystemRefusal: this user may not talk to docker.
        EndpointFailure: the key of NVIDIA's registry is missing.
        Busy: the name belongs to a container of somebody else, or the port is in use.
    """
    require_docker(docker)
    if not docker.environment.get(KEY_VARIABLE):
        raise EndpointFailure(
            f"The environment variable {KEY_VARIABLE} is empty; the container needs its key.",
            safe="No container was started or touched.",
            next_step="Make a key at https://org.ngc.nvidia.com/setup/api-keys and export it as "
            f"{KEY_VARIABLE}, or serve with the local server: `--set deploy.target=local`.",
        )
    left = _own(plan, docker)
    if left is None:
        choose_port(plan.port)
    return left


def _own(plan: NimPlan, docker: Docker) -> Container | None:
    """What an earlier attempt of this run left under the plan's name.

    Raises:
        Busy: the name belongs to somebody else, or to another run.
    """
    container = find_container(docker, plan.name)
    if container is None:
        return None
    if container.run is None:
        raise foreign(plan.name)
    if container.run != plan.run:
        raise Busy(
            f"The container {plan.name} serves the run {container.run}.",
            safe="It was left exactly as it is.",
            next_step=f"Stop it first: `embedsmith stop {container.run}`.",
        )
    return container


def start_nim(
    plan: NimPlan,
    docker: Docker,
    *,
    timeout_seconds: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    poll: Callable[[], None],
) -> NimService:
    """Start the container and wait until it serves; on any failure it is removed again.

    Args:
        plan: what to start; an earlier container of the same run and name is replaced.
        docker: the docker program.
        timeout_seconds: how long it may take to be healthy once it runs.
        clock: seconds, monotonic.
        sleep: waits so many seconds.
        poll: called while waiting, also while docker fetches the image; may raise to end it.

    Raises:
        Failure: as `require_ready`; or docker refused, or the container ended or never answered.
    """
    if earlier := require_ready(plan, docker):
        stop_container(docker, earlier.id)
        choose_port(plan.port)
    # Docker would make the folder as root, and the container could not write it.
    plan.cache.mkdir(parents=True, exist_ok=True)
    try:
        answer = docker.run(docker_command(plan, docker.program), poll)
        if answer.exit_code != 0:
            raise _refused(plan, answer)
        container = _wait(plan, docker, clock() + timeout_seconds, clock, sleep, poll)
        model = _served_model(plan)
    except BaseException:
        # The first failure is the one to tell; Busy here means that the name isn't ours.
        with suppress(Failure):
            if left := _own(plan, docker):
                stop_container(docker, left.id)
        raise
    return NimService(
        name=plan.name,
        url=plan.url,
        container=container.id,
        image=plan.image,
        model=docker.clean(model.encode()),
        command=docker_command(plan),
    )


def _wait(
    plan: NimPlan,
    docker: Docker,
    until: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    poll: Callable[[], None],
) -> Container:
    while True:
        poll()
        # The state first: another program could answer on the port of one that has ended.
        container = find_container(docker, plan.name)
        if container is None or container.status in ("exited", "dead", "removing"):
            raise _ended(plan, docker, container)
        if _get(f"{plan.url}/v1/health/ready") is not None:
            return container
        if clock() >= until:
            raise StageFailure(
                f"The container {plan.name} did not become healthy in time. Its last lines:\n"
                f"{last_lines(docker, container)}",
                safe="The exported model is kept; the container was removed.",
                next_step="Allow it longer: `--set deploy.health_timeout_seconds=1800`.",
            )
        sleep(HEALTH_SECONDS)


def _served_model(plan: NimPlan) -> str:
    """The name under which the service knows its model.

    Raises:
        EndpointFailure: it doesn't say.
    """
    answer = _get(f"{plan.url}/v1/models") or b""
    try:
        document: Any = json.loads(answer)
        return str(document["data"][0]["id"])
    except (ValueError, LookupError, TypeError) as error:
        raise EndpointFailure(
            f"{plan.url}/v1/models doesn't name the model that it serves.",
            safe="The exported model is kept; the container was removed.",
            next_step=f"Check that {plan.image} is an embedding NIM.",
        ) from error


def _get(url: str) -> bytes | None:
    """The answer's body when its status is 200; None otherwise."""
    try:
        with _DIRECT.open(url, timeout=_REQUEST_SECONDS) as response:
            body: bytes = response.read(_ANSWER_BYTES_MAX)
            return body if response.status == 200 else None
    except (OSError, HTTPException):
        return None


_ENDED_BECAUSE = (
    ("out of memory", "Free the GPU's memory: see `embedsmith check` for who uses it."),
    ("os error 13", "Make the cache folder writable for you: {cache}."),
    ("unauthorized", f"Check that {KEY_VARIABLE} holds a key that is still valid."),
    ("forbidden", "Accept the model's terms on its page at https://catalog.ngc.nvidia.com."),
)
"""Words in a container's log, and what they ask for."""


def _ended(plan: NimPlan, docker: Docker, container: Container | None) -> StageFailure:
    safe = "The exported model is kept; the container was removed."
    if container is None:
        return StageFailure(
            f"The container {plan.name} vanished while it was starting.",
            safe=safe,
            next_step="See who removed it, then run the same command again.",
        )
    log = last_lines(docker, container)
    advice = [text for word, text in _ENDED_BECAUSE if word in log.lower()]
    advice.append("Read the lines above, mend the cause, and run the same command again.")
    return StageFailure(
        f"The container {plan.name} ended with code {container.exit_code}. Its last lines:\n{log}",
        safe=safe,
        next_step=advice[0].replace("{cache}", str(plan.cache)),
    )


def _refused(plan: NimPlan, answer: Completed) -> Failure:
    """Why `docker run` said no, as the failure that leads to the remedy."""
    said = answer.stderr.strip()[-600:]
    low = said.lower()
    happened = f"Docker could not start {plan.image}: {said}"
    safe = "The exported model is kept, and no container was left."
    if "already allocated" in low or "address already in use" in low:
        return Busy(
            happened,
            safe=safe,
            next_step="Use another port: `--set deploy.port=0`.",
            remedy={"deploy.port": 0},
        )
    if "already in use by container" in low:
        return foreign(plan.name)
    if any(word in low for word in ("unauthorized", "access denied", "authentication required")):
        return EndpointFailure(
            happened,
            safe=safe,
            next_step=f"Log in: `echo \"${KEY_VARIABLE}\" | docker login nvcr.io -u '$oauthtoken' "
            "--password-stdin`, and accept the model's terms on https://catalog.ngc.nvidia.com.",
        )
    if "no space left" in low:
        return SystemRefusal(
            happened, safe=safe, next_step="Free some space (`docker system df`), then try again."
        )
    if "device driver" in low or "runtime" in low or "nvidia-container" in low:
        return MissingPart(
            happened,
            safe=safe,
            next_step="Mend the NVIDIA Container Toolkit: `docker run --rm --gpus all ubuntu "
            "nvidia-smi` has to show the GPU.",
        )
    return StageFailure(
        happened, safe=safe, next_step="Mend what docker names, then run the same command again."
    )
