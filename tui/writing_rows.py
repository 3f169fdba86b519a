"""What the Generate step shows of the writing: the funnel, and what came of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.journal import Event
from pipeline.sdg.records import Sample
from pipeline.sdg.writer import OFFLINE
from tui.generate_rows import said
from tui.generating import Summary
from tui.glyphs import Glyphs
from tui.progress import View, rate
from tui.rows import Row, cut, pad, pad_left, row, wrap
from tui.trial_rows import score_span
from tui.working import progress_rows

FUNNEL_STEPS = (
    ("asked", "questions asked for"),
    ("written", "came back as questions"),
    ("checked", "no check blocks them"),
    ("judged", "have a score"),
    ("kept", "reach the threshold"),
)
_MOST_LOST = 4


def funnel_rows(
    view: View, paused: bool, threshold: float, offline: bool, glyphs: Glyphs, width: int
) -> list[Row]:
    """The writing as it goes: a bar a step, progress, calls and tokens.

    Args:
        view: the worker's progress and metrics.
        paused: whether it waits.
        threshold: the recipe's.
        offline: whether there are no calls.
        glyphs: the signs.
        width: columns.
    """
    counts = view.metrics
    asked = int(counts.get("asked", 0))
    about = {**dict(FUNNEL_STEPS), "kept": f"reach {threshold:g}"}
    rows = [
        _bar(name, int(counts.get(name, 0)), asked, about[name], glyphs, width)
        for name, _ in FUNNEL_STEPS
        if asked
    ]
    rows += [(), *progress_rows(view, paused, glyphs, width)]
    if not offline:
        parts = [f"{int(counts.get('calls', 0)):,} calls"]
        if (speed := rate(view)) is not None:
            parts.append(f"{60 * speed:.0f} calls a minute")
        parts += [
            f"{int(counts.get('tokens_in', 0)):,} tokens sent",
            f"{int(counts.get('tokens_out', 0)):,} received",
        ]
        rows.append(row((" " + "   ".join(parts), "muted")))
    return rows


def _bar(name: str, count: int, of: int, about: str, glyphs: Glyphs, width: int) -> Row:
    share = count / of if of else 0.0
    room = max(min(width - 52, 40), 10)
    full = min(round(room * share), room)
    return row(
        f" {pad(name, 10)}",
        (glyphs.full * full, "accent"),
        (glyphs.empty * (room - full), "muted"),
        f" {pad_left(f'{count:,}', 7)} {100 * share:3.0f}%",
        (f"  {about}", "muted"),
    )


def latest_rows(
    samples: Sequence[Sample], threshold: float, glyphs: Glyphs, width: int
) -> list[Row]:
    """The questions that came last, one a row."""
    if not samples:
        return []
    rows = [(), row((" the last ones", "muted"))]
    for sample in samples:
        question = cut(sample.question, max(width - 8, 10), glyphs.ellipsis)
        rows.append(row(" ", score_span(sample, threshold), f"  {question}"))
    return rows


def warning_rows(messages: Sequence[str], glyphs: Glyphs, width: int) -> list[Row]:
    """What the worker warned of, the last ones."""
    return [
        row((f" {glyphs.warned if number == 0 else ' '} {line}", "warn"))
        for message in messages
        for number, line in enumerate(wrap(message, width - 4))
    ]


def summary_rows(
    summary: Summary, threshold: float, rehearsal: bool, glyphs: Glyphs, width: int
) -> list[Row]:
    """What the writing came to, and what became of the rest."""
    counts = summary.counts
    asked = counts["asked"] or counts["written"]
    about = {"scored": "have a score", "unblocked": "no check blocks them"}
    rows = [
        _bar(name, counts[name], asked, about.get(name, ""), glyphs, width)
        for name in ("asked", "written", "scored", "unblocked")
        if counts[name] or name != "asked"
    ]
    rows.append(_bar("kept", summary.kept, asked, f"reach {threshold:g}", glyphs, width))
    rows.append(())
    rows += _named("by role", summary.roles, width)
    rows += _named("by flag", summary.flags, width)
    for number, (reason, count) in enumerate(list(summary.lost.items())[:_MOST_LOST]):
        head = f" {pad('lost' if number == 0 else '', 8)}{pad_left(f'{count:,}', 5)}  "
        lines = wrap(reason, max(width - len(head) - 1, 20))
        rows.append(row((head, "muted"), lines[0]))
        rows += [row(" " * len(head), line) for line in lines[1:]]
    details = summary.details
    if details.get("tokens"):
        judge = details.get("judge", details["writer"])
        names = f"writer {details['writer']}, judge {judge}"
        if judge == details["writer"]:
            names = f"writer and judge {judge}"
        words = (
            f"{details.get('tokens_in', 0):,} tokens sent, {details.get('tokens_out', 0):,} "
            f"received, {details.get('calls_paid', 0):,} calls paid; {names}"
        )
        rows += said(words, width, "muted")
    rows += warning_rows([str(each) for each in details.get("warnings", ())], glyphs, width)
    if rehearsal and details.get("writer") == OFFLINE:
        text = "Rehearsal: no LLM wrote these questions; they are for practice."
        rows += said(text, width, "warn")
    return rows


def _named(label: str, counts: Mapping[str, int], width: int) -> list[Row]:
    if not counts:
        return []
    words = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return said(f"{label}: {words}", width)


def warnings_of(events: Sequence[Event]) -> list[str]:
    """What the last attempt warned of."""
    found: list[str] = []
    for event in events:
        if event.type == "started":
            found = []
        elif event.type == "log" and event.data.get("level") == "warning":
            found.append(str(event.data["message"]))
    return found
