"""Review: read samples with their evidence, decide, move the threshold, see when it is enough."""

from __future__ import annotations

from typing import Literal

from textual.events import Key

from pipeline.review.decisions import REASONS, Action
from tui.review.desk import Followed
from tui.review.text import (
    REASON_KEYS,
    agreement_rows,
    reasons_sentence,
    sample_text,
    undo_sentence,
)
from tui.rows import plain
from tui.screens.review_editing import ReviewEditing
from tui.screens.review_lists import ReviewLists
from tui.widgets.pane import ListPane, Pane

SETTLE_SECONDS = 0.4
"""So long after the last key a moved threshold is written down."""


_REASONS = {str(place): reason for place, reason in enumerate(REASON_KEYS, start=1)}


class ReviewScreen(ReviewLists, ReviewEditing):
    """The fourth step."""

    def action_accept(self) -> None:
        """Keep this sample, and go on."""
        self._decide("accept")

    def action_reject(self) -> None:
        """Drop this sample, and go on; a digit may follow."""
        here = self.here()
        if self._decide("reject"):
            self._rejected = here
            self.wizard.say(reasons_sentence())

    def action_skip(self) -> None:
        """Seen, and left to its score."""
        self._decide("skip")

    def action_clear(self) -> None:
        """Left to its score again."""
        self._decide("clear", go_on=False)

    def on_key(self, event: Key) -> None:
        """A digit says why the last sample was rejected."""
        reason = _REASONS.get(event.key)
        if self._rejected and reason:
            event.stop()
            sample = self._rejected
            self.unask()
            if self.do(Action("reject", (sample,), reason=reason)):
                self.wizard.say(f"Rejected: {REASONS[reason]}.")
                self.show()

    def _decide(
        self, kind: Literal["accept", "reject", "skip", "clear"], go_on: bool = True
    ) -> bool:
        here = self.here()
        self.unask()
        if not here or self.do(Action(kind, (here,))) is None:
            return False
        place = self.samples.cursor
        if go_on and place + 1 == self.samples.count:
            key = self.wizard.key_of("review.next_undecided")
            self.wizard.say(f"That was the last one listed: {key} finds undecided ones.")
        self.go(place + 1 if go_on else place)
        return True

    def action_undo(self) -> None:
        """Take the last action back, and show what it concerned."""
        self._back("undo")

    def action_redo(self) -> None:
        """Do it again."""
        self._back("redo")

    def _back(self, kind: Literal["undo", "redo"]) -> None:
        self.unask()
        desk = self.desk
        if desk is None or not self.settle():
            return
        followed = Followed()
        if desk.undo_depth if kind == "undo" else desk.redo_depth:
            done = self.do(Action(kind))
            if done is None:
                return
            followed = done
        samples = followed.subject.samples if followed.subject else ()
        place = desk.place(samples[0]) if samples else None
        hidden = bool(samples) and place is None
        said = undo_sentence(kind, followed, desk.threshold)
        self.wizard.say(f"{said} It is not among those listed." if hidden else said)
        self.go(self.samples.cursor if place is None else place)

    # The threshold

    def action_threshold_down(self) -> None:
        """Lower by 0.1."""
        self._move_threshold(-0.1)

    def action_threshold_up(self) -> None:
        """Raise by 0.1."""
        self._move_threshold(0.1)

    def action_threshold_down_far(self) -> None:
        """Lower by 0.5."""
        self._move_threshold(-0.5)

    def action_threshold_up_far(self) -> None:
        """Raise by 0.5."""
        self._move_threshold(0.5)

    def _move_threshold(self, by: float) -> None:
        if self.desk is None:
            return
        self.unask()
        self.desk.move_threshold(by)
        if self._settling:
            self._settling.stop()
        self._settling = self.set_timer(SETTLE_SECONDS, self.settle)
        self.show()

    # Others

    def action_next_undecided(self) -> None:
        """The next sample that nobody decided."""
        self.unask()
        place = self.desk.next_undecided(self.samples.cursor) if self.desk else None
        if place is None:
            self.wizard.say("Every sample that is listed was decided or skipped.", "good")
        else:
            self.go(place)

    def action_evidence(self) -> None:
        """The next page of the sample, the first one after the last."""
        self._page = (self._page + 1) % self._pages
        self.query_one("#review-sample", Pane).update()

    def action_agreement(self) -> None:
        """How decisions and scores agree."""
        from tui.screens.dialogs import TextDialog

        if self.desk:
            rows = agreement_rows(self.desk.suggestion(), self.desk.counts())
            text = "\n".join(plain(cells).rstrip() for cells in rows)
            self.app.push_screen(TextDialog("Agreement", lambda _w, _h: rows, text))

    def action_copy(self) -> None:
        """Copy the sample."""
        if view := self.viewed():
            self.wizard.copy(sample_text(view))

    def on_list_pane_chosen(self, event: ListPane.Chosen) -> None:
        """Enter."""
        self.action_go_on()

    def go_on(self) -> None:
        """On to training; too little reading is said, and no wall."""
        from tui.screens.dialogs import Question

        desk = self.desk
        if desk is None:
            reading = "The questions are being read: one moment."
            back = self.wizard.key_of("everywhere.previous_step")
            none = f"There are no samples yet: {back} goes back to Generate."
            self.wizard.say(reading if self._loading else none, "warn")
            return
        if self.editing or not self.settle():
            return
        progress = desk.progress()
        if progress.enough:
            self.wizard.open_step("train")
            return
        lines = [
            progress.sentence.partition(":")[0].capitalize() + ".",
            progress.precision_sentence,
        ]
        kept = f"{desk.counts().kept} samples are kept. More can be read at any time."

        def answered(yes: bool | None) -> None:
            if yes:
                self.wizard.open_step("train")

        self.app.push_screen(Question("Go on to training?", [*lines, kept]), answered)
