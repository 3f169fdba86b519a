"""Corpus: choose documents, see what is used, and what writing questions would take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from textual.widget import Widget

from pipeline.corpus.records import FileReport
from pipeline.errors import Failure, as_failure
from pipeline.journal import Event
from pipeline.recipe import Recipe
from pipeline.run import Result, Run, cache_home
from pipeline.settings import SdgSettings
from tui.corpus_facts import read_estimate, read_finding_list, read_sets, read_table
from tui.corpus_rows import (
    Table,
    choice_rows,
    detail_rows,
    document_header,
    document_row,
    finding_rows,
    foot_rows,
    sets_words,
    slice_words,
    state_rows,
    totals_rows,
)
from tui.off_loop import off_loop
from tui.rows import Row, Tone
from tui.screens.choosing import ChoosingScreen
from tui.screens.eval_sets import take_eval_set
from tui.watch import Job, Snapshot
from tui.widgets.pane import ListPane, Pane

_LATER = ("sdg", "prep", "finetune", "eval", "export", "deploy", "verify")


class CorpusScreen(ChoosingScreen):
    """The second step."""

    def __init__(self) -> None:
        super().__init__()
        self._run: Run | None = None
        self._result: Result | None = None
        self._table: Table | None = None
        self._scored = False
        self._sets = sets_words(())
        self._sets_mark = 0
        self._estimate = ""
        self._estimated: object = None
        self._skipped_first = False

    def compose_work(self) -> Iterable[Widget]:
        """Where it stands, the documents, and what they lead to."""
        yield Pane(self._state_rows, id="corpus-state")
        yield Pane(lambda width, _h: [document_header(width)], id="corpus-header")
        yield ListPane(self._document_at, id="corpus-rows")
        yield Pane(self._detail_rows, id="corpus-detail")
        yield Pane(self._foot_rows, id="corpus-foot")

    def primary(self) -> str:
        """Choose, scan, or go on."""
        if self._busy or self._scanning():
            return ""
        if self.snapshot is None:
            return "Scan" if self._place else "Choose"
        return "Go on" if self.snapshot.state("corpus") == "done" else "Scan"

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What can be done with the documents now."""
        run = self.snapshot is not None
        free = not (self._held or self._scanning())
        allowed = {
            "path": free,
            "browse": free,
            "slice": free,
            "name": free and not run,
            "eval_set": run,
            "scan": free and run,
            "seed": bool(free and self.snapshot and self.snapshot.recipe.corpus.documents),
            "skipped": self._table is not None,
            "findings": bool(self._result and any(self._findings().values())),
        }
        return allowed.get(action, super().check_action(action, parameters))

    def refresh_work(self) -> None:
        """Take what the run folder says now, and show it."""
        snapshot = self.snapshot
        if (snapshot.run if snapshot else None) != self._run:
            self._forget()
        if snapshot:
            self._read(snapshot)
        elif self.wizard.rehearsing and self._place is None:
            # In a group of its own: what the user is being asked goes on.
            self.run_worker(self._take_default(), group="corpus-default", exclusive=True)
        self.set_class(self._table is not None, "-table")
        pane = self.query_one("#corpus-rows", ListPane)
        pane.show(len(self._table.by_name) if self._table else 0)
        if self._table and self.focused is None:
            pane.focus()
        super().refresh_work()

    def job_changed(self, job: Job, events: Sequence[Event]) -> None:
        """The scan goes on."""
        self.query_one("#corpus-state", Pane).update()

    def _forget(self) -> None:
        """Another run, or none yet."""
        self._run = self.snapshot.run if self.snapshot else None
        self._forget_choice()
        self._result, self._table, self._estimate, self._estimated = None, None, "", None
        self._sets, self._sets_mark = sets_words(()), 0

    # What the run folder says

    def _read(self, snapshot: Snapshot) -> None:
        """Read table, eval sets and estimate where they changed, each in a thread."""
        try:
            result = snapshot.results.get("corpus") or snapshot.run.current(
                "corpus", snapshot.variant
            )
        except Failure:
            result = None  # the snapshot's own failure says why
        if (result and result.folder) != (self._result and self._result.folder):
            self._result, self._table = result, None
            if result:
                self._thread("table", lambda: self._read_table(result))
        path = snapshot.run.eval_sets_path
        mark = path.stat().st_mtime_ns if path.is_dir() else 0
        if mark != self._sets_mark:
            self._sets_mark = mark
            self._thread("sets", lambda: self._read_sets(snapshot.run))
        settings = snapshot.recipe.sdg
        if result and (result.folder, settings) != self._estimated:
            self._estimated = (result.folder, settings)
            self._thread("estimate", lambda: self._read_estimate(result, settings))

    def _thread(self, group: str, work: Callable[[], None]) -> None:
        self.run_worker(
            work, thread=True, group=f"corpus-{group}", exclusive=True, exit_on_error=False
        )

    def _read_table(self, result: Result) -> None:
        table, scored = read_table(result)

        def show() -> None:
            if self._result and self._result.folder == result.folder:
                self._table, self._scored = table, scored
                self.refresh_all()

        self.app.call_from_thread(show)

    def _read_sets(self, run: Run) -> None:
        words = read_sets(run)

        def show() -> None:
            if self.stands and run == self._run:
                self._sets = words
                self.query_one("#corpus-foot", Pane).update()

        self.app.call_from_thread(show)

    def _read_estimate(self, result: Result, settings: SdgSettings) -> None:
        words = read_estimate(result, settings)

        def show() -> None:
            if self.stands and self._estimated == (result.folder, settings):
                self._estimate = words
                self.query_one("#corpus-foot", Pane).update()

        self.app.call_from_thread(show)

    # Scanning

    def go_on(self) -> None:
        """Choose documents, make the run and scan them, or go on."""
        if self._busy or self._scanning():
            self.wizard.say("The documents are being read; this window may be closed meanwhile.")
        elif self.snapshot is None:
            self._begin(self._make(self._place)) if self._place else self.action_path()
        elif self.snapshot.state("corpus") == "done":
            self._go_on(self.snapshot)
        else:
            self._begin(self._scan_with({}))

    def _go_on(self, snapshot: Snapshot) -> None:
        """To the questions; those that came with the documents are taken over on the way."""
        result = snapshot.results.get("corpus")
        if result is None or not result.summary["imported_samples"]:
            self.wizard.open_step("generate")
            return
        self.wizard.open_step("review" if self._scored else "train")
        if snapshot.state("sdg") != "done":
            self.wizard.start(["sdg"])

    def action_scan(self) -> None:
        """Scan again where the documents changed."""
        self._begin(self._rescan())

    async def _rescan(self) -> None:
        from pipeline.status import status_of_run

        snapshot = self.snapshot
        if snapshot is None:
            return
        run, variant = snapshot.run, snapshot.variant
        self._say_busy("comparing the documents with the last scan ...")
        try:
            status = await off_loop(lambda _stopped: status_of_run(run, variant, cache_home())[0])
        except (Failure, OSError) as error:
            self.wizard.fail(as_failure(error))
            return
        finally:
            self._say_busy("")
        if status.state == "done":
            self.wizard.say(f"Nothing to scan: {status.reason}.", "good")
        else:
            await self._scan_with({})

    async def _scan_with(self, settings: Mapping[str, Any]) -> None:
        """Change settings and scan; asks first where later results would become stale."""
        from tui.screens.dialogs import Question

        snapshot = self.snapshot
        if snapshot is None:
            return
        if later := self.wizard.running(*_LATER):
            self.wizard.say(f"{later.stage} is at work on these documents: end it first.", "warn")
            return
        if made := [name for name in _LATER if name in snapshot.results]:
            lines = (
                f"Made from the documents as they were: {', '.join(made)}. What differs becomes "
                "stale, and is made again when you come to it.",
                "Decisions and replies are kept, and nothing is deleted.",
            )
            if not await self.wizard.push_screen_wait(Question("Scan the documents again?", lines)):
                return
        if settings and not self.wizard.change_settings(settings):
            return
        self.wizard.start(["corpus"])

    # The slice

    def action_slice(self) -> None:
        """Ask how many documents the pilot takes."""
        self._begin(self._ask_slice())

    async def _ask_slice(self) -> None:
        from pipeline.recipe import apply, parse_setting

        def parse(text: str) -> Mapping[str, Any]:
            setting = dict([parse_setting(f"corpus.documents={text.strip()}")])
            apply(Recipe(), setting, "the slice")
            return setting

        def check(text: str) -> None:
            parse(text)

        snapshot = self.snapshot
        before = snapshot.recipe.corpus.documents if snapshot else self._documents
        label = "documents in the slice (0: all; 50-100 for a pilot)"
        text = await self.ask(label, str(before), check=check)
        if text is None or (after := parse(text)) == {"corpus.documents": before}:
            return
        if snapshot:
            await self._scan_with(after)
        else:
            self._documents = after["corpus.documents"]
            self.refresh_all()

    def action_seed(self) -> None:
        """Deal other documents into the slice."""
        if self.snapshot:
            self._begin(self._scan_with({"seed": self.snapshot.recipe.seed + 1}))

    def action_skipped(self) -> None:
        """Skipped documents first, or by name."""
        self._skipped_first = not self._skipped_first
        self.query_one("#corpus-rows", ListPane).move_to(0)
        self.refresh_work()

    def _findings(self) -> Mapping[str, int]:
        """Counts by name; an older result has none."""
        return self._result.summary.get("findings", {}) if self._result else {}

    def action_findings(self) -> None:
        """List suspected secrets and personal data."""
        self.run_worker(self._show_findings(), group="corpus-findings", exclusive=True)

    async def _show_findings(self) -> None:
        from tui.screens.dialogs import TextDialog

        if (result := self._result) is None:
            return
        try:
            found = await off_loop(lambda _stopped: read_finding_list(result))
        except (Failure, OSError) as error:
            self.wizard.fail(as_failure(error))
            return
        if not self.is_current:
            return  # another screen came meanwhile
        text = "\n".join(f"{f.kind}\t{f.excerpt}\t{f.path}:{f.line}" for f in found)

        def build(width: int, _height: int) -> list[Row]:
            return finding_rows(found, self.glyphs, width)

        self.app.push_screen(TextDialog("Suspected, not certain", build, text))

    def action_eval_set(self) -> None:
        """Take a BEIR folder of the user's own queries."""
        if self._run:
            self._begin(take_eval_set(self, self._run))

    # Rows

    def on_list_pane_moved(self, event: ListPane.Moved) -> None:
        """Another document."""
        self.query_one("#corpus-detail", Pane).update()

    def on_list_pane_chosen(self, event: ListPane.Chosen) -> None:
        """Enter goes on, wherever the cursor stands."""
        self.action_go_on()

    def _state_rows(self, width: int, height: int) -> list[Row]:
        snapshot = self.snapshot
        if snapshot is None:
            return choice_rows(self._choice(), self._busy, width)
        job = self.wizard.running("corpus") or self.wizard.job("corpus")
        if self._scanning():
            return state_rows(snapshot, job, True, self._busy, self.glyphs, width)
        rows = state_rows(snapshot, job, False, self._busy, self.glyphs, width)
        if self._table and self._result:
            rows += totals_rows(self._result.summary, self._table.counts, self.glyphs, width)
        return rows

    def _document_at(self, index: int, width: int) -> Row:
        return document_row(self._listed()[index], self.glyphs, width)

    def _listed(self) -> Sequence[FileReport]:
        assert self._table is not None
        return self._table.skipped_first if self._skipped_first else self._table.by_name

    def _detail_rows(self, width: int, _height: int) -> list[Row]:
        index = self.query_one("#corpus-rows", ListPane).cursor
        if self._table is None or index < 0:
            return []
        return detail_rows(self._listed()[index], self.glyphs, width)

    def _foot_rows(self, width: int, _height: int) -> list[Row]:
        snapshot = self.snapshot
        if snapshot is None:
            return []
        recipe = snapshot.recipe
        lines: list[tuple[str, str, Tone]] = [
            ("Slice", slice_words(recipe.corpus.documents, recipe.seed), "text")
        ]
        if not self.has_class("-short"):
            lines.append(("Queries", self._sets, "text"))
        if self._estimate:
            lines.append(("Ahead", self._estimate, "strong"))
        return foot_rows(lines, width)
