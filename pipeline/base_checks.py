"""What a base model asks for: its licence kept, and a GPU that can train all of its weights."""

from __future__ import annotations

from pipeline.errors import BadRecipe
from pipeline.gate import Check, gigabytes
from pipeline.gpus import Gpu
from pipeline.profiles import Profile
from pipeline.recipe import Recipe

SUGGESTED_RANK = 16
"""Of adapters, where all weights are too many."""


def licence_check(profile: Profile) -> Check:
    """Say the licence before a base model is used; warn where it forbids commercial use."""
    said = f"{profile.title}: {profile.licence}"
    if profile.commercial:
        return Check("licence", "pass", said)
    return Check(
        "licence",
        "warn",
        said,
        "What is trained from it falls under the same terms: for commercial use choose another "
        "profile.",
    )


def training_check(profile: Profile, gpu: Gpu) -> Check:
    """Whether all weights of a base model can be trained on a GPU, or adapters alone."""
    if profile.rehearsal or not _adapters_only(profile, gpu):
        return Check("training", "pass", "all weights can be trained")
    return Check(
        "training",
        "warn",
        f"{gigabytes(gpu.memory_total)} is below {profile.full_tuning_gigabytes} GB: of "
        f"{profile.title} only adapters (LoRA) can be trained here",
        f"Add --set finetune.lora.rank={SUGGESTED_RANK}.",
    )


def require_tuning_memory(profile: Profile, recipe: Recipe, gpu: Gpu) -> None:
    """Refuse to train all weights where they don't fit.

    Raises:
        BadRecipe: they don't, and `finetune.lora.rank` is 0; its remedy sets one.
    """
    if recipe.finetune.lora.rank or not _adapters_only(profile, gpu):
        return
    raise BadRecipe(
        f"To train all weights of {profile.id} takes a GPU with {profile.full_tuning_gigabytes} "
        f"GB; {gpu.name} has {gigabytes(gpu.memory_total)}.",
        safe="Nothing was trained, and every earlier result is kept.",
        next_step="Train adapters instead: run the same command again with "
        f"--set finetune.lora.rank={SUGGESTED_RANK}.",
        remedy={"finetune.lora.rank": SUGGESTED_RANK},
    )


def _adapters_only(profile: Profile, gpu: Gpu) -> bool:
    return gpu.memory_total < profile.full_tuning_gigabytes * 1_000_000_000
