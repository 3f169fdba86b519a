"""The gate: which GPU of this machine may do the work, and why the others may not.

Nothing but the GPU decides; there is no flag, variable or setting around it. GPUs are read
through NVML: no CUDA, no torch. `pipeline.preflight` looks at the rest of the machine.
"""
# ruff: noqa: N802 - `Nvml` has the library's own names.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol, cast

from pipeline.errors import GateRefusal, MissingPart

CAPABILITY_MIN = (8, 0)
"""Ampere, the first architecture with bfloat16: what the published recipe asks for."""

MEMORY_MIN = 80_000_000_000
"""Bytes on one GPU. Cards sold as 80 GB report 79.6 GiB (85.5e9): a limit in GiB refuses them."""

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

_DRIVER_REMEDIES = {
    "NVMLError_LibraryNotFound": "Install the NVIDIA driver.",
    "NVMLError_DriverNotLoaded": "Load the NVIDIA driver (`sudo modprobe nvidia`), or reboot.",
    "NVMLError_LibRmVersionMismatch": "Reboot: the driver was updated and the old one is loaded.",
    "NVMLError_NoPermission": "Get access to /dev/nvidia* (in a container: `--gpus all`).",
}
_REHEARSE = "`embedsmith rehearse` works on any machine"


class Nvml(Protocol):
    """The part of pynvml that the gate and `pipeline.usage` use."""

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


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        verdict: `pass`, `warn`, or `refuse` for what keeps the gate shut.
        detail: what was seen.
        remedy: what to do about it; empty for a pass.
    """

    name: str
    verdict: Literal["pass", "warn", "refuse"]
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class GateReport:
    """What the gate says of this machine.

    Attributes:
        gpus: every GPU, those that are hidden or can't be read too.
        checks: every check, the gate's own first.
        chosen: the GPU that will do the work, or None.
    """

    gpus: tuple[Gpu, ...]
    checks: tuple[Check, ...]
    chosen: Gpu | None

    @property
    def open(self) -> bool:
        """Whether a gated profile may run here."""
        return self.chosen is not None


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
            next_step=f"Install embedsmith again: its requirements name it; {_REHEARSE}.",
        ) from error
    return cast(Nvml, pynvml)


def read_machine(nvml: Nvml, environment: Mapping[str, str]) -> GateReport:
    """Look at every GPU and judge it. One GPU that fails to answer doesn't stop the others."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return _no_driver(error)
    try:
        try:
            driver = _text(nvml.nvmlSystemGetDriverVersion())
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as error:
            return _no_driver(error)
        gpus = [gpu for index in range(count) for gpu in _read_card(nvml, index, driver)]
    finally:
        nvml.nvmlShutdown()
    return judge_gpus(gpus, environment)


