"""What verification measured through the endpoint, as the rows of a table. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.measures import metric_order, metric_title


@dataclass(frozen=True)
class ServedRow:
    """One metric of one set, measured twice.

    Attributes:
        set: the set's name.
        metric: such as `ndcg@10`.
        measured: what evaluation found.
        served: what the endpoint gives.
        difference: served minus measured.
        tolerance: how far they may differ.
        verdict: `within`, `outside` or `too few queries`.
    """

    set: str
    metric: str
    measured: float
    served: float
    difference: float
    tolerance: float
    verdict: str

    @property
    def title(self) -> str:
        """The metric for people: `nDCG@10`."""
        return metric_title(self.metric)


def served_rows(summary: Mapping[str, Any]) -> tuple[ServedRow, ...]:
    """The rows of every set, by measure and rank.

    Args:
        summary: of a `verify` result; an empty one gives no rows.
    """
    return tuple(
        ServedRow(
            set=str(each["name"]),
            metric=str(row["metric"]),
            measured=float(row["stored"]),
            served=float(row["served"]),
            difference=float(row["difference"]),
            tolerance=float(row["tolerance"]),
            verdict=str(row["state"]),
        )
        for each in summary.get("sets", ())
        for row in sorted(each["rows"], key=lambda row: metric_order(row["metric"]))
    )
