"""The order in which samples are read, so that little work tells much."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipeline.files import digest_value
from pipeline.review.audit import AUDIT_SIZE
from pipeline.review.kept import is_kept
from pipeline.sdg.records import Sample


def queue_order(samples: Sequence[Sample], threshold: float, seed: int) -> tuple[str, ...]:
    """Sample ids: test questions, then a random audit, then nearest the threshold.

    The test questions measure everything, so they come first. The audit is drawn from what
    score and flags alone would keep; its draw by hash moves little while samples still arrive.

    Args:
        samples: all samples.
        threshold: the least score, of 10.
        seed: the recipe's.
    """

    def doubt(sample: Sample) -> tuple[float, str]:
        distance = math.inf if sample.score is None else abs(sample.score - threshold)
        return distance, sample.id

    test = sorted((s for s in samples if s.role == "test"), key=doubt)
    others = sorted((s for s in samples if s.role != "test"), key=doubt)
    drawn = sorted(
        (s.id for s in others if is_kept(s, None, threshold)),
        key=lambda sample_id: digest_value([seed, sample_id]),
    )[:AUDIT_SIZE]
    audit = frozenset(drawn)
    rest = (s.id for s in others if s.id not in audit)
    return (*(s.id for s in test), *drawn, *rest)
