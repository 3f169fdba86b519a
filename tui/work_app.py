"""The app's side towards workers: what starts and ends them, their failures, their settings."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from textual.screen import Screen
from textual.worker import Worker, WorkerState

from pipeline.errors import Failure, as_failure
from pipeline.run import Run
from tui.jobs import Start
from tui.opening import Opening
from tui.run_app import TICK_SECONDS, RunApp
from tui.screens.step import StepScreen
from tui.settings import check_typed, typed_setting
from tui.steps import step_of
from tui.watch import Job

_LAUNCH = "launch"


class WorkApp(RunApp):
    """An app that has work done on its run, and says what came of it."""

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self.secrets: dict[str, str] = {}
        """Keys that were typed: held here, handed to workers by environment, written nowhere."""

    def screen_of(self, name: str) -> Screen[Any]:
        """The screen of a step."""
        raise NotImplementedError

    def show_log(self, stage: str = "") -> None:
        """The log of a stage; empty: of the step that is shown."""
        raise NotImplementedError

    def fail(
        self,
        failure: Failure,
        *,
        stage: str = "",
        log: Sequence[str] = (),
        retry: Sequence[str] = (),
        unasked: bool = False,
        remedy: Mapping[str, Any] | None = None,
    ) -> None:
        """Show a failure: what happened, what is safe, what to do next.

        Args:
            failure: the three sentences.
            stage: the stage that it is about; empty: those of the step that is shown.
            log: the end of its worker's log.
            retry: the stages that `Try again` starts.
            unasked: whether it comes while the user may be typing something else.
            remedy: settings that help, by dotted name.
        """
        from tui.screens.dialogs import FailureDialog

        self.say(failure.happened, "bad")

        def answered(answer: str | None) -> None:
            if answer == "retry" or (answer == "remedy" and self.change_settings(remedy or {})):
                self.start(retry)
            elif answer == "log":
                self.show_log(stage)

        dialog = FailureDialog(failure, log=log, retry=bool(retry), remedy=remedy, unasked=unasked)
        self.push_screen(dialog, answered)

    def fail_of(self, job: Job, failure: Failure) -> None:
        """Show a failure that a worker wrote down."""
        from tui.screens.dialogs import log_tail

        # The stage's own step says what follows, whichever step is shown.
        screen = cast("StepScreen", self.screen_of(step_of(job.stage)))
        retry = screen.chain(job.stage) if job.stage in screen.step.stages else [job.stage]
        self.fail(
            failure,
            stage=job.stage,
            log=log_tail(job.log, 20),
            retry=retry,
            unasked=True,
            remedy=failure.remedy,
        )

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A thread that failed says so; it takes nothing with it."""
        if event.state is WorkerState.ERROR and isinstance(event.worker.error, Exception):
            if event.worker.group == _LAUNCH:
                self.jobs.asked = ()
            self.fail(as_failure(event.worker.error))

    def start(self, stages: Sequence[str], options: Mapping[str, str] | None = None) -> None:
        """Start a worker for a stage, and for the ones after it in the same process."""
        snapshot = self.snapshot
        if snapshot is None or not stages:
            return
        if self.starting(*stages):
            self.say(f"{stages[0]} is about to begin already.")
            return
        if job := self.running(*stages):
            if job.ending:
                # It said its last and is about to leave: what is asked for now comes after it.
                self.set_timer(TICK_SECONDS, lambda: self.start(stages, options))
            else:
                self.say(f"{job.stage} is at work already.")
            return
        environment, since = {**os.environ, **self.secrets}, time.time()
        # From now on: a second key finds it started.
        self.jobs.asked = tuple(stages)

        def launch() -> None:
            from pipeline.launch import LocalLauncher
            from tui.commands.machine import require_machine

            try:
                require_machine(snapshot.profile)
                worker = LocalLauncher(environment).start(
                    snapshot.run, stages[0], snapshot.variant, options or {}, then=stages[1:]
                )
            except (Failure, OSError) as error:
                self.call_from_thread(self._not_started, snapshot.run, as_failure(error))
                return
            self.call_from_thread(
                self._started, snapshot.run, Start(stages[0], worker, since, tuple(stages[1:]))
            )

        self.run_worker(launch, thread=True, group=_LAUNCH, exit_on_error=False)

    def _started(self, run: Run, start: Start) -> None:
        if run == self.current:
            self.jobs.asked = ()
            self.jobs.starts.append(start)
        self.say(f"{start.stage}: started. It goes on when this window closes.")
        self.tick()

    def _not_started(self, run: Run, failure: Failure) -> None:
        if run == self.current:
            self.jobs.asked = ()
        self.fail(failure)

    def request(self, request: str, *stages: str) -> None:
        """Ask the worker of one of these stages to pause, resume, finish or cancel.

        Between two stages a worker can be ended at once; anything else waits for the next one.
        """
        job = self.running(*stages)
        if job:
            self._ask(job.folder, request, f"{job.stage}: asked to {request}.")
        elif not (chains := self.jobs.between(*stages)) and not self.jobs.starts:
            self.say("Nothing is running here.")
        elif request == "cancel" and chains:
            for chain in chains:
                self._ask(chain, request, "Asked to end before the next stage begins.")
        else:
            self.say(f"The next stage is beginning: it is asked to {request} then.")
            self.set_timer(TICK_SECONDS, lambda: self.request(request, *stages))

    def _ask(self, folder: Path, request: str, said: str) -> None:
        from pipeline.requests import ask

        try:
            ask(folder, cast("Any", request))
        except OSError as error:
            self.fail(as_failure(error))
        else:
            self.say(said)

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
