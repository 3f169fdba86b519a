"""The line that says when it is enough."""

import pytest

from pipeline.review.decisions import Decision
from pipeline.review.progress import review_progress, was_read

_TEST = tuple(f"q-t{n}" for n in range(45))
_AUDIT = tuple(f"q-a{n}" for n in range(30))
_GOOD = Decision("accept")


def test_before_the_last_of_the_audit_one_goes_on():
    said = dict.fromkeys([*_TEST, *_AUDIT[:29]], _GOOD)
    progress = review_progress(_TEST, _AUDIT, said, set())
    assert progress.sentence == ("read 45 of 45 test questions and 29 of 30 audit samples: go on")
    assert progress.next_target == "q-a29"


def test_thirty_good_of_thirty_are_enough_and_tell_how_much():
    progress = review_progress(_TEST, _AUDIT, dict.fromkeys([*_TEST, *_AUDIT], _GOOD), set())
    assert progress.enough
    assert progress.sentence == (
        "read 45 of 45 test questions and 30 of 30 audit samples: enough; 30 of 30 good, so at "
        "least 89 % of the kept ones are"
    )


def test_rejects_of_the_audit_lower_the_share():
    said = dict.fromkeys([*_TEST, *_AUDIT], _GOOD) | {"q-a3": Decision("reject")}
    said["q-a7"] = Decision("reject")
    progress = review_progress(_TEST, _AUDIT, said, set())
    assert progress.audit_good == 28
    assert progress.precision_sentence == "28 of 30 good, so 79 to 98 % of the kept ones are"


def test_what_had_to_be_edited_was_not_good():
    said = dict.fromkeys([*_TEST, *_AUDIT], _GOOD)
    said["q-a3"] = Decision("accept", question="Better?", source="edit")
    said["q-a7"] = Decision("accept", answer="Better.")
    progress = review_progress(_TEST, _AUDIT, said, set())
    assert progress.audit_good == 28
    assert progress.precision_sentence == "28 of 30 good, so 79 to 98 % of the kept ones are"


def test_what_was_skipped_may_be_good_or_bad():
    said = dict.fromkeys([*_TEST, *_AUDIT[:28]], _GOOD)
    progress = review_progress(_TEST, _AUDIT, said, set(_AUDIT[28:]))
    assert progress.enough
    assert (progress.audit_read, progress.audit_good, progress.audit_skipped) == (30, 28, 2)
    assert progress.precision_sentence == (
        "28 of 30 good and 2 skipped, so at least 79 % of the kept ones are"
    )
    nothing = review_progress((), _AUDIT, {}, set(_AUDIT))
    assert (nothing.precision.low, nothing.precision.high) == (0.0, 1.0)
    some = review_progress((), ("q-1", "q-2"), {"q-1": _GOOD}, {"q-2"})
    assert (some.precision.low, some.precision.high) == (0.5, 1.0)


def test_the_first_unread_test_question_is_read_next():
    progress = review_progress(_TEST, _AUDIT, {"q-t0": _GOOD}, {"q-t1"})
    assert progress.next_target == "q-t2"
    assert (progress.test_read, progress.audit_read) == (2, 0)


def test_an_audit_of_all_there_is_estimates_nothing():
    said = {"q-1": _GOOD, "q-2": Decision("reject")}
    progress = review_progress((), ("q-1", "q-2"), said, set())
    assert (progress.precision.low, progress.precision.high) == (0.5, 0.5)
    assert progress.sentence.endswith("1 of 2 good, and these are all the kept ones")


def test_while_samples_arrive_it_is_enough_for_now_only():
    said = dict.fromkeys([*_TEST, *_AUDIT], _GOOD)
    progress = review_progress(_TEST, _AUDIT, said, set(), complete=False)
    assert progress.sentence.endswith("enough for now, more samples arrive")


def test_nothing_to_read_is_enough():
    assert review_progress((), (), {}, set()).short_sentence == (
        "read 0/0 test questions, 0/0 audited: enough"
    )


@pytest.mark.parametrize(
    ("decision", "read"),
    [
        (None, False),
        (Decision("accept"), True),
        (Decision("reject", source="bulk"), True),
        (Decision("accept", source="bulk"), False),
        (Decision("accept", question="Mine?", source="bulk"), True),
        (Decision("accept", question="Mine?", source="edit"), True),
    ],
)
def test_a_bulk_accept_alone_reads_nothing(decision, read):
    assert was_read("q-1", {"q-1": decision} if decision else {}, set()) is read
    assert was_read("q-2", {}, {"q-2"})
