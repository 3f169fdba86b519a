"""Dialogs: a question, a choice, a failure, a text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from pipeline.errors import Failure
from tui.keys import bindings, keys_of
from tui.rows import Row, Span, row, wrap
from tui.widgets.pane import ListPane, Pane

if TYPE_CHECKING:
    from tui.app import Wizard

FailureAnswer = Literal["close", "retry", "remedy", "log"]


Answer = TypeVar("Answer")


class Dialog(ModalScreen[Answer]):
    """A box over the screen: a title, rows, and its keys."""

    ACTIONS: ClassVar[tuple[str, ...]] = ("dismiss",)

    def __init__(self, title: str, build: Callable[[int, int], Sequence[Row]]) -> None:
        super().__init__()
        self._title = title
        self._build_rows = build

    @property
    def wizard(self) -> Wizard:
        """The app."""
        return cast("Wizard", self.app)

    def compose(self) -> ComposeResult:
        """The box."""
        with Vertical(id="box"):
            yield Pane(lambda _w, _h: [row((self._title, "title"))], id="box-title")
            yield from self.compose_body()
            yield Pane(self._key_rows, id="box-keys")

    def compose_body(self) -> Iterable[Any]:
        """What stands between title and keys."""
        yield Pane(self._build_rows, id="box-body")

    def actions(self) -> tuple[str, ...]:
        """The actions that are offered now."""
        return self.ACTIONS

    def _key_rows(self, _width: int, _height: int) -> list[Row]:
        spans: list[Span] = []
        for key in keys_of("dialog"):
            if key.action in self.actions():
                spans += [Span(self.wizard.key_of(key.id), "key"), Span(f" {key.label}  ", "muted")]
        return [row(*spans)]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what is offered works."""
        if action in {key.action for key in keys_of("dialog")} - {"up", "down"}:
            return action in self.actions()
        return True

    def action_down(self) -> None:
        """Scroll down."""
        self.query_one("#box-body", Pane).page(1)

    def action_up(self) -> None:
        """Scroll up."""
        self.query_one("#box-body", Pane).page(-1)


class Question(Dialog[bool]):
    """Yes or no."""

    BINDINGS: ClassVar[list[BindingType]] = list[BindingType](bindings("dialog"))
    ACTIONS = ("yes", "no")

    def __init__(self, title: str, lines: Sequence[str]) -> None:
        super().__init__(
            title, lambda width, _h: [row(part) for line in lines for part in wrap(line, width)]
        )

    def action_yes(self) -> None:
        """Yes."""
        self.dismiss(True)

    def action_no(self) -> None:
        """No."""
        self.dismiss(False)


class TextDialog(Dialog[None]):
    """Some rows to read and copy: the help, a log, a report."""

    BINDINGS: ClassVar[list[BindingType]] = list[BindingType](bindings("dialog"))
    ACTIONS = ("dismiss", "copy")

    def __init__(
        self,
        title: str,
        build: Callable[[int, int], Sequence[Row]],
        text: str,
        *,
        end: bool = False,
    ) -> None:
        super().__init__(title, build)
        self._text = text
        self._end = end

    def on_mount(self) -> None:
        """A log is read from its end."""
        if self._end:
            self.call_after_refresh(
                lambda: self.query_one("#box-body", Pane).scroll_end(animate=False)
            )

    async def action_dismiss(self, result: None = None) -> None:
        """Close."""
        self.dismiss(None)

    def action_copy(self) -> None:
        """Copy the text."""
        self.wizard.copy(self._text)


ARM_SECONDS = 1.0
"""So long after a failure came by itself its keys start nothing: they may be meant for what was
shown before."""

_AGAIN = re.compile(
    r"\b([Rr])un the same command(?: again)?(?: with --set ([^\s=]+)=([^\s,;]*[^\s,;.]))?"
)


def in_window(sentence: str, key: str) -> str:
    """What to do next as a window says it: there is no command to run again, there is a key.

    Args:
        sentence: the command line's.
        key: starts again what failed; empty where nothing does.
    """

    def said(found: re.Match[str]) -> str:
        capital = found[1] == "R"
        words = f"press {key} to try again" if key else "try again"
        if found[2]:
            words = f"set {found[2]} to {found[3]} and {words}"
        return words[:1].upper() + words[1:] if capital else words

    return _AGAIN.sub(said, sentence)


