"""The wizard: a window on a run folder. Its screens do the steps' work; it does what they share."""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, ClassVar, cast

from rich.style import Style
from textual._compositor import CompositorUpdate
from textual.app import App
from textual.binding import BindingType
from textual.command import CommandPalette
from textual.events import AppBlur, AppFocus, Resize
from textual.screen import Screen
from textual.worker import Worker, WorkerState

from pipeline.errors import Failure, as_failure
from pipeline.journal import Event
from pipeline.run import Run, home, list_runs
from tui.canvas import Canvas, Painted
from tui.clipboard import copy, copy_folder
from tui.glyphs import ASCII, UNICODE
from tui.jobs import Jobs, Start
from tui.keys import bindings, key_name
from tui.look import styles_of, textual_theme
from tui.opening import Opening
from tui.palette import WizardCommands
from tui.preferences import Preferences, write_preferences
from tui.progress import duration
from tui.rows import Tone
from tui.screens.step import StepScreen
from tui.settings import check_typed, typed_setting
from tui.steps import STEP_NAMES, StepName, StepState, opening_step, step_of, step_states
from tui.terminal import hung_up, notify_sequence, title_sequence
from tui.watch import Job, Marks, Snapshot, marks, read_snapshot, working

TICK_SECONDS = 0.5
"""How often journals are read and screens are brought up to date."""
LOOK_SECONDS = 1.0
"""How often the run folder is looked at for what other windows did."""
LONG_SECONDS = 30.0
"""Work that took longer rings when it ends unseen."""


