"""Which installed packages overwrite one another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version

from pipeline.gate import Check

_EXCLUSIVE = (("faiss-cpu", "faiss-gpu"), ("onnxruntime", "onnxruntime-gpu"))
"""Wheels that install the same import package."""


def installed(name: str) -> bool:
    """Whether a distribution is installed."""
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def package_checks(is_installed: Callable[[str], bool] = installed) -> Iterable[Check]:
    """One check for each pair of wheels of which exactly one has to be there."""
    for pair in _EXCLUSIVE:
        present = [name for name in pair if is_installed(name)]
        if len(present) == 1:
            yield Check(pair[0], "pass", f"{present[0]} is installed")
        elif present:
            yield Check(
                pair[0],
                "warn",
                f"{pair[0]} and {pair[1]} are both installed and overwrite one another's files",
                f"pip uninstall {' '.join(pair)}, then install embedsmith[cpu] or [gpu], not both.",
            )
        else:
            yield Check(
                pair[0],
                "warn",
                f"neither {pair[0]} nor {pair[1]} is installed",
                "Install embedsmith[cpu], or embedsmith[gpu] on a GPU workstation.",
            )
