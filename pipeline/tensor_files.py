"""Tensors put on the disk; a full disk is told as one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file

_NUMBERED = re.compile(r"\(os error (\d+)\)")
"""How Rust's `std::io::Error` ends where the operating system gave a number."""


@contextmanager
def os_errors() -> Iterator[None]:
    """A region in which libraries written in Rust raise OSError where the system refused.

    safetensors and tokenizers raise exceptions of their own, which tell the number in words only.

    Raises:
        OSError: with that number; ENOSPC where the disk is full.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if told := _NUMBERED.search(str(error)):
            number = int(told[1])
            raise OSError(number, os.strerror(number)) from error
        raise


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write a safetensors file.

    Args:
        tensors: by name, contiguous, of any shape and type.
        path: replaced.

    Raises:
        OSError: the disk is full, or the operating system refused otherwise.
    """
    with os_errors():
        save_file(dict(tensors), path)
