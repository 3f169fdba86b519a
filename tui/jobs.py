"""The workers of one run as a window follows them: those at work, and those it has just started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.journal import Event
from pipeline.launch import Worker
from pipeline.run import Run
from tui.progress import duration
from tui.watch import Job, working


@dataclass
class Start:
    """A worker that this window started, until it shows itself.

    Attributes:
        stage: the first stage that it does.
        worker: the process.
        since: when it was started, in seconds since the epoch.
        then: the stages that it does next.
        shown: whether it was seen at work.
    """

    stage: str
    worker: Worker
    since: float
    then: tuple[str, ...] = ()
    shown: bool = field(default=False)


class Jobs:
    """What works on a run.

    Attributes:
        at_work: the folders of results that workers write now.
        starts: workers that this window started and that don't show yet.
    """

    def __init__(self) -> None:
        self.at_work: list[Path] = []
        self.starts: list[Start] = []
        self._run: Run | None = None
        self._folders: Mapping[str, Path] = {}
        self._jobs: dict[Path, Job] = {}
        self._told: set[tuple[Path, int]] = set()

    def follow(self, run: Run | None) -> None:
        """Follow another run, or none."""
        self._run, self._folders = run, {}
        self._jobs.clear()
        self.at_work = []

    def place(self, folders: Mapping[str, Path]) -> None:
        """Say where each stage's result lies, as the recipe means it now."""
        self._folders = folders

    def look(self) -> list[tuple[Start, int]]:
        """See who works; returns what this window started and what has ended, with exit codes."""
        self.at_work = working(self._run) if self._run else []
        stages = {folder.parent.name for folder in self.at_work}
        ended = []
        for start in list(self.starts):
            code = start.worker.exit_code()
            # The first of a chain may have been done before anybody looked.
            start.shown = start.shown or bool(stages & {start.stage, *start.then})
            if code is not None or start.shown:
                self.starts.remove(start)
            if code is not None:
                ended.append((start, code))
        return ended

    def news(self) -> Iterator[tuple[Job, list[Event]]]:
        """What the journals say since the last call, job by job."""
        for folder in [*self.at_work, *(set(self._jobs) - set(self.at_work))]:
            job = self._job_in(folder)
            if job and (events := job.poll()):
                yield job, events

    def job(self, stage: str) -> Job | None:
        """The journal of a stage's result as the recipe means it now; None while it has none."""
        folder = self._folders.get(stage) or self._trial_folder(stage)
        for busy in self.at_work:
            if busy.parent.name == stage:
                folder = busy
        return self._job_in(folder) if folder else None

    def running(self, *stages: str) -> Job | None:
        """The job of one of these stages that a worker is on now."""
        for folder in self.at_work:
            if folder.parent.name in stages:
                return self._job_in(folder)
        return None

    def starting(self, *stages: str) -> bool:
        """Whether this window started one of these stages and its worker doesn't show yet."""
        return any(start.stage in stages for start in self.starts)

    def tell(self, job: Job, ending: Event) -> bool:
        """Whether an ending is told for the first time; from now on it counts as told."""
        key = (job.folder, ending.seq)
        new = key not in self._told
        self._told.add(key)
        return new

    def activity(self, glyph: str) -> str:
        """What works now, for a header or a title: stage, percent, ETA.

        Args:
            glyph: stands before it.
        """
        jobs = (self._job_in(folder) for folder in self.at_work)
        job = next((job for job in jobs if job), None)
        if job is None:
            return f"{glyph} starting" if self.starts else ""
        parts = [f"{glyph} {job.stage}"]
        if job.paused:
            parts.append("paused")
        elif job.view.total:
            parts.append(f"{100 * job.view.done // job.view.total}%")
            if job.view.eta_seconds is not None and job.view.done < job.view.total:
                parts.append(duration(job.view.eta_seconds))
        return " ".join(parts)

    def _job_in(self, folder: Path) -> Job | None:
        if folder not in self._jobs:
            if not (folder / "journal.jsonl").is_file():
                return None
            self._jobs[folder] = Job(folder.parent.name, folder)
            self._jobs[folder].poll()
        return self._jobs[folder]

    def _trial_folder(self, stage: str) -> Path | None:
        """Of the trial, which is no stage, the last attempt: this window may have started it."""
        from pipeline.sdg.trial import TRIAL

        if stage != TRIAL or self._run is None:
            return None
        attempts: Sequence[Path] = list(self._run.attempts(stage))
        return max(attempts, key=lambda path: path.stat().st_mtime, default=None)
