"""The gate before anything is started; the worker checks again by itself."""

from __future__ import annotations

import os

from pipeline.base_checks import licence_check, require_tuning_memory
from pipeline.gate import read_machine, require_gpu
from pipeline.gpus import open_nvml
from pipeline.profiles import Profile
from pipeline.recipe import Recipe
from tui.output import Output


def require_machine(profile: Profile, training: Recipe | None = None) -> None:
    """Refuse a gated profile where no GPU passes.

    Args:
        profile: the base model.
        training: the recipe, where the model will be trained by it.

    Raises:
        GateRefusal: none does.
        BadRecipe: one does, but it can't train all weights, and the recipe asks for that.
    """
    if profile.gated:
        gpu = require_gpu(read_machine(open_nvml(), os.environ))
        if training:
            require_tuning_memory(profile, training, gpu)


def say_licence(profile: Profile, output: Output) -> None:
    """Say what a base model's makers allow, before it is used."""
    if profile.rehearsal:
        return
    check = licence_check(profile)
    output.say(f"licence   {check.detail}")
    if check.remedy:
        output.say(f"          {check.remedy}")
    output.record("licence", {"licence": profile.licence, "commercial": profile.commercial})
