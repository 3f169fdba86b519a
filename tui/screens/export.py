"""Export: precision and TensorRT, the work live, and the proof that it is the same model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual.containers import VerticalScroll
from textual.widget import Widget

from pipeline.errors import Failure, as_failure
from pipeline.export.records import Gate, Manifest, Parity, read_manifest, read_parity
from pipeline.run import Result, Run
from pipeline.settings import ExportSettings
from tui.choices import Choice
from tui.export_rows import (
    PRECISIONS,
    Place,
    case_rows,
    export_choices,
    file_rows,
    precision_rows,
    standing_rows,
    verdict_rows,
)
from tui.rows import Row, plain, row, wrap
from tui.screens.step import StepScreen
from tui.steps import Step, StepName, missing_step
from tui.widgets.pane import ListPane, Pane
from tui.widgets.settings_list import SettingsList
from tui.working import progress_rows, unknown_rows

NEEDED = ("corpus", "sdg", "prep", "finetune")
"""The stages that come before an export."""

_COPIED_COLUMNS = 100


@dataclass(frozen=True)
class Made:
    """An export's proof and files, as they lie on the disk.

    Attributes:
        folder: the export's.
        graphs: every graph's report with its gate.
        manifest: None where the export ended before it was written.
        sizes: bytes by relative path.
    """

    folder: Path
    graphs: tuple[tuple[Parity, Gate], ...]
    manifest: Manifest | None
    sizes: Mapping[str, int]


class ExportScreen(StepScreen):
    """The seventh step."""

    STEP: ClassVar[StepName] = "export"

    def __init__(self) -> None:
        super().__init__()
        self._place = Place()
        self._placed: tuple[Run, Path | None] | None = None
        self._made: Made | None = None
        self._seen: object = None

    def compose_work(self) -> Iterable[Widget]:
        """State, choices, and the report."""
        yield Pane(self._state_rows, id="export-state")
        yield SettingsList(id="export-choices")
        yield Pane(self._about_rows, id="export-about")
        with VerticalScroll(id="export-body", can_focus=True):
            yield Pane(self._body_rows, id="export-report")

    def arrive(self) -> None:
        """The keys belong to the choices at first."""
        super().arrive()
        self.query_one(SettingsList).focus()

    def primary(self) -> str:
        """What enter does."""
        if self._working():
            return ""
        if missing := self._missing():
            return f"To {missing.title}"
        return "Go on" if self._state() == "done" else "Export"

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now."""
        if action == "edit":
            return self.snapshot is not None and not self._working()
        if action == "stop":
            return self.wizard.running("export") is not None
        if action == "copy":
            return bool(self._made and self._made.graphs) and not self._working()
        return super().check_action(action, parameters)

    def refresh_work(self) -> None:
        """Take what the run folder holds now, and show it."""
        if self.snapshot is not self._seen:
            self._seen = self.snapshot
            self._take()
            self.refresh_frame()
        self.query_one(SettingsList).show_settings(self._choices())
        super().refresh_work()

    def _state(self) -> str:
        return self.snapshot.state("export") if self.snapshot else "waiting"

    def _working(self) -> bool:
        return bool(self.wizard.running("export")) or self.wizard.starting("export")

    def _missing(self) -> Step | None:
        return missing_step(self.snapshot.stages if self.snapshot else {}, NEEDED)

    def _settings(self) -> ExportSettings:
        return self.snapshot.recipe.export if self.snapshot else ExportSettings()

    def _choices(self) -> list[Choice]:
        return export_choices(self._settings(), self._place)

    # What lies on the disk

    def _take(self) -> None:
        """Read the report that is there, and look at the model in a thread when it is another."""
        snapshot = self.snapshot
        if snapshot is None:
            self._made = None
            return
        try:
            self._made = read_made(self._folder())
        except (Failure, OSError, KeyError, TypeError) as error:
            self._made = None
            self.wizard.fail(as_failure(error))
        trained = snapshot.results.get("finetune")
        model = trained.folder / "model" if trained else None
        wanted = (snapshot.run, model)
        if wanted == self._placed:
            return
        self._placed = wanted
        wizard, rehearsal = self.wizard, snapshot.rehearsal

        def look() -> None:
            place = read_place(model, rehearsal)
            wizard.call_from_thread(self._looked, wanted, place)

        self.run_worker(look, thread=True, group="place", exclusive=True, exit_on_error=False)

    def _folder(self) -> Path | None:
        """The export of this recipe, finished or failed; else the one made last."""
        snapshot = self.snapshot
        if snapshot is None:
            return None
        result: Result | None = snapshot.results.get("export")
        if result is None and self._state() == "failed":
            return snapshot.folders.get("export")
        result = result or snapshot.run.current("export", snapshot.variant)
        return result.folder if result else None

    def _looked(self, wanted: tuple[Run, Path | None], place: Place) -> None:
        if wanted == self._placed:
            self._place = place
            self.refresh_work()

    # Keys

    def go_on(self) -> None:
        """Export, or go on to the deployment, or to the step that comes first."""
        if self._working():
            self.wizard.say("It is at work; this window may be closed meanwhile.")
        elif missing := self._missing():
            self.wizard.open_step(missing.name)
        elif self._state() == "done":
            self.wizard.open_step("deploy")
        elif self._settings().tensorrt and self._place.no_tensorrt:
            self.wizard.say(f"No TensorRT plan here: {self._place.no_tensorrt}.", "bad")
        else:
            self.wizard.start(["export"])

    def action_edit(self) -> None:
        """Change the choice under the cursor."""
        choice = self.query_one(SettingsList).current
        if choice is None:
            return
        if choice.setting == "export.dtypes":
            self._choose_precision()
            return
        on = not self._settings().tensorrt
        if on and self._place.no_tensorrt:
            self.wizard.say(f"No TensorRT plan here: {self._place.no_tensorrt}.", "warn")
        else:
            self.wizard.change_settings({"export.tensorrt": on})

    def _choose_precision(self) -> None:
        from tui.screens.dialogs import Choice as ChoiceDialog

        dtypes = self._settings().dtypes

        def chosen(index: int | None) -> None:
            if index is not None and PRECISIONS[index] != dtypes:
                self.wizard.change_settings({"export.dtypes": list(PRECISIONS[index])})

        cursor = PRECISIONS.index(dtypes) if dtypes in PRECISIONS else 0
        title = "Precision; the first one is served"
        self.app.push_screen(ChoiceDialog(title, precision_rows(self._place), cursor), chosen)

    def action_stop(self) -> None:
        """End the export; the model that it writes down is kept."""
        self.wizard.request("cancel", "export")

    def action_copy(self) -> None:
        """Copy the report with the files."""
        rows = self._report_rows(_COPIED_COLUMNS)
        self.wizard.copy("\n".join(plain(cells).rstrip() for cells in rows))

    def on_list_pane_moved(self, event: ListPane.Moved) -> None:
        """Another choice, another explanation."""
        self.query_one("#export-about", Pane).update()

    def on_list_pane_chosen(self, event: ListPane.Chosen) -> None:
        """Enter goes on, wherever the cursor stands."""
        self.action_go_on()

    # Rows

    def _state_rows(self, width: int, _height: int) -> list[Row]:
        job = self.wizard.running("export")
        if job:
            return [(), *progress_rows(job.view, job.paused, self.glyphs, width), ()]
        if self.wizard.starting("export"):
            return [(), row((" starting ...", "muted")), ()]
        if self.snapshot is None or self.snapshot.failure:
            return [*unknown_rows(self.snapshot, width), ()]
        if missing := self._missing():
            text = f"There is no fine-tuned model to export: {missing.title} comes first. "
            return [
                (),
                *(
                    row(" ", (line, "warn"))
                    for line in wrap(text + f"enter goes there: {missing.about}.", width - 2)
                ),
                (),
            ]
        made = self._made is not None and self._state() == "stale"
        stage = self.snapshot.stages["export"]
        return [(), *standing_rows(stage, made, self.glyphs, width), ()]

    def _about_rows(self, width: int, _height: int) -> list[Row]:
        lines = 3 if self.app.size.height >= 20 else 0
        return self.query_one(SettingsList).about_rows(width, lines)

    def _body_rows(self, width: int, _height: int) -> list[Row]:
        if self._working() or self._made is None:
            return []
        return self._report_rows(width)

    def _report_rows(self, width: int) -> list[Row]:
        made = self._made
        if made is None:
            return []
        rows = verdict_rows(made.graphs, self.glyphs, width)
        if self.wizard.rehearsing:
            rows.append(row(("   A rehearsal's model: it is not for use.", "warn")))
        if made.manifest:
            rows += [(), *file_rows(made.manifest, made.sizes, str(made.folder), width)]
        return [*rows, *case_rows(made.graphs)]


