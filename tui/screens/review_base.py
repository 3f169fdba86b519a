"""What the Review screen stands on: its panes, where samples come from, and writing things down.

Decisions are written in the event loop's own thread: an append takes about a millisecond, and
what the screen shows is what the log says.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import ClassVar

from textual.containers import Container, Vertical
from textual.events import Resize, ScreenSuspend, Unmount
from textual.timer import Timer
from textual.widget import Widget
from textual.worker import get_current_worker

from pipeline.errors import Failure, as_failure
from pipeline.review.decisions import Action
from tui.keys import keys_of
from tui.review.desk import Followed, ReviewDesk, SampleView
from tui.review.rows import enough_rows, head_rows, place_row, sample_row
from tui.review.sample_rows import evidence_rows, sample_pages
from tui.review.source import Source, source_of
from tui.rows import Row, row, wrap
from tui.screens.step import StepScreen
from tui.steps import StepName
from tui.widgets.pane import ListPane, Pane
from tui.widgets.sample_list import SampleList

LOOK_SECONDS = 1.0
"""How often arriving samples and other windows' decisions are looked for."""

_LIST_LINES = ((20, 3), (30, 6))
"""Below so many lines of a screen its list has so many; above, a quarter of them."""


class ReviewBase(StepScreen):
    """Panes, samples and the decision log; what keys do is its subclasses' part."""

    STEP: ClassVar[StepName] = "review"
    FOLLOWS_DECISIONS: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.desk: ReviewDesk | None = None
        self.editing = False
        self._loading: Source | None = None
        self._read_so_far = 0
        self._page = 0
        self._pages = 1
        self._rejected = ""
        self._complaint = ""
        self._settling: Timer | None = None

    def compose_work(self) -> Iterable[Widget]:
        """Counts above; the list, and the sample below or beside it."""
        yield Pane(self._head_rows, id="review-head")
        yield Pane(self._enough_rows, id="review-enough")
        with Container(id="review-body"):
            with Vertical(id="review-left"):
                yield SampleList(self._list_row, id="review-list")
                yield Pane(self._place_rows, id="review-place")
            with Vertical(id="review-right"):
                yield Pane(self._sample_rows, id="review-sample")

    def on_mount(self) -> None:
        """Look around once a second."""
        self.set_interval(LOOK_SECONDS, self._look)

    def primary(self) -> str:
        """On to training."""
        return "Train" if self.desk and not self.editing else ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys work once there are samples, and never while a field is open."""
        ours = action != "go_on" and action in {key.action for key in keys_of("review")}
        if ours and (self.desk is None or self.editing):
            return False
        return super().check_action(action, parameters)

    # Samples come

    def refresh_work(self) -> None:
        """Take the samples that are there now, and show them."""
        source = self._source()
        known = self.desk.source if self.desk else None
        if self.editing:
            return  # what is typed belongs to the samples as they are
        if source is None:
            self.desk = self._loading = None
        elif source not in (known, self._loading):
            self._load(source)
        self.show()

    def _source(self) -> Source | None:
        if self.snapshot is None:
            return None
        job = self.wizard.running("sdg")
        return source_of(self.snapshot, job.folder if job else None)

    def _load(self, source: Source) -> None:
        """Read a run's samples in a thread; 100,000 take seconds."""
        self._loading, self._read_so_far = source, 0
        wizard = self.wizard

        def tell(samples: int, _left: int) -> None:
            wizard.call_from_thread(self._loaded_some, samples)

        def read() -> None:
            desk, worker = ReviewDesk(source), get_current_worker()
            try:
                desk.load(tell, lambda: worker.is_cancelled)
            except (Failure, OSError) as error:
                wizard.call_from_thread(self._complain, as_failure(error))
                return
            if not worker.is_cancelled:
                wizard.call_from_thread(self._loaded, desk)

        self.run_worker(read, thread=True, group="review", exclusive=True, exit_on_error=False)

    def _loaded_some(self, samples: int) -> None:
        self._read_so_far = samples
        if self.desk is None:
            self.query_one("#review-sample", Pane).update()

    def _loaded(self, desk: ReviewDesk) -> None:
        if desk.source != self._loading:
            return
        if self.editing:
            self._loading = None  # taken up again once the form is closed
            return
        before, self._loading, self._complaint = self.desk, None, ""
        here = self.here()
        self.settle()
        if before and before.source.run == desk.source.run:
            desk.resume(before)
        desk.follow()
        self.desk = desk
        self.samples.show(len(desk.listed))
        self.samples.focus()
        place = desk.place(here) if here else desk.next_undecided(-1)
        self.go(place or 0)
        self.refresh_frame()

    def _look(self) -> None:
        """What came since: samples, and the decisions of other windows."""
        desk = self.desk
        if desk is None or self._loading or not self.is_active:
            return
        try:
            followed, arrived = desk.follow(), 0 if desk.source.complete else desk.arrive()
        except (Failure, OSError) as error:
            self._complain(as_failure(error))
            return
        if arrived < 0:
            self._load(desk.source)
        elif arrived or followed.events:
            self.samples.show(len(desk.listed))
            self.show()

    def _complain(self, failure: Failure) -> None:
        """Show a failure once, however often it comes back."""
        if failure.happened != self._complaint:
            self._complaint = failure.happened
            self.wizard.fail(failure)
        self.show()

    # What is shown

    @property
    def samples(self) -> SampleList:
        return self.query_one("#review-list", SampleList)

    def here(self) -> str:
        """Id of the sample under the cursor; empty without one."""
        place = self.samples.cursor
        return self.desk.listed[place] if self.desk and place >= 0 else ""

    def show(self) -> None:
        """Bring everything up to date."""
        if self.desk is None:
            self.samples.show(0)
        self.samples.refresh()
        self._show_beside()

    def _show_beside(self) -> None:
        for name in ("head", "enough", "place", "sample"):
            self.query_one(f"#review-{name}", Pane).update()

    def go(self, place: int) -> None:
        """Put the cursor on a sample and show it from its first page; other rows stay."""
        self._page = 0
        self.samples.move_to(place, tell=False)
        self._show_beside()

    def on_list_pane_moved(self, event: ListPane.Moved) -> None:
        """Another sample; arrows decide nothing."""
        self._page = 0
        self.unask()
        self._show_beside()

    def on_resize(self, event: Resize) -> None:
        """The list takes its share of the lines."""
        super().on_resize(event)
        lines = next((n for limit, n in _LIST_LINES if event.size.height < limit), 0)
        beside = self.has_class("-wide")
        for samples in self.query(SampleList):
            samples.styles.height = "1fr" if beside else lines or event.size.height // 4

    def _head_rows(self, width: int, height: int) -> list[Row]:
        desk = self.desk
        if desk is None:
            return []
        return head_rows(desk.counts(), desk.histogram(), self.glyphs, width, height)

    def _enough_rows(self, width: int, _height: int) -> list[Row]:
        desk = self.desk
        return enough_rows(desk.progress(), desk.counts(), width) if desk else []

    def _list_row(self, index: int, width: int) -> Row:
        desk = self.desk
        if desk is None:
            return ()
        entry = desk.entry(index)
        here = index == self.samples.cursor
        return sample_row(entry, *desk.marks(entry), self.glyphs, width, here)

    def _place_rows(self, width: int, _height: int) -> list[Row]:
        desk = self.desk
        if desk is None:
            return []
        at_work = self.wizard.running("sdg")
        more = "" if desk.source.complete else "more arrive" if at_work else "not all are written"
        cursor, listed = self.samples.cursor, len(desk.listed)
        return [place_row(cursor, listed, desk.total, desk.order, desk.filter, more, width)]

    def _sample_rows(self, width: int, height: int) -> list[Row]:
        desk, here = self.desk, self.here()
        if desk is None:
            return self._waiting_rows(width)
        if not here:
            return [
                (),
                row((" Nothing matches the filter: / and an empty one shows all.", "muted")),
            ]
        try:
            view = desk.view(here)
        except Failure as failure:
            return [(), *(row(f" {line}") for line in wrap(failure.happened, width - 2))]
        if self.editing:
            return evidence_rows(view, self.glyphs, width, height)
        sheets = sample_pages(view, self.glyphs, width, height)
        self._pages = len(sheets)
        return sheets[min(self._page, self._pages - 1)]

    def _waiting_rows(self, width: int) -> list[Row]:
        if self._loading:
            return [(), row((f" Reading samples ... {self._read_so_far or ''}", "muted"))]
        back = self.wizard.key_of("everywhere.previous_step")
        text = self._complaint or f"No samples yet: Generate writes them; {back} goes back to it."
        return [(), *(row((f" {line}", "muted")) for line in wrap(text, width - 2))]

    # Writing down

    def do(self, action: Action) -> Followed | None:
        """Write an action down; None, with the reason shown, when it couldn't be."""
        if self.desk is None or not self.settle():
            return None
        try:
            followed = self.desk.do(action)
        except (Failure, OSError) as error:
            self.wizard.fail(as_failure(error))
            return None
        if len(followed.changed) > 1 or len(followed.events) > 1:
            self.samples.refresh()  # in bulk, or another window's came along
        return followed

    def unask(self) -> None:
        """The reasons for a reject are no longer asked for."""
        if self._rejected or self.wizard.notice[0]:
            self._rejected = ""
            self.wizard.say("")

    def settle(self) -> bool:
        """Write down where the threshold was moved to; returns whether that went well."""
        if self._settling:
            self._settling.stop()
            self._settling = None
        if self.desk is None or self.desk.pending is None:
            return True
        try:
            self.desk.settle()
        except (Failure, OSError) as error:
            # What isn't written isn't shown; kept, it would fail again behind the dialog.
            self.desk.pending = None
            self.wizard.fail(as_failure(error))
            return False
        finally:
            self.show()
        return True

    def on_screen_suspend(self, event: ScreenSuspend) -> None:
        """Another screen comes: nothing that was moved is lost."""
        self.settle()

    def on_unmount(self, event: Unmount) -> None:
        """The window closes: the same. Nobody sees a dialog any more."""
        if self.desk and self.desk.pending is not None:
            with suppress(Failure, OSError):
                self.desk.settle()

    def arrive(self) -> None:
        """The list takes the keys."""
        super().arrive()
        if not self.editing:
            self.samples.focus()

    def viewed(self) -> SampleView | None:
        """The sample under the cursor; None, with the reason shown, when it can't be read."""
        here = self.here()
        if self.desk is None or not here:
            return None
        try:
            return self.desk.view(here)
        except Failure as failure:
            self.wizard.fail(failure)
            return None
