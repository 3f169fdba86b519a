"""What is installed and where things lie: read from files and metadata, importing none of it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from pipeline.gate import Check

_SHOWN = (
    *("torch", "transformers", "sentence-transformers", "onnx", "onnxruntime"),
    *("onnxruntime-gpu", "faiss-cpu", "faiss-gpu", "tensorrt-cu13", "openai", "textual"),
)
"""Packages whose versions matter in a report."""

_ASK_SECONDS = 2.0
_MOUNTS = Path("/proc/self/mounts")
_ABROAD = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs"})
"""Filesystems over a network, where locks and syncing can't be relied on."""
_FLEETING = frozenset({"tmpfs", "ramfs"})
"""Filesystems in memory."""

_LOGIND = (Path("/usr/lib/systemd"), Path("/run/systemd"), Path("/etc/systemd"))
"""Where logind's settings lie, the last word last."""


def version_checks() -> tuple[Check, ...]:
    """Python and the packages that matter."""
    found = {name: text for name in _SHOWN if (text := _version(name))}
    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return (
        Check("embedsmith", "pass", _version("embedsmith") or "not installed, run from its tree"),
        Check("Python", "pass", python),
        Check("packages", "pass", ", ".join(f"{name} {text}" for name, text in found.items())),
    )


def torch_check(gpu: bool) -> Check:
    """Whether torch is built for what is here.

    Args:
        gpu: whether a GPU passes the gate.
    """
    cuda = torch_cuda()
    if cuda is None:
        remedy = "Install embedsmith again: its requirements name torch."
        return Check("torch build", "warn", "torch is not installed", remedy)
    if gpu and not cuda:
        remedy = "pip install --force-reinstall torch from PyPI: that build has CUDA."
        return Check("torch build", "warn", "for the CPU, and a GPU is here", remedy)
    return Check("torch build", "pass", f"for CUDA {cuda}" if cuda else "for the CPU")


def torch_cuda() -> str | None:
    """The CUDA version that torch is built for, empty for a CPU build, None without torch."""
    try:
        written = Path(str(distribution("torch").locate_file("torch/version.py"))).read_text()
    except (PackageNotFoundError, OSError):
        return None
    built = re.search(r"^cuda\s*(?::[^=]*)?=\s*['\"]([^'\"]+)['\"]", written, re.MULTILINE)
    return built[1] if built else ""


def place_check(name: str, folder: Path, lasting: bool, mounts: str) -> Check:
    """Whether a folder can be written and on what it lies.

    Args:
        name: what the folder is for.
        folder: it may not exist yet.
        lasting: whether what lies there must outlive a reboot.
        mounts: the lines of /proc/self/mounts.
    """
    absolute = folder.absolute()
    existing = next(path for path in (absolute, *absolute.parents) if path.is_dir())
    kind = filesystem(existing.resolve(), mounts)
    detail = f"{folder}" + (f" ({kind})" if kind else "")
    if not os.access(existing, os.W_OK | os.X_OK):
        return Check(
            name, "warn", f"{detail} can't be written", f"Correct {existing}'s permissions."
        )
    if kind in _ABROAD:
        remedy = "Locks and syncing over a network are unsure and slow: use a local disk"
        return Check(name, "warn", f"{detail}, over a network", f"{remedy} (EMBEDSMITH_HOME).")
    if kind in _FLEETING and lasting:
        remedy = "It is gone after a reboot: use a disk (EMBEDSMITH_HOME)."
        return Check(name, "warn", f"{detail}, in memory", remedy)
    if kind == "overlay" and lasting:
        remedy = "It goes with the container: mount a volume, and name it in EMBEDSMITH_HOME."
        return Check(name, "warn", f"{detail}, the container's own layer", remedy)
    return Check(name, "pass", detail)


def filesystem(path: Path, mounts: str) -> str:
    """The type of the filesystem that holds a resolved path; empty when nobody says."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        # Spaces and such are written in octal.
        place = Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), parts[1]))
        # The later of two mounts on one place hides the earlier.
        if path.is_relative_to(place) and len(place.parts) >= best:
            best, kind = len(place.parts), parts[2]
    return kind


def read_mounts() -> str:
    """The mounts of this process; empty where nobody lists them."""
    try:
        return _MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def kills_user_processes() -> bool | None:
    """Whether logind ends a user's processes at logout; None where there is no logind."""
    command = ["loginctl", "show-session", "--property=KillUserProcesses", "--value"]
    answer = _answer(command)
    if answer in ("yes", "no"):
        return answer == "yes"
    if not Path("/run/systemd/system").is_dir():
        return None
    return kills_by_settings(_logind_files(_LOGIND))


def _logind_files(folders: Sequence[Path]) -> list[str]:
    """logind.conf and its drop-ins, in the order in which they count."""
    mains = [folder / "logind.conf" for folder in folders]
    extras = {path.name: path for folder in folders for path in folder.glob("logind.conf.d/*.conf")}
    paths = [*mains, *(extras[name] for name in sorted(extras))]
    return [path.read_text(errors="replace") for path in paths if path.is_file()]


def kills_by_settings(files: Iterable[str]) -> bool:
    """What logind's settings say; its own default is no."""
    kills = False
    for text in files:
        for value in re.findall(r"(?m)^\s*KillUserProcesses\s*=\s*(\w+)", text):
            kills = value.lower() in ("yes", "true", "1", "on")
    return kills


def _answer(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
