"""The Review screen's editing: in place, or in the user's own editor."""

from __future__ import annotations

import os
from pathlib import Path

from textual.app import SuspendNotSupported
from textual.containers import Vertical

from pipeline.errors import BadInput, Failure, as_failure
from pipeline.review.edit_text import Edited, edit_action, parse_edit, render_edit
from tui.review.desk import SampleView
from tui.review.editor import edit_text, editor_command
from tui.screens.review_base import ReviewBase
from tui.widgets.edit_form import EditForm


class ReviewEditing(ReviewBase):
    """Changing question and answer; an edit counts as accept."""

    def __init__(self) -> None:
        super().__init__()
        self._left: dict[tuple[Path, str], Edited] = {}
        """What was typed and not saved, by run and sample, for as long as the window is open."""

    def unsaved(self) -> str:
        """Edits that were typed and not saved."""
        drafts = set(self._left)
        drafts |= {self._draft(form.sample) for form in self.query(EditForm) if form.changed}
        edits = "1 edit was" if len(drafts) == 1 else f"{len(drafts)} edits were"
        return f"{edits} typed and not saved; e on the question shows it again." if drafts else ""

    def refresh_work(self) -> None:
        """Another run leaves the form, and keeps what was typed."""
        run = self.snapshot.run if self.snapshot else None
        if self.editing and self.desk and self.desk.source.run != run:
            form = self.query_one(EditForm)
            self._left[self._draft(form.sample)] = form.words
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
        form = EditForm(view.sample.id, self._left.get(self._draft(view.sample.id), view.words))
        self.query_one("#review-right", Vertical).mount(form, before=0)
        self.refresh_frame()
        self.call_after_refresh(self.show)

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
                self._left[draft] = event.words
            else:
                self._left.pop(draft, None)
            if not event.save:
                self._close_form()
                self.wizard.say("Left; what you typed is kept for the next e." if kept else "")
            return
        try:
            # By the way of the editor's text: one place says what a question may be.
            edited = parse_edit(render_edit(event.words, view.sample, ()), view.words)
        except BadInput as failure:
            self.query_one(EditForm).refuse(failure.happened)
            return
        if edited is not None and not self._save(view, edited):
            return
        self._left.pop(draft, None)
        self._close_form()
        if edited is None:
            self.wizard.say("Nothing was changed, and nothing decided.")

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
