"""Deploy: where to, the start live, the service's health, its verification, and snippets."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from textual.containers import VerticalScroll
from textual.events import Resize
from textual.widget import Widget

from pipeline.deploy.services import KEY_VARIABLE
from pipeline.errors import Failure, as_failure
from pipeline.gate import Check
from pipeline.run import Run
from pipeline.status import once_more
from tui.choices import Choice
from tui.deploy_rows import (
    TABS,
    TARGETS,
    deploy_choices,
    nim_refusal,
    service_rows,
    snippet_rows,
    standing,
    tab_row,
    verification_rows,
)
from tui.deploying import last_failure, nim_checks, said_by, snippets_of
from tui.rows import Row, plain, row, wrap
from tui.screens.deploy_dialogs import choose_target, choose_to_stop
from tui.screens.machine import check_rows
from tui.screens.service_watch import ServiceWatch
from tui.screens.step import StepScreen
from tui.steps import Step, StepName, missing_step
from tui.widgets.pane import ListPane, Pane
from tui.widgets.settings_list import SettingsList
from tui.working import progress_rows, unknown_rows

PROBE_SECONDS = 3.0
"""How often services are asked while the step is shown."""

NEEDED = ("corpus", "sdg", "prep", "finetune", "export")
"""The stages that come before a service."""

_COPIED_COLUMNS = 100


class DeployScreen(StepScreen):
    """The last step."""

    STEP: ClassVar[StepName] = "deploy"

    def __init__(self) -> None:
        super().__init__()
        self._watch = ServiceWatch(self, self.refresh_all)
        self._checks: Sequence[Check] | None = None
        self._checked: tuple[Run, str] | None = None
        self._tab = TABS[0]
        self._summary: Mapping[str, Any] = {}
        self._seen: object = None

    def compose_work(self) -> Iterable[Widget]:
        """State, choices, and what was measured beside the snippets."""
        yield Pane(self._state_rows, id="deploy-state")
        yield SettingsList(id="deploy-choices")
        yield Pane(self._about_rows, id="deploy-about")
        yield Pane(self._tab_rows, id="deploy-tabs")
        with VerticalScroll(id="deploy-body", can_focus=True):
            yield Pane(self._body_rows, id="deploy-report")
        yield Pane(self._snippet_rows, id="deploy-snippet")

    def on_mount(self) -> None:
        """Services are asked for as long as the step is shown."""
        self.set_interval(PROBE_SECONDS, self._watch.look)

    def arrive(self) -> None:
        """The keys belong to the choices at first."""
        super().arrive()
        self.query_one(SettingsList).focus()
        self._watch.look()

    def on_resize(self, event: Resize) -> None:
        """With room for both, table and snippet stand side by side."""
        self.call_after_refresh(self.refresh_work)

    def primary(self) -> str:
        """What enter does."""
        if self._working() or self._watch.stopping:
            return ""
        if missing := self._missing():
            return f"To {missing.title}"
        if self._state("deploy") != "done":
            return "Deploy"
        if self._state("verify") == "done":
            return ""
        return "Verify" if self._measured() else "To Metrics"

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now."""
        idle = self.snapshot is not None and not self._working() and not self._watch.stopping
        if action == "edit":
            return idle
        if action == "verify":
            return idle and self._state("deploy") == "done" and self._measured()
        if action == "snippet":
            return self._watch.service is not None and not self._working()
        if action == "copy":
            return bool(self._watch.service or self._summary) and not self._working()
        if action == "stop":
            return bool(self._working() or (idle and self._watch.probes))
        return super().check_action(action, parameters)

    def refresh_work(self) -> None:
        """Take what the run folder holds now, and show it."""
        if self.snapshot is not self._seen:
            self._seen = self.snapshot
            self._take()
            self.refresh_frame()
        choices = self.query_one(SettingsList)
        choices.show_settings(self._choices())
        choices.styles.max_height = 1 if self._short() and self._watch.service else None
        tabs = self._watch.service is not None and not self._split() and not self._working()
        self.query_one("#deploy-tabs").display = tabs
        super().refresh_work()

    # Where it stands

    def _state(self, stage: str) -> str:
        return self.snapshot.state(stage) if self.snapshot else "waiting"

    def _working(self) -> bool:
        stages = self.step.stages
        return bool(self.wizard.running(*stages)) or self.wizard.starting(*stages)

    def _missing(self) -> Step | None:
        return missing_step(self.snapshot.stages if self.snapshot else {}, NEEDED)

    def _measured(self) -> bool:
        """Whether there is something to verify against."""
        return self._state("eval") == "done"

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.wizard.secrets}

    def _choices(self) -> list[Choice]:
        if self.snapshot is None:
            return []
        key_set = bool(self._environment().get(KEY_VARIABLE))
        return deploy_choices(self.snapshot.recipe.deploy, self.snapshot.profile, key_set)

    def _take(self) -> None:
        """Read the verification of this service, or the last one."""
        snapshot = self.snapshot
        self._summary = {}
        if snapshot is None:
            return
        try:
            result = snapshot.results.get("verify")
            result = result or snapshot.run.current("verify", snapshot.variant)
        except (Failure, OSError) as error:
            self.wizard.fail(as_failure(error))
            return
        self._summary = result.summary if result else {}
        wanted = (snapshot.run, snapshot.recipe.deploy.target)
        if wanted != self._checked:
            self._checked, self._checks = wanted, None
            if wanted[1] == "nim" and not nim_refusal(snapshot.profile):
                self._look()

    # Looked at in threads

    def _look(self) -> None:
        """Look at docker, image and key for a NIM."""
        snapshot, wizard, environment = self.snapshot, self.wizard, self._environment()
        if snapshot is None:
            return

        def look() -> None:
            checks = nim_checks(snapshot.recipe, snapshot.profile, environment)
            wizard.call_from_thread(self._looked, checks)

        self.run_worker(look, thread=True, group="nim", exclusive=True, exit_on_error=False)

    def _looked(self, checks: Sequence[Check]) -> None:
        self._checks = checks
        self.refresh_work()

    # Keys

    def go_on(self) -> None:
        """Start the service and measure through it, or go to the step that comes first."""
        if self._working() or self._watch.stopping or self.snapshot is None:
            self.wizard.say(
                "One moment: it is at work." if self.snapshot else "There is no run yet."
            )
            return
        refusal = nim_refusal(self.snapshot.profile)
        if missing := self._missing():
            self.wizard.open_step(missing.name)
        elif self._state("deploy") != "done":
            if self.snapshot.recipe.deploy.target == "nim" and refusal:
                self.wizard.say(f"{refusal}: e chooses the local server.", "bad")
                return
            self.wizard.start(["deploy", "verify"] if self._measured() else ["deploy"])
        elif self._state("verify") == "done":
            key = self.wizard.key_of("deploy.verify")
            self.wizard.say(f"Served and verified: {key} measures it once more.", "good")
        elif self._measured():
            self.wizard.start(["verify"])
        else:
            self.wizard.open_step("metrics")

    def action_verify(self) -> None:
        """Measure through the endpoint once more, however often it was measured before."""
        self.wizard.start(["verify"], once_more(time.time()))

    def action_edit(self) -> None:
        """Change the choice under the cursor."""
        snapshot = self.snapshot
        if snapshot is None:
            return
        settings = self.query_one(SettingsList)
        if settings.current and settings.current.setting == "deploy.target":
            choose_target(self.wizard, snapshot)
        else:
            self.run_worker(settings.edit(), group="ask", exclusive=True)

    def action_snippet(self) -> None:
        """The next snippet."""
        tabs = self._tabs()
        self._tab = tabs[(tabs.index(self._shown_tab()) + 1) % len(tabs)]
        self.query_one("#deploy-body").scroll_home(animate=False)
        self.refresh_work()

    def action_copy(self) -> None:
        """Copy the snippet, or the table, that is shown."""
        tab = self._shown_tab()
        if tab in (texts := self._snippets()):
            self.wizard.copy(texts[tab])
        else:
            rows = verification_rows(self._summary, self._older(), self.glyphs, _COPIED_COLUMNS)
            self.wizard.copy("\n".join(plain(cells).rstrip() for cells in rows))

    def action_stop(self) -> None:
        """Stop the work, else the service, after a question."""
        if self._working():
            self.wizard.request("cancel", *self.step.stages)
        elif self._watch.probes and not self._watch.stopping:
            choose_to_stop(self.wizard, self._watch.probes, self._watch.stop)

    def on_list_pane_moved(self, event: ListPane.Moved) -> None:
        """Another choice, another explanation."""
        self.query_one("#deploy-about", Pane).update()

    def on_list_pane_chosen(self, event: ListPane.Chosen) -> None:
        """Enter goes on, wherever the cursor stands."""
        self.action_go_on()

    # Rows

    def _short(self) -> bool:
        """Whether there is no room for what isn't needed at every moment."""
        return self.app.size.height < 20

    def _split(self) -> bool:
        """Whether there is room for the table and a snippet at once."""
        return self.has_class("-wide") and self.has_class("-tall")

    def _tabs(self) -> Sequence[str]:
        return TABS[1:] if self._split() else TABS

    def _shown_tab(self) -> str:
        tabs = self._tabs()
        return self._tab if self._tab in tabs and self._watch.service else tabs[0]

    def _snippets(self) -> Mapping[str, str]:
        service, snapshot = self._watch.service, self.snapshot
        if service is None or snapshot is None:
            return {}
        return snippets_of(service, snapshot.recipe, snapshot.profile, self._environment())

    def _older(self) -> str:
        """Why the verification is not of what stands now; empty for a current one."""
        snapshot = self.snapshot
        if snapshot is None or not self._summary or self._state("verify") == "done":
            return ""
        return "Measured before: of another service, export or setting than now."

    def _state_rows(self, width: int, _height: int) -> list[Row]:
        job = self.wizard.running(*self.step.stages)
        if job:
            return [(), *progress_rows(job.view, job.paused, self.glyphs, width), ()]
        if self.wizard.starting(*self.step.stages):
            return [(), row((" starting ...", "muted")), ()]
        if self.snapshot is None or self.snapshot.failure:
            return [*unknown_rows(self.snapshot, width), ()]
        if self._watch.stopping:
            return [
                (),
                row((f" stopping {self._watch.stopping}: it finishes what it has begun", "warn")),
            ]
        rows: list[Row] = [] if self._short() else [()]
        if self._watch.fault:
            rows += [row((" " + line, "bad")) for line in wrap(self._watch.fault, width - 2)]
        service = self._watch.service
        made = self.snapshot.results.get("export")
        if service:
            digest, rehearsal = made.digest if made else "", self.snapshot.rehearsal
            rows += service_rows(service, digest, rehearsal, self.glyphs, width)
        missing = self._missing()
        text, tone = standing(
            self.snapshot.stages,
            missing.title if missing else "",
            service is not None,
            TARGETS[self.snapshot.recipe.deploy.target],
            last_failure(self.wizard.job("deploy")),
        )
        if not service and self.snapshot.rehearsal:
            text, tone = f"{text} A rehearsal's model is not for use.", "warn"
        rows += [row(" ", (line, tone)) for line in wrap(text, width - 2) if line]
        for name, other in (self._watch.probes or {}).items():
            if other is not service:
                word = "answers" if other.answers else "doesn't answer"
                rows.append(row((f" also started: {name}, {other.record.url} {word}", "muted")))
        return rows if self._short() else [*rows, ()]

    def _about_rows(self, width: int, _height: int) -> list[Row]:
        room = self.app.size.height >= 30 or not (self._watch.service or self._working())
        return self.query_one(SettingsList).about_rows(width, 3 if room else 0)

    def _tab_rows(self, width: int, _height: int) -> list[Row]:
        return [tab_row(self._shown_tab(), self._tabs())]

    def _body_rows(self, width: int, _height: int) -> list[Row]:
        if self._working():
            job = self.wizard.running(*self.step.stages)
            said = said_by(job) if job else []
            return [row((" " + part, "muted")) for line in said for part in wrap(line, width - 2)]
        tab = self._shown_tab()
        if not self._split() and tab != TABS[0]:
            return self._texts(tab, width)
        if self._watch.service is None and self._checked and self._checked[1] == "nim":
            return self._check_rows(width)
        if not self._summary and self._watch.service is None:
            return []
        return verification_rows(self._summary, self._older(), self.glyphs, width)

    def _check_rows(self, width: int) -> list[Row]:
        if self._checks is None:
            return [row((" looking at docker, image and key ...", "muted"))]
        return [cells for check in self._checks for cells in check_rows(check, self.glyphs, width)]

    def _snippet_rows(self, width: int, _height: int) -> list[Row]:
        if not self._split() or self._watch.service is None or self._working():
            return []
        tab = self._shown_tab()
        return [tab_row(tab, self._tabs()), (), *self._texts(tab, width)]

    def _texts(self, tab: str, width: int) -> list[Row]:
        rows = snippet_rows(self._snippets()[tab], width, prose=tab == "reindex")
        if self.wizard.rehearsing:
            rows += [(), row((" This endpoint serves a rehearsal's model: not for use.", "warn"))]
        return rows
