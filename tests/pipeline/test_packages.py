"""Wheels that overwrite one another are noticed."""

import pytest

from pipeline.packages import package_checks


@pytest.mark.parametrize(
    ("present", "verdicts"),
    [
        ({"faiss-cpu", "onnxruntime"}, ["pass", "pass"]),
        ({"faiss-gpu", "onnxruntime-gpu"}, ["pass", "pass"]),
        ({"faiss-cpu", "faiss-gpu", "onnxruntime"}, ["warn", "pass"]),
        (set(), ["warn", "warn"]),
    ],
)
def test_exactly_one_of_each_pair_has_to_be_there(present, verdicts):
    checks = list(package_checks(lambda name: name in present))
    assert [check.verdict for check in checks] == verdicts
    assert all(check.remedy for check in checks if check.verdict == "warn")
