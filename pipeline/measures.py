"""How metrics are called and ordered, wherever they are shown."""

from __future__ import annotations

_TITLES = {"ndcg": "nDCG", "recall": "Recall", "precision": "Precision", "map": "MAP"}
"""In the order in which tables show them."""


def metric_order(name: str) -> tuple[int, int]:
    """What metrics such as `ndcg@10` are sorted by: measure, then rank."""
    measure, _, k = name.partition("@")
    return [*_TITLES, measure].index(measure), int(k)


def metric_title(name: str) -> str:
    """A metric for people: `nDCG@10` for `ndcg@10`."""
    measure, _, k = name.partition("@")
    return f"{_TITLES.get(measure, measure)}@{k}"
