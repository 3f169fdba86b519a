"""Starts the profile's NIM with the exported or the fine-tuned model in it."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import time
from pathlib import Path

from pipeline.context import Context
from pipeline.deploy.docker import Docker, shown
from pipeline.deploy.nim import choose_port, start_nim
from pipeline.deploy.nim_plan import NimForm, NimPlan, docker_command, prepare_nim, require_image
from pipeline.deploy.records import ServiceRecord, write_service
from pipeline.errors import BadInput
from pipeline.export.records import TOKENIZER, Manifest
from pipeline.run import slug

_MODEL = "model"


def start_container(context: Context, manifest: Manifest, name: str, model: str) -> ServiceRecord:
    """Show the docker command, run it and wait for health.

    Args:
        context: the stage's.
        manifest: of the export.
        name: of the service.
        model: unused: a NIM names its model itself.

    Raises:
        BadRecipe: there is no NIM for the profile.
        BadInput: the fine-tuned model that was exported is gone.
        Failure: as `pipeline.deploy.nim.start_nim`.
    """
    plan = plan_container(context, manifest, name)
    # Before docker is looked for: the command is useful where docker is not.
    context.events.log(f"The container's command: {shown(docker_command(plan))}")
    service = start_nim(
        plan,
        Docker(os.environ),
        timeout_seconds=context.recipe.deploy.health_timeout_seconds,
        clock=time.monotonic,
        sleep=time.sleep,
        poll=context.control.poll,
    )
    record = ServiceRecord(
        name=name,
        target="nim",
        url=service.url,
        model=service.model,
        export=context.inputs["export"].digest,
        instance=secrets.token_hex(16),
        host=socket.gethostname(),
        pid=0,
        container=service.container,
        log="",
        started=round(time.time(), 3),
    )
    write_service(context.run.service_path(name), record)
    return record


def plan_container(context: Context, manifest: Manifest, name: str) -> NimPlan:
    """The container that would be started; what it mounts is laid out.

    Raises:
        BadRecipe: there is no NIM for the profile.
        BadInput: the fine-tuned model that was exported is gone.
    """
    form = require_image(context.profile)
    port = context.recipe.deploy.port
    return prepare_nim(
        context.profile,
        _mounted(context, manifest, form, name),
        name=f"embedsmith-{slug(context.run.name)}-{slug(name)}",
        run=context.run.name,
        cache=context.cache / "nim",
        # The worker pinned the GPU that passed the gate.
        gpu=os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        port=port or choose_port(port),
        user=os.getuid(),
        tokens_max=max(manifest.query_tokens, manifest.passage_tokens),
    )


def _mounted(context: Context, manifest: Manifest, form: NimForm, name: str) -> Path:
    if form.kind == "onnx":
        return _graph_folder(context, manifest, name)
    for folder in context.run.attempts("finetune"):
        result = context.run.result("finetune", folder.name)
        if result and result.digest == manifest.model:
            return folder / _MODEL
    raise BadInput(
        "The fine-tuned model that was exported is no longer there, and this NIM loads it.",
        safe="Nothing was started; the export is kept.",
        next_step="Make it again: `embedsmith run RUN --from finetune`.",
    )


def _graph_folder(context: Context, manifest: Manifest, name: str) -> Path:
    """The served graph alone under the name that a NIM looks for, with its tokenizer.

    Links, not copies: the files are large, and outlive a pruned export so.
    """
    export = context.inputs["export"].folder
    folder = context.run.service_path(name).parent / _MODEL
    shutil.rmtree(folder, ignore_errors=True)
    (folder / TOKENIZER).mkdir(parents=True)
    for source in manifest.files:
        if source == manifest.served:
            os.link(export / source, folder / "model.onnx")
        elif source == f"{manifest.served}.data" or source.startswith(f"{TOKENIZER}/"):
            os.link(export / source, folder / source)
    return folder
