"""Random numbers that a stopped training can take up again, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class TorchState:
    """Where torch's generators stand; dropout draws from them.

    Attributes:
        cpu: state of the CPU's generator.
        cuda: state of the current GPU's generator; None without one.
    """

    cpu: torch.Tensor
    cuda: torch.Tensor | None

    @classmethod
    def now(cls) -> TorchState:
        """The state at this moment."""
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        return cls(torch.get_rng_state(), cuda)

    def restore(self) -> None:
        """Draw again from here on."""
        torch.set_rng_state(self.cpu)
        if self.cuda is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.cuda)


def library_states() -> dict[str, Any]:
    """The states of Python's and NumPy's global generators, as JSON values."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [name, np.asarray(keys).tolist(), position, has_gauss, cached],
    }


def restore_library_states(states: Mapping[str, Any]) -> None:
    """Set Python's and NumPy's global generators to what `library_states` gave."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))


def seed_all(seed: int) -> None:
    """Start every global generator from `seed`."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def deterministic(threads: int, device: str) -> Iterator[None]:
    """Let torch choose only algorithms that repeat themselves, on a fixed number of threads.

    Sums are split by thread, so their last bits depend on the number. On a GPU only the threads
    are fixed: bits are promised on the CPU, and repeatable attention is slower there.
    """
    before = torch.get_num_threads()
    mode = torch.get_deterministic_debug_mode()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(device == "cpu")
    # It would fill fresh memory with NaN, a fifth of a step, for code that reads it unwritten.
    switches: Any = torch.utils.deterministic
    filling = switches.fill_uninitialized_memory
    switches.fill_uninitialized_memory = False
    try:
        yield
    finally:
        switches.fill_uninitialized_memory = filling
        torch.set_num_threads(before)
        torch.set_deterministic_debug_mode(mode)
