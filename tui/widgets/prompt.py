"""One line at the foot of a screen that asks for a value, with its error beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.events import Key, Paste
from textual.message import Message
from textual.suggester import Suggester
from textual.widget import Widget
from textual.widgets import Input, Label

from pipeline.errors import Failure
from tui.rows import printable

Check = Callable[[str], Awaitable[None] | None]
"""Looks at what was typed; raises a `Failure` or a ValueError with what is wrong."""
Look = Callable[[str], Awaitable[str]]
"""Says in a few words what is being typed; raises as a `Check` does."""

_PAUSE_SECONDS = 0.25
"""Without a key for so long, what was typed is looked at."""


class _Field(Input):
    """The field. Several pasted lines become one, where the question says how."""

    joint = ""

    def _on_paste(self, event: Paste) -> None:
        if self.joint:
            event.prevent_default()
            event.stop()
            self.insert_text_at_cursor(self.joint.join(event.text.splitlines()))

    async def _on_key(self, event: Key) -> None:
        # Textual lets bound keys bubble to the app, and letters that arrive in the same read over
        # a slow line overtake them: a backspace then deletes what was typed after it.
        binding = self._bindings.key_to_bindings.get(event.key, ())
        if not event.is_printable and binding:
            event.prevent_default()
            event.stop()
            await self.run_action(binding[0].action)
            return
        await super()._on_key(event)


class PromptLine(Horizontal):
    """Asks for one value at a time; hidden until it does."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", show=False),
        Binding("tab", "complete", "Complete", show=False, priority=True),
    ]

    class Turned(Message):
        """A question stands here, or none any more."""

    def __init__(self) -> None:
        super().__init__(id="prompt")
        self._focused: Widget | None = None
        self._answer: asyncio.Future[str | None] | None = None
        self._check: Check | None = None
        self._look: Look | None = None

    def compose(self) -> ComposeResult:
        """A label, the field, and room for what is wrong."""
        yield Label(id="prompt-label", markup=False)
        yield _Field(id="prompt-field", compact=True)
        yield Label(id="prompt-fault", markup=False)

    def on_mount(self) -> None:
        """Nothing is asked yet."""
        self.display = False

    @property
    def asking(self) -> bool:
        """Whether a question waits for its answer."""
        return self._answer is not None

    def keys(self) -> list[tuple[str, str]]:
        """The keys that work while something is asked, with their words."""
        completes = self.query_one("#prompt-field", Input).suggester is not None
        tab = [("tab", "Complete")] if completes else []
        return [("enter", "Take it"), *tab, ("esc", "Leave it")]

    async def ask(
        self,
        label: str,
        value: str = "",
        *,
        check: Check | None = None,
        secret: bool = False,
        suggester: Suggester | None = None,
        look: Look | None = None,
        joint: str = "",
    ) -> str | None:
        """Ask for a value; returns it once `check` takes it, or None when the user left.

        Args:
            label: what is asked for.
            value: what stands in the field at first.
            check: raises where the value can't be taken; the reason stands beside the field.
            secret: whether the value is masked.
            suggester: completes what is typed; tab takes it.
            look: says beside the field what is being typed.
            joint: stands between lines that are pasted; empty takes the first line alone.
        """
        self._leave(None)
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._answer = answer
        field = self.query_one("#prompt-field", _Field)
        focused = self._focused = self._focused if self.display else self.screen.focused
        self.query_one("#prompt-label", Label).update(printable(label))
        self.query_one("#prompt-fault", Label).update("")
        field.password, field.suggester, field.value = secret, suggester, value
        field.cursor_position = len(value)
        self._check, self._look, field.joint = check, look, joint
        self.display = True
        field.focus()
        self.post_message(self.Turned())
        try:
            return await answer
        finally:
            # Another question may stand here by now: then the line is its own.
            if self._answer is answer:
                self._answer = None
                self.display = False
                field.value = ""
                if focused is not None and focused.is_attached:
                    focused.focus()
                self.post_message(self.Turned())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the value, or say beside it why not."""
        event.stop()
        try:
            checking = self._check(event.value) if self._check else None
        except (Failure, ValueError) as error:
            self._say(_sentence(error))
            return
        if checking is None:
            self._leave(event.value)
        else:
            self._say("looking ...", wrong=False)
            self.run_worker(self._checked(event.value, checking), group="look", exclusive=True)

    async def _checked(self, value: str, checking: Awaitable[None]) -> None:
        """Take the value when its check has ended well; more typing ends the wait."""
        asked = self._answer
        try:
            await checking
        except (Failure, OSError, ValueError) as error:
            if asked is self._answer:
                self._say(_sentence(error))
        else:
            if asked is self._answer:
                self._leave(value)

    def on_input_changed(self, event: Input.Changed) -> None:
        """What was wrong is being mended."""
        event.stop()
        self._say("")
        if self._look and self.asking:
            self.run_worker(self._looked(event.value, self._look), group="look", exclusive=True)

    async def _looked(self, value: str, look: Look) -> None:
        """Say what is being typed, once there is a pause in it."""
        await asyncio.sleep(_PAUSE_SECONDS)
        try:
            self._say(await look(value) if value.strip() else "", wrong=False)
        except (Failure, OSError, ValueError) as error:
            self._say(_sentence(error), wrong=False)

    def action_cancel(self) -> None:
        """Leave without a value."""
        self._leave(None)

    def action_complete(self) -> None:
        """Take the completion that is shown."""
        self.query_one("#prompt-field", Input).action_cursor_right()
        self.query_one("#prompt-field", Input).action_end()

    def _say(self, text: str, *, wrong: bool = True) -> None:
        label = self.query_one("#prompt-fault", Label)
        label.set_class(not wrong, "-note")
        label.update(printable(text))

    def _leave(self, value: str | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_result(value)


def _sentence(error: Exception) -> str:
    return error.happened if isinstance(error, Failure) else str(error)
