"""The gate: which GPU of this machine may do the work, and why the others may not.

Nothing but the GPU decides; there is no flag, variable or setting around it. `pipeline.gpus` reads
what there is, and `pipeline.preflight` looks at the rest of the machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from pipeline.errors import GateRefusal
from pipeline.gpus import REHEARSE, Gpu, Nvml, read_gpus

CAPABILITY_MIN = (8, 0)
"""Ampere, the first architecture with bfloat16: what the published recipe asks for."""

MEMORY_MIN = 80_000_000_000
"""Bytes on one GPU. Cards sold as 80 GB report 79.6 GiB (85.5e9): a limit in GiB refuses them."""

_DRIVER_REMEDIES = {
    "NVMLError_LibraryNotFound": "Install the NVIDIA driver.",
    "NVMLError_DriverNotLoaded": "Load the NVIDIA driver (`sudo modprobe nvidia`), or reboot.",
    "NVMLError_LibRmVersionMismatch": "Reboot: the driver was updated and the old one is loaded.",
    "NVMLError_NoPermission": "Get access to /dev/nvidia* (in a container: `--gpus all`).",
}


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


def read_machine(nvml: Nvml, environment: Mapping[str, str]) -> GateReport:
    """Look at every GPU and judge it. One GPU that fails to answer doesn't stop the others."""
    try:
        gpus = read_gpus(nvml)
    except nvml.NVMLError as error:
        return _no_driver(error)
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
        f"Use a machine with a GPU that has {needed}; {REHEARSE}.",
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