def read_made(folder: Path | None) -> Made | None:
    """What an export's folder holds; None where there is nothing to show.

    Raises:
        BadInput: its files are damaged or of a later format.
        OSError: they can't be read.
    """
    if folder is None:
        return None
    graphs = read_parity(folder)
    manifest = read_manifest(folder) if (folder / "done.json").is_file() else None
    names = manifest.files if manifest else ()
    sizes = {name: (folder / name).stat().st_size for name in names if (folder / name).is_file()}
    return Made(folder, graphs, manifest, sizes) if graphs or manifest else None


def read_place(model: Path | None, rehearsal: bool) -> Place:
    """Look at the model's weights and at what TensorRT needs; may be called from any thread."""
    from pipeline.export.size import graph_sizes

    try:
        sizes = graph_sizes(model) if model else {}
    except (Failure, OSError):
        # A model that is damaged is the training's to tell; here only the estimate is missing.
        sizes = {}
    return Place(sizes, _no_tensorrt(rehearsal))


def _no_tensorrt(rehearsal: bool) -> str:
    """Why no TensorRT plan can be built here; empty where one can."""
    from importlib.util import find_spec

    from pipeline.gate import read_machine
    from pipeline.gpus import open_nvml

    if rehearsal:
        return "a rehearsal uses no GPU"
    if find_spec("tensorrt") is None:
        return "the package tensorrt is not installed (embedsmith[tensorrt])"
    try:
        report = read_machine(open_nvml(), os.environ)
    except Failure as failure:
        return failure.happened.rstrip(".")
    return "" if report.open else "no GPU here passes the gate"
