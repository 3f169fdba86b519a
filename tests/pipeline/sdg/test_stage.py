from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from endpoint import MODEL, Answer, ScriptedEndpoint

import pipeline
from pipeline.corpus.records import IMPORTED, PASSAGES, ImportedSample, to_row
from pipeline.errors import BadInput, Busy, Cancelled, EndpointFailure
from pipeline.files import digest_folder, read_json, write_jsonl
from pipeline.locks import Lock
from pipeline.requests import ask
from pipeline.sdg.batches import questions_for
from pipeline.sdg.records import FUNNEL, SAMPLES, read_samples
from pipeline.sdg.stage import execute

KEY = "nvapi-0123456789abcdefSECRET"


def files(context):
    return {name: (context.folder / name).read_bytes() for name in (SAMPLES, FUNNEL)}


def identities(requests):
    return Counter(request.identity for request in requests)


def replies(path):
    """Whole lines of a call journal, the tiny calls left out."""
    whole = path.read_bytes().rpartition(b"\n")[0].splitlines()
    return [line for line in whole if b'"purpose":"probe"' not in line]


def once(condition, context, request):
    """Leave a request for the stage as soon as something holds."""

    def wait():
        deadline = time.monotonic() + 20
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)
        ask(context.folder, request)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_the_offline_writer_makes_grounded_samples_for_every_document(bench, library):
    context = bench.context()
    outcome = execute(context)
    samples = list(read_samples(context.folder))
    passages = {passage.id: passage for passage in library[1]}
    assert outcome.outputs == (SAMPLES, FUNNEL)
    assert outcome.summary["writer"] == "offline"
    assert outcome.summary["written"] == len(samples) == len({s.id for s in samples})
    assert {sample.role for sample in samples} == {"train", "dev", "test"}
    assert {passages[p].document for s in samples for p in s.passages} == {
        document.id for document in library[0]
    }
    for sample in samples:
        assert sample.writer == "offline"
        assert sample.id.startswith("q-")
        assert {passages[p].role for p in sample.passages} == {sample.role}
        for quote in sample.quotes:
            assert passages[quote.passage].text[quote.start : quote.end] == quote.text
    assert bench.events()[-1].type == "artifact"


def test_the_offline_writer_writes_the_same_bytes_again(bench):
    first, second = bench.context("one"), bench.context("two")
    execute(first)
    execute(second)
    assert files(first) == files(second)


def test_the_offline_writer_sends_nothing(bench, endpoint):
    execute(bench.context(sdg__base_url=endpoint.base_url))
    assert endpoint.requests == []


def test_the_threshold_is_left_to_review(bench):
    low, high = bench.context("one", sdg__threshold=0.0), bench.context("two", sdg__threshold=9.9)
    execute(low)
    execute(high)
    assert files(low) == files(high)


def test_a_corpus_without_passages_is_bad_input(bench):
    write_jsonl(bench.corpus.folder / PASSAGES, [])
    with pytest.raises(BadInput, match="no passages"):
        execute(bench.context())


def test_an_endpoint_writes_judged_samples_with_located_quotes(asking, endpoint, library):
    context = asking.context()
    outcome = execute(context)
    samples = list(read_samples(context.folder))
    passages = {passage.id: passage for passage in library[1]}
    per_document = Counter(passages[s.passages[0]].document for s in samples)
    for document, count in Counter(p.document for p in library[1]).items():
        assert per_document[document] == questions_for(count, context.recipe.sdg)
    for sample in samples:
        assert sample.writer == MODEL
        assert sample.levels["answerable"] == 2
        assert 0 < sample.score <= 10
        assert sample.hops == len(sample.passages) == len({q.passage for q in sample.quotes})
        for quote in sample.quotes:
            assert passages[quote.passage].text[quote.start : quote.end] == quote.text
    assert {sample.hops for sample in samples} > {1}
    assert len({sample.score for sample in samples}) > 1
    assert outcome.summary["calls_paid"] == len(endpoint.chats())
    assert outcome.summary["tokens"] == 120 * len(endpoint.chats())
    assert endpoint.in_flight_most <= context.recipe.sdg.concurrency
    done = [event.data for event in asking.events() if event.type == "progress"]
    assert done[-1]["done"] == done[-1]["total"] == len(endpoint.chats())


