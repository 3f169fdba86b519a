"""`embedsmith review` on a run written by hand: filters, orders, bulk, audit, histogram."""

import dataclasses
import json
import shutil
import signal

import pytest

from pipeline.corpus.records import DOCUMENTS, PASSAGES, Document, Passage, to_row
from pipeline.files import write_json, write_jsonl
from pipeline.profiles import REHEARSAL_PROFILE
from pipeline.recipe import write_overrides
from pipeline.review.log import read_decisions
from pipeline.review.queue import ORDERS
from pipeline.run import Run, home
from pipeline.sdg.records import SAMPLES, Flag, Sample
from tui.cli import REVIEW_ORDERS, main

_DONE = {"format": 1, "summary": {}, "origin": "made", "partial": False}


def _finish(run, stage, write):
    folder = run.result_folder(stage, "f")
    folder.mkdir(parents=True)
    write(folder)
    about = {"digest": f"{stage}'s", "identity": {"inputs": {"corpus": "corpus's"}}}
    write_json(folder / "done.json", {**_DONE, **about, "finished": 1.0, "seconds": 1.0})
    (folder / "journal.jsonl").touch()
    run.set_current(stage, "", "f")


@pytest.fixture
def run():
    """Forty samples on two documents: scores 4.0 to 7.9, every tenth flagged, eight of test."""
    run = Run(home() / "pilot")
    write_overrides(run.recipe_path, {"profile": REHEARSAL_PROFILE, "sdg.threshold": 6.0})
    documents = [Document(f"d-{n}", f"docs/{n}.md", "T", "text", "g", 0, "train") for n in (0, 1)]
    passages = [Passage(f"p-{n}", f"d-{n}", 0, 4, "text", (), 1, "train") for n in (0, 1)]
    samples = [
        Sample(
            id=f"q-{n:02}",
            question=f"What is number {n}?",
            answer="A number.",
            passages=(f"p-{n % 2}",),
            quotes=(),
            role="test" if n % 5 == 0 else "train",
            score=4 + n / 10,
            flags=(Flag("copied", "words", False),) if n % 10 == 3 else (),
        )
        for n in range(40)
    ]

    def corpus(folder):
        write_jsonl(folder / DOCUMENTS, map(to_row, documents))
        write_jsonl(folder / PASSAGES, map(to_row, passages))

    _finish(run, "corpus", corpus)
    _finish(
        run, "sdg", lambda f: write_jsonl(f / SAMPLES, (dataclasses.asdict(s) for s in samples))
    )
    return run


@pytest.fixture
def review(run, capsys):
    def call(*arguments, code=0):
        assert main(["review", run.name, *arguments]) == code
        return capsys.readouterr()

    hang_up = signal.getsignal(signal.SIGHUP)
    yield call
    # The command ignores it, and what other tests start would inherit that.
    signal.signal(signal.SIGHUP, hang_up)


@pytest.fixture
def rows(review):
    def call(*arguments):
        return [json.loads(line) for line in review(*arguments, "--json").out.splitlines()]

    return call


def _ids(rows):
    return [row["id"] for row in rows if row["type"] == "sample"]


def test_a_filter_lists_what_matches(rows):
    said = rows("--filter", "doc:1.md score>=7.5 -flag:any")
    assert sorted(_ids(said)) == ["q-35", "q-37", "q-39"]
    counts = next(row for row in said if row["type"] == "filter")
    assert (counts["matched"], counts["samples"]) == (3, 40)


def test_a_filter_may_begin_with_a_minus(rows):
    assert len(_ids(rows("--filter", "-flag:any"))) == 36
    assert _ids(rows("--filter", "-doc:0.md -score<7.9")) == ["q-39"]
    assert _ids(rows("--filter", "-hops:1")) == []
    assert len(_ids(rows("--filter=-flag:any"))) == 36


def test_a_variant_without_a_corpus_of_its_own_has_the_one_its_samples_came_from(run, rows):
    write_overrides(run.variant_path("other"), {})
    run.set_current("sdg", "other", "f")
    assert len(_ids(rows("--variant", "other", "--filter", "doc:1.md"))) == 20


def test_a_corpus_that_is_gone_leaves_samples_without_documents(run, rows):
    shutil.rmtree(run.result_folder("corpus", "f"))
    assert len(_ids(rows())) == 40
    assert _ids(rows("--filter", "doc:1.md")) == []


@pytest.mark.parametrize("score", ["70", "10.5", "-1", "nan"])
def test_a_threshold_off_the_scale_is_refused(run, review, score):
    said = review(f"--threshold={score}", code=4).err
    assert "threshold" in said
    assert "What is safe" in said
    assert not run.decisions_path.exists()


def test_both_ends_of_the_scale_are_thresholds(review):
    assert "40 of 40 samples kept" in review("--threshold", "0").out
    assert "0 of 40 samples kept" in review("--threshold", "10").out


