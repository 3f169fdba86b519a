"""Machine: every GPU and every check, what to do about a refusal, and the way on."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from textual.containers import VerticalScroll
from textual.widget import Widget

from pipeline.gate import Check, GateReport, gigabytes
from pipeline.gpus import Gpu
from pipeline.profiles import REHEARSAL_PROFILE, known_profiles
from pipeline.recipe import Recipe
from pipeline.run import home
from tui.glyphs import Glyphs
from tui.rows import Row, Tone, plain, row, wrap
from tui.screens.step import StepScreen
from tui.steps import StepName
from tui.widgets.pane import Pane


class MachineScreen(StepScreen):
    """The first step."""

    STEP: ClassVar[StepName] = "machine"

    def __init__(self) -> None:
        super().__init__()
        self._report: GateReport | None = None
        self._looked_for = ""

    def compose_work(self) -> Iterable[Widget]:
        """The checks, and what they mean."""
        with VerticalScroll(id="checks", can_focus=True):
            yield Pane(self._check_rows, id="check-rows")
        yield Pane(self._verdict_rows, id="verdict")

    def on_mount(self) -> None:
        """Look at the machine."""
        self.action_recheck()

    def primary(self) -> str:
        """Go on, where there is a way."""
        return "Go on" if self._may_go_on() else ""

    def action_recheck(self) -> None:
        """Look at the machine, in a thread: drivers, docker and networks may take their time."""
        self._report = None
        self.refresh_work()
        profile_id = self._looked_for = self._profile_id()
        wizard = self.wizard

        def look() -> None:
            report = read_report(profile_id)
            wizard.call_from_thread(self._looked, report)

        self.run_worker(look, thread=True, group="machine", exclusive=True, exit_on_error=False)

    def arrive(self) -> None:
        """Another run may want another base model's files."""
        super().arrive()
        if self._report and self._profile_id() != self._looked_for:
            self.action_recheck()

    def _looked(self, report: GateReport) -> None:
        self._report = report
        self.wizard.gate_open = report.open
        self.refresh_all()

    def _profile_id(self) -> str:
        snapshot = self.snapshot
        return snapshot.recipe.profile if snapshot else self.wizard.profile_id or Recipe().profile

    def _may_go_on(self) -> bool:
        """A rehearsal, or a machine that the gate lets through: there is no other way."""
        if self.snapshot:
            return self.snapshot.rehearsal or bool(self._report and self._report.open)
        return bool(self._report and self._report.open) or self.wizard.rehearsing

    def go_on(self) -> None:
        """To the corpus."""
        if not self._may_go_on():
            key = self.wizard.key_of("machine.rehearse")
            refused = "No GPU here passes the gate" if self._report else "The checks are running"
            self.wizard.say(f"{refused}: {key} rehearses the whole chain on the CPU.", "warn")
            return
        if self.snapshot is None and not self.wizard.profile_id:
            self.wizard.profile_id = Recipe().profile
        self.wizard.open_step("corpus")

    def _another(self) -> str:
        runs, new = (self.wizard.key_of(key) for key in ("everywhere.runs", "runs.new"))
        return f"{runs} and {new}"

    def action_rehearse(self) -> None:
        """Go on with the rehearsal's small model."""
        if self.snapshot and not self.snapshot.rehearsal:
            self.wizard.say(
                f"This run is no rehearsal: {self._another()} start another one.", "warn"
            )
            return
        self.wizard.profile_id = REHEARSAL_PROFILE
        self.wizard.open_step("corpus")

    def action_profile(self) -> None:
        """Choose the base model of the next run, where the gate is open."""
        from tui.screens.dialogs import Choice

        if self.snapshot:
            self.wizard.say(
                f"The base model of a run stays: {self._another()} start another run.", "warn"
            )
            return
        if not (self._report and self._report.open):
            self.wizard.say("Every base model but the rehearsal's needs a GPU that passes.", "warn")
            return
        profiles = [profile for profile in known_profiles().values() if profile.gated]
        rows = [row(f"{profile.title:<34}", (profile.licence, "muted")) for profile in profiles]

        def chosen(index: int | None) -> None:
            if index is not None:
                self.wizard.profile_id = profiles[index].id
                self.wizard.say(f"{profiles[index].title}. {profiles[index].licence}")
                self.action_recheck()

        self.app.push_screen(Choice("Base model", rows), chosen)

    def action_copy(self) -> None:
        """Copy the checks."""
        if self._report:
            rows = report_rows(self._report, self.glyphs, 100)
            self.wizard.copy("\n".join(plain(cells).rstrip() for cells in rows))

    def _check_rows(self, width: int, _height: int) -> list[Row]:
        if self._report is None:
            return [(), row(" looking at the machine ...")]
        return [(), *report_rows(self._report, self.glyphs, width)]

    def _verdict_rows(self, width: int, _height: int) -> list[Row]:
        if self._report is None:
            return [()]
        key = self.wizard.key_of("machine.rehearse")
        return verdict_rows(self._report, self.wizard.rehearsing, key, width)


