"""What of a run can be removed because it can be made again."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.deploy.services import list_services
from pipeline.errors import Failure
from pipeline.files import folder_size
from pipeline.locks import Lock, is_held
from pipeline.run import Run, cache_home
from pipeline.stage import JOB_NAMES
from pipeline.status import folder_of, preview_status, status_of_run, trial_status


@dataclass(frozen=True)
class Prunable:
    """A result that nothing points at any more.

    Attributes:
        folder: the result's folder.
        size: bytes on the disk.
        reason: why it can go.
    """

    folder: Path
    size: int
    reason: str


def prunable(run: Run) -> list[Prunable]:
    """Results that no recipe or variant means now and no service has mounted.

    Decisions, replies, folds, eval sets and services are not among them, nor is anything that
    a worker is writing.
    """
    kept = set(_wanted_folders(run, ("", *run.variants())))
    # A record stands until its service is stopped, whether or not it answers just now.
    served = {service.export for service in list_services(run)}
    entries = []
    for name in JOB_NAMES:
        if name == "deploy":
            continue
        for folder in run.attempts(name):
            result = run.result(name, folder.name)
            if folder in kept or is_held(folder / "lock"):
                continue
            if result and result.digest in served:
                continue
            reason = "an earlier result" if result else "an attempt that never ended"
            entries.append(Prunable(folder, folder_size(folder), reason))
    return entries


def remove(entry: Prunable) -> None:
    """Remove a result. `done.json` goes first, so that a half-removed one counts as none.

    Raises:
        Busy: a worker has taken it in the meantime.
    """
    with Lock(entry.folder / "lock", f"{entry.folder}"):
        _remove(entry)


def _remove(entry: Prunable) -> None:
    (entry.folder / "done.json").unlink(missing_ok=True)
    shutil.rmtree(entry.folder)


def _wanted_folders(run: Run, variants: Iterable[str]) -> Iterable[Path]:
    """Current results, and what a paused or killed worker would go on from."""
    for variant in variants:
        for name in JOB_NAMES:
            if result := run.current(name, variant):
                yield result.folder
        try:
            statuses = (
                *status_of_run(run, variant, cache_home()),
                trial_status(run, variant, cache_home()),
                preview_status(run, variant, cache_home()),
            )
        except Failure:
            # The recipe or the source can't be read now: leave every unfinished attempt.
            statuses = ()
            yield from (f for name in JOB_NAMES for f in run.attempts(name) if _unfinished(f))
        for status in statuses:
            yield folder_of(run, variant, status)


def _unfinished(folder: Path) -> bool:
    return not (folder / "done.json").is_file()
