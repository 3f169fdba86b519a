"""A machine's GPUs as NVML would tell of them, with the library's own error classes."""
# ruff: noqa: N802 - the names are the library's.

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pynvml

GIB = 2**30


@dataclass
class Slice:
    """A MIG device."""

    uuid: str
    name: str
    total: int
    free: int = -1
    pids: tuple[int, ...] = ()
    errors: dict[str, int] = field(default_factory=dict)


@dataclass
class Card:
    """A card; `errors` says which function fails on it, and with which code."""

    uuid: str
    name: str
    capability: tuple[int, int]
    architecture: int
    total: int
    free: int = -1
    pids: tuple[int, ...] = ()
    mig: int | None = None
    slices: tuple[Slice | None, ...] = ()
    errors: dict[str, int] = field(default_factory=dict)
    load: int = 0
    temperature: int = 40


def a100(uuid="GPU-a100", **changes):
    return Card(uuid, "NVIDIA A100-SXM4-80GB", (8, 0), 7, 85_899_345_920, mig=0, **changes)


def a100_40(uuid="GPU-a100-40", **changes):
    return Card(uuid, "NVIDIA A100-PCIE-40GB", (8, 0), 7, 42_949_672_960, mig=0, **changes)


def h200(uuid="GPU-h200", **changes):
    return Card(uuid, "NVIDIA H200", (9, 0), 9, 150_754_820_096, mig=0, **changes)


def t4(uuid="GPU-t4", **changes):
    return Card(uuid, "Tesla T4", (7, 5), 6, 16_106_127_360, **changes)


def v100(uuid="GPU-v100", **changes):
    return Card(uuid, "Tesla V100-SXM2-32GB", (7, 0), 5, 34_359_738_368, **changes)


def rtx_6000_ada(uuid="GPU-ada", **changes):
    return Card(uuid, "NVIDIA RTX 6000 Ada Generation", (8, 9), 8, 51_527_024_640, **changes)


class FakeNvml:
    """Answers like pynvml for the given cards."""

    NVMLError = pynvml.NVMLError
    NVMLLibraryMismatchError = pynvml.NVMLLibraryMismatchError

    def __init__(self, *cards, driver="580.95.05", errors=None, bytes_text=False):
        self.cards = cards
        self.driver = driver
        self.errors = errors or {}
        self.bytes_text = bytes_text
        self.started = 0

    def _machine(self, name):
        if name in self.errors:
            raise pynvml.NVMLError(self.errors[name])

    def _device(self, name, device):
        if name in device.errors:
            raise pynvml.NVMLError(device.errors[name])

    def _text(self, text):
        return text.encode() if self.bytes_text else text

    def nvmlInit(self):
        self._machine("nvmlInit")
        self.started += 1

    def nvmlShutdown(self):
        self.started -= 1

    def nvmlSystemGetDriverVersion(self):
        self._machine("nvmlSystemGetDriverVersion")
        return self._text(self.driver)

    def nvmlDeviceGetCount(self):
        self._machine("nvmlDeviceGetCount")
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index):
        self._device("nvmlDeviceGetHandleByIndex", self.cards[index])
        return self.cards[index]

    def nvmlDeviceGetName(self, handle):
        self._device("nvmlDeviceGetName", handle)
        return self._text(handle.name)

    def nvmlDeviceGetUUID(self, handle):
        self._device("nvmlDeviceGetUUID", handle)
        return self._text(handle.uuid)

    def nvmlDeviceGetArchitecture(self, handle):
        self._device("nvmlDeviceGetArchitecture", handle)
        return handle.architecture

    def nvmlDeviceGetCudaComputeCapability(self, handle):
        self._device("nvmlDeviceGetCudaComputeCapability", handle)
        return handle.capability

    def nvmlDeviceGetMemoryInfo(self, handle):
        self._device("nvmlDeviceGetMemoryInfo", handle)
        free = handle.total - GIB if handle.free < 0 else handle.free
        return SimpleNamespace(total=handle.total, free=free, used=handle.total - free)

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        if "mismatch" in handle.errors:
            raise pynvml.NVMLLibraryMismatchError("use _v2")
        self._device("nvmlDeviceGetComputeRunningProcesses", handle)
        return [SimpleNamespace(pid=pid, usedGpuMemory=None) for pid in handle.pids]

    def nvmlDeviceGetMigMode(self, handle):
        self._device("nvmlDeviceGetMigMode", handle)
        if handle.mig is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [handle.mig, handle.mig]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):
        return len(handle.slices)

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, index):
        device = handle.slices[index]
        if device is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        self._device("nvmlDeviceGetMigDeviceHandleByIndex", device)
        return device

    def nvmlDeviceGetHandleByUUID(self, uuid):
        devices = [device for card in self.cards for device in (card, *card.slices) if device]
        for device in devices:
            if device.uuid == uuid:
                return device
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)

    def nvmlDeviceGetUtilizationRates(self, handle):
        self._card("nvmlDeviceGetUtilizationRates", handle)
        return SimpleNamespace(gpu=handle.load, memory=0)

    def nvmlDeviceGetTemperature(self, handle, sensor):
        self._card("nvmlDeviceGetTemperature", handle)
        return handle.temperature

    def _card(self, name, handle):
        self._device(name, handle)
        if isinstance(handle, Slice):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
