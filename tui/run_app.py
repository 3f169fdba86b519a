"""The app's side towards the run folder: where the run stands, and what works on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from textual.screen import Screen

from pipeline.errors import Failure, as_failure
from pipeline.journal import Event
from pipeline.run import Run
from tui.jobs import Jobs, Start
from tui.off_loop import off_loop
from tui.opening import Opening
from tui.progress import duration
from tui.rows import Tone
from tui.screens.step import StepScreen
from tui.steps import StepName, StepState, find_step, step_of, step_states
from tui.terminal import hung_up
from tui.terminal_app import TerminalApp
from tui.watch import Job, Marks, Snapshot, marks, read_snapshot

TICK_SECONDS = 0.5
"""How often journals are read and screens are brought up to date."""
LOOK_SECONDS = 1.0
"""How often the run folder is looked at for what other windows did."""
CATCH_UP_SECONDS = 0.03
"""Between two looks into a long journal that is not read to its end yet: time for keys."""
LONG_SECONDS = 30.0
"""Work that took longer rings when it ends unseen."""


class RunApp(TerminalApp):
    """An app that follows one run: its folder says what is shown, whoever changed it."""

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self.current: Run | None = None
        self.variant = ""
        self._snapshot: Snapshot | None = None
        self.profile_id = ""
        """The base model that the next run gets; empty until it was chosen on the first step."""
        self.gate_open: bool | None = None
        """Whether a GPU passes; None while the machine is being looked at."""
        self.jobs = Jobs()
        self._marks: Marks | None = None
        self._looked = 0.0
        self._unrung = ""
        self._reading: object = None
        """Of the reading under way; None without one."""
        self._read_again = self._going = self._catching_up = False
        self._later: tuple[Screen[Any], Callable[[], None]] | None = None

    # What an app above this one does

    def say(self, text: str, tone: Tone = "muted") -> None:
        """Say something in one line."""
        raise NotImplementedError

    def run_unreadable(self, failure: Failure) -> None:
        """A run that is being opened can't be read."""
        raise NotImplementedError

    def arrived(self, failure: Failure | None) -> None:
        """A run that is being opened was read; `failure` says what of it couldn't be."""
        raise NotImplementedError

    def fail(
        self,
        failure: Failure,
        *,
        stage: str = "",
        log: Sequence[str] = (),
        retry: Sequence[str] = (),
        unasked: bool = False,
    ) -> None:
        """Show a failure: what happened, what is safe, what to do next.

        Args:
            failure: the three sentences.
            stage: the stage that it is about; empty for none.
            log: the end of its worker's log.
            retry: the stages that `Try again` starts.
            unasked: whether it comes while the user may be typing something else.
        """
        raise NotImplementedError

    def fail_of(self, job: Job, failure: Failure) -> None:
        """Show a failure that a worker wrote down."""
        raise NotImplementedError

    # Which run

    @property
    def snapshot(self) -> Snapshot | None:
        """Where the run stands; None before one was chosen and read."""
        return self._snapshot

    @snapshot.setter
    def snapshot(self, snapshot: Snapshot | None) -> None:
        self._snapshot = snapshot
        self.jobs.place(snapshot.folders if snapshot else {})

    def follow_run(self, run: Run | None, variant: str = "", seen: Snapshot | None = None) -> None:
        """Follow another run, or none.

        Args:
            run: the run.
            variant: the variant's name, or empty.
            seen: where it stands, where that was just read.
        """
        self.jobs.follow(run)
        self.current, self.variant, self.snapshot = run, variant, seen
        self._marks = marks(run, variant) if run and seen else None
        self._reading, self._read_again, self._later = None, False, None

    def states(self) -> dict[StepName, StepState]:
        """Where every step stands."""
        snapshot = self.snapshot
        if snapshot is None:
            ready = self.rehearsing or bool(self.gate_open)
            return step_states({}, machine_ready=ready, reviewed=False)
        return step_states(
            snapshot.stages,
            machine_ready=snapshot.rehearsal or self.gate_open is not False,
            reviewed=snapshot.state("prep") not in ("waiting", "new"),
        )

    @property
    def rehearsing(self) -> bool:
        """Whether what is shown is, or is about to be, a rehearsal."""
        from pipeline.profiles import REHEARSAL_PROFILE

        return self.snapshot.rehearsal if self.snapshot else self.profile_id == REHEARSAL_PROFILE

    def job(self, stage: str) -> Job | None:
        """The journal of a stage's result as the recipe means it now; None while it has none."""
        return self.jobs.job(stage)

    def running(self, *stages: str) -> Job | None:
        """The job of one of these stages that a worker is on now."""
        return self.jobs.running(*stages)

    def starting(self, *stages: str) -> bool:
        """Whether this window started one of these stages and its worker doesn't show yet."""
        return self.jobs.starting(*stages)

    def activity(self) -> str:
        """What works now, for the header: stage, percent, ETA."""
        return self.jobs.activity(self.glyphs.running)

    # Reading where it stands

    def read_run(self, *, go: bool = False) -> None:
        """Read where the run stands, off the loop; with `go`, open the step that is next.

        One reading at a time: a later one never comes back before an earlier one, and what is
        asked for meanwhile is read once more afterwards.
        """
        run, variant = self.current, self.variant
        if run is None:
            return
        self._going = self._going or go
        if self._reading is not None:
            self._read_again = True
            return
        self._reading = object()
        self.run_worker(self._read(self._reading, run, variant), group="run", exit_on_error=False)

    async def _read(self, reading: object, run: Run, variant: str) -> None:
        # Before the reading: what changes during it is seen by the next look.
        seen = marks(run, variant)
        read: Snapshot | Failure
        try:
            read = await off_loop(lambda _stopped: read_snapshot(run, variant))
        except (Failure, OSError, ValueError) as error:
            read = as_failure(error)
        finally:
            # Another run may have been opened meanwhile, or the app is leaving.
            wanted = reading is self._reading and bool(self.screen_stack)
            self._reading = None if wanted else self._reading
        if not wanted:
            return
        self._marks = seen
        if isinstance(read, Failure):
            self._not_read(read)
        else:
            self._run_read(read)

    def _run_read(self, snapshot: Snapshot) -> None:
        first, go = self.snapshot is None, self._going
        self.snapshot, self._going = snapshot, False
        if go:
            self.arrived(snapshot.failure)
        elif first and snapshot.failure:
            self.say(snapshot.failure.happened, "warn")
        if isinstance(self.screen, StepScreen):
            self.screen.refresh_all()
        self._read_on()
        self.tick()

    def _not_read(self, failure: Failure) -> None:
        self._going = False
        if self.snapshot is None:
            self._read_again = False
            self.run_unreadable(failure)
            return
        # A recipe that is being edited, say: what is shown stays until it can be read again.
        self.fail(failure, unasked=True)
        self._read_on()

    def _read_on(self) -> None:
        if self._read_again:
            self._read_again = False
            self.read_run()

    # Keys that wait

    @property
    def settled(self) -> bool:
        """Whether the snapshot says how things stand, as far as this window can know."""
        return self._reading is None and not self.jobs.leaving()

    def when_settled(self, screen: Screen[Any], act: Callable[[], None]) -> None:
        """Do what a key asks for once the snapshot is how things stand: now, or in a moment.

        Args:
            screen: where the key was pressed; where another one is shown by then, it is dropped.
            act: does it.
        """
        if self.settled:
            act()
            return
        self._later = (screen, act)
        self.say("One moment: what was done last is being read.")

    def _act_late(self) -> None:
        if self._later is None or not self.settled:
            return
        (screen, act), self._later = self._later, None
        if self.screen is screen:
            self.say("")
            act()

    # Twice a second

    def tick(self) -> None:
        """Read journals, look at what other windows did, and repaint what changed."""
        if hung_up():
            self.exit(129)
            return
        if self.current is None or not self.screen_stack:
            return
        before = self.jobs.standing()
        self._look(self.current)
        self._hear()
        for job in self.jobs.vanished():
            self._vanished(job)
        after = self.jobs.standing()
        if self._unrung and self.jobs.idle:
            # A chain of stages rings once, at its end.
            self.ring(self._unrung)
            self._unrung = ""
        self._act_late()
        if isinstance(self.screen, StepScreen):
            self.screen.refresh_frame()
            if self.screen.stands and before != after:
                self.screen.refresh_work()
        activity = self.activity()
        name = self.current.name if self.current else "embedsmith"
        self.show_title(f"{activity} - {name}" if activity else f"embedsmith - {name}")

    def look_soon(self) -> None:
        """Look at the run folder at the next tick, and tick now."""
        self._looked = 0.0
        self.tick()

    def _look(self, run: Run) -> None:
        """See who works, and whether the snapshot may read otherwise by now."""
        now = time.monotonic()
        passing = self.jobs.starts or self.jobs.chains or self.jobs.leaving()
        if now - self._looked < LOOK_SECONDS and not passing:
            return
        self._looked = now
        for start, code in self.jobs.look():
            self._ended_early(start, code)
        if self.snapshot and self._changed(marks(run, self.variant)):
            self.read_run()

    def _changed(self, now: Marks) -> bool:
        """Whether the snapshot may read otherwise by now.

        Where decisions are being made each of them changes what is kept: their sum is read when
        the user goes on, so that no key waits for it.
        """
        before = self._marks
        deciding = isinstance(self.screen, StepScreen) and self.screen.FOLLOWS_DECISIONS
        if before and deciding and before.run == now.run:
            return False
        if self._reading is None:
            self._marks = now
        return before != now

    def _hear(self) -> None:
        """Take in what the journals say; a long one is read on between keys."""
        for job, events in self.jobs.news():
            self._job_said(job, events)
        if self.jobs.behind and not self._catching_up:
            self._catching_up = True
            self.set_timer(CATCH_UP_SECONDS, self._catch_up)

    def _catch_up(self) -> None:
        self._catching_up = False
        if self.screen_stack:
            self._hear()

    def _job_said(self, job: Job, events: Sequence[Event]) -> None:
        screen = self.screen
        if isinstance(screen, StepScreen) and screen.stands and step_of(job.stage) == screen.STEP:
            screen.job_changed(job, events)
        if job.ending is not None and job.ending in events:
            self._job_ended(job, job.ending)

    def _job_ended(self, job: Job, ending: Event) -> None:
        if not self.jobs.tell(job, ending):
            return
        if ending.type == "finished":
            seconds = float(ending.data["seconds"])
            self.say(f"{job.stage}: done in {duration(seconds)}.", "good")
            self._unrung = f"{job.stage} is done" if seconds >= LONG_SECONDS else self._unrung
        elif ending.type == "failed":
            from tui.follow import told

            self.ring(f"{job.stage} failed")
            self.fail_of(job, told(ending.data))
        else:
            self.say(f"{job.stage}: {ending.type}; it can go on from here.", "warn")
        self.read_run()

    def _vanished(self, job: Job) -> None:
        """A worker that was killed says nothing, so this window does."""
        title = find_step(step_of(job.stage)).title
        self.ring(f"{job.stage} was killed")
        self.say(f"{job.stage}: its worker was killed; {title} goes on with what it did.", "bad")
        self.read_run()

    def _ended_early(self, start: Start, code: int) -> None:
        from tui.follow import without_ending

        job = self.job(start.stage)
        ending = job.ending if job else None
        if job and (events := job.poll()):
            self._job_said(job, events)
        elif job and ending and ending.time >= start.since:
            # Its whole life lay between two looks.
            self._job_ended(job, ending)
        elif code not in (0, 130):
            self.fail(
                without_ending(start.stage, start.worker),
                stage=start.stage,
                retry=[start.stage, *start.then],
                unasked=True,
            )
        self.read_run()
