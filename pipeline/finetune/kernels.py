"""How a model's layers are computed in training: twice to save memory, fused, or compiled.

All three are off by default. None changes a weight's name or what is saved, and texts that are
only encoded go through compiled and checkpointed layers as they are. Layers that aren't compiled
get dropout that is cheap on a CPU.
"""

from __future__ import annotations

import importlib.util
import inspect
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from pipeline import attention
from pipeline.dropout import make_cheap
from pipeline.encoder import Encoder
from pipeline.errors import BadRecipe, MissingPart, StageFailure, brief
from pipeline.finetune.randomness import TorchState
from pipeline.memory import is_out_of_memory
from pipeline.packing import AGREES_IN_BF16, PROBE
from pipeline.settings import FinetuneSettings

_FUSED_TYPE, _FUSED_ACTIVATIONS = "llama", ("silu", "swish")
"""What Liger's feed-forward kernel computes; it would take another activation for this one."""

_NOT_COMPILABLE = (RuntimeError, ImportError, OSError, subprocess.SubprocessError)
"""What torch's compilers raise for models that they can't read, and where they are missing."""

_COMPILER = "inductor"
_COMPILER_OPTIONS: dict[str, Any] = {"fallback_random": True}
"""Random numbers as without a compiler: a pass that is computed twice draws the same ones twice."""


def require_kernels(model: PreTrainedModel, settings: FinetuneSettings, device: str) -> None:
    """Refuse what can't be had here, before any work.

    Raises:
        BadRecipe: `finetune.liger` or `finetune.gradient_checkpointing` doesn't fit the model, or
            the device.
        MissingPart: Liger is not installed.
    """
    if settings.gradient_checkpointing and not model.supports_gradient_checkpointing:
        raise _unfit("gradient_checkpointing", model, "transformers has no way to do it")
    if not settings.liger:
        return
    if device == "cpu":
        raise _unfit("liger", model, "Liger's kernels run on a GPU alone, and this is a CPU")
    config = model.config
    activation = getattr(config, "hidden_act", "")
    if config.model_type != _FUSED_TYPE or activation not in _FUSED_ACTIVATIONS:
        raise _unfit("liger", model, f"its type is {config.model_type!r}, and it needs 'llama'")
    if importlib.util.find_spec("liger_kernel") is None:
        raise MissingPart(
            "finetune.liger is on, but the package liger-kernel is not installed.",
            safe="Nothing was changed.",
            next_step="Install embedsmith[liger], or set finetune.liger=false.",
        )


def equip(encoder: Encoder, settings: FinetuneSettings, warn: Callable[[str], None]) -> None:
    """Let a model's layers be computed as the settings ask for, in place.

    Args:
        encoder: its model, adapters included.
        settings: what `require_kernels` let pass.
        warn: told what was asked for and can't be had.

    Raises:
        StageFailure: Liger's kernels fail, or give other vectors than the model's own layers.
    """
    if settings.liger:
        fuse(encoder)
    if settings.gradient_checkpointing:
        checkpoint(encoder.model)
    if settings.compile:
        compile_layers(encoder, warn)
    if not is_compiled(encoder.model):
        make_cheap(encoder.model)  # a compiler has cheap masks of its own, and can't read ours


def checkpoint(model: PreTrainedModel) -> None:
    """Keep each layer's input alone, and compute the layer again in the backward pass.

    Chen et al., "Training Deep Nets with Sublinear Memory Cost" (2016), by transformers' own
    method, which draws the same random numbers both times.
    """
    enable = getattr(model, "activation_checkpointing_enable", None)
    # Its name before transformers 5.23, where the older one warns.
    (enable or model.gradient_checkpointing_enable)()


