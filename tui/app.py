"""The wizard: a window on a run folder. Its screens do the steps' work; it does what they share."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from importlib import resources
from typing import Any, ClassVar, cast

from textual.binding import BindingType
from textual.command import CommandPalette
from textual.screen import Screen

from pipeline.errors import Failure, as_failure
from pipeline.run import Run, home, list_runs
from tui.clipboard import copy, copy_folder
from tui.keys import bindings
from tui.off_loop import off_loop
from tui.opening import Opening
from tui.palette import WizardCommands
from tui.preferences import Preferences, write_preferences
from tui.rows import Tone
from tui.run_app import TICK_SECONDS
from tui.screens.step import StepScreen
from tui.steps import STEP_NAMES, StepName, opening_step
from tui.watch import Snapshot, working
from tui.work_app import WorkApp


class Wizard(WorkApp):
    """The app."""

    TITLE = "embedsmith"
    CSS_PATH: ClassVar[Any] = str(resources.files("themes") / "wizard.tcss")
    BINDINGS: ClassVar[list[BindingType]] = list[BindingType](bindings("everywhere"))
    COMMANDS: ClassVar[Any] = {WizardCommands}
    ENABLE_COMMAND_PALETTE = True

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self.notice: tuple[str, Tone] = ("", "muted")
        self._greeted = False

    # Opening

    def on_mount(self) -> None:
        """Keys and the first screen."""
        self.prepare()
        self._say_opening()
        self.set_interval(TICK_SECONDS, self.tick)
        self.push_screen(self.screen_of(self._first_screen()))
        self.read_run(go=True)

    def _say_opening(self) -> None:
        """What was wrong with preferences, keys or themes."""
        if messages := self.opening.messages:
            more = f" And {len(messages) - 1} more like it." if len(messages) > 1 else ""
            self.say(messages[0] + more, "warn")

    def _first_screen(self) -> str:
        """A run that works, else the only one, else a choice, else the first step."""
        runs = list_runs(home())
        named = self.opening.run
        busy = [run for run in runs if working(run)]
        if named or len(busy) == 1 or len(runs) == 1:
            self.follow_run(named or (busy or runs)[0], self.opening.variant)
            return "opening"
        return "runs" if runs else "machine"

    def open_run(self, run: Run, variant: str = "") -> None:
        """Make a run the current one and go to where it stands."""
        self.follow_run(run, variant)
        self._open_screen("opening")
        self.read_run(go=True)

    def arrived(self, failure: Failure | None) -> None:
        """The run was read: go to the step that is next, unless the user went elsewhere."""
        if self.get_screen("opening") not in self.screen_stack:
            return
        self.open_step(opening_step(self.states()))
        if failure:
            self.say(failure.happened, "warn")
        elif not self._greeted:
            self._say_opening()
        self._greeted = True

    def run_unreadable(self, failure: Failure) -> None:
        """Back to the list of runs, with what is wrong."""
        self.follow_run(None)
        self.open_runs()
        self.fail(failure)

    def take_run(self, snapshot: Snapshot) -> None:
        """Make a run that was just made the current one; the step that is shown stays."""
        self.follow_run(snapshot.run, snapshot.variant, snapshot)
        if isinstance(self.screen, StepScreen):
            self.screen.refresh_all()

    def new_run(self) -> None:
        """Begin another run at the first step; the one that was open stays as it is."""
        self.follow_run(None)
        self.profile_id = ""
        self.open_step("machine")

    def open_runs(self) -> None:
        """Show the list of runs."""
        self._open_screen("runs")

    def open_step(self, name: StepName) -> None:
        """Show a step; nothing is lost, whichever was shown before."""
        self.notice = ("", "muted")
        self._open_screen(name)
        self.look_soon()

    def screen_of(self, name: str) -> Screen[Any]:
        """A screen by name, made when it is first shown."""
        if not self.is_screen_installed(name):
            module, _, attribute = _SCREENS[name].partition(":")
            screen = cast("Screen[Any]", getattr(importlib.import_module(module), attribute)())
            if isinstance(screen, StepScreen):
                # Before it is mounted: a class that comes later styles every widget again.
                screen.classify(*self.size)
            self.install_screen(screen, name)
        return self.get_screen(name)

    def _open_screen(self, name: str) -> None:
        screen = self.screen_of(name)
        while self.screen.is_modal:
            self.pop_screen()
        if self.screen is not screen:
            self.switch_screen(name)

    # What screens ask for

    def say(self, text: str, tone: Tone = "muted") -> None:
        """Put one line above the keys; it stays until the next one."""
        self.notice = (text, tone)
        if self.screen_stack and isinstance(self.screen, StepScreen):
            self.screen.refresh_frame()

    def copy(self, text: str) -> None:
        """Copy a text, and say where it really went; tmux may take its time to answer."""
        self.run_worker(self._copy(text), group="copy", exit_on_error=False)

    async def _copy(self, text: str) -> None:
        terminal, written = self.opening.terminal, list[str]()
        try:
            copied = await off_loop(
                lambda _stopped: copy(text, terminal, os.environ, written.append, copy_folder())
            )
        except Failure as failure:
            self.fail(failure)
            return
        # The terminal belongs to the loop: no frame is cut in two.
        if self._driver:
            self._driver.write("".join(written))
        self.say(copied.sentence)

    def remember(self, preferences: Preferences) -> None:
        """Keep the user's preferences."""
        self.preferences = preferences
        try:
            write_preferences(self.opening.preferences_path, preferences)
        except (Failure, OSError) as error:
            self.say(f"The preferences aren't kept: {as_failure(error).happened}", "warn")

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
        self.show_log()

    def show_log(self, stage: str = "") -> None:
        """The log of a stage; empty: of the worker that the step is about."""
        from tui.screens.log import log_dialog

        shown = self.screen.jobs_shown() if isinstance(self.screen, StepScreen) else ()
        self.push_screen(log_dialog(self, [stage] if stage else shown))

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

    async def action_quit(self) -> None:
        """Textual's own way out is ours."""
        self.action_leave()

    def action_leave(self) -> None:
        """Leave; running work goes on. What was typed and not saved is asked about first."""
        from tui.screens.dialogs import Question

        shown = [self.get_screen(name) for name in STEP_NAMES if self.is_screen_installed(name)]
        unsaved = [said for each in shown if (said := cast("StepScreen", each).unsaved())]
        if not unsaved:
            self.exit(0)
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.exit(0)

        self.push_screen(Question("Leave without saving?", unsaved), answered)


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
