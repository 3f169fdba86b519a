"""What all eight steps share: the frame around a step's work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Key, Resize, ScreenResume
from textual.screen import Screen
from textual.widget import Widget
from textual.worker import Worker

from pipeline.journal import Event
from tui.glyphs import Glyphs
from tui.keys import Key as KeyOfTable
from tui.keys import bindings, keys_of
from tui.rows import Row, Span, aligned, row, width_of, wrap
from tui.steps import STEPS, WORDS, Step, StepName, StepState, find_step
from tui.watch import Job, Snapshot
from tui.widgets.pane import Pane
from tui.widgets.prompt import Check, PromptLine

if TYPE_CHECKING:
    from tui.app import Wizard

RAIL_COLUMNS = 100
"""From this width on the rail stands at the left; below it is one row."""
NOTICE_LINES = 2
"""Rows of a notice at most."""
SMALLEST = (60, 16)
"""Columns and rows below which a note stands in place of the screen."""


class StepScreen(Screen[None]):
    """One step: a header, the rail, the step's own work, a notice, a prompt and the keys.

    A step's screen builds its panes from the snapshot and the jobs of the app and keeps nothing
    that the run folder doesn't have.
    """

    STEP: ClassVar[StepName]
    FOLLOWS_DECISIONS: ClassVar[bool] = False
    """Whether it reads the decision log itself, so that the run isn't read for each decision."""
    stands = False
    """Whether every widget is there; before, nothing can be built again."""
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init_subclass__(cls) -> None:
        # Before Textual gathers the bindings of the class.
        cls.BINDINGS = [*bindings(cls.STEP)]
        super().__init_subclass__()

    @property
    def wizard(self) -> Wizard:
        """The app."""
        return cast("Wizard", self.app)

    @property
    def step(self) -> Step:
        """This screen's step."""
        return find_step(self.STEP)

    @property
    def glyphs(self) -> Glyphs:
        """Unicode or ASCII signs."""
        return self.wizard.glyphs

    @property
    def snapshot(self) -> Snapshot | None:
        """Where the run stands; None before one was chosen."""
        return self.wizard.snapshot

    def compose(self) -> ComposeResult:
        """The frame; `compose_work` fills it."""
        yield Pane(self._header_rows, id="header")
        yield Pane(self._rail_row, id="rail-row")
        with Horizontal(id="middle"):
            yield Pane(self._rail_rows, id="rail")
            with Vertical(id="work"):
                yield from self.compose_work()
        yield Pane(self._notice_rows, id="notice")
        yield PromptLine()
        yield Pane(self._key_rows, id="keys")
        yield Pane(self._too_small_rows, id="too-small")

    def compose_work(self) -> Iterable[Widget]:
        """The step's own panes."""
        return ()

    def refresh_work(self) -> None:
        """Build the step's panes again: the snapshot, a job or a setting changed."""
        for pane in self.query("#work Pane").results(Pane):
            pane.update()

    def job_changed(self, job: Job, events: Sequence[Event]) -> None:
        """A worker of this step said something; twice a second at most."""
        self.refresh_work()

    def primary(self) -> str:
        """What enter does now, in a word or two; empty for nothing."""
        return ""

    def action_go_on(self) -> None:
        """What enter does, once what is shown is how things stand."""
        self.wizard.when_settled(self, self.go_on)

    def go_on(self) -> None:
        """Do the step's work, or go to the next one; a refusal says why."""

    def unsaved(self) -> str:
        """What leaving the wizard would lose, as a sentence; empty for nothing."""
        return ""

    def jobs_shown(self) -> Sequence[str]:
        """The jobs that this step's log is of."""
        return self.step.stages

    def chain(self, stage: str) -> list[str]:
        """The stages that start again when one of this step's failed: it and what follows."""
        return list(self.step.stages[self.step.stages.index(stage) :])

    def refresh_frame(self) -> None:
        """Build header, rail, notice and keys again."""
        if not self.stands or not self.query("#keys"):
            return  # not there yet, or not any more
        for name in ("header", "rail-row", "rail", "notice", "keys"):
            self.query_one(f"#{name}", Pane).update()

    def refresh_all(self) -> None:
        """Build everything again; what comes while the window closes has no place any more."""
        if self.stands and self.is_attached:
            self.refresh_frame()
            self.refresh_work()

    def on_mount(self) -> None:
        """Containers mount their children later than themselves."""
        self.call_after_refresh(self._stand)

    def _stand(self) -> None:
        self.stands = True
        self.arrive()

    def run_worker(self, work: Any, *args: Any, **options: Any) -> Worker[Any]:
        """As Textual's, but what fails is said, and takes the window with it only if told to."""
        return super().run_worker(work, *args, **{"exit_on_error": False, **options})

    def on_key(self, event: Key) -> None:
        """A key that does nothing now says so; on a screen that is too small none acts blindly."""
        keymap = self.wizard.keymap()

        def bound(scope: str) -> dict[str, KeyOfTable]:
            entries = keys_of(scope)
            return {name.strip(): key for key in entries for name in keymap[key.id].split(",")}

        if self.has_class("-tiny") and event.key not in bound("everywhere"):
            event.stop()
            event.prevent_default()
            return
        key = bound(self.STEP).get(event.key)
        if key and self.check_action(key.action, ()) is False:
            self.wizard.say(
                f"{self.wizard.key_of(key.id)} ({key.label}) has nothing to do here now."
            )

    def on_prompt_line_turned(self, event: PromptLine.Turned) -> None:
        """The keys are the question's while it is asked."""
        self.refresh_frame()

    async def ask(self, label: str, value: str = "", **options: Any) -> str | None:
        """Ask for a value at the foot of the screen, from a worker: see `PromptLine.ask`."""
        return await self.query_one(PromptLine).ask(label, value, **options)

    async def ask_setting(self, name: str, label: str) -> bool:
        """Ask for a recipe's setting and write it; returns whether it changed.

        Args:
            name: the setting's dotted name.
            label: what is asked for.
        """
        from pipeline.recipe import flatten

        snapshot = self.snapshot
        if snapshot is None:
            return False
        value = flatten(snapshot.recipe)[name]
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        check: Check = lambda text: self.wizard.check_setting(name, text)  # noqa: E731
        text = await self.ask(label, shown, check=check)
        return text is not None and self.wizard.change_setting(name, text)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A thread of this screen that failed says so."""
        self.wizard.on_worker_state_changed(event)

    def on_resize(self, event: Resize) -> None:
        """Another size may want another layout."""
        self.classify(event.size.width, event.size.height)

    def on_screen_resume(self, event: ScreenResume) -> None:
        """Back on this step."""
        if self.stands:
            self.arrive()

    def arrive(self) -> None:
        """The step is shown, for the first time or again: show what became of it."""
        self.refresh_all()

    def classify(self, columns: int, lines: int) -> None:
        """Set the classes that choose a layout for this many columns and lines."""
        self.set_class(columns < SMALLEST[0] or lines < SMALLEST[1], "-tiny")
        self.set_class(columns >= RAIL_COLUMNS, "-wide")
        self.set_class(lines >= 30, "-tall")
        self.set_class(lines < 22, "-short")

    def _header_rows(self, width: int, _height: int) -> list[Row]:
        wizard = self.wizard
        snapshot = self.snapshot
        name = snapshot.run.name if snapshot else "no run yet"
        left = [Span(" embedsmith ", "title"), Span(" "), Span(name, "strong")]
        if snapshot and snapshot.variant:
            left.append(Span(f" / {snapshot.variant}", "strong"))
        if wizard.rehearsing:
            left += [Span("  "), Span("REHEARSAL", "warn")]
        return [aligned(row(*left), row((wizard.activity() + " ", "muted")), width)]

    def _rail_row(self, width: int, _height: int) -> list[Row]:
        """The rail in one row: names where they fit, else glyphs, this step by its name."""
        states = self.wizard.states()
        for all_names in (True, False):
            spans: list[Span] = []
            for number, step in enumerate(STEPS, start=1):
                state = states[step.name]
                here = step.name == self.STEP
                title = step.title if here or all_names else ""
                text = f"{number}{_glyph(self.glyphs, state)}{title}"
                spans += [Span(text, "accent" if here else _tone(state)), Span(" ")]
            word = Span(f" {WORDS[states[self.STEP]]}", "muted")
            if width_of((*spans, word)) <= width - 1:
                break
        return [aligned(row(" ", *spans), row(word, " "), width)]

    def _rail_rows(self, width: int, _height: int) -> list[Row]:
        states = self.wizard.states()
        rows: list[Row] = [()]
        for number, step in enumerate(STEPS, start=1):
            state = states[step.name]
            here = step.name == self.STEP
            mark = self.glyphs.cursor if here else " "
            left = row(
                (f"{mark}{number} ", "accent" if here else "muted"),
                (step.title, "accent" if here else "text"),
            )
            right = row((f"{_glyph(self.glyphs, state)} {WORDS[state]:<7}", _tone(state)))
            rows += [aligned(left, right, width - 1), ()]
        return rows

    def _notice_rows(self, width: int, _height: int) -> list[Row]:
        """One row, or two where it needs them: a path at its end has to be seen."""
        text, tone = self.wizard.notice
        lines = wrap(text, width - 2)[:NOTICE_LINES] if text else [""]
        return [row(" ", (line, tone)) for line in lines]

    def _key_rows(self, width: int, _height: int) -> list[Row]:
        """As many keys as fit: enter's own word first, the step's, then everywhere's."""
        if self.query_one(PromptLine).asking:
            return [footer_row(self.query_one(PromptLine).keys(), [], width)]
        first = [("enter", self.primary())] if self.primary() else []
        entries = [
            (self.wizard.key_of(key.id), key.label)
            for key in keys_of(self.STEP)
            if key.shown and key.action != "go_on" and self.check_action(key.action, ())
        ]
        last = [
            (self.wizard.key_of(key.id), key.label) for key in keys_of("everywhere") if key.shown
        ]
        return [footer_row([*first, *entries], last, width)]

    def _too_small_rows(self, width: int, height: int) -> list[Row]:
        columns, lines = SMALLEST
        size = self.app.size
        return [
            row(("embedsmith", "title")),
            row(f"Please enlarge to {columns}x{lines}; this is {size.width}x{size.height}."),
            row(("Running work goes on.", "muted")),
        ]


def footer_row(
    entries: Sequence[tuple[str, str]], last: Sequence[tuple[str, str]], width: int
) -> Row:
    """Keys with their words: those of `last` always, of `entries` as many as fit."""

    def spans(key: str, label: str) -> Row:
        return row((key, "key"), (f" {label}  ", "muted"))

    end = [spans(*entry) for entry in last]
    room = width - 1 - sum(width_of(cells) for cells in end)
    shown: list[Row] = []
    for cells in (spans(*entry) for entry in entries):
        if width_of(cells) <= room:
            shown.append(cells)
            room -= width_of(cells)
    return row(" ", *(span for cells in (*shown, *end) for span in cells))


def _glyph(glyphs: Glyphs, state: StepState) -> str:
    return {
        "done": glyphs.done,
        "running": glyphs.running,
        "ready": glyphs.waiting,
        "stale": glyphs.stale,
        "failed": glyphs.failed,
        "stopped": glyphs.stale,
        "blocked": glyphs.blocked,
    }[state]


def _tone(state: StepState) -> Any:
    return {
        "done": "good",
        "running": "accent",
        "ready": "text",
        "stale": "warn",
        "failed": "bad",
        "stopped": "warn",
        "blocked": "muted",
    }[state]
