"""Low-rank adapters: a few new weights are trained, all others stay as they are.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021), through peft. An adapter
adds alpha / rank * B A x to what a linear layer makes of x. B begins as zeros, so an adapted
model begins as the base, bit for bit.
"""

from __future__ import annotations

import importlib.util

import torch

from pipeline.errors import BadRecipe, MissingPart
from pipeline.finetune.randomness import seed_all
from pipeline.settings import LoraSettings

_UNUSED = "pooler"
"""A head that no vector comes from: an adapter there would never get a gradient."""


def adapt(model: torch.nn.Module, settings: LoraSettings, seed: int) -> None:
    """Freeze a model and put an adapter on its linear layers, in place.

    All linear layers of attention and feed-forward get one unless `modules` names some: adapters
    on attention alone learn less (Dettmers et al., "QLoRA", 2023, section 4).

    Args:
        model: the transformer, without adapters.
        settings: a rank above 0.
        seed: of the matrices A.

    Raises:
        MissingPart: peft is not installed.
        BadRecipe: `modules` names a layer that the model doesn't have.
    """
    if importlib.util.find_spec("peft") is None:
        raise MissingPart(
            f"finetune.lora.rank = {settings.rank}, but the package peft is not installed.",
            safe="Nothing was changed.",
            next_step="Install embedsmith[lora], or set finetune.lora.rank=0.",
        )
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # a fraction is as good
        lora_dropout=settings.dropout,
        target_modules=adapted_layers(model, settings.modules),
    )
    seed_all(seed)
    inject_adapter_in_model(config, model)


def adapted_layers(model: torch.nn.Module, modules: tuple[str, ...]) -> list[str]:
    """Full names of the linear layers that get an adapter.

    Args:
        model: the transformer.
        modules: last parts of names (`q_proj`, `attention.output.dense`); none means all.

    Raises:
        BadRecipe: one of them names no linear layer.
    """
    linear = [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and _UNUSED not in name.split(".")
    ]
    if not modules:
        return linear
    for wanted in modules:
        if not any(_ends(name, wanted) for name in linear):
            last = sorted({name.rpartition(".")[2] for name in linear})
            raise BadRecipe(
                f"finetune.lora.modules names {wanted!r}, but no linear layer is called that.",
                safe="Nothing was trained.",
                next_step=f"Choose among {', '.join(last)}, or leave it empty for all.",
            )
    return [name for name in linear if any(_ends(name, wanted) for wanted in modules)]


def merge(model: torch.nn.Module) -> None:
    """Add every adapter to its layer's weights and take it off, in place.

    What is left is the base's architecture, and every parameter can be trained again. Does
    nothing to a model without adapters.
    """
    if not is_adapted(model):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapters = [
        (n, layer) for n, layer in model.named_modules() if isinstance(layer, BaseTunerLayer)
    ]
    for name, layer in adapters:
        layer.merge()
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, layer.get_base_layer())
    del model.peft_config
    model.requires_grad_(True)


def is_adapted(model: torch.nn.Module) -> bool:
    """Whether a model has adapters that are not merged."""
    return hasattr(model, "peft_config")


def _ends(name: str, wanted: str) -> bool:
    return f".{name}".endswith(f".{wanted}")
