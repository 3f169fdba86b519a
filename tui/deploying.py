"""What the Deploy step looks at outside of the run folder: services, docker, keys. Never on a
screen's own thread: each of it may take seconds.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence

from pipeline.deploy.services import Service, list_services
from pipeline.deploy.snippet import key_variable_of, snippets
from pipeline.gate import Check
from pipeline.profiles import Profile
from pipeline.recipe import Recipe
from pipeline.run import Run, home
from tui.deploy_rows import Probe
from tui.watch import Job

_NIM_NEEDS = ("docker", "NIM image", "NGC key")
"""The checks of the preflight that a container waits for."""


def probe_services(run: Run) -> dict[str, Probe]:
    """Every service of a run that was started and not stopped, by name, asked just now.

    Raises:
        BadInput: a record is damaged or of a later format.
    """
    return {service.name: _probe(service) for service in list_services(run)}


def _probe(service: Service) -> Probe:
    record = service.record
    return Probe(
        record=record,
        here=record.host == socket.gethostname(),
        running=service.running(),
        answers=service.alive(),
        since=_since(record.started, time.time()),
    )


def _since(started: float, now: float) -> str:
    """A moment for people: with its day unless that is today."""
    day, today = (time.strftime("%Y-%m-%d", time.localtime(each)) for each in (started, now))
    clock = time.strftime("%H:%M", time.localtime(started))
    return clock if day == today else f"{day} {clock}"


def nim_checks(recipe: Recipe, profile: Profile, environment: Mapping[str, str]) -> Sequence[Check]:
    """What a container needs of this machine, each with its verdict and remedy."""
    from pipeline.preflight import preflight, read_surroundings

    found = read_surroundings(home(), recipe.sdg.key_variable, environment, profile)
    return [check for check in preflight(found) if check.name in _NIM_NEEDS]


def snippets_of(
    probe: Probe, recipe: Recipe, profile: Profile, environment: Mapping[str, str]
) -> Mapping[str, str]:
    """The texts to copy for a service, by name; keys stand in them by their variable alone."""
    dimension = recipe.encoder.dimension or profile.dimension
    variable = key_variable_of(probe.record, environment)
    return snippets(probe.record, dimension=dimension, key_variable=variable)


def last_failure(job: Job | None) -> str:
    """What a worker wrote down when it failed last; empty for none."""
    if job is None or job.ending is None or job.ending.type != "failed":
        return ""
    return str(job.ending.data.get("happened", ""))


def said_by(job: Job) -> list[str]:
    """What the worker of the last attempt said for people."""
    lines: list[str] = []
    for event in job.events:
        if event.type == "started":
            lines = []
        elif event.type == "log":
            lines.append(str(event.data.get("message", "")))
    return lines
