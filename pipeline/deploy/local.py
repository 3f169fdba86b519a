"""Starts the local server as a process of its own and waits until it is ready."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from pipeline.context import Context
from pipeline.deploy.records import ServiceRecord, write_service
from pipeline.deploy.services import DRAIN_SECONDS, SERVER_MODULE, answers
from pipeline.errors import BadRecipe, Busy, Failure, StageFailure, SystemRefusal
from pipeline.export.records import Manifest
from pipeline.launch import worker_environment
from pipeline.settings import DeploySettings

LOG = "server.log"

LOG_LINES = 20
"""Lines of the log that a failure shows."""

_LOOK_SECONDS = 0.1

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses that mean every interface, and how this machine reaches itself there."""


def start_local(context: Context, manifest: Manifest, name: str, model: str) -> ServiceRecord:
    """Start the server; on any failure it is ended again.

    Raises:
        Busy: the port is in use.
        SystemRefusal: this user may not have the port.
        BadRecipe: the host is none of this machine's.
        StageFailure: the server ended, or was not ready in time.
    """
    settings, path = context.recipe.deploy, context.run.service_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    instance = secrets.token_hex(16)
    log = path.parent / LOG
    offset = log.stat().st_size if log.is_file() else 0
    with bind(settings) as bound:
        url = _url(bound)
        process = _start(context, bound, model, instance, path, log)
    try:
        record = ServiceRecord(
            name=name,
            target="local",
            url=url,
            model=model,
            export=context.inputs["export"].digest,
            instance=instance,
            host=socket.gethostname(),
            pid=process.pid,
            container="",
            log=LOG,
            started=round(time.time(), 3),
        )
        write_service(path, record)
        _wait(context, process, url, log, offset)
    except BaseException:
        _end(process)
        path.unlink(missing_ok=True)
        raise
    return record


def bind(settings: DeploySettings) -> socket.socket:
    """A socket on the recipe's host and port; it doesn't listen yet.

    Raises:
        Busy: the port is in use.
        SystemRefusal: this user may not have it.
        BadRecipe: the host is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    # Connections of an ended server that still linger don't count.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((settings.host, settings.port))
    except OSError as error:
        bound.close()
        raise _refused(settings, error) from error
    return bound


def _start(
    context: Context, bound: socket.socket, model: str, instance: str, record: Path, log: Path
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", SERVER_MODULE]
    command += ["--export", str(context.inputs["export"].folder), "--model", model]
    command += ["--socket", str(bound.fileno()), "--instance", instance, "--record", str(record)]
    with log.open("ab") as stream:
        return subprocess.Popen(
            command,
            cwd=record.parent,
            env=worker_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            pass_fds=(bound.fileno(),),
            # A session of its own: it outlives the stage, the window and the connection.
            start_new_session=True,
        )


def _wait(
    context: Context, process: subprocess.Popen[bytes], url: str, log: Path, offset: int
) -> None:
    seconds = context.recipe.deploy.health_timeout_seconds
    until = time.monotonic() + seconds
    context.events.progress(0, 1, "server ready")
    while not answers(url):
        context.control.poll()
        if process.poll() is not None:
            raise StageFailure(
                f"The server ended with code {process.returncode}. Its last lines:\n"
                f"{_tail(log, offset)}",
                safe="The export is kept.",
                next_step="Mend what the lines name, then run the same command again.",
            )
        if time.monotonic() > until:
            raise StageFailure(
                f"The server was not ready after {seconds:g} s. Its last lines:\n"
                f"{_tail(log, offset)}",
                safe="The export is kept; the server was ended.",
                next_step="Allow it longer: `--set deploy.health_timeout_seconds=1800`.",
            )
        time.sleep(_LOOK_SECONDS)
    context.events.progress(1, 1, "server ready")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(DRAIN_SECONDS)
        return
    process.kill()
    process.wait()


def _tail(log: Path, offset: int) -> str:
    lines = log.read_bytes()[offset:].decode(errors="replace").splitlines()[-LOG_LINES:]
    return "\n".join("".join(c for c in line if c.isprintable())[:300] for line in lines)


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    host = _ANY.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _refused(settings: DeploySettings, error: OSError) -> Failure:
    where = f"Port {settings.port} on {settings.host}"
    safe = "The export is kept; nothing was started."
    if error.errno == errno.EADDRINUSE:
        return Busy(
            f"{where} is in use.",
            safe=safe,
            next_step="Free it, or take any free one: `--set deploy.port=0`.",
            remedy={"deploy.port": 0},
        )
    if error.errno == errno.EACCES:
        return SystemRefusal(
            f"{where} is not for this user: {error.strerror}.",
            safe=safe,
            next_step="Take one from 1024 on: `--set deploy.port=8000`.",
        )
    return BadRecipe(
        f"deploy.host = {settings.host!r} can't be listened on: {error.strerror}.",
        safe=safe,
        next_step="Use an address of this machine: `--set deploy.host=127.0.0.1`.",
    )