class FailureDialog(Dialog[FailureAnswer]):
    """What happened, what is safe, what to do next, and the end of the log."""

    BINDINGS: ClassVar[list[BindingType]] = list[BindingType](bindings("dialog"))

    def __init__(
        self,
        failure: Failure,
        *,
        log: Sequence[str] = (),
        retry: bool = False,
        remedy: Mapping[str, Any] | None = None,
        unasked: bool = False,
    ) -> None:
        """A dialog.

        Args:
            failure: the three sentences.
            log: the end of a worker's log.
            retry: whether `Try again` is offered.
            remedy: settings that help, by dotted name.
            unasked: whether it comes while the user may be typing something else; then the keys
                that start something count a moment later.
        """
        super().__init__("Something went wrong", self._rows_of)
        self._armed = not unasked
        self._failure = failure
        self._log = list(log)
        self._retry = retry
        self._remedy = dict(remedy or {})

    def on_mount(self) -> None:
        """From now on the keys count, or in a moment."""
        if not self._armed:
            self.set_timer(ARM_SECONDS, self._arm)

    def _arm(self) -> None:
        self._armed = True
        self.query_one("#box-keys", Pane).update()

    def _next_step(self) -> str:
        """What to do next, in a window's words."""
        key = "retry" if self._retry else ""
        return in_window(
            self._failure.next_step, self.wizard.key_of(f"dialog.{key}") if key else ""
        )

    def _rows_of(self, width: int, _height: int) -> list[Row]:
        failure = self._failure
        rows: list[Row] = []
        for label, text in (
            ("What happened", failure.happened),
            ("What is safe", failure.safe),
            ("What to do next", self._next_step()),
        ):
            rows.append(row((label, "strong")))
            rows += [row("  ", part) for part in wrap(text, width - 2)]
        if self._remedy:
            changes = ", ".join(f"{name} = {value}" for name, value in self._remedy.items())
            key = self.wizard.key_of("dialog.remedy")
            rows += [
                row((f"  {key} sets ", "muted"), (changes, "accent"), (" and goes on.", "muted"))
            ]
        if self._log:
            rows += [(), row(("The end of the log", "strong"))]
            rows += [row(("  " + line, "muted")) for line in self._log[-8:]]
        return rows

    def actions(self) -> tuple[str, ...]:
        """A way on where there is one."""
        return (
            *(("remedy",) if self._remedy and self._armed else ()),
            *(("retry",) if self._retry and self._armed else ()),
            *(("log",) if self._log else ()),
            "copy",
            "dismiss",
        )

    async def action_dismiss(self, result: FailureAnswer | None = None) -> None:
        """Close."""
        self.dismiss("close")

    def action_retry(self) -> None:
        """Start again where it stopped."""
        self.dismiss("retry")

    def action_remedy(self) -> None:
        """Change the setting that helps, and go on."""
        self.dismiss("remedy")

    def action_log(self) -> None:
        """Show the whole log."""
        self.dismiss("log")

    def action_copy(self) -> None:
        """Copy the three sentences and the end of the log."""
        failure = self._failure
        lines = [failure.happened, failure.safe, self._next_step(), *self._log]
        self.wizard.copy("\n".join(lines))


class Choice(Dialog[int | None]):
    """One of a few rows."""

    BINDINGS: ClassVar[list[BindingType]] = list[BindingType](bindings("dialog"))
    ACTIONS = ("dismiss",)

    def __init__(self, title: str, rows: Sequence[Row], cursor: int = 0) -> None:
        super().__init__(title, lambda _w, _h: ())
        self._rows_shown = list(rows)
        self._cursor = cursor

    def compose_body(self) -> Iterable[Any]:
        """The rows."""
        pane = ListPane(id="box-list")
        pane.show(len(self._rows_shown), lambda index, _width: row(" ", *self._rows_shown[index]))
        yield pane

    def on_mount(self) -> None:
        """The list takes the keys."""
        pane = self.query_one(ListPane)
        pane.styles.height = min(len(self._rows_shown), 14)
        pane.focus()
        self.call_after_refresh(pane.move_to, self._cursor)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Letters and arrows belong to the list."""
        return action == "dismiss" or action not in {key.action for key in keys_of("dialog")}

    def on_list_pane_chosen(self, event: ListPane.Chosen) -> None:
        """That one."""
        self.dismiss(event.index)

    async def action_dismiss(self, result: int | None = None) -> None:
        """None of them."""
        self.dismiss(None)


def log_tail(path: Path, lines: int = 400) -> list[str]:
    """The last lines of a worker's log; none when there is no log."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            size = stream.tell()
            stream.seek(max(0, size - 200 * lines))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    return text.splitlines()[-lines:]