def test_the_second_run_pays_nothing_and_writes_the_same(asking, endpoint):
    first = asking.context("one")
    execute(first)
    paid = len(endpoint.requests)
    second = asking.context("two", sdg__base_url="https://nowhere.invalid/v1", sdg__concurrency=1)
    outcome = execute(second)
    assert len(endpoint.requests) == paid
    assert outcome.summary["calls_paid"] == 0
    assert files(first) == files(second)


def test_another_model_is_asked_anew_and_a_judge_of_its_own_only_judges(asking, endpoint):
    execute(asking.context("one"))
    before = len(endpoint.chats())
    outcome = execute(asking.context("two", sdg__judge_model="scripted/judge"))
    fresh = endpoint.chats()[before:]
    assert {request.body["model"] for request in fresh} == {"scripted/judge"}
    assert {request.purpose for request in fresh} == {"judge"}
    assert outcome.summary["judge"] == "scripted/judge"


def test_the_key_is_in_no_file(asking, endpoint):
    execute(asking.context())
    assert endpoint.chats()[0].headers["authorization"] == f"Bearer {KEY}"
    endpoint.always(Answer(401, body=f"wrong key {KEY}"))
    with pytest.raises(EndpointFailure):
        execute(asking.context("two", sdg__temperature=0.1))
    for path in asking.path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_a_missing_key_stops_before_anything_is_sent(asking, monkeypatch):
    monkeypatch.delenv("NVIDIA_API_KEY")
    with pytest.raises(EndpointFailure, match="NVIDIA_API_KEY"):
        execute(asking.context(sdg__base_url="https://integrate.example.invalid/v1"))


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_in_the_middle_keeps_what_was_paid(asking, endpoint, status):
    endpoint.script(*[Answer()] * 3)
    endpoint.always(Answer(status))
    context = asking.context()
    with pytest.raises(EndpointFailure) as caught:
        execute(context)
    assert str(status) in caught.value.happened
    assert not (context.folder / SAMPLES).exists()
    endpoint.always(None)
    execute(context)
    assert max(identities(endpoint.answered).values()) == 1


@pytest.mark.parametrize(
    "bad",
    [
        Answer(429, headers={"retry-after": "0"}),
        Answer(content="", finish_reason="stop"),
        Answer(cut=150, finish_reason="length"),
        Answer(cut=60),
        Answer(content="I'm sorry, I can't."),
    ],
)
def test_a_bad_reply_costs_one_more_call_and_no_question(asking, endpoint, bad, library):
    endpoint.script(bad)
    context = asking.context()
    outcome = execute(context)
    wanted = Counter(p.document for p in library[1]).values()
    assert outcome.summary["written"] == sum(questions_for(n, context.recipe.sdg) for n in wanted)
    assert read_json(context.folder / FUNNEL)["lost"] == []


@pytest.mark.parametrize("wrap", [("<think>{hm}</think>\n", ""), ("```json\n", "\n```")])
def test_wrapped_replies_are_read_as_they_are(asking, endpoint, wrap, tmp_path):
    plain, wrapped = (replace(asking, path=tmp_path / name).context() for name in ("a", "b"))
    execute(plain)
    before = len(endpoint.chats())
    endpoint.always(Answer(wrap=wrap))
    execute(wrapped)
    assert len(endpoint.chats()) == 2 * before
    assert files(plain) == files(wrapped)


def test_what_stays_unreadable_is_counted_with_its_raw_reply(asking, endpoint):
    endpoint.always(Answer(content="no JSON at all"))
    context = asking.context(sdg__questions_per_document=1)
    outcome = execute(context)
    funnel = read_json(context.folder / FUNNEL)
    assert funnel["written"] == 0
    assert len(funnel["lost"]) == funnel["asked"] > 0
    raw = {json.loads(line)["key"] for line in context.run.calls_path.read_text().splitlines()}
    assert {entry["call"] for entry in funnel["lost"]} <= raw
    assert all("no whole JSON object" in entry["reason"] for entry in funnel["lost"])
    assert any("came to nothing" in warning for warning in outcome.summary["warnings"])


