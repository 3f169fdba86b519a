"""How much of a GPU is in use at one moment, for a screen that shows a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.gpus import Nvml

_TEMPERATURE_GPU = 0
"""NVML_TEMPERATURE_GPU."""


@dataclass(frozen=True)
class GpuUsage:
    """One moment of a GPU, all processes on it together.

    Attributes:
        memory_used: bytes.
        memory_total: bytes.
        utilisation_percent: of the last sampling period; None where NVML doesn't tell, as for
            a MIG device.
        temperature: degrees Celsius; None where NVML doesn't tell.
    """

    memory_used: int
    memory_total: int
    utilisation_percent: int | None
    temperature: int | None


def read_usage(nvml: Nvml, uuid: str) -> GpuUsage | None:
    """Look at one GPU or MIG device by its UUID.

    Returns:
        None when there is no such GPU or it can't be read; whatever NVML answers, nothing is
        raised.
    """
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    try:
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        return GpuUsage(
            memory_used=int(memory.used),
            memory_total=int(memory.total),
            utilisation_percent=_utilisation(nvml, handle),
            temperature=_temperature(nvml, handle),
        )
    except nvml.NVMLError:
        return None
    finally:
        nvml.nvmlShutdown()


def _utilisation(nvml: Nvml, handle: Any) -> int | None:
    try:
        return int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    except nvml.NVMLError:
        return None


def _temperature(nvml: Nvml, handle: Any) -> int | None:
    try:
        return int(nvml.nvmlDeviceGetTemperature(handle, _TEMPERATURE_GPU))
    except nvml.NVMLError:
        return None
