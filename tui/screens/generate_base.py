"""What the Generate screen knows: what was read of the run, and which view of it is shown."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar

from pipeline.sdg.trial import TRIAL
from pipeline.settings import SdgSettings
from tui.generate_rows import Setting, shown_settings
from tui.generating import Setup, key_state, read_setup, setup_mark
from tui.screens.step import StepScreen
from tui.steps import StepName
from tui.watch import Job

SDG = "sdg"


class GenerateBase(StepScreen):
    """The third step without its panes and keys."""

    STEP: ClassVar[StepName] = "generate"

    def __init__(self) -> None:
        super().__init__()
        self._setup: Setup | None = None
        self._mark: tuple[object, ...] = ()
        self._read_mark: tuple[object, ...] = ()
        self._view = ""  # settings, try, compare or report; empty: what fits the state

    # Where it stands

    def jobs_shown(self) -> Sequence[str]:
        """The writing's log, or the try's: the later one."""
        return (SDG, TRIAL)

    def _state(self) -> str:
        return self.snapshot.state(SDG) if self.snapshot else "waiting"

    def _job(self, *stages: str) -> Job | None:
        """The worker of one of these stages, or of any of this step, until it said its last."""
        job = self.wizard.running(*(stages or (SDG, TRIAL)))
        return job if job and job.ending is None else None

    def _starting(self) -> bool:
        return self.wizard.starting(SDG, TRIAL)

    def _sdg(self) -> SdgSettings:
        return self.snapshot.recipe.sdg if self.snapshot else SdgSettings()

    def _settings(self) -> Sequence[Setting]:
        imported = bool(self._setup and self._setup.imported)
        return shown_settings(self._sdg(), imported) if self.snapshot else ()

    def _shown(self) -> str:
        """The view: the one that was asked for, where there is something to see in it."""
        setup = self._setup or Setup()
        views = {"settings"}
        if self._job(SDG) or setup.summary or self.wizard.starting(SDG):
            views.add("report")
        if setup.now:
            views |= {"try", "compare"} if setup.before else {"try"}
        if self._view in views:
            return self._view
        return "report" if "report" in views else "settings"

    def _key(self) -> str:
        settings = self._sdg()
        return key_state(settings, os.environ, settings.key_variable in self.wizard.secrets)

    # What is read

    def _read(self) -> None:
        snapshot, mark = self.snapshot, self._mark
        if snapshot is None:
            return

        def read() -> None:
            setup = read_setup(snapshot)
            self.app.call_from_thread(self._take, mark, setup)

        self.run_worker(read, thread=True, group="setup", exclusive=True, exit_on_error=False)

    def _take(self, mark: tuple[object, ...], setup: Setup) -> None:
        if mark == self._mark:
            self._setup, self._read_mark = setup, mark
            self.refresh_all()

    @property
    def up_to_date(self) -> bool:
        """Whether what is shown was read of the run as it is now."""
        snapshot = self.snapshot
        if snapshot is None or not self.wizard.settled:
            return False
        return self._read_mark == setup_mark(snapshot)
