"""The gate before anything is started; the worker checks again by itself."""

from __future__ import annotations

import os

from pipeline.gate import open_nvml, read_machine, require_gpu
from pipeline.profiles import Profile


def require_machine(profile: Profile) -> None:
    """Refuse a gated profile where no GPU passes.

    Raises:
        GateRefusal: none does.
    """
    if profile.gated:
        require_gpu(read_machine(open_nvml(), os.environ))
