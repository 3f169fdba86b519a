"""Samples while they come: whole rows to read along, and a funnel that ends true."""

from __future__ import annotations

import threading
import time

import pytest

from pipeline.errors import Cancelled
from pipeline.files import read_json, read_jsonl
from pipeline.requests import ask
from pipeline.sdg.records import ARRIVING, FUNNEL, SAMPLES, read_samples, to_sample
from pipeline.sdg.stage import execute

STEPS = ("asked", "written", "checked", "judged", "kept")


def metrics(bench, name="result"):
    """The funnel's; the pace of the calls is told by others."""
    told = [event.data for event in bench.events(name) if event.type == "metric"]
    return [data for data in told if "asked" in data]


def arrived(context):
    return [to_sample(row) for row in read_jsonl(context.folder / ARRIVING)]


@pytest.mark.parametrize("offline", [True, False])
def test_every_sample_arrives_once_and_the_funnel_ends_as_the_result(bench, asking, offline):
    made = bench if offline else asking
    context = made.context()
    outcome = execute(context)
    samples = list(read_samples(context.folder))
    assert ARRIVING not in outcome.outputs
    assert {s.id: (s.question, s.score) for s in arrived(context)} == {
        s.id: (s.question, s.score) for s in samples
    }
    last = metrics(made)[-1]
    blocked = [any(flag.blocking for flag in sample.flags) for sample in samples]
    threshold = context.recipe.sdg.threshold
    assert {step: last[step] for step in STEPS} == {
        "asked": read_json(context.folder / FUNNEL)["asked"],
        "written": len(samples),
        "checked": blocked.count(False),
        "judged": sum(sample.score is not None for sample in samples),
        "kept": sum(s.score >= threshold and not b for s, b in zip(samples, blocked, strict=True)),
    }
    assert last["tokens_in"] + last["tokens_out"] == outcome.summary["tokens"]


def wait_for_a_row(path):
    deadline = time.monotonic() + 20
    while not path.is_file() or b"\n" not in path.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_samples_can_be_read_while_calls_are_out(asking, endpoint):
    endpoint.delay = 0.3
    context = asking.context(sdg__concurrency=1)
    worker = threading.Thread(target=execute, args=(context,))
    worker.start()
    path = context.folder / ARRIVING
    wait_for_a_row(path)
    assert path.read_bytes().endswith(b"\n")
    assert not (context.folder / SAMPLES).exists()
    assert arrived(context)[0].score is not None
    seen = metrics(asking)[-1]
    assert 0 < seen["written"] < seen["asked"]
    ask(context.folder, "finish")
    worker.join(20)


def test_metrics_come_a_few_times_a_second_at_most(asking, endpoint):
    endpoint.delay = 0.01
    began = time.monotonic()
    execute(asking.context())
    seconds = time.monotonic() - began
    assert len(metrics(asking)) <= seconds / 0.25 + 1


def test_another_attempt_begins_the_file_anew(asking, endpoint):
    endpoint.delay = 0.2
    context = asking.context(sdg__concurrency=1)
    path = context.folder / ARRIVING

    def cancel():
        wait_for_a_row(path)
        ask(context.folder, "cancel")

    threading.Thread(target=cancel).start()
    with pytest.raises(Cancelled):
        execute(context)
    assert arrived(context)
    endpoint.delay = 0.0
    again = asking.context()
    execute(again)
    identities = [sample.id for sample in arrived(again)]
    assert len(identities) == len(set(identities)) == len(list(read_samples(again.folder)))


def test_finish_ends_the_offline_writer_with_what_it_has(bench, monkeypatch):
    monkeypatch.setattr("pipeline.sdg.stage._PROGRESS_EVERY", 2)
    context = bench.context()
    ask(context.folder, "finish")
    outcome = execute(context)
    assert outcome.partial
    assert 0 < len(list(read_samples(context.folder))) < outcome.summary["asked"]