def test_a_bulk_action_is_one_undo_unit_and_says_how_many(run, review, rows):
    said = review("--filter", "flag:copied", "--reject", "--reason", "leak").out
    assert "4 of 40 samples match; 4 were rejected as one action" in said
    (event,) = read_decisions(run.decisions_path)
    assert event.action.source == "bulk"
    assert event.action.samples == ("q-03", "q-13", "q-23", "q-33")
    again = review("--filter", "flag:copied", "--reject").out
    assert "0 were rejected" in again
    assert sorted(_ids(rows("--filter", "rejected reason:leak"))) == sorted(event.action.samples)
    assert "0 decided by hand" in review("--undo").out


def test_named_samples_were_read_and_stay_in_the_audit(run, review, rows):
    names = _ids(rows())[8 : 8 + 16]
    review(*names[:3], "--reject")
    review(*names[3:], "--accept")
    assert [e.action.source for e in read_decisions(run.decisions_path)] == ["manual"] * 2
    review("--filter", "rejected", "--reject", "--reason", "wrong")
    (audit,) = [row for row in rows("--audit") if row["type"] == "audit"]
    assert (audit["audit_total"], audit["audit_read"], audit["audit_good"]) == (16, 16, 13)


def test_the_audit_speaks_for_what_was_accepted_in_bulk_too(review, rows):
    (before,) = [row for row in rows("--audit") if row["type"] == "audit"]
    review("--filter", "score<6 role:train", "--accept")
    (after,) = [row for row in rows("--audit") if row["type"] == "audit"]
    assert (before["audit_total"], after["audit_total"]) == (16, 30)


def test_a_dry_run_tells_and_decides_nothing(run, review):
    said = review("--filter", "score<5", "--accept", "--dry-run").out
    assert "10 of 40 samples match; 10 would be accepted" in said
    assert "30 of 40 samples kept" in said
    assert not run.decisions_path.exists()
    assert "20 of 40 samples kept" in review("--histogram").out
    assert "1 decided by hand" in review("q-07", "--accept", "--dry-run").out
    assert not run.decisions_path.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--filter", "colour:red"],
        ["--filter", "flag:any", "--undo"],
        ["--filter", "flag:any", "--threshold", "7"],
        ["q-01", "--filter", "flag:any"],
        ["--filter", "flag:any", "--reject", "--reason", "because"],
        ["--filter", "absent", "--reject", "--reason", "because"],
        ["--accept"],
        ["q-99", "--accept"],
    ],
)
def test_what_cannot_be_done_is_refused_and_decides_nothing(run, review, arguments):
    assert "What is safe" in review(*arguments, code=4).err
    assert not run.decisions_path.exists()


def test_orders_of_the_command_are_those_of_the_queue(rows):
    assert REVIEW_ORDERS == ORDERS
    assert _ids(rows("--order", "score"))[:2] == ["q-39", "q-38"]
    assert _ids(rows("--order", "flags"))[:4] == ["q-33", "q-23", "q-13", "q-03"]
    assert _ids(rows("--order", "document"))[:2] == ["q-00", "q-02"]
    assert {name[-1] for name in _ids(rows())[:8]} == {"0", "5"}


def test_the_audit_says_how_far_the_reading_is_and_what_it_tells(run, review, rows):
    assert review("--audit").out.startswith(
        "read 0 of 8 test questions and 0 of 16 audit samples: go on.\n"
    )
    names = _ids(rows())[: 8 + 16]
    review(*names[:4], "--skip")
    for name in names[4:-1]:
        review(name, "--accept")
    said = review("--audit").out
    assert said.startswith(
        "read 8 of 8 test questions and 15 of 16 audit samples: go on; 15 of 15 good, "
        "so at least 80 %"
    )
    review(names[-1], "--reject", "--reason", "wrong")
    (audit,) = [row for row in rows("--audit") if row["type"] == "audit"]
    assert (audit["enough"], audit["audit_good"], audit["next_target"]) == (True, 15, None)
    assert audit["precision_low"] == 15 / 16


def test_the_histogram_counts_scores_and_decisions(review, rows):
    review("q-39", "--reject")
    said = review("--histogram").out
    assert " 6.0-6.5        5  ########################################  < threshold" in said
    assert "(+0 -1)" in said
    said = rows("--histogram", "--filter", "role:test")
    (histogram,) = [row for row in said if row["type"] == "histogram"]
    assert sum(bar["count"] for bar in histogram["bins"]) == 8


def test_skipped_samples_are_marked_and_keep_their_verdict(review, rows):
    review("q-39", "--skip")
    assert "q-39  7.9  kept, skipped  train" in review("q-39").out
    assert _ids(rows("--filter", "skipped")) == ["q-39"]
