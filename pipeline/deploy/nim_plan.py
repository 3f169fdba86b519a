"""What the container for a profile would be: its command, built without docker. Pure but for
looking whether the model's files are there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.deploy.docker import RUN_LABEL
from pipeline.errors import BadInput, BadRecipe
from pipeline.profiles import Profile

ArtefactKind = Literal["onnx", "safetensors"]

KEY_VARIABLE = "NGC_API_KEY"
"""The environment variable with the key of NVIDIA's registry; only its name goes anywhere."""

LOOPBACK = "127.0.0.1"
"""A NIM has no authentication, so its port is published on this machine alone."""

CONTAINER_PORT = 8000
"""Where a NIM listens inside its container."""

SHARED_MEMORY = "16GB"
"""What NVIDIA's page for fine-tuned models gives the container (NIM 1.13)."""


@dataclass(frozen=True)
class NimForm:
    """How a line of NIM releases takes a model of one's own.

    Attributes:
        since: first release, as (major, minor).
        until: the first release that it no longer holds for.
        variable: names the model's folder inside the container.
        kind: what the folder holds.
        model_path: where we mount it.
        cache_path: where the container keeps what it makes.
        tokens_variable: limits the length of a text; empty when there is none.
    """

    since: tuple[int, int]
    until: tuple[int, int]
    variable: str
    kind: ArtefactKind
    model_path: str
    cache_path: str
    tokens_variable: str


_FORMS = (
    NimForm((1, 0), (2, 0), "NIM_CUSTOM_MODEL", "onnx", "/opt/custom-model", "/opt/nim/.cache", ""),
    NimForm(
        (2, 0), (2, 4), "NIM_MODEL_PATH", "safetensors", "/model", "/opt/cache", "NIM_MAX_SEQ_LEN"
    ),
    NimForm(
        (2, 4),
        (3, 0),
        "NIM_ENGINE_MODEL_PATH",
        "safetensors",
        "/model",
        "/opt/cache",
        "NIM_PIPELINE_MAX_SEQ_LEN",
    ),
)
"""From the pages of 1.13.0, 2.0.0, 2.2.0 and 2.4 on docs.nvidia.com; each line renamed it."""

_MODEL_SUFFIXES: Mapping[ArtefactKind, tuple[str, ...]] = {
    "onnx": (".onnx", ".plan", ".engine"),
    "safetensors": (".safetensors",),
}


@dataclass(frozen=True)
class NimPlan:
    """A container that could be started; everything that its command says.

    Attributes:
        name: the container's name.
        run: the run that it belongs to; the value of our label.
        image: registry, name and tag.
        form: how this image takes a model.
        model: the folder that is mounted, read-only.
        cache: the folder that the container may write.
        gpu: UUID of the GPU, or of the MIG device.
        port: on this machine's loopback.
        user: numeric id that owns `cache`; another one could not write it.
        tokens_max: the longest text, in tokens.
    """

    name: str
    run: str
    image: str
    form: NimForm
    model: Path
    cache: Path
    gpu: str
    port: int
    user: int
    tokens_max: int

    @property
    def url(self) -> str:
        """Where the service answers."""
        return f"http://{LOOPBACK}:{self.port}"


def nim_form(image: str) -> NimForm:
    """How an image takes a model of one's own, by its tag.

    Raises:
        BadRecipe: the tag is no version, or one that this table doesn't know.
    """
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    if version := re.match(r"(\d+)\.(\d+)", tag):
        number = (int(version[1]), int(version[2]))
        for form in _FORMS:
            if form.since <= number < form.until:
                return form
    raise BadRecipe(
        f"The container image {image} is of a version that embedsmith doesn't know.",
        safe="Nothing was started.",
        next_step="Use one of the versions 1.x or 2.x, by tag.",
    )


def require_image(profile: Profile) -> NimForm:
    """How the profile's container takes a model; says early when there is no container.

    Raises:
        BadRecipe: no NIM serves this profile.
    """
    if not profile.nim_image:
        raise BadRecipe(
            f"deploy.target is nim, and there is no NIM for {profile.id}.",
            safe="Nothing was started; the exported model is kept.",
            next_step="Serve it with the local server: `--set deploy.target=local`.",
        )
    return nim_form(profile.nim_image)


def prepare_nim(
    profile: Profile,
    model: Path,
    *,
    name: str,
    run: str,
    cache: Path,
    gpu: str,
    port: int,
    user: int,
    tokens_max: int,
) -> NimPlan:
    """Plan the container that serves `model`; needs no docker. See `NimPlan` for the arguments.

    Raises:
        BadRecipe: no NIM serves this profile.
        BadInput: the folder doesn't hold what this image loads.
    """
    form = require_image(profile)
    _check_model(model, form, profile.nim_image)
    return NimPlan(
        name=name,
        run=run,
        image=profile.nim_image,
        form=form,
        model=model.absolute(),
        cache=cache.absolute(),
        gpu=gpu,
        port=port,
        user=user,
        tokens_max=tokens_max,
    )


def docker_command(plan: NimPlan, program: str = "docker") -> tuple[str, ...]:
    """The command that starts the plan's container: arguments, no shell, no secret."""
    form = plan.form
    settings = [f"{form.variable}={form.model_path}"]
    if form.tokens_variable:
        settings.append(f"{form.tokens_variable}={plan.tokens_max}")
    return (
        *(program, "run", "--detach"),
        *("--name", plan.name),
        *("--label", f"{RUN_LABEL}={plan.run}"),
        "--runtime=nvidia",
        # Docker reads the value as CSV, hence its own quotes.
        *("--gpus", f'"device={plan.gpu}"'),
        f"--shm-size={SHARED_MEMORY}",
        *("--user", str(plan.user)),
        *("--publish", f"{LOOPBACK}:{plan.port}:{CONTAINER_PORT}"),
        # By name alone: docker takes the value from its own environment.
        *("--env", KEY_VARIABLE),
        *(part for setting in settings for part in ("--env", setting)),
        *("--volume", f"{plan.model}:{form.model_path}:ro"),
        *("--volume", f"{plan.cache}:{form.cache_path}"),
        plan.image,
    )


def _check_model(model: Path, form: NimForm, image: str) -> None:
    names = {path.name for path in model.iterdir()} if model.is_dir() else set()
    suffixes = _MODEL_SUFFIXES[form.kind]
    missing = [] if any(name.endswith(suffixes) for name in names) else [f"*{suffixes[0]}"]
    if form.kind == "safetensors":
        missing += [name for name in ("config.json", "tokenizer.json") if name not in names]
    if missing:
        raise BadInput(
            f"{model} lacks {', '.join(missing)}, and {image} loads {form.kind} only.",
            safe="Nothing was started; earlier results are kept.",
            next_step="Export the model again: `embedsmith export RUN`.",
        )
    if ":" in str(model.absolute()):
        raise BadInput(
            f"Docker can't mount {model.absolute()}: its path has a colon.",
            safe="Nothing was started; earlier results are kept.",
            next_step="Move the runs to a folder without a colon, and set EMBEDSMITH_HOME to it.",
        )
