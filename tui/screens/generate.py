"""Generate: what leaves this machine, a try on three documents, and the writing itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

from textual.containers import VerticalScroll
from textual.widget import Widget

from pipeline.errors import Failure
from pipeline.profiles import base_recipe
from pipeline.recipe import flatten
from pipeline.sdg.trial import TRIAL, TRIAL_DOCUMENTS
from pipeline.sdg.writer import OFFLINE
from tui.generate_rows import (
    Setting,
    consent_rows,
    detail_rows,
    estimate_rows,
    leaving_rows,
    no_documents,
    said,
    setting_row,
    state_rows,
)
from tui.generating import Setup, Summary, needs_key, read_latest, setup_mark
from tui.rows import Row, plain, row
from tui.screens.endpoint import ask_consent, ask_key, choose_endpoint, edit_setting
from tui.screens.further import ask_further, ask_parked
from tui.screens.generate_base import SDG, GenerateBase
from tui.settings import stale_sentence
from tui.trial_rows import try_rows
from tui.watch import Job
from tui.widgets.pane import ListPane, Pane
from tui.working import progress_rows
from tui.writing_rows import (
    found_rows,
    funnel_rows,
    latest_rows,
    loss_rows,
    pace_rows,
    summary_rows,
    warning_rows,
    warnings_of,
)

_WARNINGS_SHOWN = 2
_COPIED_WIDTH = 120


class GenerateScreen(GenerateBase):
    """The third step."""

    def compose_work(self) -> Iterable[Widget]:
        """What leaves, and below it settings, a try, or how the writing goes."""
        yield Pane(self._state_rows, id="generate-state")
        yield ListPane(self._setting_at, id="generate-settings")
        yield Pane(self._detail_rows, id="generate-detail")
        with VerticalScroll(id="generate-text", can_focus=True):
            yield Pane(self._text_rows, id="generate-rows")

    def primary(self) -> str:
        """Write, go on, or review."""
        if self._job() or self._starting() or not (self._setup and self._setup.corpus):
            return ""
        words = {"done": "Review", "stale": "Write again", "failed": "Try again"}
        words |= {"stopped": "Go on", "vanished": "Go on"}
        return words.get(self._state(), "Write")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What can be done now."""
        setup, job, settings = self._setup or Setup(), self._job(), self._sdg()
        free = self.snapshot is not None and job is None and not self._starting()
        asks = settings.writer != OFFLINE and not setup.imported
        allowed = {
            "edit": free,
            "preset": free and not setup.imported,
            "key": asks and free,
            "consent": bool(asks and setup.leaving and setup.agreed is None),
            "trial": free and setup.corpus and not setup.imported,
            "compare": setup.before is not None,
            "view": setup.now is not None or setup.summary is not None or job is not None,
            "losses": bool(setup.summary and (setup.summary.empty or setup.summary.losses)),
            "retry": bool(asks and free and setup.summary and setup.summary.parked),
            "more": bool(free and setup.summary and not setup.imported),
            "pause": job is not None,
            "stop": job is not None,
        }
        return allowed.get(action, super().check_action(action, parameters))

    def refresh_work(self) -> None:
        """Read what changed, and show it."""
        snapshot = self.snapshot
        mark = setup_mark(snapshot) if snapshot else ()
        if mark != self._mark:
            if self._mark[:1] != mark[:1]:
                self._setup, self._view = None, ""  # another run
            self._mark = mark
            self._read()
        view = self._shown()
        settings = self.query_one("#generate-settings", ListPane)
        settings.display = self.query_one("#generate-detail").display = view == "settings"
        text = self.query_one("#generate-text", VerticalScroll)
        text.display = view != "settings"
        settings.show(len(self._settings()))
        if self.focused in (None, settings, text):
            # At once: the next key may be there already.
            self.set_focus(settings if view == "settings" else text)
        super().refresh_work()

    # Keys

    def go_on(self) -> None:
        """Write the questions, or go on to the review."""
        if self._job(TRIAL) or self._starting():
            stop = self.wizard.key_of("generate.stop")
            text = f"Something is running already: it ends first, or {stop} stops it."
            self.wizard.say(text, "warn")
        elif self._job(SDG) or self._state() == "done":
            self.wizard.open_step("review")
        else:
            self.run_worker(self._begin(SDG), group="begin", exclusive=True)

    def action_trial(self) -> None:
        """Write questions for a few documents, or show those that these settings gave."""
        if self._setup and self._setup.current:
            self._look("try")
            self.wizard.say("This is what these settings give; change one and try again.")
        else:
            self.run_worker(self._begin(TRIAL), group="begin", exclusive=True)

    async def _begin(self, stage: str) -> None:
        """Start a worker once it is agreed to and the key is there."""
        setup = self._setup
        if setup is None and self.snapshot:
            self.wizard.say("What would leave is still being read: one moment.", "warn")
            return
        if setup is None or not setup.corpus:
            self.wizard.say(no_documents(), "warn")
            return
        try:
            keyless = not setup.imported and needs_key(self._sdg()) and self._key() == "not set"
        except Failure as failure:
            self.wizard.fail(failure)
            return
        if not await self._agreed() or (keyless and not await self._ask_key()):
            self.wizard.say("Nothing was started, and nothing was sent.", "warn")
            return
        self._look("report" if stage == SDG else "try")
        self.wizard.start([stage])

    async def _agreed(self) -> bool:
        """Whether there is a yes to what leaves; asks for it where there is none."""
        setup, settings = self._setup or Setup(), self._sdg()
        if setup.leaving is None:
            return setup.imported or settings.writer == OFFLINE
        agreed = setup.agreed is not None or await ask_consent(self, setup, settings)
        self.refresh_work()
        return agreed

    def action_consent(self) -> None:
        """Say yes to what leaves this machine."""
        self.run_worker(self._agreed(), group="begin", exclusive=True)

    def action_key(self) -> None:
        """Type the endpoint's key."""
        self.run_worker(self._ask_key(), group="ask", exclusive=True)

    async def _ask_key(self) -> bool:
        """Whether there is a key after asking for one."""
        asked = await ask_key(self, self._sdg().key_variable)
        self.refresh_all()
        return asked and self._key() != "not set"

    def action_edit(self) -> None:
        """Change the setting under the cursor; from elsewhere, first show the settings."""
        index = self.query_one("#generate-settings", ListPane).cursor
        if self._shown() != "settings":
            self._look("settings")
        elif index >= 0:
            asking = edit_setting(self, self._settings()[index])
            self.run_worker(asking, group="ask", exclusive=True)

    def action_preset(self) -> None:
        """Choose an endpoint."""
        self.run_worker(choose_endpoint(self), group="ask", exclusive=True)

    def action_compare(self) -> None:
        """This try and the one before, or this one alone."""
        self._look("try" if self._shown() == "compare" else "compare")

    def action_losses(self) -> None:
        """What came out empty, and what was lost."""
        from tui.screens.dialogs import TextDialog

        summary = self._setup.summary if self._setup else None
        if summary:
            text = "\n".join(plain(cells) for cells in loss_rows(summary, _COPIED_WIDTH))
            build = partial(_losses, summary)
            self.app.push_screen(TextDialog("What came to nothing", build, text))

    def action_retry(self) -> None:
        """Ask again for what was parked."""
        self.run_worker(self._further(ask_parked), group="begin", exclusive=True)

    def action_more(self) -> None:
        """Ask about documents that came out empty, or until so many pass."""
        self.run_worker(self._further(ask_further), group="begin", exclusive=True)

    async def _further(self, ask: Callable[[GenerateScreen], Awaitable[bool]]) -> None:
        if await ask(self):
            await self._begin(SDG)

    def action_view(self) -> None:
        """Settings, the last try, how the writing goes, and round again."""
        order = ("settings", "try", "report")
        here = order.index("try" if self._shown() == "compare" else self._shown())
        for step in (1, 2, 3):
            self._view = order[(here + step) % 3]
            if self._shown() == self._view:
                break
        self.refresh_all()

    def _look(self, view: str) -> None:
        self._view = view
        self.query_one("#generate-text", VerticalScroll).scroll_home(animate=False)
        self.refresh_all()

    def action_pause(self) -> None:
        """Pause, or go on."""
        if job := self._job():
            self.wizard.request("resume" if job.paused else "pause", job.stage)

    def action_stop(self) -> None:
        """End it here, one way or the other."""
        from tui.screens.dialogs import Choice

        job = self._job()
        if job is None:
            return
        stage = job.stage
        ways = [
            ("finish", "finish with what is there, and review that"),
            ("cancel", "stop, and go on later; what was answered is kept and not paid again"),
            ("", "leave it running"),
        ][stage == TRIAL :]

        def chosen(index: int | None) -> None:
            if index is not None and ways[index][0]:
                self.wizard.request(ways[index][0], stage)

        self.app.push_screen(Choice("Stop writing?", [row(words) for _, words in ways]), chosen)

    def on_list_pane_chosen(self, event: ListPane.Chosen) -> None:
        """Enter starts, wherever the cursor stands."""
        self.action_go_on()

    def on_list_pane_moved(self, event: ListPane.Moved) -> None:
        """What another setting does."""
        self.query_one("#generate-detail", Pane).update()

    # Rows

    def _state_rows(self, width: int, _height: int) -> list[Row]:
        snapshot, setup = self.snapshot, self._setup
        if snapshot is None:
            back = self.wizard.key_of("everywhere.previous_step")
            return said(f"There is no run yet: {back} goes back to choose documents.", width)
        if setup is None:
            return said("reading ...", width, "muted")
        settings, view = snapshot.recipe.sdg, self._shown()
        reason = snapshot.stages[SDG].reason if SDG in snapshot.stages else ""
        if view == "settings" or setup.leaving is None:
            rehearsal = snapshot.rehearsal
            rows = leaving_rows(setup, settings, self._key(), rehearsal, self.glyphs, width)
        else:
            rows = consent_rows(setup, settings, self._key(), self.glyphs, width)
        rows += state_rows(self._state(), reason, setup, width)
        if setup.estimate and view == "settings" and self._state() != "done":
            rows += estimate_rows(setup.estimate, settings, width)
        if trying := self._job(TRIAL):
            rows += [(), row((f" A try on {TRIAL_DOCUMENTS} documents", "strong"))]
            rows += progress_rows(trying.view, trying.paused, self.glyphs, width)
        return [*rows, ()]

    def _setting_at(self, index: int, width: int) -> Row:
        setting = self._settings()[index]
        return setting_row(setting, *self._values(setting), width)

    def _detail_rows(self, width: int, _height: int) -> list[Row]:
        index = self.query_one("#generate-settings", ListPane).cursor
        if not 0 <= index < len(self._settings()):
            return [()]
        setting, snapshot = self._settings()[index], self.snapshot
        made = snapshot.stages if snapshot and self._state() == "done" else {}
        stale = stale_sentence(setting.name, made) if made else ""
        return detail_rows(setting, self._values(setting)[1], stale, width)

    def _values(self, setting: Setting) -> tuple[Any, Any]:
        """A setting's value, and the base model's own."""
        snapshot = self.snapshot
        assert snapshot is not None, "settings belong to a run"
        own, usual = flatten(snapshot.recipe), flatten(base_recipe(snapshot.profile))
        return own[setting.name], usual[setting.name]

    def _text_rows(self, width: int, _height: int) -> list[Row]:
        setup, view, snapshot = self._setup or Setup(), self._shown(), self.snapshot
        if snapshot is None:
            return []
        threshold = snapshot.recipe.sdg.threshold
        if view in ("try", "compare") and setup.now:
            before = setup.before if view == "compare" else None
            return try_rows(setup.now, before, threshold, setup.current, self.glyphs, width)
        if job := self._job(SDG):
            return self._writing_rows(job, threshold, width)
        if setup.summary:
            return summary_rows(setup.summary, threshold, snapshot.rehearsal, self.glyphs, width)
        return [row((" starting ...", "muted"))] if self._starting() else []

    def _writing_rows(self, job: Job, threshold: float, width: int) -> list[Row]:
        offline, room = self._sdg().writer == OFFLINE, self.query_one("#generate-text").size.height
        rows = funnel_rows(job.view, job.paused, threshold, offline, self.glyphs, width)
        if not offline:
            rows += pace_rows(job.view, job.paused, self._sdg(), width)
        rows += found_rows(job.view.metrics.get("found"), width)
        rows += warning_rows(warnings_of(job.events)[-_WARNINGS_SHOWN:], self.glyphs, width)
        if job.paused:
            rows.append(row((f" Paused: {self.wizard.key_of('generate.pause')} goes on.", "warn")))
        on = self.wizard.key_of("everywhere.next_step")
        rows.append(row((f" Review is open already: {on} goes there.", "accent")))
        latest = read_latest(job.folder, room - len(rows) - 3)
        return rows + latest_rows(latest, threshold, self.glyphs, width)


def _losses(summary: Summary, width: int, _height: int) -> list[Row]:
    return loss_rows(summary, width)
