"""Train: what will be trained, mining, the loss live with its validations, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from textual.containers import Container, Vertical
from textual.events import Resize
from textual.widget import Widget

from pipeline.journal import Event
from pipeline.profiles import base_recipe
from pipeline.run import Result
from tui.choices import Choice
from tui.rows import Row, row, wrap
from tui.screens.dialogs import Question
from tui.screens.train_base import Phase, TrainBase
from tui.train_rows import (
    before_rows,
    device_numbers,
    ended_rows,
    mining_rows,
    number_rows,
    numbers,
    plan_rows,
    setting_choices,
    standing_rows,
    training_row,
)
from tui.watch import Job
from tui.widgets.chart import score_rows
from tui.widgets.pane import ListPane, Pane
from tui.widgets.settings_list import SettingsList
from tui.working import unknown_rows

BEAT_SECONDS = 1.0
"""How often the charts of a running training are painted."""
NUMBER_SECONDS = 2.0
"""How often its numbers are, and the GPU is looked at: each costs bytes on a slow line."""

_NUMBER_LINES = 5
_ABOUT_LINES = 4


class TrainScreen(TrainBase):
    """The fifth step."""

    def compose_work(self) -> Iterable[Widget]:
        """State; settings before, charts and numbers from then on."""
        yield Pane(self._state_rows, id="train-state")
        yield SettingsList(id="train-settings")
        yield Pane(self._about_rows, id="train-about")
        with Container(id="train-live"):
            with Vertical(id="train-charts"):
                yield Pane(self._loss_rows, id="train-loss")
                yield Pane(self._score_rows, id="train-score")
            yield Pane(self._number_rows, id="train-numbers")

    def on_mount(self) -> None:
        """Charts keep a pace of their own, slower than the journal's."""
        self.set_interval(BEAT_SECONDS, self._beat)

    def on_resize(self, event: Resize) -> None:
        """Another size has room for other panes."""
        self.call_after_refresh(self.refresh_work)

    def arrive(self) -> None:
        """The keys belong to the settings at first."""
        super().arrive()
        self._list().focus()

    def _list(self) -> SettingsList:
        return self.query_one("#train-settings", SettingsList)

    # What is painted, and when

    def refresh_work(self) -> None:
        """Take what the run folder holds now, and show it."""
        if not self.stands:
            return
        self._take()
        self._count()
        phase = self._phase()
        if phase != self._phase_seen:
            self._phase_seen, self._view, self._numbers_at = phase, "", 0.0
        self._lay_out(phase)
        self._list().show_settings(self._choices())
        super().refresh_work()
        if self._list().display and not self.query_one("#train-about").size.height:
            self.call_after_refresh(self._settle)

    def _lay_out(self, phase: Phase) -> None:
        """Show the panes that this phase has something for."""
        settings = self._shown() == "settings"
        choosing = settings and phase in ("before", "done")
        self._list().display = choosing
        self.query_one("#train-about").display = choosing
        history = self._training.step > 0 or phase == "training"
        # Where there is room, an interrupted training's history stands under the settings.
        self.query_one("#train-live").display = history and (
            not settings or self.has_class("-tall")
        )

    def _settle(self) -> None:
        """Build the panes that were hidden: they know their width by now, but not their height."""
        super().refresh_work()
        self.query_one("#train-about", Pane).refresh(layout=True)

    def job_changed(self, job: Job, events: Sequence[Event]) -> None:
        """Steps wait for the beat; a beginning, a pause and an ending are shown at once."""
        self._take()
        turned = any(event.type not in ("metric", "progress") for event in events)
        if turned or self._phase() != self._phase_seen:
            self.refresh_work()

    def _beat(self) -> None:
        """Paint what a running stage said meanwhile."""
        if not (self.is_current and self.stands):
            return
        phase = self._phase()
        if phase != self._phase_seen:
            self.refresh_work()
        elif phase in ("mining", "training"):
            self._take()
            self.query_one("#train-state", Pane).update()
            if phase == "training":
                self._paint_training()

    def _paint_training(self) -> None:
        live = self.query_one("#train-live")
        if not live.display:
            self._lay_out("training")
        self.query_one("#train-loss", Pane).update()
        self.query_one("#train-score", Pane).update()
        if time.monotonic() - self._numbers_at >= NUMBER_SECONDS - BEAT_SECONDS / 2:
            self._numbers_at = time.monotonic()
            self.query_one("#train-numbers", Pane).update()
            self._look_at_gpu()

    # Keys

    def primary(self) -> str:
        """What enter does."""
        phase = self._phase()
        if phase == "missing" and (missing := self._missing()):
            return f"To {missing.title}"
        if phase == "done":
            return "Go on"
        if phase != "before" or self._counts is None or not self._counts.train:
            return ""
        states = {self._state("prep"), self._state("finetune")}
        return "Resume" if states & {"stopped", "vanished", "failed"} else "Start"

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now."""
        phase = self._phase()
        if action in ("pause", "stop"):
            return phase in ("starting", "mining", "training")
        if action == "finish":
            return phase == "training" and self._training.step > 0
        if action == "edit":
            return phase in ("before", "done")
        if action == "view":
            return phase in ("before", "done") and self._training.step > 0
        if action == "scale":
            return self._training.step > 0
        return super().check_action(action, parameters)

    def go_on(self) -> None:
        """Start, go on where it stopped, or go to the step that is next."""
        phase = self._phase()
        if phase == "missing" and (missing := self._missing()):
            self.wizard.open_step(missing.name)
        elif phase == "done":
            self.wizard.open_step("metrics")
        elif phase == "before" and self._counts and self._counts.train:
            self.wizard.start(self._next_stages())
        else:
            self.wizard.say(self._why_not(phase), "warn")

    def _why_not(self, phase: Phase) -> str:
        """Why enter does nothing."""
        if phase == "before" and self._counts:
            back = self.wizard.key_of("everywhere.previous_step")
            return f"No training question is kept: {back} goes back to the review, to keep some."
        if phase in ("before", "unknown"):
            failure = self.snapshot.failure if self.snapshot else None
            return failure.happened if failure else "The run is being read: one moment."
        return "It is at work; this window may be closed meanwhile."

    def action_edit(self) -> None:
        """Change the setting under the cursor; from the charts, first show the settings."""
        if self._shown() != "settings":
            self._look("settings")
        else:
            self.run_worker(self._list().edit(), group="ask", exclusive=True)

    def action_view(self) -> None:
        """Charts or settings."""
        self._look("charts" if self._shown() == "settings" else "settings")

    def _look(self, view: str) -> None:
        self._view = view
        self.refresh_work()
        if view == "settings":
            self._list().focus()

    def action_pause(self) -> None:
        """Pause, or go on."""
        job = self.wizard.running("prep", "finetune")
        self.wizard.request("resume" if job and job.paused else "pause", "prep", "finetune")

    def action_stop(self) -> None:
        """Write a checkpoint and end; enter goes on from there."""
        self.wizard.request("cancel", "prep", "finetune")

    def action_finish(self) -> None:
        """End now and keep the best, once that was confirmed."""
        self.run_worker(self._ask_finish(), group="ask", exclusive=True)

    async def _ask_finish(self) -> None:
        view, best = self._training, self._training.best
        kept = "The weights as they are become the model, if they measure best."
        if best:
            kept = (
                f"The best weights become the model: so far those of step {best.step:,} "
                f"(dev nDCG@10 {best.score:.3f}), and the last ones are measured, too."
            )
        no, stop = self.wizard.key_of("dialog.no"), self.wizard.key_of("train.stop")
        lines = [
            f"{view.step:,} of {view.total:,} steps are done. {kept}",
            "The steps that are left are not made up for later: the model is finished.",
            f"To go on another time, press {no} here and {stop}: that writes a checkpoint.",
        ]
        if await self.wizard.push_screen_wait(Question("Finish training now?", lines)):
            self.wizard.request("finish", "finetune")

    def action_log(self) -> None:
        """The worker's log."""
        self.wizard.action_log()

    def action_scale(self) -> None:
        """A linear or a logarithmic loss."""
        self._log_scale = not self._log_scale
        self.query_one("#train-loss", Pane).update()
        self.wizard.say(f"The loss on a {'logarithmic' if self._log_scale else 'linear'} scale.")

    def on_list_pane_moved(self, event: ListPane.Moved) -> None:
        """Another setting, another explanation."""
        self.query_one("#train-about", Pane).update()

    def on_list_pane_chosen(self, event: ListPane.Chosen) -> None:
        """Enter goes on, wherever the cursor stands."""
        self.action_go_on()

    # Rows

    def _choices(self) -> list[Choice]:
        snapshot = self.snapshot
        if snapshot is None:
            return []
        usual = base_recipe(snapshot.profile)
        return setting_choices(snapshot.recipe, usual, self._schedule(), self._examples())

    def _state_rows(self, width: int, _height: int) -> list[Row]:
        phase, glyphs = self._phase(), self.glyphs
        if phase == "training":
            return [training_row(self._training, glyphs, width)]
        if phase == "mining":
            job = self.wizard.running("prep")
            return [(), *mining_rows(job.view, job.paused, glyphs, width)] if job else []
        if phase == "starting":
            return [(), row((" starting ...", "muted"))]
        if phase == "missing" and (missing := self._missing()):
            text = f"There is nothing to train on: {missing.title} comes first. "
            text += f"enter goes there: {missing.about}."
            return [(), *(row((" " + line, "warn")) for line in wrap(text, width - 2))]
        if phase == "unknown" or self.snapshot is None:
            return unknown_rows(self.snapshot, width)
        return self._done_rows(width) if phase == "done" else self._before_rows(width)

    def _done_rows(self, width: int) -> list[Row]:
        results = self.snapshot.results if self.snapshot else {}
        result, prep = results.get("finetune"), results.get("prep")
        if result is None:
            return []
        said = prep.summary if prep else {}
        rows = ended_rows(result.summary, result.partial, said, self.glyphs, width)
        if self.has_class("-short"):
            return rows[: self.app.size.height // 2 - 2]
        return rows

    def _before_rows(self, width: int) -> list[Row]:
        assert self.snapshot is not None, "a phase with a run"
        counted, schedule = self._counts, self._schedule()
        rows = self._standing_rows(width)
        if rows:
            rows.append(())
        rows += before_rows(counted, schedule, self.snapshot.recipe, width)
        if not self.has_class("-short") and not self._standing_rows(width):
            rows += plan_rows(self.wizard.rehearsing, width)
        return rows

    def _standing_rows(self, width: int) -> list[Row]:
        snapshot = self.snapshot
        assert snapshot is not None, "a phase with a run"
        name = "prep" if self._state("prep") != "done" else "finetune"
        if name not in snapshot.stages:
            return []
        last: Result | None = snapshot.run.current("finetune", snapshot.variant)
        starts = "goes on from its last checkpoint" if self._training.step else "starts it again"
        stage = snapshot.stages[name]
        return standing_rows(name, stage, last is not None, starts, self.glyphs, width)

    def _about_rows(self, width: int, _height: int) -> list[Row]:
        if self.has_class("-short"):
            return self._list().about_rows(width, 2)
        return self._list().about_rows(width, _ABOUT_LINES)

    def _loss_rows(self, width: int, height: int) -> list[Row]:
        return self._chart.rows(self._training, self._log_scale, self.glyphs, width, height)

    def _score_rows(self, width: int, height: int) -> list[Row]:
        return score_rows(self._training, self.glyphs, width, height)

    def _number_rows(self, width: int, height: int) -> list[Row]:
        phase, training = self._phase(), self._training
        wide = self.has_class("-wide")
        if phase == "done" and not wide:
            return []  # its summary says it
        now = time.time() if phase == "training" else None
        going = now is not None and not training.paused
        remaining = training.remaining(self._schedule(), now) if going else None
        device = device_numbers(self._usage, self.wizard.rehearsing)
        shown = numbers(training, remaining, device if now else [], now)
        rows = _NUMBER_LINES - 1 if self.has_class("-short") else _NUMBER_LINES
        return number_rows(shown, width, height if wide else rows)
