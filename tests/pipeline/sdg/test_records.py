"""Samples, old and new."""

from __future__ import annotations

from dataclasses import asdict

from pipeline.sdg.records import Flag, Quote, Sample, to_sample

OLD = {
    "id": "q-1",
    "question": "Which?",
    "answer": "This.",
    "passages": ["p-1"],
    "quotes": [{"passage": "p-1", "start": 0, "end": 4, "text": "This"}],
    "role": "train",
    "score": 8.0,
    "levels": {"answerable": 2.0},
    "flags": [{"name": "copied", "reason": "x", "blocking": False}],
    "complexity": 3,
    "hops": 1,
    "kind": "contextual, factual",
    "writer": "m",
}


def test_a_row_of_an_earlier_version_is_read():
    sample = to_sample(OLD)
    assert sample.quotes == (Quote("p-1", 0, 4, "This"),)
    assert sample.flags == (Flag("copied", "x", False),)
    assert (sample.judge, sample.style, sample.language, sample.round) == ("", "", "", 1)


def test_a_sample_is_read_as_it_was_written():
    sample = Sample(
        "q-2", "Why?", "So.", ("p-1",), (), "dev", None, judge="j", style="terse", language="de",
        round=3, ranks={"bm25": 4},
    )  # fmt: skip
    assert to_sample(asdict(sample)) == sample
