"""The app's side towards the terminal: colours, what is painted, title and bell, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from rich.style import Style
from textual._compositor import CompositorUpdate
from textual.app import App
from textual.events import AppBlur, AppFocus, Resize
from textual.screen import Screen

from tui.canvas import Canvas, Painted
from tui.glyphs import ASCII, UNICODE
from tui.keys import key_of, use_keymap
from tui.look import styles_of, textual_theme
from tui.opening import Opening
from tui.terminal import notify_sequence, title_sequence


class TerminalApp(App[int]):
    """An app that sends little, says in the title what goes on, and leaves cleanly."""

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        # Without colours Textual must not mix its own: the terminal's stay.
        super().__init__(ansi_color=True if opening.terminal.colours == 0 else None)
        for theme in opening.themes.values():
            self.register_theme(textual_theme(theme))
        self.theme = opening.theme
        self.preferences = opening.preferences
        self.glyphs = ASCII if opening.ascii else UNICODE
        self._keys = dict(opening.keymap)
        use_keymap(self._keys)
        self._canvas = Canvas(erases=not opening.terminal.screen)
        self._title = ""
        self._focused_window = True
        self._loop: asyncio.AbstractEventLoop | None = None

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our variables, for the moment before a theme is set."""
        return textual_theme(self.opening.themes[self.opening.theme]).variables

    def tone_styles(self) -> Mapping[str, Style]:
        """The styles of the theme's tones."""
        return styles_of(self.opening.themes[self.theme])

    def key_of(self, binding: str) -> str:
        """The first key of a binding, as people write it."""
        return key_of(binding)

    def keymap(self) -> dict[str, str]:
        """Keys by binding id, the user's changes in them."""
        return dict(self._keys)

    def prepare(self) -> None:
        """The user's keys, and the way out for signal handlers; before the first screen."""
        self.set_class(self.opening.ascii, "-ascii")
        self.set_keymap(dict(self.opening.keymap))
        self._loop = asyncio.get_running_loop()

    # Title and bell

    def show_title(self, title: str) -> None:
        """Say in the terminal's title what goes on."""
        if title != self._title and self._driver is not None and not self.is_headless:
            self._title = title
            self._driver.write(title_sequence(title))

    def ring(self, text: str) -> None:
        """Say that work ended, where nobody looks."""
        if self._focused_window or self._driver is None or self.is_headless:
            return
        if self.preferences.notifications:
            self._driver.write(notify_sequence(text, self.opening.terminal))

    def on_app_focus(self, event: AppFocus) -> None:
        """Somebody looks."""
        self._focused_window = True

    def on_app_blur(self, event: AppBlur) -> None:
        """Nobody looks."""
        self._focused_window = False

    # What is painted

    def action_redraw(self) -> None:
        """Paint the whole screen again."""
        self._canvas.forget()
        self.refresh(layout=True)

    def on_resize(self, event: Resize) -> None:
        """A terminal arranges its cells anew; what it shows is not known."""
        self._canvas.forget()

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        """Send only the cells that changed, and nothing where none did."""
        writes = self._driver is not None and self._running and not self._batch_count
        if writes and not self.is_headless and isinstance(renderable, CompositorUpdate):
            sequences = self._canvas.paint(renderable, self.console)
            if not sequences:
                return
            renderable = Painted(sequences)
        super()._display(screen, renderable)

    # The end

    def leave_soon(self, code: int) -> None:
        """Leave from a signal handler: the loop ends the app when it comes to it."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.exit, code)

    def _fatal_error(self) -> None:
        """Textual's, without the local variables: a typed key may be among them."""
        from rich.segment import Segments
        from rich.traceback import Traceback

        self.bell()
        lines = self.console.render(Traceback(width=None), self.console.options)
        self._exit_renderables.append(Segments(lines))
        self._close_messages_no_wait()