def read_report(profile_id: str) -> GateReport:
    """The gate and everything else that a run of this profile needs of the machine."""
    from pipeline.gate import read_machine
    from pipeline.gpus import open_nvml
    from pipeline.packages import package_checks
    from pipeline.preflight import judge, read_surroundings
    from pipeline.profiles import find_profile
    from pipeline.settings import SdgSettings

    profile = find_profile(profile_id)
    surroundings = read_surroundings(home(), SdgSettings().key_variable, os.environ, profile)
    report = judge(read_machine(open_nvml(), os.environ), surroundings)
    return replace(report, checks=(*report.checks, *package_checks()))


def report_rows(report: GateReport, glyphs: Glyphs, width: int) -> list[Row]:
    """The GPUs, and every check with glyph and word, its remedy beneath.

    Args:
        report: the gate's and the preflight's.
        glyphs: the signs.
        width: columns.
    """
    rows: list[Row] = [_gpu_row(gpu) for gpu in report.gpus]
    if rows:
        rows.append(())
    for check in report.checks:
        rows += check_rows(check, glyphs, width)
    return rows


def _gpu_row(gpu: Gpu) -> Row:
    major, minor = gpu.compute_capability
    return row(
        (f" GPU {gpu.index}  ", "strong"),
        f"{gpu.name}  {gpu.architecture} {major}.{minor}  {gigabytes(gpu.memory_total)}",
        (f"  {gigabytes(gpu.memory_free)} free  driver {gpu.driver}", "muted"),
    )


def check_rows(check: Check, glyphs: Glyphs, width: int) -> list[Row]:
    """One check with glyph and word, its remedy beneath."""
    glyph, word, tone = {
        "pass": (glyphs.passed, "ok", "good"),
        "warn": (glyphs.warned, "warn", "warn"),
        "refuse": (glyphs.refused, "refused", "bad"),
    }[check.verdict]
    tone_of: Tone = tone  # type: ignore[assignment]
    head = f" {glyph} {word:<8}"
    lines = wrap(f"{check.name}: {check.detail}", max(width - len(head) - 1, 20))
    rows = [row((head, tone_of), lines[0])]
    rows += [row(" " * len(head), line) for line in lines[1:]]
    for number, line in enumerate(
        wrap(check.remedy, max(width - len(head) - 3, 20)) if check.remedy else []
    ):
        lead = f"{glyphs.arrow} " if number == 0 else "  "
        rows.append(row(" " * len(head), (lead + line, "muted")))
    return rows


def verdict_rows(report: GateReport, rehearsing: bool, key: str, width: int) -> list[Row]:
    """What the checks mean for the way on.

    Args:
        report: the gate's and the preflight's.
        rehearsing: whether this is, or is about to be, a rehearsal.
        key: begins one.
        width: columns.
    """
    if rehearsing:
        text = "A rehearsal: the whole chain on the CPU, with a small model that is not for use."
        tone: Tone = "warn"
    elif report.open and report.chosen:
        text, tone = f"GPU {report.chosen.index} passes the gate: {report.chosen.name}.", "good"
    else:
        text = (
            "No GPU here passes the gate, so no base model but the rehearsal's can be trained. "
            f"{key} rehearses the whole chain on the CPU, with a small model."
        )
        tone = "bad"
    return [row(" ", (line, tone)) for line in wrap(text, width - 2)]
