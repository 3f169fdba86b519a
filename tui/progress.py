"""A stage's events, folded into what a screen shows of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.journal import Event


@dataclass(frozen=True)
class View:
    """One running stage as a person wants to see it.

    Attributes:
        what: the work and its unit, such as "passages encoded".
        done: how many.
        total: of how many; 0 while unknown.
        since: when this work began, in seconds since the epoch.
        base: `done` at that moment, so that a resumed stage's rate is honest.
        now: the time of the last event.
        metrics: the last value of every metric.
    """

    what: str = ""
    done: int = 0
    total: int = 0
    since: float = 0.0
    base: int = 0
    now: float = 0.0
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def eta_seconds(self) -> float | None:
        """Seconds until `done` reaches `total` at the mean rate so far; None until known."""
        advanced, elapsed = self.done - self.base, self.now - self.since
        if not self.total or advanced <= 0 or elapsed <= 0:
            return None
        return (self.total - self.done) * elapsed / advanced


def fold(view: View, event: Event) -> View:
    """The view after one more event."""
    if event.type == "progress":
        what, done, total = str(event.data["what"]), event.data["done"], event.data["total"]
        if what != view.what or done < view.done:
            view = replace(view, what=what, since=event.time, base=done)
        return replace(view, done=done, total=total, now=event.time)
    if event.type == "metric":
        return replace(view, now=event.time, metrics={**view.metrics, **event.data})
    return replace(view, now=event.time)


def duration(seconds: float) -> str:
    """A duration for people: `8 s`, `4 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


_SHOWN = (
    ("loss", "loss {:.3f}"),
    ("ndcg_at_10", "dev nDCG@10 {:.3f}"),
    ("samples_per_second", "{:.1f} samples/s"),
)


def metrics_line(view: View) -> str:
    """The few metrics that fit beside a progress bar."""
    parts = [
        form.format(value)
        for name, form in _SHOWN
        if isinstance(value := view.metrics.get(name), (int, float))
    ]
    return "  ".join(parts)


def rate(view: View) -> float | None:
    """How many a second, on average since this work began; None until known."""
    advanced, elapsed = view.done - view.base, view.now - view.since
    return advanced / elapsed if advanced > 0 and elapsed > 0 else None