class Wizard(App[int]):
    """The app."""

    TITLE = "embedsmith"
    CSS_PATH: ClassVar[Any] = str(resources.files("themes") / "wizard.tcss")
    BINDINGS: ClassVar[list[BindingType]] = list[BindingType](bindings("everywhere"))
    COMMANDS: ClassVar[Any] = {WizardCommands}
    ENABLE_COMMAND_PALETTE = True

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        # Without colours Textual must not mix its own: the terminal's stay.
        super().__init__(ansi_color=True if opening.terminal.colours == 0 else None)
        for theme in opening.themes.values():
            self.register_theme(textual_theme(theme))
        self.theme = opening.theme
        self.preferences = opening.preferences
        self.glyphs = ASCII if opening.ascii else UNICODE
        self.current: Run | None = None
        self.variant = ""
        self._snapshot: Snapshot | None = None
        self.profile_id = ""
        """The base model that the next run gets; empty until it was chosen on the first step."""
        self.gate_open: bool | None = None
        """Whether a GPU passes; None while the machine is being looked at."""
        self.secrets: dict[str, str] = {}
        """Keys that were typed: held here, handed to workers by environment, written nowhere."""
        self.notice: tuple[str, Tone] = ("", "muted")
        self._canvas = Canvas(erases=not opening.terminal.screen)
        self.jobs = Jobs()
        self._marks: Marks | None = None
        self._looked = 0.0
        self._title = self._unrung = ""
        self._focused_window = True
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keys = dict(opening.keymap)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our variables, for the moment before a theme is set."""
        return textual_theme(self.opening.themes[self.opening.theme]).variables

    @property
    def snapshot(self) -> Snapshot | None:
        """Where the run stands; None before one was chosen and read."""
        return self._snapshot

    @snapshot.setter
    def snapshot(self, snapshot: Snapshot | None) -> None:
        self._snapshot = snapshot
        self.jobs.place(snapshot.folders if snapshot else {})

    def tone_styles(self) -> Mapping[str, Style]:
        """The styles of the theme's tones."""
        return styles_of(self.opening.themes[self.theme])

    # Opening

    def on_mount(self) -> None:
        """Keys and the first screen."""
        self.set_class(self.opening.ascii, "-ascii")
        self.set_keymap(dict(self.opening.keymap))
        if self.opening.messages:
            self.say(self.opening.messages[0], "warn")
        self._loop = asyncio.get_running_loop()
        self.set_interval(TICK_SECONDS, self.tick)
        self.push_screen(self._screen_of(self._first_screen()))
        self.read_run(go=True)

    def _first_screen(self) -> str:
        """A run that works, else the only one, else a choice, else the first step."""
        runs = list_runs(home())
        named = self.opening.run
        busy = [run for run in runs if working(run)]
        if named or len(busy) == 1 or len(runs) == 1:
            self.current, self.variant = named or (busy or runs)[0], self.opening.variant
            self.jobs.follow(self.current)
            return "opening"
        return "runs" if runs else "machine"

    def open_run(self, run: Run, variant: str = "") -> None:
        """Make a run the current one and go to where it stands."""
        self.current, self.variant = run, variant
        self.jobs.follow(run)
        self.snapshot, self._marks = None, None
        self._open_screen("opening")
        self.read_run(go=True)

    def take_run(self, snapshot: Snapshot) -> None:
        """Make a run that was just made the current one; the step that is shown stays."""
        self.jobs.follow(snapshot.run)
        self.current, self.variant, self.snapshot = snapshot.run, snapshot.variant, snapshot
        self._marks = marks(snapshot.run, snapshot.variant)
        if isinstance(self.screen, StepScreen):
            self.screen.refresh_all()

    def open_runs(self) -> None:
        """Show the list of runs."""
        self._open_screen("runs")

    def open_step(self, name: StepName) -> None:
        """Show a step; nothing is lost, whichever was shown before."""
        self.notice = ("", "muted")
        self._open_screen(name)

    def _screen_of(self, name: str) -> Screen[Any]:
        if not self.is_screen_installed(name):
            module, _, attribute = _SCREENS[name].partition(":")
            screen = cast("Screen[Any]", getattr(importlib.import_module(module), attribute)())
            if isinstance(screen, StepScreen):
                # Before it is mounted: a class that comes later styles every widget again.
                screen.classify(*self.size)
            self.install_screen(screen, name)
        return self.get_screen(name)

    def _open_screen(self, name: str) -> None:
        screen = self._screen_of(name)
        while self.screen.is_modal:
            self.pop_screen()
        if self.screen is not screen:
            self.switch_screen(name)

    # What the run folder says

    def read_run(self, *, go: bool = False) -> None:
        """Read where the run stands, in a thread; with `go`, open the step that is next."""
        run, variant = self.current, self.variant
        if run is None:
            return

        def read() -> None:
            try:
                snapshot = read_snapshot(run, variant)
            except (Failure, OSError, ValueError) as error:
                self.call_from_thread(self._run_unreadable, as_failure(error))
                return
            self.call_from_thread(self._run_read, run, snapshot, go)

        self.run_worker(read, thread=True, group="run", exclusive=True, exit_on_error=False)

    def _run_read(self, run: Run, snapshot: Snapshot, go: bool) -> None:
        if run != self.current or not self.screen_stack:
            return
        first = self.snapshot is None
        self.snapshot = snapshot
        self._marks = marks(run, self.variant)
        if snapshot.failure and first:
            self.say(snapshot.failure.happened, "warn")
        if go:
            self.open_step(opening_step(self.states()))
        elif isinstance(self.screen, StepScreen):
            self.screen.refresh_all()
        self.tick()

    def _run_unreadable(self, failure: Failure) -> None:
        self.current = None
        self.open_runs()
        self.fail(failure)

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

    # Twice a second

    def tick(self) -> None:
        """Read journals, look at what other windows did, and repaint what changed."""
        if hung_up():
            self.exit(129)
            return
        run = self.current
        if run is None or not self.screen_stack:
            return
        now, before = time.monotonic(), (self.jobs.at_work, len(self.jobs.starts))
        if now - self._looked >= LOOK_SECONDS or self.jobs.starts:
            self._looked = now
            for start, code in self.jobs.look():
                self._ended_early(start, code)
            if self.snapshot and self._changed(marks(run, self.variant)):
                self.read_run()
        for job, events in self.jobs.news():
            self._job_said(job, events)
        after = (self.jobs.at_work, len(self.jobs.starts))
        if self._unrung and after == ([], 0):
            # A chain of stages rings once, at its end.
            self._ring(self._unrung)
            self._unrung = ""
        if isinstance(self.screen, StepScreen):
            self.screen.refresh_frame()
            if self.screen.stands and before != after:
                self.screen.refresh_work()
        self._set_title()

    def _changed(self, now: Marks) -> bool:
        """Whether the snapshot may read otherwise by now.

        Where decisions are being made each of them changes what is kept: their sum is read when
        the user goes on, so that no key waits for it.
        """
        before = self._marks
        deciding = isinstance(self.screen, StepScreen) and self.screen.FOLLOWS_DECISIONS
        if before and deciding and before.run == now.run:
            return False
        self._marks = now
        return before != now

    def _job_said(self, job: Job, events: Sequence[Event]) -> None:
        screen = self.screen
        if isinstance(screen, StepScreen) and screen.stands and step_of(job.stage) == screen.STEP:
            screen.job_changed(job, events)
        if job.ending in events and job.ending is not None:
            self._job_ended(job, job.ending)

    def _job_ended(self, job: Job, ending: Event) -> None:
        if not self.jobs.tell(job, ending):
            return
        if ending.type == "finished":
            self.say(f"{job.stage}: done in {duration(float(ending.data['seconds']))}.", "good")
        elif ending.type == "failed":
            self._ring(f"{job.stage} failed")
            self.fail_of(job, ending)
        else:
            self.say(f"{job.stage}: {ending.type}; it can go on from here.", "warn")
        if ending.type == "finished" and float(ending.data["seconds"]) >= LONG_SECONDS:
            self._unrung = f"{job.stage} is done"
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
            self.fail(without_ending(start.stage, start.worker), retry=[start.stage])
        self.read_run()

    def _set_title(self) -> None:
        activity = self.activity()
        name = self.current.name if self.current else "embedsmith"
        title = f"{activity} - {name}" if activity else f"embedsmith - {name}"
        if title != self._title and self._driver is not None and not self.is_headless:
            self._title = title
            self._driver.write(title_sequence(title))

    def _ring(self, text: str) -> None:
        """Say that work ended, where nobody looks."""
        if self._focused_window or self._driver is None or self.is_headless:
            return
        if self.preferences.notifications:
            self._driver.write(notify_sequence(text, self.opening.terminal))

    def on_app_focus(self, event: AppFocus) -> None:
        """Somebody looks."""
        self._focused_window = True

    def on_app_blur(self, event: AppBlur) -> None:
        """Nobody looks."""
        self._focused_window = False

    # What screens ask for

    def say(self, text: str, tone: Tone = "muted") -> None:
        """Put one line above the keys; it stays until the next one."""
        self.notice = (text, tone)
        if self.screen_stack and isinstance(self.screen, StepScreen):
            self.screen.refresh_frame()

    def fail(
        self,
        failure: Failure,
        *,
        log: Sequence[str] = (),
        retry: Sequence[str] = (),
        remedy: Mapping[str, Any] | None = None,
    ) -> None:
        """Show a failure: what happened, what is safe, what to do next.

        Args:
            failure: the three sentences.
            log: the end of the worker's log.
            retry: the stages that `Try again` starts.
            remedy: settings that help, by dotted name.
        """
        from tui.screens.dialogs import FailureDialog

        self.say(failure.happened, "bad")

        def answered(answer: str | None) -> None:
            if answer == "remedy" and remedy:
                for name, value in remedy.items():
                    self.change_setting(name, str(value))
                self.start(retry)
            elif answer == "retry":
                self.start(retry)
            elif answer == "log":
                self.action_log()

        dialog = FailureDialog(failure, log=log, retry=bool(retry), remedy=remedy)
        self.push_screen(dialog, answered)

    def fail_of(self, job: Job, ending: Event) -> None:
        """Show the failure that a worker wrote down."""
        from tui.follow import told
        from tui.screens.dialogs import log_tail

        step = self.screen if isinstance(self.screen, StepScreen) else None
        retry = step.chain(job.stage) if step and job.stage in step.step.stages else [job.stage]
        remedy = ending.data.get("remedy") or None
        self.fail(told(ending.data), log=log_tail(job.log, 20), retry=retry, remedy=remedy)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A thread that failed says so; it takes nothing with it."""
        if event.state is WorkerState.ERROR and isinstance(event.worker.error, Exception):
            self.fail(as_failure(event.worker.error))

    def start(self, stages: Sequence[str], options: Mapping[str, str] | None = None) -> None:
        """Start a worker for a stage, and for the ones after it in the same process."""
        snapshot = self.snapshot
        if snapshot is None or not stages or self.starting(*stages):
            return
        if job := self.running(*stages):
            if job.ending:
                # It said its last and is about to leave: what is asked for now comes after it.
                self.set_timer(TICK_SECONDS, lambda: self.start(stages, options))
            return
        environment, since = {**os.environ, **self.secrets}, time.time()

        def launch() -> None:
            from pipeline.launch import LocalLauncher
            from tui.commands.machine import require_machine

            try:
                require_machine(snapshot.profile)
                worker = LocalLauncher(environment).start(
                    snapshot.run, stages[0], snapshot.variant, options or {}, then=stages[1:]
                )
            except (Failure, OSError) as error:
                self.call_from_thread(self.fail, as_failure(error))
                return
            self.call_from_thread(self._started, stages, worker, since)

        self.run_worker(launch, thread=True, group="launch", exit_on_error=False)

    def _started(self, stages: Sequence[str], worker: Any, since: float) -> None:
        stage, *then = stages
        self.jobs.starts.append(Start(stage, worker, since, tuple(then)))
        self.say(f"{stage}: started. It goes on when this window closes.")
        self.tick()

    def request(self, request: str, *stages: str) -> None:
        """Ask the worker of one of these stages to pause, resume, finish or cancel."""
        from pipeline.requests import ask

        job = self.running(*stages)
        if job is None:
            self.say("Nothing is running here.")
            return
        ask(job.folder, cast("Any", request))
        self.say(f"{job.stage}: asked to {request}.")

    def check_setting(self, name: str, text: str) -> None:
        """Whether a setting may have this value.

        Raises:
            BadRecipe: it may not; the message says why.
        """
        if self.snapshot:
            check_typed(self.snapshot.run, self.variant, name, text)

    def change_setting(self, name: str, text: str) -> bool:
        """Write a setting into the run's recipe or variant; returns whether that went well."""
        return self.change_settings(typed_setting(name, text))

    def change_settings(self, overrides: Mapping[str, Any]) -> bool:
        """Write settings into the run's recipe or variant; returns whether that went well."""
        from pipeline.run import change_recipe

        if self.snapshot is None:
            return False
        try:
            change_recipe(self.snapshot.run, overrides, "the wizard", self.variant)
        except (Failure, OSError) as error:
            self.fail(as_failure(error))
            return False
        self.read_run()
        return True

    def copy(self, text: str) -> None:
        """Copy a text, and say where it really went."""
        write = self._driver.write if self._driver else lambda _text: None
        try:
            copied = copy(text, self.opening.terminal, os.environ, write, copy_folder())
        except Failure as failure:
            self.fail(failure)
        else:
            self.say(copied.sentence)

    def remember(self, preferences: Preferences) -> None:
        """Keep the user's preferences."""
        self.preferences = preferences
        try:
            write_preferences(self.opening.preferences_path, preferences)
        except (Failure, OSError) as error:
            self.say(f"The preferences aren't kept: {as_failure(error).happened}", "warn")

    def key_of(self, binding: str) -> str:
        """The first key of a binding, as people write it."""
        return key_name(self._keys[binding].split(",")[0].strip())

    def keymap(self) -> dict[str, str]:
        """Keys by binding id, the user's changes in them."""
        return dict(self._keys)

    def new_run(self) -> None:
        """Begin another run at the first step; the one that was open stays as it is."""
        self.current, self.snapshot, self.profile_id = None, None, ""
        self.jobs.follow(None)
        self.open_step("machine")

    # Keys that work everywhere

    def _beside(self, direction: int) -> None:
        if isinstance(self.screen, StepScreen):
            index = STEP_NAMES.index(self.screen.STEP) + direction
            if 0 <= index < len(STEP_NAMES):
                self.open_step(STEP_NAMES[index])

    def action_previous_step(self) -> None:
        """The step before."""
        self._beside(-1)

    def action_next_step(self) -> None:
        """The step after."""
        self._beside(1)

    def action_steps(self) -> None:
        """Choose a step."""
        from tui.rows import row
        from tui.screens.dialogs import Choice
        from tui.steps import STEPS, WORDS

        states = self.states()
        rows = [
            row(
                f"{number}  {step.title:<10}",
                (f"{WORDS[states[step.name]]:<8}", "accent"),
                (step.about, "muted"),
            )
            for number, step in enumerate(STEPS, start=1)
        ]
        here = STEP_NAMES.index(self.screen.STEP) if isinstance(self.screen, StepScreen) else 0
        self.push_screen(
            Choice("Steps", rows, here),
            lambda index: None if index is None else self.open_step(STEP_NAMES[index]),
        )

    def action_runs(self) -> None:
        """The list of runs."""
        self.open_runs()

    def action_help(self) -> None:
        """The keys of this screen."""
        from tui.screens.help import help_dialog

        self.push_screen(help_dialog(self))

    def action_command_palette(self) -> None:
        """Find any command by its name."""
        if not isinstance(self.screen, CommandPalette):
            self.push_screen(CommandPalette(placeholder="find a command", id="--command-palette"))

    def action_log(self) -> None:
        """The log of the worker that this step shows."""
        from tui.screens.log import log_dialog

        stages = self.screen.step.stages if isinstance(self.screen, StepScreen) else ()
        self.push_screen(log_dialog(self, stages))

    def action_theme(self) -> None:
        """The next theme."""
        from dataclasses import replace

        if self.opening.terminal.colours == 0:
            self.say("This terminal has no colours, or NO_COLOR asks for none.")
            return
        names = list(self.opening.themes)
        name = names[(names.index(self.theme) + 1) % len(names)]
        self.use_theme(name)
        self.remember(replace(self.preferences, theme=name))

    def use_theme(self, name: str) -> None:
        """Change the colours."""
        self.theme = name
        self.say(f"theme {name}")

    def action_redraw(self) -> None:
        """Paint the whole screen again."""
        self._canvas.forget()
        self.refresh(layout=True)

    async def action_quit(self) -> None:
        """Textual's own way out is ours."""
        self.action_leave()

    def action_leave(self) -> None:
        """Leave; running work goes on."""
        self.exit(0)

    # The terminal

    def _fatal_error(self) -> None:
        """Textual's, without the local variables: a typed key may be among them."""
        from rich.segment import Segments
        from rich.traceback import Traceback

        self.bell()
        lines = self.console.render(Traceback(width=None), self.console.options)
        self._exit_renderables.append(Segments(lines))
        self._close_messages_no_wait()

    def leave_soon(self, code: int) -> None:
        """Leave from a signal handler: the loop ends the app when it comes to it."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.exit, code)

    def on_resize(self, event: Resize) -> None:
        """A terminal arranges its cells anew; what it shows is not known."""
        self._canvas.forget()

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        """Send only the cells that changed, and nothing where none did."""
        writes = self._driver is not None and self._running and not self._batch_count
        if writes and not self.is_headless and isinstance(renderable, CompositorUpdate):
            sequences = self._canvas.paint(renderable, self.console)
            if not sequences:
                return
            renderable = Painted(sequences)
        super()._display(screen, renderable)

    def forget_terminal(self) -> None:
        """Another program had the terminal: nothing of what it shows is known."""
        self._canvas.forget()


_SCREENS: Mapping[str, str] = {
    "opening": "tui.screens.opening:OpeningScreen",
    "runs": "tui.screens.runs:RunsScreen",
    "machine": "tui.screens.machine:MachineScreen",
    "corpus": "tui.screens.corpus:CorpusScreen",
    "generate": "tui.screens.generate:GenerateScreen",
    "review": "tui.screens.review:ReviewScreen",
    "train": "tui.screens.train:TrainScreen",
    "metrics": "tui.screens.metrics:MetricsScreen",
    "export": "tui.screens.export:ExportScreen",
    "deploy": "tui.screens.deploy:DeployScreen",
}
"""Where the screens are; each is imported when it is first shown."""
