"""When enough was read: all test questions, and the audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from pipeline.review.audit import AUDIT_SIZE, Interval, share_interval
from pipeline.review.decisions import Decision


@dataclass(frozen=True)
class ReviewProgress:
    """How far the reading that measures something has come.

    Attributes:
        test_read: test questions that were read.
        test_total: all test questions.
        audit_read: samples of the audit that were read.
        audit_total: its size; below `AUDIT_SIZE` it is all that is kept without being read.
        audit_good: of those read, the ones that were accepted as they are. An edit keeps a sample,
            but as it was written it wasn't good, and those that nobody reads are edited by nobody.
        next_target: id of the sample to read next, the test questions first; None when enough
            was read.
        complete: whether all samples are there; False while more arrive.
        audit_skipped: of the audit's read, the ones left undecided; each may be good or bad.
    """

    test_read: int
    test_total: int
    audit_read: int
    audit_total: int
    audit_good: int
    next_target: str | None
    complete: bool = True
    audit_skipped: int = 0

    @property
    def enough(self) -> bool:
        """Whether everything was read that is to be read."""
        return self.next_target is None

    @property
    def precision(self) -> Interval:
        """95 % interval of the share of good samples among those kept without being read.

        Its lower end counts skipped samples as bad, its upper end as good.
        """
        most = self.audit_good + self.audit_skipped
        if 0 < self.audit_read == self.audit_total < AUDIT_SIZE and self.complete:
            # Every one was read: nothing to estimate.
            return Interval(self.audit_good / self.audit_read, most / self.audit_read)
        low = share_interval(self.audit_good, self.audit_read).low
        return Interval(low, share_interval(most, self.audit_read).high)

    @property
    def precision_sentence(self) -> str:
        """What the audit says of what is kept, such as "28 of 30 good, so 79 to 98 % of ..."."""
        if self.audit_read == 0:
            return "nothing of the audit was read yet"
        found = f"{self.audit_good} of {self.audit_read} good"
        found += f" and {self.audit_skipped} skipped" if self.audit_skipped else ""
        interval = self.precision
        if interval.low == interval.high:
            return f"{found}, and these are all the kept ones"
        low, high = round(100 * interval.low), round(100 * interval.high)
        share = f"at least {low} %" if high == 100 else f"{low} to {high} %"
        return f"{found}, so {share} of the kept ones are"

    @property
    def sentence(self) -> str:
        """The line that says when it is enough."""
        return self._ended(
            f"read {self.test_read} of {self.test_total} test questions and {self.audit_read} of "
            f"{self.audit_total} audit samples"
        )

    @property
    def short_sentence(self) -> str:
        """The same in fewer columns."""
        return self._ended(
            f"read {self.test_read}/{self.test_total} test questions, "
            f"{self.audit_read}/{self.audit_total} audited"
        )

    def _ended(self, read: str) -> str:
        if not self.enough:
            return f"{read}: go on"
        if not self.complete:
            return f"{read}: enough for now, more samples arrive"
        return (
            f"{read}: enough; {self.precision_sentence}" if self.audit_read else f"{read}: enough"
        )


def was_read(sample: str, decisions: Mapping[str, Decision], skipped: Set[str]) -> bool:
    """Whether a person has seen a sample: it was decided or skipped.

    A bulk accept alone reads nothing, so it doesn't count.
    """
    decision = decisions.get(sample)
    if decision is None:
        return sample in skipped
    if decision.source != "bulk" or decision.verdict == "reject":
        return True
    return decision.edited


def review_progress(
    test: Sequence[str],
    audit: Sequence[str],
    decisions: Mapping[str, Decision],
    skipped: Set[str],
    complete: bool = True,
) -> ReviewProgress:
    """How far the reading has come, in time proportional to test and audit.

    Args:
        test: ids of the test questions, in the order of reading.
        audit: ids of the audit (`AuditDraw.draw`'s).
        decisions: what was said, by sample id.
        skipped: samples that were seen and left undecided.
        complete: whether all samples are there; False while more arrive.
    """
    test_left = [name for name in test if not was_read(name, decisions, skipped)]
    audit_left = [name for name in audit if not was_read(name, decisions, skipped)]
    left = frozenset(audit_left)
    read = [decisions.get(name) for name in audit if name not in left]
    return ReviewProgress(
        test_read=len(test) - len(test_left),
        test_total=len(test),
        audit_read=len(read),
        audit_total=len(audit),
        audit_good=sum(s is not None and s.verdict == "accept" and not s.edited for s in read),
        next_target=next(iter((*test_left, *audit_left)), None),
        complete=complete,
        audit_skipped=read.count(None),
    )
