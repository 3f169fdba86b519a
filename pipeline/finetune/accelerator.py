"""A GPU that is gone: a driver that crashed, a card that fell off the bus, a kernel that failed.

After such an error nothing on the GPU can be read any more. What counts is on the disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from pipeline.errors import StageFailure, brief
from pipeline.finetune.checkpoint import Checkpoints
from pipeline.memory import is_out_of_memory

Work = Literal["training", "warm-up"]
"""What has checkpoints of its own."""

_WORDS = ("cuda error", "cuda driver error", "cublas_status", "cudnn_status", "nccl error")
"""What torch says, in a RuntimeError, when a call to the GPU fails."""


def is_accelerator_lost(error: BaseException) -> bool:
    """Whether an error says that the GPU can't be used any more; full memory is another one."""
    if not isinstance(error, RuntimeError) or is_out_of_memory(error):
        return False
    said = str(error).lower()
    return type(error).__name__ == "AcceleratorError" or any(word in said for word in _WORDS)


@contextmanager
def accelerator_failures(checkpoints: Checkpoints, work: Work) -> Iterator[None]:
    """Turn the loss of the GPU inside into a failure that names the checkpoint to go on from.

    The innermost one speaks: a failure that it raised passes through those around it.

    Args:
        checkpoints: of the work inside.
        work: what is done inside.

    Raises:
        StageFailure: the GPU is gone.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_accelerator_lost(error):
            raise
        checkpoints.settle()
        raise _lost(error, checkpoints.written_step, work) from error


def _lost(error: RuntimeError, step: int, work: Work) -> StageFailure:
    whole, none = f"The {work}'s checkpoint of step {step} is whole", "No checkpoint was due yet"
    kept = whole if step else f"{none} in the {work}"
    again = f"goes on from step {step}" if step else "begins at the first step"
    return StageFailure(
        f"The GPU failed in the middle of the {work}: {brief(error)}",
        safe=f"{kept}; every earlier result is kept.",
        next_step=f"Look at `nvidia-smi` and the driver's log (`dmesg`), then run the same command "
        f"again: the {work} {again}.",
    )
