"""What the Train step knows: where the work stands, and what it reads of the run folder."""

from __future__ import annotations

from typing import ClassVar, Literal

from pipeline.errors import Failure, as_failure
from pipeline.gpus import open_nvml
from pipeline.schedule import Schedule, schedule_for
from pipeline.usage import GpuUsage, read_usage
from tui.kept_counts import KeptCounts, count_kept, counts_mark
from tui.screens.step import StepScreen
from tui.steps import Step, StepName, missing_step
from tui.training import TrainingView
from tui.watch import Job
from tui.widgets.chart import LossChart

STAGES = ("prep", "finetune", "eval")
"""What enter starts: the evaluation right behind, so that Metrics is ready."""
NEEDED = ("corpus", "sdg")

Phase = Literal["unknown", "missing", "before", "starting", "mining", "training", "done"]


class TrainBase(StepScreen):
    """The fifth step without its panes and keys."""

    STEP: ClassVar[StepName] = "train"

    def __init__(self) -> None:
        super().__init__()
        self._chart = LossChart()
        self._log_scale = False
        self._view = ""  # settings or charts, as asked for; empty: what fits the phase
        self._phase_seen: Phase = "unknown"
        self._job: Job | None = None
        self._training = TrainingView()
        self._counts: KeptCounts | None = None
        self._counted: tuple[object, ...] = ()
        self._usage: GpuUsage | None = None
        self._numbers_at = 0.0

    # Where it stands

    def _state(self, stage: str) -> str:
        return self.snapshot.state(stage) if self.snapshot else "waiting"

    def _missing(self) -> Step | None:
        return missing_step(self.snapshot.stages if self.snapshot else {}, NEEDED)

    def _phase(self) -> Phase:
        wizard = self.wizard
        if wizard.running("finetune"):
            return "training"
        if wizard.running("prep"):
            return "mining"
        if wizard.starting("prep", "finetune"):
            return "starting"
        if self.snapshot is None or self.snapshot.failure:
            return "unknown"
        if self._missing():
            return "missing"
        done = self._state("prep") == self._state("finetune") == "done"
        return "done" if done else "before"

    def _shown(self) -> str:
        """Settings or charts."""
        phase = self._phase()
        if phase in ("starting", "mining", "training"):
            return "charts"
        usual = "charts" if phase == "done" else "settings"
        return (self._view or usual) if self._training.step else "settings"

    def _next_stages(self) -> list[str]:
        """What is left to do: a finished stage isn't started again."""
        done = [self._state(stage) == "done" for stage in STAGES]
        return list(STAGES[done.index(False) :]) if False in done else []

    def chain(self, stage: str) -> list[str]:
        """A stage that is tried again has the evaluation behind it, too."""
        return list(STAGES[STAGES.index(stage) :])

    def _schedule(self) -> Schedule | None:
        """The lengths of the training: exact once there is a training file."""
        examples = self._examples()
        if self.snapshot is None or not examples:
            return None
        return schedule_for(examples, self.snapshot.recipe.finetune)

    def _examples(self) -> int:
        prep = self.snapshot.results.get("prep") if self.snapshot else None
        if prep and isinstance(count := prep.summary.get("examples"), int):
            return count
        return self._counts.train if self._counts else 0

    # What is read

    def _take(self) -> None:
        """Take the training that the journal tells of; it grows with its job."""
        job = self.wizard.job("finetune")
        if job is not self._job:
            self._job, self._training = job, (job and job.training) or TrainingView()

    def _count(self) -> None:
        """Count the kept questions, in a thread, where another count is to be expected."""
        snapshot = self.snapshot
        sdg = snapshot.results.get("sdg") if snapshot else None
        if snapshot is None or sdg is None:
            return
        run, threshold = snapshot.run, snapshot.recipe.sdg.threshold
        mark = counts_mark(run, sdg.folder, threshold)
        if mark == self._counted:
            return
        if mark[:1] != self._counted[:1]:
            self._counts = None  # of other questions
        self._counted = mark
        wizard = self.wizard

        def count() -> None:
            try:
                counts = count_kept(run, sdg.folder, threshold)
            except (Failure, OSError, ValueError, KeyError) as error:
                wizard.call_from_thread(wizard.fail, as_failure(error))
            else:
                wizard.call_from_thread(self._have_counted, mark, counts)

        self.run_worker(count, thread=True, group="count", exclusive=True, exit_on_error=False)

    def _have_counted(self, mark: tuple[object, ...], counts: KeptCounts) -> None:
        if mark == self._counted:
            self._counts = counts
            self.refresh_all()

    def _look_at_gpu(self) -> None:
        """Read memory and load of the GPU, in a thread: a driver may take its time."""
        uuid = self._training.gpu
        if self.wizard.rehearsing or not uuid:
            return
        wizard = self.wizard

        def look() -> None:
            try:
                usage = read_usage(open_nvml(), uuid)
            except Failure:
                # Without the driver's library there is nothing to show, and nothing to mend here.
                usage = None
            wizard.call_from_thread(self._looked_at_gpu, usage)

        self.run_worker(look, thread=True, group="gpu", exclusive=True, exit_on_error=False)

    def _looked_at_gpu(self, usage: GpuUsage | None) -> None:
        self._usage = usage