def test_invented_quotes_block_a_question_before_it_is_judged(asking, endpoint):
    pair = {
        "slot": 0,
        "question": "What is invented here?",
        "answer": "Everything.",
        "evidence": [{"chunk": "c1", "quote": "words that stand in no passage at all"}],
    }
    endpoint.always(Answer(content=json.dumps({"pairs": [pair]})))
    context = asking.context()
    execute(context)
    samples = list(read_samples(context.folder))
    assert samples
    for sample in samples:
        assert sample.score is None
        assert {"ungrounded"} <= {flag.name for flag in sample.flags if flag.blocking}
    assert {request.purpose for request in endpoint.chats()} == {"generate"}


def test_grades_that_never_come_block_a_question(asking, endpoint):
    clean = asking.context("one")
    execute(clean)
    judged = [request for request in endpoint.answered if request.purpose == "judge"]
    context = asking.context("two", sdg__judge_model="scripted/judge")
    levels = dict.fromkeys(("answerable", "supported", "standalone", "specific", "natural"), 9)
    endpoint.always(Answer(content=json.dumps({"grades": [{"id": "q0", **levels}]})))
    execute(context)
    samples = list(read_samples(context.folder))
    assert len(endpoint.chats()) == len(endpoint.answered)
    assert len([r for r in endpoint.chats() if r.purpose == "judge"]) == 3 * len(judged)
    assert all("unjudged" in {flag.name for flag in s.flags if flag.blocking} for s in samples)


def test_cancel_keeps_the_replies_in_flight(asking, endpoint):
    endpoint.delay = 0.4
    context = asking.context()
    cancelling = once(lambda: len(endpoint.chats()) >= 2, context, "cancel")
    with pytest.raises(Cancelled):
        execute(context)
    cancelling.join()
    endpoint.delay = 0.0
    assert len(endpoint.answered) == len(endpoint.chats()) >= 2
    kept = replies(context.run.calls_path)
    assert len(kept) == len(endpoint.answered)
    execute(asking.context())
    assert max(identities(endpoint.answered).values()) == 1


def test_pause_lets_no_call_start(asking, endpoint):
    endpoint.delay = 0.1
    context = asking.context()
    ask(context.folder, "pause")
    worker = threading.Thread(target=execute, args=(context,))
    worker.start()
    time.sleep(0.5)
    assert endpoint.chats() == []
    ask(context.folder, "resume")
    worker.join(20)
    assert (context.folder / SAMPLES).is_file()


def test_finish_ends_early_with_what_is_there(asking, endpoint):
    endpoint.delay = 0.3
    context = asking.context(sdg__concurrency=1)
    finishing = once(lambda: len(endpoint.chats()) >= 2, context, "finish")
    outcome = execute(context)
    finishing.join()
    samples = list(read_samples(context.folder))
    assert outcome.partial
    assert 0 < len(samples) < outcome.summary["asked"]
    assert all(sample.score is not None for sample in samples)


def test_two_stages_of_one_run_do_not_pay_side_by_side(asking):
    context = asking.context()
    lock = Lock(context.run.calls_path.with_name("calls.jsonl.lock"), "x")
    with lock, pytest.raises(Busy):
        execute(context)


SCRIPT = textwrap.dedent(
    """
    import sys
    sys.path[:0] = sys.argv[1:3]
    from pathlib import Path
    from conftest import Bench
    from pipeline.run import Result
    from pipeline.sdg.stage import execute
    corpus = Result(Path(sys.argv[4]), "corpus", "f", "d", {}, "made", False, 0.0, 0.0)
    overrides = {"sdg.writer": "endpoint", "sdg.base_url": sys.argv[5], "sdg.model": sys.argv[6]}
    execute(Bench(Path(sys.argv[3]), corpus, overrides).context())
    """
)