def fuse(encoder: Encoder) -> None:
    """Compute a Llama's RMSNorm and SwiGLU by Liger's kernels.

    Hsu et al., "Liger Kernel: Efficient Triton Kernels for LLM Training" (2024): a layer keeps
    fewer activations, and reads and writes them less often.

    Raises:
        StageFailure: they fail here, or give other vectors than the model's own layers.
    """
    own = _vectors(encoder)
    try:
        _patch(encoder.model)
        difference = float((_vectors(encoder) - own).abs().max() / own.abs().max())
    except (RuntimeError, ImportError, AttributeError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        raise _unfused(f"failed ({brief(error)})") from error
    if not difference <= AGREES_IN_BF16:
        raise _unfused(f"gave vectors that differ by {difference:.2g} from the model's own")


def _patch(model: PreTrainedModel) -> None:
    """Liger's patch of this one model.

    It changes transformers' module as well, for every Llama that is loaded from then on, on a CPU
    too: that is taken back. Rotary positions could be patched in no other way, so they stay.
    """
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    module = vars(sys.modules[type(model).__module__])
    before = dict(module)
    try:
        _apply_liger_kernel_to_instance(
            model=model, rope=False, cross_entropy=False, fused_linear_cross_entropy=False
        )
    finally:
        module.update(before)


class _Compiled:
    """A layer's forward pass: the compiled one in training, its own otherwise."""

    def __init__(self, layer: torch.nn.Module, compiled: Callable[..., Any]) -> None:
        self._layer = layer
        self._compiled = compiled

    def __call__(self, *inputs: Any, **others: Any) -> Any:
        layer: Any = self._layer
        if not layer.training:
            return type(layer).forward(layer, *inputs, **others)
        compute = partial(self._compiled, layer, **others)
        if getattr(layer, "gradient_checkpointing", False):
            return layer._gradient_checkpointing_func(compute, *inputs)
        return compute(*inputs)


def compile_layers(encoder: Encoder, warn: Callable[[str], None], backend: str = _COMPILER) -> None:
    """Compile what a layer computes around its attention, once for all layers and all lengths.

    A trial decides: where it fails, the layers stay as they are, and that is said.

    Args:
        encoder: its model; checkpointed layers stay checkpointed.
        warn: told why there is nothing compiled.
        backend: torch's name of the compiler.
    """
    attention.hide_from_compilers()
    layers = _layers(encoder.model)
    # Without transformers' wrapper for checkpointing, into which a compiler doesn't see.
    forward = inspect.unwrap(type(layers[0]).forward)
    options = _COMPILER_OPTIONS if backend == _COMPILER else None
    compiled = torch.compile(forward, dynamic=True, backend=backend, options=options)
    for layer in layers:
        layer.forward = _Compiled(layer, compiled)
    try:
        _try_training(encoder)
    except _NOT_COMPILABLE as error:
        for layer in layers:
            del layer.forward
        if is_out_of_memory(error):
            raise
        warn(
            f"finetune.compile: torch can't compile this model here ({brief(error)}). "
            "It is trained without a compiler."
        )


def is_compiled(model: torch.nn.Module) -> bool:
    """Whether its layers are compiled in training."""
    return any(isinstance(vars(module).get("forward"), _Compiled) for module in model.modules())


def is_checkpointed(model: torch.nn.Module) -> bool:
    """Whether layers are computed again in the backward pass."""
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def _layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The longest list of modules of one kind."""
    lists = [list(m) for m in model.modules() if isinstance(m, torch.nn.ModuleList)]
    return max((each for each in lists if len(set(map(type, each))) == 1), key=len)


def _try_training(encoder: Encoder) -> None:
    """A forward and a backward pass; weights, gradients and random numbers stay as they are.

    Of the same texts always: what is compiled first may depend on their lengths.
    """
    state, training = TorchState.now(), encoder.model.training
    encoder.model.train()
    try:
        with encoder.precision():
            vectors = encoder.forward(PROBE)
        parameters = [p for p in encoder.model.parameters() if p.requires_grad]
        torch.autograd.grad(vectors.sum(), parameters, allow_unused=True)
    finally:
        encoder.model.train(training)
        state.restore()


def _vectors(encoder: Encoder) -> torch.Tensor:
    """Vectors of a few texts, dropout off."""
    training = encoder.model.training
    encoder.model.train(False)
    try:
        with torch.inference_mode(), encoder.precision():
            return encoder.forward(PROBE)
    finally:
        encoder.model.train(training)


def _unfit(setting: str, model: PreTrainedModel, why: str) -> BadRecipe:
    return BadRecipe(
        f"finetune.{setting} is on, but doesn't fit {type(model).__name__}: {why}.",
        safe="Nothing was trained; every earlier result is kept.",
        next_step=f"Set finetune.{setting}=false and run the same command again.",
    )


def _unfused(what: str) -> StageFailure:
    return StageFailure(
        f"finetune.liger is on, but Liger's kernels {what}.",
        safe="Nothing was trained; every earlier result is kept.",
        next_step="Install another version of liger-kernel, or set finetune.liger=false.",
    )
