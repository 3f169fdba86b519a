"""Memory that is full: told from other errors, and answered with the smaller setting.

Imports no torch: its error is known by its name.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from pipeline.errors import StageFailure
from pipeline.recipe import Recipe, flatten

Setting = Literal["finetune.micro_batch_size", "encoder.batch_size"]
"""What memory depends on: in training steps, and wherever texts are only encoded. Neither is
part of a fingerprint, so with a smaller one the same attempt goes on."""

TEXTS_A_PASS = 8
"""What `finetune.micro_batch_size` = 0 means on a CPU, where the caches hold little more than one
text and larger passes are slower, and what a GPU's memory is measured with."""

_WORDS = (
    *("not enough memory", "can't allocate memory", "cannot allocate memory"),
    *("cuda error: out of memory", "cuda driver error: out of memory"),
    *("cublas_status_alloc_failed", "cudnn_status_alloc_failed"),
)
"""What a RuntimeError says: of torch's CPU allocator (c10/core/impl/alloc_cpu.cpp), and of CUDA and
its libraries, which take memory for themselves beside torch's allocator."""

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""What glibc's mallopt(3) calls its settings."""


def keep_freed_memory() -> None:
    """Let this process use freed memory again instead of asking the system for it anew.

    A training step frees and takes the same blocks of megabytes over and over; each time the
    system hands them out page by page and filled with zeros. For all that follows in this
    process; nothing where the C library isn't glibc.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_MMAP_MAX, 0)


def ram_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the GPU or of the machine is full."""
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    said = str(error).lower()
    return type(error).__name__ == "OutOfMemoryError" or any(words in said for words in _WORDS)


@contextmanager
def memory_failures(recipe: Recipe, device: str, setting: Setting) -> Iterator[None]:
    """Turn an out-of-memory error inside into a failure with its remedy.

    The innermost one speaks: a failure that it raised passes through those around it.

    Args:
        recipe: the settings as they are.
        device: `cpu` or `cuda`.
        setting: what decides how much memory the work inside takes.

    Raises:
        StageFailure: the memory is full.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(recipe, device, setting) from error


def out_of_memory(recipe: Recipe, device: str, setting: Setting) -> StageFailure:
    """The failure for memory that is full; its `remedy` holds half of the setting, or nothing."""
    remedy = smaller(recipe, device, setting)
    whose = "GPU's" if device == "cuda" else "machine's"
    training = setting == "finetune.micro_batch_size"
    asked = flatten(recipe)[setting]
    if remedy:
        ((name, value),) = remedy.items()
        advice = f"Run the same command again with --set {name}={value}: fewer texts at once."
    else:
        advice = _without_remedy(device, setting)
    return StageFailure(
        f"The {whose} memory was full while {'the model trained' if training else 'encoding'} "
        f"({setting} = {asked}{'' if asked else ', what the machine chose'}).",
        safe="Finished results are kept, and so is the last checkpoint of a training, from which "
        "it goes on.",
        next_step=advice,
        remedy=remedy,
    )


def one_text_too_long(device: str, tokens: int) -> StageFailure:
    """The failure for a text whose training pass alone takes more than there is."""
    whose = "GPU's" if device == "cuda" else "machine's"
    return StageFailure(
        f"The {whose} memory was full while the model trained, although every text went through "
        f"it alone; the longest has {tokens} tokens.",
        safe="Finished results are kept, and so is the last checkpoint of a training, from which "
        "it goes on.",
        next_step=_without_remedy(device, "finetune.micro_batch_size"),
    )


def smaller(recipe: Recipe, device: str, setting: Setting) -> Mapping[str, Any]:
    """Half of the setting, by its name; empty where a smaller one can't help."""
    value = int(flatten(recipe)[setting]) or TEXTS_A_PASS
    # On a CPU texts are encoded one by one, whatever the batch size.
    if value <= 1 or (device == "cpu" and setting == "encoder.batch_size"):
        return {}
    return {setting: value // 2}


def begun_again(step: str, tokens: int) -> str:
    """What is said of a training step that found the memory full and went on with less.

    Args:
        step: which one, as `step 7`.
        tokens: the most of a forward pass from now on.
    """
    return (
        f"The memory was full in {step}: it was begun again with at most {tokens} tokens at once, "
        "and so is all that follows."
    )


def _without_remedy(device: str, setting: Setting) -> str:
    training = setting == "finetune.micro_batch_size"
    if training:
        reason = "Texts go through the model one by one already."
    elif device == "cpu":
        reason = "On a CPU texts are encoded one by one already."
    else:
        reason = f"{setting} is 1 already."
    others = "other processes on the GPU" if device == "cuda" else "other programs"
    layers = " with --set finetune.gradient_checkpointing=true" if training else ""
    return (
        f"{reason} End {others} and run the same command again{layers}, or lower "
        "encoder.passage_tokens, which makes another result."
    )
