"""The preflight: what else a run needs of a machine. It warns and refuses nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.deploy.docker import Docker, require_docker
from pipeline.errors import Failure
from pipeline.gate import Check, GateReport, Gpu, gigabytes

DISK_ADVISED = 50_000_000_000
"""Free bytes where runs lie; the published recipe asks for about 50 GB."""

RAM_ADVISED = 128_000_000_000
"""Bytes of main memory; the published recipe asks for 128 GB."""

DRIVER_ADVISED = 580
"""The first driver line with CUDA 13, for which the pinned torch is built."""


@dataclass(frozen=True)
class Surroundings:
    """What else a run needs of a machine.

    Attributes:
        folder: where runs lie, or will lie.
        disk_free: free bytes there.
        ram_total: bytes of main memory.
        docker: the daemon's version, or why there is none and what to do.
        key_variable: the name of the variable for the endpoint's key.
        key_present: whether it holds something; never what.
    """

    folder: Path
    disk_free: int
    ram_total: int
    docker: str | Failure
    key_variable: str
    key_present: bool


def read_surroundings(
    folder: Path, key_variable: str, environment: Mapping[str, str]
) -> Surroundings:
    """Look at disk, memory, docker and whether a key is there."""
    existing = next(
        path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir()
    )
    docker: str | Failure
    try:
        docker = require_docker(Docker(environment))
    except Failure as failure:
        docker = failure
    return Surroundings(
        folder=folder,
        disk_free=shutil.disk_usage(existing).free,
        ram_total=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        docker=docker,
        key_variable=key_variable,
        key_present=bool(environment.get(key_variable)),
    )


def judge(report: GateReport, surroundings: Surroundings) -> GateReport:
    """The report with the preflight's warnings; they refuse nothing."""
    chosen = report.chosen
    of_gpu = (_driver_check(chosen), _processes_check(chosen)) if chosen else ()
    return replace(report, checks=report.checks + of_gpu + preflight(surroundings))


def preflight(found: Surroundings) -> tuple[Check, ...]:
    """Pass or warn for each of a machine's surroundings."""
    disk = f"{gigabytes(found.disk_free)} free in {found.folder}"
    key = f"{found.key_variable} is {'set' if found.key_present else 'not set'}"
    if isinstance(found.docker, Failure):
        docker = Check("docker", "warn", found.docker.happened, found.docker.next_step)
    else:
        docker = Check("docker", "pass", f"{found.docker}, with the NVIDIA runtime")
    return (
        _advised(
            "disk",
            found.disk_free >= DISK_ADVISED,
            disk,
            f"A run takes about {gigabytes(DISK_ADVISED)}: free some, or set EMBEDSMITH_HOME.",
        ),
        _advised(
            "RAM",
            found.ram_total >= RAM_ADVISED,
            gigabytes(found.ram_total),
            f"{gigabytes(RAM_ADVISED)} are advised; a large corpus may not fit.",
        ),
        docker,
        _advised(
            "API key",
            found.key_present,
            key,
            f"Export {found.key_variable} before generating; the key is never written down.",
        ),
    )


def _driver_check(gpu: Gpu) -> Check:
    major = gpu.driver.partition(".")[0]
    return _advised(
        "driver",
        major.isdecimal() and int(major) >= DRIVER_ADVISED,
        gpu.driver,
        f"The pinned torch is built for CUDA 13: install driver {DRIVER_ADVISED} or later.",
    )


def _processes_check(gpu: Gpu) -> Check:
    if gpu.processes is None:
        return Check("GPU's processes", "warn", "can't be read", "Look at `nvidia-smi` yourself.")
    ids = ", ".join(str(process) for process in gpu.processes)
    return _advised(
        "GPU's processes",
        not gpu.processes,
        f"processes {ids} compute on it" if ids else "none",
        f"{gigabytes(gpu.memory_free)} are free; end them if training runs out of memory.",
    )


def _advised(name: str, good: bool, detail: str, remedy: str) -> Check:
    return Check(name, "pass", detail) if good else Check(name, "warn", detail, remedy)
