"""The funnel: every question is somewhere, in total and by document."""

from __future__ import annotations

import json

import pytest
from endpoint import Answer

from pipeline.corpus.records import Document, Passage
from pipeline.files import read_json, write_json
from pipeline.sdg.funnel import (
    BELOW,
    DECLINED,
    REPEATED,
    STEPS,
    UNANSWERED,
    UNREACHED,
    funnel_of,
    funnel_rows,
    read_funnel,
)
from pipeline.sdg.plan import Assignment
from pipeline.sdg.records import FUNNEL, Flag, Sample
from pipeline.sdg.stage import execute
from pipeline.sdg.writer import Draft, Lost

DOCUMENTS = [Document(n, f"{n}.md", n, "x", n, 0, "train") for n in ("a", "b", "idle")]
PASSAGES = [Passage(f"{d}{n}", d, n, n + 1, "x", (), 1, "train") for d in "ab" for n in range(3)]


def assignment(document, number, turn=1):
    passage = next(p for p in PASSAGES if p.id == f"{document}{number % 2}")
    return Assignment(
        f"{document}:{turn}{number}", "t", (passage,), "train", 2, "q", "r", round=turn
    )


def sample(name, score=9.0, *flags):
    blocking = tuple(Flag(flag, "why", blocking=True) for flag in flags)
    told = (Flag("easy", "why", blocking=False),)
    return Sample(name, name, "", ("a0",), (), "train", score, flags=(*blocking, *told))


def test_every_question_is_lost_at_one_place_or_kept():
    asked = [assignment("a", n) for n in range(8)] + [assignment("b", n, 2) for n in range(3)]
    ids = {"a:10": "kept", "a:11": "low", "a:12": "twin", "a:13": "kept", "a:14": "refused",
           "a:15": "ungraded"}  # fmt: skip
    entries = [
        *(Draft(a, "q", "a", ()) for a in asked[:6]),
        Lost(asked[6], "damaged", "k", parked=True),
        Lost(asked[7], "the model wrote none", "k"),
        Lost(asked[8], "damaged", "k", parked=True),
    ]
    samples = [
        sample("kept"),
        sample("low", 6.9),
        sample("twin", 9.0, "duplicate"),
        sample("refused", 9.0, "refusal", "duplicate"),
        sample("ungraded", None, "unjudged"),
    ]
    rows = funnel_rows(DOCUMENTS, PASSAGES, asked, entries, ids)
    found = funnel_of(rows, samples, 7.0)
    assert dict(zip(STEPS, (11, 7, 5, 4, 3, 2, 1), strict=True)) == {
        "asked": found.steps["asked"],
        "answered": 7,
        "written": found.steps["written"],
        "checked": found.steps["checked"],
        "judged": found.steps["judged"],
        "deduplicated": found.steps["deduplicated"],
        "kept": found.steps["kept"],
    }
    assert found.lost == {
        UNANSWERED: 2,
        UNREACHED: 2,
        BELOW: 1,
        "duplicate": 1,
        "refusal": 1,
        REPEATED: 1,
        DECLINED: 1,
        "unjudged": 1,
    }
    assert found.steps["asked"] - found.steps["kept"] == sum(found.lost.values())
    assert [(d.path, d.steps["kept"]) for d in found.documents] == [("a.md", 1), ("b.md", 0)]
    assert [d.path for d in found.empty] == ["b.md"]
    assert found.planned == {"a": 8}
    assert found.kept == {"a": 1, "b": 0}
    assert found.parked == 2
    assert [d.never_asked for d in found.documents] == [("a2",), ("b2",)]
    assert funnel_of(rows, samples, 6.0).steps["kept"] == 2


@pytest.mark.parametrize("offline", [True, False])
def test_the_funnel_of_a_run_adds_up(bench, asking, endpoint, offline):
    endpoint.damage([Answer(content="no JSON"), Answer(cut=400)], every=4)
    context = (bench if offline else asking).context(sdg__attempts=1)
    outcome = execute(context)
    found = read_funnel(context.folder, 7.0)
    document = read_json(context.folder / FUNNEL)
    assert found.steps["asked"] == document["asked"]
    assert found.steps["written"] == document["written"]
    assert found.steps["kept"] == outcome.summary["kept"]
    assert found.steps["asked"] - found.steps["kept"] == sum(found.lost.values())
    counts = list(found.steps.values())
    assert counts == sorted(counts, reverse=True)
    assert found.rounds == {1: document["asked"]}
    assert found.parked == sum(each["parked"] for each in document["lost"])
    for step in STEPS:
        assert sum(d.steps[step] for d in found.documents) == found.steps[step]
    if not offline:
        assert found.parked
        assert any("--retry-parked" in note for note in outcome.summary["notes"])


def test_what_a_result_rests_on_is_accounted_by_purpose_whoever_paid_it(asking, endpoint):
    first = asking.context("one", sdg__price_in=1.0, sdg__price_out=10.0)
    outcome = execute(first)
    rows = {row["purpose"]: row for row in read_json(first.folder / FUNNEL)["spent"]}
    calls = {r.purpose for r in endpoint.chats()}
    assert set(rows) == calls == {"generate", "judge"}
    assert sum(row["calls"] for row in rows.values()) == len(endpoint.chats())
    cost = len(endpoint.chats()) * (100 * 1.0 + 20 * 10.0) / 1e6
    assert outcome.summary["cost"] == pytest.approx(cost)
    free = asking.context("two")
    again = execute(free)
    assert again.summary["cost"] is None
    assert json.loads(json.dumps(again.summary["spent"])) == list(rows.values())
    assert (first.folder / FUNNEL).read_bytes() == (free.folder / FUNNEL).read_bytes()


def test_a_result_of_an_earlier_version_has_no_funnel_by_document(tmp_path):
    write_json(tmp_path / FUNNEL, {"asked": 3, "lost": []})
    assert read_funnel(tmp_path, 7.0) is None
