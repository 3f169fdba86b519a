"""Question and answer in two fields, to be changed in place."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import TextArea

from pipeline.review.edit_text import Edited
from tui.rows import Row, row
from tui.widgets.pane import Pane


class EditForm(Vertical):
    """Two fields; what is wrong stands in the form's first line."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "Save", show=False, priority=True),
        Binding("escape", "leave", "Leave", show=False, priority=True),
    ]

    class Closed(Message):
        """The form was left.

        Attributes:
            sample: id of the sample.
            words: what stands in the fields.
            save: whether they are to be saved.
        """

        def __init__(self, sample: str, words: Edited, save: bool) -> None:
            super().__init__()
            self.sample = sample
            self.words = words
            self.save = save

    class Typed(Message):
        """Something was typed.

        Attributes:
            sample: id of the sample.
            words: what stands in the fields.
        """

        def __init__(self, sample: str, words: Edited) -> None:
            super().__init__()
            self.sample = sample
            self.words = words

    def __init__(self, sample: str, words: Edited) -> None:
        super().__init__(id="edit-form")
        self.sample = sample
        self._first = words
        self._fault = ""

    def compose(self) -> ComposeResult:
        """What the keys do, the question, the answer."""
        yield Pane(self._head, id="edit-head")
        for name, text in (("question", self._first.question), ("answer", self._first.answer)):
            yield Pane(partial(_label, name), id=f"edit-label-{name}")
            area = TextArea(text, id=f"edit-{name}", highlight_cursor_line=False)
            area.cursor_blink = False
            yield area

    def on_mount(self) -> None:
        """Begin at the end of the question."""
        area = self.query_one("#edit-question", TextArea)
        area.focus()
        area.move_cursor(area.document.end)

    @property
    def words(self) -> Edited:
        """What stands in the fields."""
        question, answer = (
            self.query_one(f"#edit-{name}", TextArea).text for name in ("question", "answer")
        )
        return Edited(question, answer)

    @property
    def changed(self) -> bool:
        """Whether the fields hold something else than at first."""
        return self.words != self._first

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """Tell what stands in the fields; being filled at first is no typing."""
        event.stop()
        if self.changed:
            self.post_message(self.Typed(self.sample, self.words))

    def refuse(self, fault: str) -> None:
        """Say what is wrong; the form stays."""
        self._fault = fault
        self.query_one("#edit-head", Pane).update()

    def action_save(self) -> None:
        """Save."""
        self.post_message(self.Closed(self.sample, self.words, save=True))

    def action_leave(self) -> None:
        """Leave; the caller keeps the words."""
        self.post_message(self.Closed(self.sample, self.words, save=False))

    def _head(self, _width: int, _height: int) -> list[Row]:
        if self._fault:
            return [row((f" {self._fault}", "bad"))]
        return [
            row(
                (" ^s", "key"),
                (" save and accept   ", "muted"),
                ("tab", "key"),
                (" other field   ", "muted"),
                ("esc", "key"),
                (" leave; the words are kept", "muted"),
            )
        ]


def _label(name: str, _width: int, _height: int) -> list[Row]:
    return [row((f" {name}", "muted"))]
