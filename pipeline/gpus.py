"""The GPUs of a machine as NVML describes them: no CUDA, no torch."""
# ruff: noqa: N802 - `Nvml` has the library's own names.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from pipeline.errors import MissingPart

_ARCHITECTURES = {
    2: "Kepler",
    3: "Maxwell",
    4: "Pascal",
    5: "Volta",
    6: "Turing",
    7: "Ampere",
    8: "Ada",
    9: "Hopper",
    10: "Blackwell",
    13: "Rubin",
}
"""NVML_DEVICE_ARCH_* of pynvml 13."""

_MIG_ENABLED = 1
"""NVML_DEVICE_MIG_ENABLE."""

_NO_MIG = ("NVMLError_NotSupported", "NVMLError_FunctionNotFound")
"""What NVML answers where a card or a driver is too old for MIG."""

REHEARSE = "`embedsmith rehearse` works on any machine"
"""What a refusal of any GPU ends with."""


class Nvml(Protocol):
    """The part of pynvml that this module and `pipeline.usage` use."""

    NVMLError: type[Exception]
    NVMLLibraryMismatchError: type[Exception]

    def nvmlInit(self) -> None: ...
    def nvmlShutdown(self) -> None: ...
    def nvmlSystemGetDriverVersion(self) -> str | bytes: ...
    def nvmlDeviceGetCount(self) -> int: ...
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any: ...
    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any: ...
    def nvmlDeviceGetName(self, handle: Any) -> str | bytes: ...
    def nvmlDeviceGetUUID(self, handle: Any) -> str | bytes: ...
    def nvmlDeviceGetArchitecture(self, handle: Any) -> int: ...
    def nvmlDeviceGetCudaComputeCapability(self, handle: Any) -> tuple[int, int]: ...
    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any: ...
    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any: ...
    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int: ...
    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> Sequence[Any]: ...
    def nvmlDeviceGetMigMode(self, handle: Any) -> Sequence[int]: ...
    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Any) -> int: ...
    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Any, index: int) -> Any: ...


@dataclass(frozen=True)
class Gpu:
    """A card, or a MIG device of a card, as NVML describes it.

    Attributes:
        index: the card's place in NVML's order, which is that of nvidia-smi.
        uuid: `GPU-...`, or `MIG-...` for a MIG device; empty when it can't be read.
        name: the product's name.
        architecture: `Ampere`, `Hopper`, ...
        compute_capability: major and minor.
        memory_total: bytes; a MIG device's own, not its card's.
        memory_free: bytes.
        driver: the driver's version.
        mig: whether this is a MIG device.
        partitioned: whether this is a card in MIG mode, usable only through its MIG devices.
        processes: ids of the processes that compute on it; None when they can't be read.
        fault: what NVML answered instead of the rest; empty when all could be read.
        visible: whether CUDA_VISIBLE_DEVICES lets programs see it.
        refusal: why the gate refuses it; empty for one that passes.
    """

    index: int
    driver: str
    uuid: str = ""
    name: str = "unknown"
    architecture: str = "unknown"
    compute_capability: tuple[int, int] = (0, 0)
    memory_total: int = 0
    memory_free: int = 0
    mig: bool = False
    partitioned: bool = False
    processes: tuple[int, ...] | None = None
    fault: str = ""
    visible: bool = True
    refusal: str = ""


def open_nvml() -> Nvml:
    """NVIDIA's own binding; it loads no driver until it is asked something.

    Raises:
        MissingPart: the package nvidia-ml-py is not installed.
    """
    try:
        import pynvml
    except ImportError as error:
        raise MissingPart(
            "The package nvidia-ml-py is not installed, so no GPU can be looked at.",
            safe="Nothing was started.",
            next_step=f"Install embedsmith again: its requirements name it; {REHEARSE}.",
        ) from error
    return cast(Nvml, pynvml)


def read_gpus(nvml: Nvml) -> list[Gpu]:
    """Every card and MIG device. One that fails to answer doesn't stop the others.

    Raises:
        nvml.NVMLError: the driver itself doesn't answer.
    """
    nvml.nvmlInit()
    try:
        driver = _text(nvml.nvmlSystemGetDriverVersion())
        count = nvml.nvmlDeviceGetCount()
        return [gpu for index in range(count) for gpu in _read_card(nvml, index, driver)]
    finally:
        nvml.nvmlShutdown()


def _read_card(nvml: Nvml, index: int, driver: str) -> list[Gpu]:
    """A card, and behind it its MIG devices when it is in MIG mode."""
    known: dict[str, Any] = {}
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        _read_device(nvml, handle, known)
        known["compute_capability"] = nvml.nvmlDeviceGetCudaComputeCapability(handle)
        known["architecture"] = _architecture(nvml, handle)
        known["partitioned"] = _in_mig_mode(nvml, handle)
        slots = nvml.nvmlDeviceGetMaxMigDeviceCount(handle) if known["partitioned"] else 0
    except nvml.NVMLError as error:
        return [Gpu(index, driver, **known, fault=str(error))]
    card = Gpu(index, driver, **known)
    devices = (_read_mig(nvml, handle, slot, card) for slot in range(slots))
    return [card, *(device for device in devices if device)]


def _read_mig(nvml: Nvml, card_handle: Any, slot: int, card: Gpu) -> Gpu | None:
    """One MIG device, or None where the slot is empty."""
    known: dict[str, Any] = {
        "mig": True,
        "compute_capability": card.compute_capability,
        "architecture": card.architecture,
    }
    try:
        handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(card_handle, slot)
    except nvml.NVMLError as error:
        if type(error).__name__ == "NVMLError_NotFound":
            return None
        return Gpu(card.index, card.driver, **known, fault=str(error))
    try:
        _read_device(nvml, handle, known)
    except nvml.NVMLError as error:
        return Gpu(card.index, card.driver, **known, fault=str(error))
    return Gpu(card.index, card.driver, **known)


def _read_device(nvml: Nvml, handle: Any, known: dict[str, Any]) -> None:
    """Fill in what a card and a MIG device both answer; what was read before an error stays."""
    known["name"] = _text(nvml.nvmlDeviceGetName(handle))
    known["uuid"] = _text(nvml.nvmlDeviceGetUUID(handle))
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    known["memory_total"], known["memory_free"] = int(memory.total), int(memory.free)
    try:
        processes = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        known["processes"] = tuple(sorted(int(process.pid) for process in processes))
    except (nvml.NVMLError, nvml.NVMLLibraryMismatchError):
        # They only warn: a driver that won't tell refuses nothing.
        known["processes"] = None


def _architecture(nvml: Nvml, handle: Any) -> str:
    try:
        return _ARCHITECTURES.get(nvml.nvmlDeviceGetArchitecture(handle), "unknown")
    except nvml.NVMLError:
        # Shown only; the compute capability decides.
        return "unknown"


def _in_mig_mode(nvml: Nvml, handle: Any) -> bool:
    try:
        return nvml.nvmlDeviceGetMigMode(handle)[0] == _MIG_ENABLED
    except nvml.NVMLError as error:
        if type(error).__name__ in _NO_MIG:
            return False
        raise


def _text(value: str | bytes) -> str:
    """NVML's text; older bindings give bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
