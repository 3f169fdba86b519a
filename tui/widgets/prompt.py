"""One line at the foot of a screen that asks for a value, with its error beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.suggester import Suggester
from textual.widgets import Input, Label

from pipeline.errors import Failure
from tui.rows import printable

Check = Callable[[str], None]
"""Looks at what was typed; raises a `Failure` or a ValueError with what is wrong."""


class PromptLine(Horizontal):
    """Asks for one value at a time; hidden until it does."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", show=False),
        Binding("tab", "complete", "Complete", show=False, priority=True),
    ]

    def __init__(self) -> None:
        super().__init__(id="prompt")
        self._answer: asyncio.Future[str | None] | None = None
        self._check: Check | None = None

    def compose(self) -> ComposeResult:
        """A label, the field, and room for what is wrong."""
        yield Label(id="prompt-label", markup=False)
        yield Input(id="prompt-field", compact=True)
        yield Label(id="prompt-fault", markup=False)

    def on_mount(self) -> None:
        """Nothing is asked yet."""
        self.display = False

    @property
    def asking(self) -> bool:
        """Whether a question waits for its answer."""
        return self._answer is not None

    async def ask(
        self,
        label: str,
        value: str = "",
        *,
        check: Check | None = None,
        secret: bool = False,
        suggester: Suggester | None = None,
    ) -> str | None:
        """Ask for a value; returns it once `check` takes it, or None when the user left.

        Args:
            label: what is asked for.
            value: what stands in the field at first.
            check: raises where the value can't be taken; the reason stands beside the field.
            secret: whether the value is masked.
            suggester: completes what is typed; tab takes it.
        """
        self._leave(None)
        field = self.query_one("#prompt-field", Input)
        focused = self.screen.focused
        self.query_one("#prompt-label", Label).update(printable(label))
        self.query_one("#prompt-fault", Label).update("")
        field.password, field.suggester, field.value = secret, suggester, value
        field.cursor_position = len(value)
        self._check = check
        self.display = True
        field.focus()
        self._answer = asyncio.get_running_loop().create_future()
        try:
            return await self._answer
        finally:
            self._answer = None
            self.display = False
            field.value = ""
            if focused is not None and focused.is_attached:
                focused.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the value, or say beside it why not."""
        event.stop()
        try:
            if self._check:
                self._check(event.value)
        except (Failure, ValueError) as error:
            self._say(error.happened if isinstance(error, Failure) else str(error))
            return
        self._leave(event.value)

    def on_input_changed(self, event: Input.Changed) -> None:
        """What was wrong is being mended."""
        event.stop()
        self._say("")

    def action_cancel(self) -> None:
        """Leave without a value."""
        self._leave(None)

    def action_complete(self) -> None:
        """Take the completion that is shown."""
        self.query_one("#prompt-field", Input).action_cursor_right()
        self.query_one("#prompt-field", Input).action_end()

    def _say(self, fault: str) -> None:
        self.query_one("#prompt-fault", Label).update(printable(fault))

    def _leave(self, value: str | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_result(value)