def start(bench, endpoint):
    here = Path(__file__).parent
    support = here.parents[1] / "support"
    command = [sys.executable, "-c", SCRIPT, str(here), str(support), str(bench.path)]
    command += [str(bench.corpus.folder), endpoint.base_url, MODEL]
    root = Path(pipeline.__file__).parents[1]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(root)})


@pytest.mark.parametrize("answered", [2, 9])
def test_a_killed_run_goes_on_without_paying_twice_and_ends_bit_equal(bench, tmp_path, answered):
    with ScriptedEndpoint() as undisturbed:
        settings = {"sdg.base_url": undisturbed.base_url, "sdg.model": MODEL}
        whole = replace(bench, path=tmp_path / "whole", overrides=settings)
        execute(whole.context(sdg__writer="endpoint"))
    killed = replace(bench, path=tmp_path / "killed")
    calls = killed.path / "sdg" / "calls.jsonl"
    with ScriptedEndpoint(hold_after=answered) as endpoint:
        process = start(killed, endpoint)
        deadline = time.monotonic() + 30
        while not calls.is_file() or len(replies(calls)) < answered:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        paid = list(endpoint.answered)
    with calls.open("ab") as stream:
        stream.write(b'{"v":1,"key":"torn')
    with ScriptedEndpoint() as endpoint:
        assert start(killed, endpoint).wait(60) == 0
        both = identities([*paid, *endpoint.answered])
    assert len(paid) == answered
    assert max(both.values()) == 1
    assert both == identities(undisturbed.answered)
    for name in (SAMPLES, FUNNEL):
        one, other = (run.path / "sdg" / "result" / name for run in (whole, killed))
        assert one.read_bytes() == other.read_bytes()


def imported(question, passages, **changes):
    entry = ImportedSample(question, "an answer", passages, None, 8.5, {})
    return replace(entry, **changes)


def test_imported_samples_are_taken_over_as_they_are(asking, endpoint, library):
    by_role = {passage.role: passage.id for passage in library[1]}
    train, test = by_role["train"], by_role["test"]
    details = {"query_type": "structural", "reasoning_type": "causal", "hop_count": 2}
    details |= {"question_complexity": 4}
    entries = [
        imported("First?", (train,), details=details),
        imported("Second?", (train, test), answer="", score=None),
        imported("Third?", (test,), role="train"),
        imported("First?", (train,)),
    ]
    write_jsonl(asking.corpus.folder / IMPORTED, map(to_row, entries))
    context = asking.context()
    outcome = execute(context)
    first, second, third = read_samples(context.folder)
    assert outcome.imported
    assert endpoint.requests == []
    assert set(digest_folder(context.folder)) == {SAMPLES, FUNNEL, "journal.jsonl"}
    assert (first.score, first.hops, first.complexity) == (8.5, 2, 4)
    assert first.kind == "structural, causal"
    assert (second.role, second.score, second.answer, second.hops) == ("test", None, "", 2)
    assert third.role == "train"
    assert {sample.writer for sample in (first, second, third)} == {"imported"}
    assert outcome.summary["repeated"] == 1


def whole_questions(text):
    """The questions of a damaged reply's complete pairs, as the scripted endpoint writes them."""
    for match in re.finditer(r'{"slot"', text):
        with suppress(ValueError):
            found, _ = json.JSONDecoder().raw_decode(text, match.start())
            if found["question"]:
                yield " ".join(found["question"].split())


def test_every_valid_pair_of_damaged_replies_is_kept_and_every_lost_one_listed(asking, endpoint):
    """A fifth of the writing replies is damaged, each in one of five ways, and stays so."""
    ways = [
        Answer(cut=150, finish_reason="length"),
        Answer(cut=700),
        Answer(content="I'm sorry, I can't."),
        Answer(content=""),
        Answer(content='{"pairs": [{"slot": 0, "question": ""}]}'),
    ]
    endpoint.damage(ways, every=5)
    context = asking.context(sdg__questions_per_document=12, sdg__attempts=1)
    outcome = execute(context)
    funnel = read_json(context.folder / FUNNEL)
    raw = {}
    for line in replies(context.run.calls_path):
        row = json.loads(line)
        raw[row["key"]] = json.loads(row["body"])["choices"][0]["message"]["content"]
    questions = {sample.question for sample in read_samples(context.folder)}
    valid = {found for text in raw.values() for found in whole_questions(text)}
    assert questions == valid
    assert funnel["lost"]
    assert len(questions) + len(funnel["lost"]) + funnel["repeated"] == outcome.summary["asked"]
    for loss in funnel["lost"]:
        assert loss["call"] in raw
        assert loss["reason"]


