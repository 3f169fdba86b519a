"""`embedsmith` without a command: the wizard, from the check of the terminal to the last line."""

from __future__ import annotations

import os
import signal
import sys
import termios
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.run import find_run, home, list_runs
from tui.output import Output
from tui.terminal import SAVE_TITLE, restore_sequence, this_terminal, unfit
from tui.watch import working

if TYPE_CHECKING:
    from tui.app import Wizard

LEAVE_SECONDS = 2.0
"""How long the app has to leave after a hang-up or SIGTERM before the process ends without it:
a terminal that has stopped reading blocks every write."""

_SIGNALLED = 128
"""Exit codes from here on name a signal."""


def wizard_command(arguments: Namespace, output: Output) -> int:
    """Open the wizard; returns 2 where no terminal can show it."""
    terminal = this_terminal(os.environ)
    if failure := unfit(terminal):
        output.failure(failure)
        return failure.exit_code
    run = find_run(home(), arguments.run) if arguments.run else None
    # Here, so that no other command waits for Textual.
    from tui.app import Wizard
    from tui.opening import read_opening

    opening = read_opening(
        terminal, theme=arguments.theme, ascii_only=arguments.ascii, mouse=not arguments.no_mouse
    )
    wizard = Wizard(replace(opening, run=run, variant=arguments.variant))
    restore = _restorer()
    _leave_on_signals(wizard, restore)
    _write(SAVE_TITLE)
    code = wizard.run(mouse=opening.mouse)
    signal.setitimer(signal.ITIMER_REAL, 0)
    code = wizard.return_code or 0 if code is None else code
    if code < _SIGNALLED:
        restore()
        _say_what_runs(output)
    return code


def _say_what_runs(output: Output) -> None:
    """What goes on without the window, and how to come back to it."""
    elsewhere = f" --home {home()}" if os.environ.get("EMBEDSMITH_HOME") else ""
    for run in list_runs(home()):
        for folder in working(run):
            output.say(f"{run.name}: {folder.parent.name} is running and goes on.")
            output.say(
                f"Come back with `embedsmith{elsewhere} open {run.name}`; "
                f"`embedsmith stop {run.name}` ends it."
            )


def _leave_on_signals(wizard: Wizard, restore: Callable[[], None]) -> None:
    """A hang-up or SIGTERM ends the window within `LEAVE_SECONDS`, whatever it waits for.

    Python runs these handlers between two steps of the main thread, even while that thread
    waits in a full queue of writes; the event loop's own signal handlers would wait with it.
    """

    def leave(number: int, _frame: Any) -> None:
        code = _SIGNALLED + number

        def end(_number: int, _frame: Any) -> None:
            restore()
            os._exit(code)

        signal.signal(signal.SIGALRM, end)
        signal.setitimer(signal.ITIMER_REAL, LEAVE_SECONDS)
        wizard.leave_soon(code)

    signal.signal(signal.SIGHUP, leave)
    signal.signal(signal.SIGTERM, leave)


def _restorer() -> Callable[[], None]:
    """A function that gives the terminal back as it is now; it never waits for it."""
    before = None
    with suppress(termios.error, OSError, ValueError):
        before = termios.tcgetattr(sys.__stdin__.fileno())  # type: ignore[union-attr]

    def restore() -> None:
        _write(restore_sequence())
        if before is not None:
            with suppress(termios.error, OSError, ValueError):
                termios.tcsetattr(sys.__stdin__.fileno(), termios.TCSANOW, before)  # type: ignore[union-attr]

    return restore


def _write(text: str) -> None:
    """Write to the terminal without ever waiting for it."""
    with suppress(OSError, ValueError, AttributeError):
        number = sys.__stderr__.fileno()  # type: ignore[union-attr]
        blocking = os.get_blocking(number)
        os.set_blocking(number, False)
        try:
            os.write(number, text.encode())
        finally:
            os.set_blocking(number, blocking)
