"""What the Generate step shows of the writing: the funnel, and what came of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.journal import Event
from pipeline.sdg.found import LITTLE_TO_WIN, MUCH_TO_WIN
from pipeline.sdg.records import Sample
from pipeline.sdg.writer import OFFLINE
from pipeline.settings import SdgSettings
from tui.generate_rows import cost_words, said
from tui.generating import Summary
from tui.glyphs import Glyphs
from tui.keys import key_of
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
        if "calls_a_minute" not in counts and (speed := rate(view)) is not None:
            parts.append(f"{60 * speed:.0f} calls a minute")
        parts += [
            f"{int(counts.get('tokens_in', 0)):,} tokens sent",
            f"{int(counts.get('tokens_out', 0)):,} received",
        ]
        rows.append(row((" " + "   ".join(parts), "muted")))
    return rows


def pace_rows(view: View, paused: bool, settings: SdgSettings, width: int) -> list[Row]:
    """How fast the endpoint is asked now, what it holds back, and what it cost so far."""
    now = view.metrics
    parts: list[str] = []
    if "calls_a_minute" in now and not paused:
        most = now.get("calls_a_minute_most", 0)
        limit = f" of {most:g}" if most else ""
        parts.append(f"{now['calls_a_minute']:.0f}{limit} calls a minute")
        parts.append(f"{now['in_flight']} of {now['in_flight_most']} in flight")
        if refused := now.get("calls_refused", 0):
            parts.append(f"{refused:,} refused")
    cost = cost_words(int(now.get("tokens_in", 0)), int(now.get("tokens_out", 0)), settings)
    parts += [f"cost {cost}"] if cost else []
    rows = said("   ".join(parts), width, "muted") if parts else []
    if not paused and (hold := now.get("hold_seconds", 0)):
        text = f"The endpoint asked to wait (429): the next call goes out in {hold:.0f} s."
        rows += said(text, width, "warn")
    return rows


def found_rows(found: float | None, width: int) -> list[Row]:
    """Whether there is much to win: how much of the evidence the base finds already."""
    if found is None:
        return []
    much = "little" if found >= LITTLE_TO_WIN else "much" if found < MUCH_TO_WIN else "something"
    share = f"The base already finds {100 * found:.0f} % of the evidence in its top 5"
    return said(f"{share}: {much} to win.", width, "accent")


def loss_rows(summary: Summary, width: int) -> list[Row]:
    """Documents that came out empty, and lost questions one by one."""
    rows = [row((f" {len(summary.empty):,} documents of which no question is kept", "strong"))]
    rows += [line for path in summary.empty for line in said(path, width, indent=3)]
    rows += [(), row((f" {len(summary.losses):,} questions that came to nothing", "strong"))]
    for loss in summary.losses:
        rows += said(f"{loss.assignment}: {loss.reason}", width, indent=3)
        if loss.parked:
            rows += said("parked", width, "warn", indent=5)
        if loss.call:
            rows += said(f"raw reply {loss.call}", width, "muted", indent=5)
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
    written, lost = counts["written"], sum(summary.lost.values())
    about = {
        "written": _named_counts((lost, "lost"), (summary.repeated, "repeated")),
        "scored": _named_counts((written - counts["scored"], "without a score")),
        "unblocked": _named_counts((written - counts["unblocked"], "blocked by a check")),
    }
    rows = [
        _bar(name, counts[name], asked, about.get(name, ""), glyphs, width)
        for name in ("asked", "written", "scored", "unblocked")
        if counts[name] or name != "asked"
    ]
    dropped = counts["unblocked"] - summary.kept
    below = _named_counts((dropped, f"below {threshold:g}")) or f"reach {threshold:g}"
    rows += [_bar("kept", summary.kept, asked, below, glyphs, width), ()]
    rows += found_rows(summary.details.get("found"), width)
    if summary.empty:
        several = f"{len(summary.empty):,} document{'s' * (len(summary.empty) != 1)}"
        keys = key_of("generate.losses"), key_of("generate.more")
        words = "came out empty; {} lists them, {} asks for more.".format(*keys)
        rows += said(f"{several} {words}", width, "warn")
    if summary.parked:
        several = f"{summary.parked:,} question{'s' * (summary.parked != 1)}"
        key = key_of("generate.retry")
        rows += said(f"{several} parked after damaged replies; {key} asks again.", width, "warn")
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


def _named_counts(*counts: tuple[int, str]) -> str:
    return ", ".join(f"{count:,} {name}" for count, name in counts if count > 0)


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
