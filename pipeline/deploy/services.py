"""The services of a run: which there are, whether they answer, and how they are stopped.

A process is ours when its own arguments hold the server's module and the record's random
instance. That outlasts reboots and reused process ids, and no foreign process can match it.
"""

from __future__ import annotations

import ipaddress
import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.deploy.docker import Docker, stop_container
from pipeline.deploy.records import ServiceRecord, read_service
from pipeline.errors import BadInput, Failure, SystemRefusal
from pipeline.run import Run

SERVER_MODULE = "pipeline.deploy.server"
"""The module that the local server runs as."""

KEY_VARIABLE = "EMBEDSMITH_API_KEY"
"""The environment variable with the key that clients of the local server have to show."""

DRAIN_SECONDS = 20.0
"""How long a stopped server may finish what it has begun."""

READY_PATH = "/v1/health/ready"

_PROBE_SECONDS = 2.0
_KILL_AFTER_SECONDS = DRAIN_SECONDS + 5.0


@dataclass(frozen=True)
class Service:
    """A service that was started, and where its record lies."""

    record: ServiceRecord
    path: Path

    @property
    def name(self) -> str:
        """What it is stopped by."""
        return self.record.name

    @property
    def url(self) -> str:
        """Where it answers, without `/v1`."""
        return self.record.url

    @property
    def model(self) -> str:
        """The name that it gives its model."""
        return self.record.model

    @property
    def export(self) -> str:
        """Digest of the export that it serves."""
        return self.record.export

    @property
    def instance(self) -> str:
        """Random; another one after every start."""
        return self.record.instance

    def running(self) -> bool:
        """Whether its process is there, ready or not. A container's is not looked for."""
        if self.record.host != socket.gethostname():
            return False
        return not self.record.pid or is_ours(self.record.pid, self.instance)

    def alive(self) -> bool:
        """Whether its process is there and says that it is ready."""
        return self.running() and answers(self.url)

    def serves(self, digest: str) -> bool:
        """Whether it answers, and with this export."""
        return self.export == digest and self.alive()


def list_services(run: Run) -> list[Service]:
    """Every service of a run that was started and not stopped, by name.

    Raises:
        BadInput: a record is damaged or of a later format.
    """
    pattern = run.service_path("*").relative_to(run.path)
    paths = sorted(run.path.glob(str(pattern)))
    return [Service(read_service(path), path) for path in paths]


def find_service(run: Run, name: str) -> Service | None:
    """A service by name, or None when there is none.

    Raises:
        BadInput: its record is damaged or of a later format.
    """
    path = run.service_path(name)
    return Service(read_service(path), path) if path.is_file() else None


def stop_service(run: Run, name: str) -> None:
    """Stop a service: it finishes what it has begun; one that doesn't end is killed.

    Raises:
        BadInput: the run has no service of that name.
        SystemRefusal: it runs on another machine, or belongs to another user.
        Busy: the container isn't ours.
        MissingPart: docker is not there.
    """
    service = find_service(run, name)
    if service is None:
        names = ", ".join(each.name for each in list_services(run)) or "none"
        raise BadInput(
            f"The run {run.name} has no service {name!r}.",
            safe="Nothing was stopped.",
            next_step=f"Its services: {names}.",
        )
    if service.record.host != socket.gethostname():
        raise SystemRefusal(
            f"The service {name} was started on {service.record.host}.",
            safe="Nothing was stopped.",
            next_step="Run the same command there.",
        )
    if service.record.container:
        stop_container(Docker(os.environ), service.record.container)
    else:
        _end_process(service)
    service.path.unlink(missing_ok=True)


def is_loopback(host: str) -> bool:
    """Whether only this machine itself reaches what listens on `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_ours(pid: int, instance: str) -> bool:
    """Whether this process is the server that the record describes."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return SERVER_MODULE.encode() in arguments and instance.encode() in arguments


def answers(url: str) -> bool:
    """Whether the readiness of the service at `url` is 200."""
    # Here, so that a command that has no service doesn't wait for it.
    from http.client import HTTPConnection, HTTPException

    parts = urlsplit(url)
    with suppress(OSError, HTTPException):
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=_PROBE_SECONDS)
        with closing(connection):
            connection.request("GET", READY_PATH)
            return connection.getresponse().status == 200
    return False


def _end_process(service: Service) -> None:
    with suppress(ProcessLookupError), _process(service.record.pid) as process:
        # The descriptor stands for one process; checked after it is open, the id can't be reused.
        if not is_ours(service.record.pid, service.instance):
            return
        try:
            signal.pidfd_send_signal(process, signal.SIGTERM)
            if not _ended(process, _KILL_AFTER_SECONDS):
                signal.pidfd_send_signal(process, signal.SIGKILL)
                _ended(process, _KILL_AFTER_SECONDS)
        except PermissionError as error:
            raise _foreign(service) from error


@contextmanager
def _process(pid: int) -> Iterator[int]:
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _ended(process: int, seconds: float) -> bool:
    return bool(select.select([process], [], [], seconds)[0])


def _foreign(service: Service) -> Failure:
    return SystemRefusal(
        f"The service {service.name} (process {service.record.pid}) belongs to another user.",
        safe="It was left as it is.",
        next_step="Let the user who started it stop it.",
    )