def test_what_was_parked_is_asked_for_again_with_more_attempts(asking, endpoint):
    endpoint.script(Answer(cut=60))
    first = asking.context("one", sdg__attempts=1)
    execute(first)
    lost = read_json(first.folder / FUNNEL)["lost"]
    before = len(endpoint.chats())
    second = asking.context("two", sdg__attempts=2)
    execute(second)
    assert lost
    assert read_json(second.folder / FUNNEL)["lost"] == []
    fresh = [request.purpose for request in endpoint.chats()[before:]]
    assert fresh == ["generate", "judge"]


def test_a_damaged_reply_is_shown_to_the_model_with_what_was_wrong(asking, endpoint):
    endpoint.script(Answer(content="no JSON at all"))
    execute(asking.context(sdg__concurrency=1))
    told = endpoint.chats()[1].body["messages"]
    assert [message["role"] for message in told] == ["system", "user", "assistant", "user"]
    assert told[2]["content"] == "no JSON at all"
    assert "no whole JSON object" in told[3]["content"]


def test_a_reply_that_was_cut_off_is_asked_for_in_halves_with_more_room(asking, endpoint):
    endpoint.script(Answer(cut=5, finish_reason="length"))
    execute(asking.context(sdg__concurrency=1))
    first, *halves = endpoint.chats()[:3]
    assert {r.body["max_tokens"] for r in halves} == {2 * first.body["max_tokens"]}
    assert {r.purpose for r in halves} == {"generate"}


def test_a_model_that_writes_nonsense_is_stopped_after_its_first_replies(asking, endpoint):
    endpoint.always(Answer(content="As an AI I would rather not."))
    with pytest.raises(EndpointFailure) as caught:
        execute(asking.context(sdg__questions_per_document=20))
    assert "of the first 10 replies" in caught.value.happened
    assert "I would rather not" in caught.value.happened
    assert "sdg.model" in caught.value.next_step
    assert len(endpoint.chats()) < 10 + 32


@pytest.mark.parametrize("most", [1, 2, 5, 9])
def test_no_more_calls_are_made_than_the_recipe_allows_and_the_end_is_orderly(
    asking, endpoint, most, tmp_path
):
    contexts = []
    for name, width in (("narrow", 1), ("wide", 32)):
        bench = replace(asking, path=tmp_path / name)
        context = bench.context(sdg__calls_max=most, sdg__concurrency=width)
        before = len(endpoint.chats())
        outcome = execute(context)
        made = len(endpoint.chats()) - before
        assert made <= most
        assert made >= most - 1
        assert outcome.partial
        contexts.append(context)
    assert files(contexts[0]) == files(contexts[1])


def test_killed_at_any_instant_at_most_the_calls_in_flight_are_lost(bench, tmp_path):
    chance = random.Random(random.randrange(10**6))
    killed = replace(bench, path=tmp_path / "killed")
    calls = killed.path / "sdg" / "calls.jsonl"
    with ScriptedEndpoint(delay=0.05) as endpoint:
        for _ in range(3):
            process = start(killed, endpoint)
            before = len(endpoint.chats())
            while process.poll() is None and len(endpoint.chats()) == before:
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        kept = len(replies(calls))
        asked = len(endpoint.chats())
        assert start(killed, endpoint).wait(60) == 0
        lost = asked - kept
        assert lost <= 3 * endpoint.in_flight_most
        twice = sum(count - 1 for count in identities(endpoint.chats()).values())
        assert twice == lost
