"""The Review screen's editing: in place, or in the user's own editor."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from textual.app import SuspendNotSupported
from textual.containers import Vertical
from textual.events import Unmount
from textual.timer import Timer

from pipeline.errors import BadInput, Failure, as_failure
from pipeline.review.drafts import drop_draft, list_drafts, read_draft, write_draft
from pipeline.review.edit_text import Edited, edit_action, parse_edit, render_edit
from pipeline.run import Run
from tui.review.desk import ReviewDesk, SampleView
from tui.review.editor import edit_text, editor_command
from tui.screens.review_base import ReviewBase
from tui.widgets.edit_form import EditForm

DRAFT_SECONDS = 0.5
"""So long after a key what was typed is in the run folder."""


class ReviewEditing(ReviewBase):
    """Changing question and answer; an edit counts as accept."""

    def __init__(self) -> None:
        super().__init__()
        self._left: dict[tuple[Path, str], Edited] = {}
        """What was typed and not saved, by run and sample; a moment later it is in the run."""
        self._unkept: set[tuple[Path, str]] = set()
        """Of these, what isn't in the run yet."""
        self._keeping: Timer | None = None

    def unsaved(self) -> str:
        """Edits that were typed and not saved."""
        drafts = set(self._left)
        drafts |= {self._draft(form.sample) for form in self.query(EditForm) if form.changed}
        edits = "1 edit was" if len(drafts) == 1 else f"{len(drafts)} edits were"
        key = self.wizard.key_of("review.edit")
        again = f"the run keeps the words, and {key} on the question shows them again"
        return f"{edits} typed and not saved; {again}." if drafts else ""

    def refresh_work(self) -> None:
        """Another run leaves the form, and keeps what was typed."""
        run = self.snapshot.run if self.snapshot else None
        if self.editing and self.desk and self.desk.source.run != run:
            form = self.query_one(EditForm)
            self._leave(self._draft(form.sample), form.words)
            self._close_form()
        super().refresh_work()

    def _draft(self, sample: str) -> tuple[Path, str]:
        return (self.desk.source.run.path if self.desk else Path(), sample)

    def action_edit(self) -> None:
        """Change the words in two fields."""
        self.unask()
        view = self.viewed()
        if view is None or not self.settle():
            return
        self.editing = True
        self.add_class("-editing")
        form = EditForm(view.sample.id, self._words(view))
        self.query_one("#review-right", Vertical).mount(form, before=0)
        self.refresh_frame()
        self.call_after_refresh(self.show)

    def _words(self, view: SampleView) -> Edited:
        """What was typed for a sample, in this window or one before; else its words."""
        draft = self._draft(view.sample.id)
        if draft not in self._left and (kept := read_draft(Run(draft[0]), draft[1])):
            self._left[draft] = kept
        return self._left.get(draft, view.words)

    # What is typed outlives the window

    def on_edit_form_typed(self, event: EditForm.Typed) -> None:
        """Keep it in the run once the keys rest."""
        if self.editing:
            self._leave(self._draft(event.sample), event.words)

    def _leave(self, draft: tuple[Path, str], words: Edited) -> None:
        self._left[draft] = words
        self._unkept.add(draft)
        if self._keeping is None:
            self._keeping = self.set_timer(DRAFT_SECONDS, self._keep)

    def _keep(self) -> None:
        """Write down what isn't in the run yet; what can't be written stays with this window."""
        self._keeping = None
        for path, sample in tuple(self._unkept):
            try:
                write_draft(Run(path), sample, self._left[path, sample])
            except OSError as error:
                if self.is_attached:
                    said = as_failure(error).happened
                    self.query_one(EditForm).refuse(said) if self.editing else self.wizard.say(said)
                return
            self._unkept.discard((path, sample))

    def _forget(self, draft: tuple[Path, str]) -> None:
        """Saved, or taken back."""
        self._left.pop(draft, None)
        self._unkept.discard(draft)
        with suppress(OSError):
            drop_draft(Run(draft[0]), draft[1])

    def on_unmount(self, event: Unmount) -> None:
        """The window closes, or its line was cut: what was typed goes into the run."""
        self._keep()
        super().on_unmount(event)

    def _loaded(self, desk: ReviewDesk) -> None:
        super()._loaded(desk)
        if self.desk is not desk or self.editing:
            return
        run = desk.source.run
        places = [
            desk.place(each) for each in list_drafts(run) if (run.path, each) not in self._left
        ]
        known = [str(place + 1) for place in places if place is not None]
        if known:
            edits = "An edit was" if len(known) == 1 else f"{len(known)} edits were"
            key = self.wizard.key_of("review.edit")
            self.wizard.say(
                f"{edits} typed and not saved: {key} at {', '.join(known[:5])} of the list shows "
                "the words."
            )

    def on_edit_form_closed(self, event: EditForm.Closed) -> None:
        """Save what was typed, or keep it."""
        draft = self._draft(event.sample)
        try:
            view = self.desk.view(event.sample) if self.desk else None
        except (Failure, OSError, KeyError) as error:
            view = None
            self.query_one(EditForm).refuse(as_failure(error).happened)
        if not event.save or view is None:
            kept = view is None or event.words != view.words
            if kept:
                self._leave(draft, event.words)
            else:
                self._forget(draft)
            if not event.save:
                self._close_form()
                self.wizard.say(self._left_words() if kept else "")
            return
        try:
            # By the way of the editor's text: one place says what a question may be.
            edited = parse_edit(render_edit(event.words, view.sample, ()), view.words)
        except BadInput as failure:
            self.query_one(EditForm).refuse(failure.happened)
            return
        if edited is not None and not self._save(view, edited):
            return
        self._forget(draft)
        self._close_form()
        if edited is None:
            self.wizard.say("Nothing was changed, and nothing decided.")

    def _left_words(self) -> str:
        return f"Left; what you typed is kept for the next {self.wizard.key_of('review.edit')}."

    def _close_form(self) -> None:
        self.query_one(EditForm).remove()
        self.editing = False
        self.remove_class("-editing")
        self.samples.focus()
        self.refresh_frame()
        self.call_after_refresh(self.refresh_work)

    def _save(self, view: SampleView, edited: Edited) -> bool:
        """Write an edit down, and go on."""
        if self.do(edit_action(view.sample.id, view.words, edited)) is None:
            return False
        place = self.desk.place(view.sample.id) if self.desk else None
        self.go((self.samples.cursor if place is None else place) + 1)
        self.wizard.say("Saved, and accepted in your words.", "good")
        return True

    def action_edit_outside(self) -> None:
        """Change the words in the user's editor, which has the terminal meanwhile."""
        self.unask()
        view = self.viewed()
        if view is None or not self.settle():
            return
        try:
            command = editor_command(os.environ)
            edited = self._from_editor(command, view)
        except (Failure, OSError) as error:
            self.wizard.fail(as_failure(error))
        except SuspendNotSupported:
            self.action_edit()
        else:
            if edited is None:
                self.wizard.say("Nothing was changed, and nothing decided.")
            else:
                self._save(view, edited)

    def _from_editor(self, command: list[str], view: SampleView) -> Edited | None:
        """The words as the editor left them; what can't be taken is shown there again."""
        passages = self.desk.passages(view.sample) if self.desk else ()
        text = render_edit(view.words, view.sample, passages)
        problem = ""
        while True:
            returned = self._in_editor(command, problem + text)
            if returned is None:
                return None
            try:
                return parse_edit(returned, view.words)
            except BadInput as failure:
                text = returned.removeprefix(problem)
                problem = f"# {failure.happened} {failure.next_step}\n"

    def _in_editor(self, command: list[str], text: str) -> str | None:
        """Give the terminal to the editor, and take it back."""
        # Without the batch, a repaint while the app is suspended locks it up (Textual 8.2.8).
        with self.app.batch_update(), self.app.suspend():
            returned = edit_text(command, text)
        self.wizard.action_redraw()
        return returned
