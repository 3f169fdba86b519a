"""The stage `deploy`: starts the service that the recipe asks for, waits for its health, ends."""

from __future__ import annotations

import os
import socket

from pipeline.context import Context, Outcome
from pipeline.deploy.container import start_container
from pipeline.deploy.local import start_local
from pipeline.deploy.records import ServiceRecord
from pipeline.deploy.services import (
    KEY_VARIABLE,
    Service,
    find_service,
    is_loopback,
    stop_service,
)
from pipeline.errors import BadInput, BadRecipe
from pipeline.export.records import Manifest, read_manifest
from pipeline.files import digest_file
from pipeline.run import Result, slug
from pipeline.status import service_name


def execute(context: Context) -> Outcome:
    """Start the service; it outlives this stage.

    A service of the same name that serves something else is stopped first, so that the new one
    gets its port.

    Raises:
        BadRecipe: the host needs a key that isn't there, or there is no NIM for the profile.
        BadInput: the export's files are not those of its manifest.
        Busy: the port is in use, or a container of that name isn't ours.
        SystemRefusal: this user may not have the port, or may not use docker.
        MissingPart: docker or its NVIDIA runtime is not there.
        StageFailure: the service ended, or was not healthy in time.
    """
    settings = context.recipe.deploy
    export = context.inputs["export"]
    _check_host(settings.host, settings.target)
    manifest = read_manifest(export.folder)
    _check_files(export, manifest)
    name = service_name(context.variant, context.recipe)
    if before := find_service(context.run, name):
        _replace(context, before)
    model = served_name(context.run.name, context.variant, manifest)
    start = start_container if settings.target == "nim" else start_local
    record = start(context, manifest, name, model)
    return Outcome(outputs=(), summary=_summary(record, manifest))


def served_name(run: str, variant: str, manifest: Manifest) -> str:
    """The name that the local server gives its model; a rehearsal's says so."""
    rehearsal = "rehearsal" if manifest.rehearsal and "rehearsal" not in run else ""
    return "-".join(slug(part) for part in (rehearsal, run, variant) if part)


def _check_host(host: str, target: str) -> None:
    if is_loopback(host):
        return
    if target == "nim":
        raise BadRecipe(
            f"deploy.host = {host!r}, and a NIM asks nobody for a key.",
            safe="Nothing was started.",
            next_step="Set deploy.host to 127.0.0.1, and put a proxy with a key in front of it.",
        )
    if not os.environ.get(KEY_VARIABLE):
        raise BadRecipe(
            f"deploy.host = {host!r} is not this machine alone, and {KEY_VARIABLE} is empty: "
            "everybody who reaches it could use the server.",
            safe="Nothing was started.",
            next_step=f"Export {KEY_VARIABLE} with a long random key, or set deploy.host to "
            "127.0.0.1.",
        )


def _check_files(export: Result, manifest: Manifest) -> None:
    for name, digest in manifest.files.items():
        path = export.folder / name
        if not path.is_file() or digest_file(path) != digest:
            raise BadInput(
                f"{path} is missing or is not the file that was exported.",
                safe="Nothing was started, and a service that runs was left as it is.",
                next_step=f"Remove the folder {export.folder} and run `embedsmith export` again.",
            )


def _replace(context: Context, before: Service) -> None:
    if before.record.host != socket.gethostname():
        context.events.log(
            f"The service {before.name} was started on {before.record.host}; it is left as it is.",
            level="warning",
        )
        return
    stop_service(context.run, before.name)
    context.events.log(f"The earlier service {before.name} was stopped.")


def _summary(record: ServiceRecord, manifest: Manifest) -> dict[str, object]:
    return {
        "headline": f"{record.url}/v1/embeddings answers as {record.model}.",
        "name": record.name,
        "target": record.target,
        "url": record.url,
        "model": record.model,
        "dimension": manifest.dimension,
        "rehearsal": manifest.rehearsal,
    }
