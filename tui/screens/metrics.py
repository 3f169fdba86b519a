"""Metrics: base against fine-tuned against BM25, a verdict in words, and the misses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from textual.containers import Vertical
from textual.widget import Widget

from pipeline.errors import Failure, as_failure
from pipeline.eval.misses import Misses, load_misses
from pipeline.eval.records import SetResult, read_eval
from pipeline.eval.tables import (
    metric_rows,
    ordered_sets,
    to_csv,
    to_json,
    to_markdown,
    verdict_sentence,
)
from pipeline.files import write_text
from pipeline.run import Result
from tui.metrics_rows import (
    MEASURES,
    header_row,
    metric_line,
    miss_line,
    miss_rows,
    misses_header,
    ordered_rows,
)
from tui.rows import Row, Span, row, wrap
from tui.screens.step import StepScreen
from tui.steps import StepName
from tui.widgets.pane import ListPane, Pane
from tui.working import progress_rows

K = 10
"""The rank at which a query counts as missed."""

_FORMATS: tuple[tuple[str, str, Callable[[Sequence[SetResult]], str]], ...] = (
    ("Markdown", "md", to_markdown),
    ("CSV", "csv", to_csv),
    ("JSON", "json", to_json),
)


class MetricsScreen(StepScreen):
    """The sixth step."""

    STEP: ClassVar[StepName] = "metrics"

    def __init__(self) -> None:
        super().__init__()
        self._folder: Path | None = None
        self._sets: tuple[SetResult, ...] = ()
        self._set = 0
        self._measure = 0
        self._view = "table"
        self._misses: Misses | None = None

    def compose_work(self) -> Iterable[Widget]:
        """The table, or the misses."""
        yield Pane(self._state_rows, id="metrics-state")
        with Vertical(id="metrics-table"):
            yield Pane(lambda _w, _h: [header_row()], id="metrics-header")
            yield ListPane(self._metric_at, id="metrics-rows")
        with Vertical(id="metrics-misses"):
            yield Pane(self._misses_header, id="misses-header")
            yield ListPane(self._miss_at, id="misses-rows")
            yield Pane(self._miss_rows, id="miss")

    def primary(self) -> str:
        """Measure, or go on."""
        if self.wizard.running("eval") or self.wizard.starting("eval"):
            return ""
        if self._state() == "done":
            return "Go on"
        return "Measure" if self._may_measure() else ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The table's keys work once there is one."""
        if action == "page":
            return bool(self._sets) and self._view != "table"
        if action in ("next_set", "measure", "misses", "export", "copy"):
            return bool(self._sets) and (action != "next_set" or len(self._sets) > 1)
        return super().check_action(action, parameters)

    def refresh_work(self) -> None:
        """Take the result that is there now, and show it."""
        result = self._result()
        if (result.folder if result else None) != self._folder:
            self._take(result)
        has = bool(self._sets)
        self.query_one("#metrics-table").display = has and self._view == "table"
        self.query_one("#metrics-misses").display = has and self._view != "table"
        if has:
            count = len(metric_rows(self._sets[self._set]))
            self.query_one("#metrics-rows", ListPane).show(count)
            listed = self.query_one("#misses-rows", ListPane)
            listed.show(len(self._listed()))
            # The passages need the room that a short list leaves.
            listed.styles.max_height = max(listed.count, 1)
            self.query_one(
                "#metrics-rows" if self._view == "table" else "#misses-rows", ListPane
            ).focus()
        super().refresh_work()

    def _state(self) -> str:
        return self.snapshot.state("eval") if self.snapshot else "waiting"

    def _may_measure(self) -> bool:
        return bool(self.snapshot and self.snapshot.state("finetune") == "done")

    def _result(self) -> Result | None:
        """The result of this recipe, or the last one while another is being made."""
        snapshot = self.snapshot
        if snapshot is None:
            return None
        return snapshot.results.get("eval") or snapshot.run.current("eval", snapshot.variant)

    def _take(self, result: Result | None) -> None:
        self._folder = result.folder if result else None
        self._set, self._misses, self._view = 0, None, "table"
        try:
            self._sets = ordered_sets(read_eval(result.folder)) if result else ()
        except (Failure, OSError, ValueError, KeyError) as error:
            self._sets = ()
            self.wizard.fail(as_failure(error))

    # Keys

    def go_on(self) -> None:
        """Measure, or go on to the export."""
        if self.wizard.running("eval") or self.wizard.starting("eval"):
            self.wizard.say("It is being measured; this window may be closed meanwhile.")
        elif self._state() == "done":
            self.wizard.open_step("export")
        elif self._may_measure():
            self.wizard.start(["eval"])
        else:
            back = self.wizard.key_of("everywhere.previous_step")
            self.wizard.say(f"Train a model first: {back} goes back to it.", "warn")

    def action_next_set(self) -> None:
        """The next eval set."""
        self._set = (self._set + 1) % len(self._sets)
        self._misses = None
        if self._view != "table":
            self._load_misses()
        self.refresh_work()

    def action_measure(self) -> None:
        """Another measure first."""
        self._measure = (self._measure + 1) % len(MEASURES)
        self.query_one("#metrics-rows", ListPane).move_to(0)
        self.refresh_work()

    def action_misses(self) -> None:
        """From the table to the misses, to the wins, and back."""
        order = ("table", "misses", "wins")
        self._view = order[(order.index(self._view) + 1) % len(order)]
        if self._view != "table" and self._misses is None:
            self._load_misses()
        self.refresh_work()

    def action_page(self) -> None:
        """The next page of the passages, the first one after the last."""
        pane = self.query_one("#miss", Pane)
        if pane.scroll_offset.y >= pane.max_scroll_y:
            pane.scroll_home(animate=False)
        else:
            pane.page(1)

    def action_export(self) -> None:
        """Write the table beside the run's report."""
        from tui.screens.dialogs import Choice

        snapshot = self.snapshot
        if snapshot is None:
            return

        def chosen(index: int | None) -> None:
            if index is None:
                return
            _, suffix, render = _FORMATS[index]
            path = snapshot.run.path / f"metrics.{suffix}"
            try:
                write_text(path, render(self._sets) + "\n")
            except OSError as error:
                self.wizard.fail(as_failure(error))
                return
            self.wizard.say(f"Written: {path}", "good")

        rows = [row(name, (f"  metrics.{suffix}", "muted")) for name, suffix, _ in _FORMATS]
        self.app.push_screen(Choice("Write the table as", rows), chosen)

    def action_copy(self) -> None:
        """Copy the table as Markdown."""
        self.wizard.copy(to_markdown(self._sets))

    def on_list_pane_moved(self, event: ListPane.Moved) -> None:
        """Another miss."""
        if event.pane.id == "misses-rows":
            self.query_one("#miss", Pane).scroll_home(animate=False)
            self.query_one("#miss", Pane).update()

    def on_list_pane_chosen(self, event: ListPane.Chosen) -> None:
        """Enter goes on, wherever the cursor stands."""
        self.action_go_on()

    # Misses

    def _load_misses(self) -> None:
        folder, name = self._folder, self._sets[self._set].name
        if folder is None:
            return

        def load() -> None:
            try:
                misses = load_misses(folder, name, K)
            except (Failure, OSError, ValueError, KeyError) as error:
                self.app.call_from_thread(self.wizard.fail, as_failure(error))
                return
            self.app.call_from_thread(self._misses_loaded, folder, name, misses)

        self.run_worker(load, thread=True, group="misses", exclusive=True, exit_on_error=False)

    def _misses_loaded(self, folder: Path, name: str, misses: Misses) -> None:
        # A thread is not ended by the next one: it may come back after it.
        if folder == self._folder and name == self._sets[self._set].name:
            self._misses = misses
            self.refresh_work()

    def _listed(self) -> Sequence[object]:
        if self._misses is None:
            return ()
        return self._misses.misses if self._view == "misses" else self._misses.wins

    # Rows

    def _state_rows(self, width: int, _height: int) -> list[Row]:
        job = self.wizard.running("eval")
        if job:
            return [(), *progress_rows(job.view, job.paused, self.glyphs, width)]
        if not self._sets:
            if self._may_measure():
                text = "Nothing is measured yet: enter measures base, fine-tuned and BM25."
            else:
                text = "There is no model to measure yet: it comes from the step before."
            return [(), *(row(" ", line) for line in wrap(text, width - 2))]
        rows: list[Row] = []
        if self._state() != "done" and self.snapshot:
            reason = self.snapshot.stages["eval"].reason if self.snapshot.stages else ""
            rows.append(row((f" {self._state()}: {reason}; enter measures again", "warn")))
        spans = [Span(" ")]
        for number, each in enumerate(self._sets):
            text = f"{each.name} ({each.queries} queries)"
            spans += [Span(text, "accent" if number == self._set else "muted"), Span("  ")]
        rows.append(row(*spans))
        sentence = verdict_sentence(self._sets[self._set])
        rows += [row((" " + line, "strong")) for line in wrap(sentence, width - 2)]
        if self.wizard.rehearsing:
            rows.append(row((" A rehearsal's numbers say nothing of a real model.", "warn")))
        return rows

    def _metric_at(self, index: int, _width: int) -> Row:
        rows = ordered_rows(metric_rows(self._sets[self._set]), MEASURES[self._measure])
        return metric_line(rows[index])

    def _misses_header(self, width: int, _height: int) -> list[Row]:
        if self._misses is None:
            return [row((" reading ...", "muted"))]
        return [misses_header(self._misses, self._view, width)]

    def _miss_at(self, index: int, width: int) -> Row:
        assert self._misses is not None
        listed = self._misses.misses if self._view == "misses" else self._misses.wins
        return miss_line(listed[index], width)

    def _miss_rows(self, width: int, height: int) -> list[Row]:
        index = self.query_one("#misses-rows", ListPane).cursor
        if self._misses is None or index < 0:
            return []
        listed = self._misses.misses if self._view == "misses" else self._misses.wins
        return miss_rows(listed[index], self.glyphs, width, height) if index < len(listed) else []
