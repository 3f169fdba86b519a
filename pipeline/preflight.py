"""The preflight: what else a run needs of a machine. It warns and refuses nothing."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.base_checks import licence_check, training_check
from pipeline.deploy.docker import Docker, require_docker
from pipeline.errors import Failure
from pipeline.gate import Check, GateReport, gigabytes
from pipeline.gpus import Gpu
from pipeline.memory import ram_bytes
from pipeline.profiles import Profile
from pipeline.tail import Image, Tail, read_image, read_tail, tail_checks

DISK_ADVISED = 50_000_000_000
"""Free bytes where runs lie; the published recipe asks for about 50 GB."""

RAM_ADVISED = 128_000_000_000
"""Bytes of main memory; the published recipe asks for 128 GB."""

DRIVER_ADVISED = 580
"""The first driver line with CUDA 13, for which the pinned torch is built."""


REHEARSAL_DISK = 2_000_000_000
"""Free bytes for a rehearsal; one over 80 documents takes less than one GB."""

REHEARSAL_RAM = 5_000_000_000
"""Bytes of main memory for a rehearsal, as the README says."""

PROBE_SECONDS = 2.5
"""What docker and the hub may take together; they are asked side by side."""


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
        tail: what later stages need for one base model; None when none was asked about.
        image: that model's container image; see `pipeline.tail.Image`.
    """

    folder: Path
    disk_free: int
    ram_total: int
    docker: str | Failure
    key_variable: str
    key_present: bool
    tail: Tail | None = None
    image: Image = None

    @property
    def rehearsal(self) -> bool:
        """Whether these are the surroundings of a rehearsal, which needs far less."""
        return bool(self.tail and self.tail.profile.rehearsal)


def read_surroundings(
    folder: Path,
    key_variable: str,
    environment: Mapping[str, str],
    profile: Profile | None = None,
) -> Surroundings:
    """Look at disk, memory, docker, keys and weights; may be called from any thread.

    Returns within about three seconds, whether docker and the network answer or not.

    Args:
        folder: where runs lie, or will lie.
        key_variable: the recipe's `sdg.key_variable`.
        environment: the process's variables.
        profile: the base model whose weights and image are looked for; None looks for none.
    """
    existing = next(
        path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir()
    )
    with ThreadPoolExecutor(1) as beside:
        asked = beside.submit(_ask_docker, environment, profile)
        tail = read_tail(profile, environment, PROBE_SECONDS) if profile else None
        docker, image = asked.result()
    return Surroundings(
        folder=folder,
        disk_free=shutil.disk_usage(existing).free,
        ram_total=ram_bytes(),
        docker=docker,
        key_variable=key_variable,
        key_present=bool(environment.get(key_variable)),
        tail=tail,
        image=image,
    )


def _ask_docker(
    environment: Mapping[str, str], profile: Profile | None
) -> tuple[str | Failure, Image]:
    """The daemon's version and the profile's image, or why they can't be known."""
    if profile and profile.rehearsal:
        return "not needed", None
    docker = Docker(environment, until=time.monotonic() + PROBE_SECONDS)
    try:
        version = require_docker(docker)
    except Failure as failure:
        return failure, failure
    return version, read_image(docker, profile) if profile else None


def judge(report: GateReport, surroundings: Surroundings) -> GateReport:
    """The report with the preflight's warnings; they refuse nothing."""
    chosen = report.chosen
    of_gpu: tuple[Check, ...] = ()
    if chosen:
        of_gpu = (_driver_check(chosen), _processes_check(chosen))
    if chosen and surroundings.tail:
        of_gpu += (training_check(surroundings.tail.profile, chosen),)
    return replace(report, checks=report.checks + of_gpu + preflight(surroundings))


def preflight(found: Surroundings) -> tuple[Check, ...]:
    """Pass or warn for each of a machine's surroundings."""
    disk = REHEARSAL_DISK if found.rehearsal else DISK_ADVISED
    ram = REHEARSAL_RAM if found.rehearsal else RAM_ADVISED
    return (
        _advised(
            "disk",
            found.disk_free >= disk,
            f"{gigabytes(found.disk_free)} free in {found.folder}",
            f"A run takes about {gigabytes(disk)}: free some, or set EMBEDSMITH_HOME.",
        ),
        _advised(
            "RAM",
            found.ram_total >= ram,
            gigabytes(found.ram_total),
            f"{gigabytes(ram)} are advised; a large corpus may not fit.",
        ),
        _docker_check(found),
        _key_check(found),
        *((licence_check(found.tail.profile),) if found.tail else ()),
        *(tail_checks(found.tail, found.image) if found.tail else ()),
    )


def _docker_check(found: Surroundings) -> Check:
    if found.rehearsal:
        return Check("docker", "pass", "not needed: a rehearsal is served by the local server")
    if isinstance(found.docker, Failure):
        return Check("docker", "warn", found.docker.happened, found.docker.next_step)
    return Check("docker", "pass", f"{found.docker}, with the NVIDIA runtime")


def _key_check(found: Surroundings) -> Check:
    if found.rehearsal and not found.key_present:
        return Check("API key", "pass", f"{found.key_variable} is not set; offline needs none")
    return _advised(
        "API key",
        found.key_present,
        f"{found.key_variable} is {'set' if found.key_present else 'not set'}",
        f"Export {found.key_variable} before generating; the key is never written down.",
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