def judge_gpus(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> GateReport:
    """Refuse or admit every GPU, and choose the one with most free memory, the first of equals."""
    shown = visible(gpus, environment.get("CUDA_VISIBLE_DEVICES"))
    judged = tuple(
        replace(gpu, visible=seen, refusal=refusal(gpu, seen))
        for gpu, seen in zip(gpus, shown, strict=True)
    )
    passing = [gpu for gpu in judged if not gpu.refusal]
    chosen = max(passing, key=lambda gpu: gpu.memory_free, default=None)
    checks = (_gate_check(chosen), *(_gpu_check(gpu, chosen) for gpu in judged))
    if not judged:
        checks += (Check("GPU", "refuse", "the NVIDIA driver sees none", "See `nvidia-smi -L`."),)
    return GateReport(judged, checks, chosen)


def refusal(gpu: Gpu, seen: bool) -> str:
    """Why the gate refuses a GPU; empty when it passes."""
    if gpu.fault:
        return f"NVML can't read it: {gpu.fault}"
    if gpu.partitioned:
        return "it is in MIG mode; its MIG devices count, each with its own memory"
    reasons = []
    if gpu.compute_capability < CAPABILITY_MIN:
        reasons.append(
            f"compute capability {_capability(gpu.compute_capability)} is below "
            f"{_capability(CAPABILITY_MIN)}"
        )
    if gpu.memory_total < MEMORY_MIN:
        reasons.append(f"{gigabytes(gpu.memory_total)} is below {gigabytes(MEMORY_MIN)}")
    if not seen:
        reasons.append("CUDA_VISIBLE_DEVICES hides it")
    return " and ".join(reasons)


def visible(gpus: Sequence[Gpu], variable: str | None) -> tuple[bool, ...]:
    """Which GPUs CUDA_VISIBLE_DEVICES leaves visible, by CUDA's rules.

    Entries are indices (in nvidia-smi's order), UUIDs or unique beginnings of them. The first
    entry that names nothing hides itself and all after it; one that is there twice hides all.
    A card's entry covers its MIG devices.
    """
    if variable is None:
        return (True,) * len(gpus)
    named: list[frozenset[int]] = []
    for entry in variable.split(","):
        places = _named(gpus, entry.strip())
        if not places:
            break
        if places in named:
            return (False,) * len(gpus)
        named.append(places)
    return tuple(any(place in places for places in named) for place in range(len(gpus)))


def _named(gpus: Sequence[Gpu], entry: str) -> frozenset[int]:
    """The places in `gpus` that one entry of CUDA_VISIBLE_DEVICES names."""
    cards = {gpu.index: gpu for gpu in gpus if not gpu.mig}
    if entry.startswith("MIG-"):
        return frozenset(i for i, gpu in enumerate(gpus) if gpu.mig and gpu.uuid == entry)
    if entry.startswith("GPU-"):
        indices = [index for index, gpu in cards.items() if gpu.uuid.startswith(entry)]
    else:
        indices = [int(entry)] if entry.isdecimal() and int(entry) in cards else []
    if len(indices) != 1:
        return frozenset()
    return frozenset(i for i, gpu in enumerate(gpus) if gpu.index == indices[0])


def require_gpu(report: GateReport) -> Gpu:
    """The GPU that does the work.

    Raises:
        GateRefusal: none passes; every GPU is named with its reason.
    """
    if report.chosen is not None:
        return report.chosen
    gate, *refused = (check for check in report.checks if check.verdict == "refuse")
    reasons = "; ".join(f"{check.name}: {check.detail}" for check in refused)
    remedies = dict.fromkeys(check.remedy for check in (*refused, gate))
    raise GateRefusal(
        f"{gate.detail}: {reasons}." if reasons else f"{gate.detail}.",
        safe="Nothing was started and nothing was changed.",
        next_step=" ".join(remedies),
    )


def pin(gpu: Gpu) -> dict[str, str]:
    """The environment entries that let a process see this GPU alone."""
    return {"CUDA_VISIBLE_DEVICES": gpu.uuid, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def to_row(report: GateReport) -> dict[str, Any]:
    """The report as a JSON object; `chosen` is a UUID."""
    return {
        "open": report.open,
        "chosen": report.chosen.uuid if report.chosen else None,
        "gpus": [asdict(gpu) for gpu in report.gpus],
        "checks": [asdict(check) for check in report.checks],
    }


def gigabytes(count: int) -> str:
    """Bytes in GB of 1e9, rounded down: what is just below a limit must not seem to reach it."""
    tenths = math.floor(count / 1e8)
    return f"{tenths // 10} GB" if tenths % 10 == 0 else f"{tenths / 10:.1f} GB"


def _capability(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def _gate_check(chosen: Gpu | None) -> Check:
    if chosen is not None:
        return Check("gate", "pass", f"{_title(chosen)} will be used")
    needed = f"compute capability {_capability(CAPABILITY_MIN)} or more and {gigabytes(MEMORY_MIN)}"
    return Check(
        "gate",
        "refuse",
        f"No usable GPU here has {needed}",
        f"Use a machine with a GPU that has {needed}; {_REHEARSE}.",
    )


def _gpu_check(gpu: Gpu, chosen: Gpu | None) -> Check:
    if not gpu.refusal:
        capability = _capability(gpu.compute_capability)
        detail = f"compute capability {capability}, {gigabytes(gpu.memory_total)}"
        return Check(_title(gpu), "pass", detail)
    # A second card that can't do it is no fault of a machine where another one can.
    verdict: Literal["warn", "refuse"] = "warn" if chosen else "refuse"
    return Check(_title(gpu), verdict, gpu.refusal, _remedy(gpu))


def _title(gpu: Gpu) -> str:
    return f"GPU {gpu.index} {gpu.name}" + (f" ({gpu.uuid})" if gpu.mig else "")


def _remedy(gpu: Gpu) -> str:
    if gpu.fault:
        return f"Look at `nvidia-smi -i {gpu.index}`; a reboot often helps."
    if gpu.partitioned:
        return (
            f"Make one MIG device of {gigabytes(MEMORY_MIN)} or more, or switch MIG off: "
            f"`sudo nvidia-smi -i {gpu.index} -mig 0`."
        )
    if gpu.compute_capability >= CAPABILITY_MIN and gpu.memory_total >= MEMORY_MIN:
        return f"Unset CUDA_VISIBLE_DEVICES, or name {gpu.uuid} in it."
    return "This GPU can't be used, whatever the settings."


def _no_driver(error: Exception) -> GateReport:
    remedy = _DRIVER_REMEDIES.get(type(error).__name__, "See what `nvidia-smi` says.")
    check = Check("NVIDIA driver", "refuse", f"NVML answers: {error}", remedy)
    return GateReport((), (_gate_check(None), check), None)


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
