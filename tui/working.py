"""A running stage in a few rows: what it does, how far it is, how long it takes. Pure."""

from __future__ import annotations

from tui.glyphs import Glyphs
from tui.keys import key_of
from tui.progress import View, duration, rate
from tui.rows import Row, Span, pad_left, row, wrap
from tui.watch import Snapshot


def unknown_rows(snapshot: Snapshot | None, width: int) -> list[Row]:
    """What stands where nothing is known of a step: no run, or why it can't be read."""
    if snapshot is None:
        back = key_of("everywhere.previous_step")
        text = f" There is no run yet: {back} goes back to choose documents."
        return [(), row((text, "muted"))]
    failure = snapshot.failure
    text = f"{failure.happened} {failure.next_step}" if failure else "The run is being read."
    return [(), *(row((" " + line, "warn")) for line in wrap(text, width - 2))]


def progress_rows(view: View, paused: bool, glyphs: Glyphs, width: int) -> list[Row]:
    """A bar and its numbers in fixed places, so that little changes from one look to the next.

    Args:
        view: the stage's progress.
        paused: whether it waits.
        glyphs: the signs.
        width: columns.
    """
    if not view.what:
        return [row((" starting ...", "muted"))]
    percent = f"{100 * view.done // view.total:3d}%" if view.total else ""
    counts = f"{view.done:,}/{view.total:,}" if view.total else f"{view.done:,}"
    right = f" {percent} {pad_left(counts, 15)}"
    room = max(width - len(right) - 3, 8)
    filled = round(room * view.done / view.total) if view.total else 0
    bar = (Span(glyphs.full * filled, "accent"), Span(glyphs.empty * (room - filled), "muted"))
    parts = [view.what]
    if paused:
        parts.append("paused")
    elif view.done < view.total:
        if (speed := rate(view)) is not None:
            parts.append(f"{speed:.1f}/s" if speed >= 1 else f"{60 * speed:.1f}/min")
        if view.eta_seconds is not None:
            parts.append(f"ETA {duration(view.eta_seconds)}")
    return [row(" ", *bar, right), row((" " + "   ".join(parts), "muted"))]
