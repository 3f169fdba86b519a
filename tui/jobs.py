"""The workers of one run as a window follows them: those at work, and those it has just started."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.chain import held_chains, to_come
from pipeline.journal import ENDINGS, Event
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


LEAVE_SECONDS = 5.0
"""So long after its last word a worker may still hold its result before it counts as hung."""


class Jobs:
    """What works on a run.

    Attributes:
        at_work: the folders of results that workers write now.
        starts: workers that this window started and that don't show yet.
        asked: stages whose worker this window is about to start.
        chains: where a worker is between two stages, its chain's folder with the stages to come.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.at_work: list[Path] = []
        self.starts: list[Start] = []
        self.asked: tuple[str, ...] = ()
        self.chains: Mapping[Path, Sequence[str]] = {}
        self._clock = clock
        self._since = clock()
        self._run: Run | None = None
        self._folders: Mapping[str, Path] = {}
        self._jobs: dict[Path, Job] = {}
        self._told: set[tuple[Path, int]] = set()
        self._unsaid: list[tuple[Job, list[Event]]] = []
        self._gone: list[Path] = []

    def follow(self, run: Run | None) -> None:
        """Follow another run, or none; what was started of the one before is no longer waited
        for."""
        self._run, self._folders, self._since = run, {}, self._clock()
        self._jobs.clear()
        self._unsaid.clear()
        self._gone.clear()
        self.at_work, self.starts, self.asked, self.chains = [], [], (), {}

    def place(self, folders: Mapping[str, Path]) -> None:
        """Say where each stage's result lies, as the recipe means it now."""
        self._folders = folders

    def look(self) -> list[tuple[Start, int]]:
        """See who works; returns what this window started and what has ended, with exit codes."""
        before, self.at_work = self.at_work, working(self._run) if self._run else []
        self._gone += [folder for folder in before if folder not in self.at_work]
        self.chains = {} if self.at_work else self._held_chains()
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

    def _held_chains(self) -> Mapping[Path, Sequence[str]]:
        return {chain: to_come(chain) for chain in held_chains(self._run)} if self._run else {}

    def between(self, *stages: str) -> list[Path]:
        """The chains that are about to begin one of these stages, as of this moment."""
        held = self._held_chains()
        return [chain for chain, coming in held.items() if set(coming) & set(stages)]

    def news(self) -> Iterator[tuple[Job, list[Event]]]:
        """What the journals say since the last call, job by job.

        What ended before this window followed the run is history, and left out.
        """
        for folder in [*self.at_work, *(set(self._jobs) - set(self.at_work))]:
            if (job := self._job_in(folder)) is None:
                continue
            history = job.behind
            if events := job.poll():
                yield job, [each for each in events if not (history and self._is_old(each))]
        unsaid, self._unsaid = self._unsaid, []
        yield from unsaid

    def _is_old(self, event: Event) -> bool:
        return event.type in ENDINGS and event.time < self._since

    @property
    def behind(self) -> bool:
        """Whether a journal holds more than was read of it."""
        return any(job.behind for job in self._jobs.values())

    def vanished(self) -> list[Job]:
        """The jobs whose worker went since the last call without a last word: it was killed."""
        gone, self._gone = self._gone, []
        jobs = [job for folder in gone if (job := self._job_in(folder))]
        return [job for job in jobs if job.ending is None and not job.behind]

    @property
    def idle(self) -> bool:
        """Whether nothing is at work and nothing was asked for."""
        return not (self.at_work or self.starts or self.asked or self.chains)

    def standing(self) -> tuple[object, ...]:
        """Another one means that other work is going on, or none."""
        return (tuple(self.at_work), len(self.starts), self.asked, tuple(self.chains))

    def leaving(self) -> bool:
        """Whether a worker said its last and still holds its result, as it does for a moment."""
        endings = [job.ending for folder in self.at_work if (job := self._job_in(folder))]
        return any(each and self._clock() - each.time < LEAVE_SECONDS for each in endings)

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
        """Whether a worker is about to begin one of these stages: it was started by this window
        and doesn't show yet, or it is between two stages."""
        coming = (name for chain in self.chains.values() for name in chain)
        names = (*self.asked, *(start.stage for start in self.starts), *coming)
        return any(name in stages for name in names)

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
            return f"{glyph} starting" if self.starts or self.asked else ""
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
            job = self._jobs[folder] = Job(folder.parent.name, folder)
            job.poll()
            if job.ending and job.ending.time >= self._since:
                # It began and ended between two looks.
                self._unsaid.append((job, [job.ending]))
        return self._jobs[folder]

    def _trial_folder(self, stage: str) -> Path | None:
        """Of the trial, which is no stage, the last attempt: this window may have started it."""
        from pipeline.sdg.trial import TRIAL

        if stage != TRIAL or self._run is None:
            return None
        attempts: Sequence[Path] = list(self._run.attempts(stage))
        return max(attempts, key=lambda path: path.stat().st_mtime, default=None)
