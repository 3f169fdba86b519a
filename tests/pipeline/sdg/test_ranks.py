"""Ranks of the evidence: a rule of their own, found beside the writing, the same in any order."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from pipeline.corpus.records import IMPORTED, ImportedSample, Passage, to_row
from pipeline.errors import Cancelled, StageFailure
from pipeline.files import read_json, read_jsonl, write_jsonl
from pipeline.profiles import REHEARSAL_PROFILE, find_profile, known_profiles
from pipeline.requests import ask
from pipeline.sdg import trial_stage
from pipeline.sdg.base_ranks import Pool, device_for
from pipeline.sdg.found import BASE, BM25, found_share, found_words
from pipeline.sdg.ranks import LexicalRetriever, Query, Ranks
from pipeline.sdg.records import FUNNEL, SAMPLES, Sample, read_samples
from pipeline.sdg.stage import execute

TEXTS = [
    "The pump stops when the filter clogs.",
    "A valve opens at ten bar.",
    "The pump restarts by itself after ten minutes.",
    "Nothing is said here of machines.",
]


def passages(texts=TEXTS):
    return [Passage(f"p{n}", "d", n, n + 1, text, (), 9, "train") for n, text in enumerate(texts)]


def sample(question, *evidence, name=""):
    return Sample(name or question, question, "", evidence, (), "train", None)


def finished(ranks):
    ranks.finish(lambda done, total, what: False)


class Scripted:
    """A retriever that ranks by the length of the question, as slowly as it is told."""

    def __init__(self, pause=0.0, delay=0.0, fails_after=None):
        self.pause, self._delay, self._left = pause, delay, fails_after
        self.batches, self.closed = [], False

    def ranks(self, queries):
        time.sleep(self._delay)
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise StageFailure("The memory is full.", safe="", next_step="")
        self.batches.append(len(queries))
        return [len(query.question) for query in queries]

    def close(self):
        self.closed = True


def test_only_what_scores_higher_stands_before_the_worst_evidence():
    lexical = LexicalRetriever(TEXTS)
    asked = [
        Query("why does the pump stop at the filter", (0,)),
        Query("why does the pump stop at the filter", (2,)),
        Query("why does the pump stop at the filter", (0, 2)),
        Query("why does the pump stop at the filter", (2, 2, 0)),
    ]
    assert lexical.ranks(asked) == [1, 2, 1, 1]


def test_evidence_that_shares_no_word_with_the_question_comes_last():
    assert LexicalRetriever(TEXTS).ranks([Query("zebra", (0,)), Query("pump", (3,))]) == [4, 4]


def test_equal_passages_are_no_rivals():
    assert LexicalRetriever(["a pump", "a pump", "a valve"]).ranks([Query("pump", (1,))]) == [1]


@pytest.mark.parametrize("seed", range(5))
def test_the_place_among_vectors_is_that_of_exact_scores(seed):
    draw = np.random.default_rng(seed)
    pool = draw.normal(size=(300, 24)).astype(np.float32)
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    pool[50:60] = pool[40:50]
    pool[60:70] = pool[40:50] + np.float32(3e-8)
    for row in range(40, 70):
        query = pool[row] + draw.normal(size=24).astype(np.float32) / 10
        evidence = sorted({row, int(draw.integers(300))})
        exact = (pool.astype(np.float64) * query.astype(np.float64)).sum(axis=1).round(6)
        better = [n for n in range(300) if n not in evidence and exact[n] > exact[evidence].min()]
        assert Pool(pool).rank(query, evidence) == len(better) + 1


def test_ranks_depend_neither_on_the_order_nor_on_the_batches():
    many = [sample(f"pump {'filter ' * n}", f"p{n % 4}", name=str(n)) for n in range(60)]
    found = []
    for order in (many, random.Random(1).sample(many, len(many))):
        with Ranks(passages(), lambda notice: Scripted()) as ranks:
            for one in order:
                ranks.add([one])
            finished(ranks)
            found.append({one.id: ranks.of(one.id) for one in many})
    assert found[0] == found[1]
    assert set(found[0]["7"]) == {BASE, BM25}


def test_nothing_is_loaded_before_the_first_question_and_adding_never_waits():
    loaded = threading.Event()

    def load(notice):
        loaded.set()
        time.sleep(0.5)
        return Scripted(delay=0.01)

    with Ranks(passages(), load) as ranks:
        time.sleep(0.05)
        assert not loaded.is_set()
        began = time.monotonic()
        for number in range(50):
            ranks.add([sample(f"pump {number}", "p0")])
        assert time.monotonic() - began < 0.2
        finished(ranks)
        assert len(ranks.known(f"pump {n}" for n in range(50))) == 50


def test_a_dear_retriever_is_asked_in_few_large_batches():
    dear = Scripted(pause=0.3)
    with Ranks(passages(), lambda notice: dear) as ranks:
        for number in range(40):
            ranks.add([sample(f"pump {number}", "p0")])
            time.sleep(0.005)
        finished(ranks)
    assert sum(dear.batches) == 40
    assert len(dear.batches) <= 3
    assert dear.closed


@pytest.mark.parametrize("fails_after", [0, 2])
def test_a_base_model_that_fails_leaves_bm25_alone_and_says_why(fails_after):
    with Ranks(passages(), lambda notice: Scripted(fails_after=fails_after)) as ranks:
        for number in range(80):
            ranks.add([sample(f"pump {number}", "p0")])
            time.sleep(0.001)
        finished(ranks)
        found = ranks.known(f"pump {n}" for n in range(80))
    assert ranks.problem == "The memory is full."
    assert len(found) == 80
    assert all(set(each) == {BM25} for each in found), "half of them would mislead"


def test_an_error_of_ours_is_not_swallowed():
    def load(notice):
        raise KeyError("a mistake")

    with Ranks(passages(), load) as ranks:
        ranks.add([sample("pump", "p0")])
        with pytest.raises(KeyError):
            finished(ranks)


def test_leaving_ends_the_thread_in_the_middle_of_the_passages():
    went_on = []

    def load(notice):
        for done in range(10_000):
            notice(done, 10_000, "passages encoded")
            time.sleep(0.01)
            went_on.append(done)
        return Scripted()

    with Ranks(passages(), load) as ranks:
        ranks.add([sample("pump", "p0")])
        time.sleep(0.1)
    assert 0 < len(went_on) < 100


def test_whoever_wants_to_end_gets_bm25_at_once():
    def load(notice):
        for done in range(10_000):
            notice(done, 10_000, "passages encoded")
            time.sleep(0.01)
        return Scripted()

    seen = []

    def wait(done, total, what):
        seen.append(what)
        return len(seen) > 2

    with Ranks(passages(), load) as ranks:
        ranks.add([sample("pump", "p0")])
        ranks.finish(wait)
        assert set(ranks.of("pump")) == {BM25}
    assert ranks.ended_early
    assert "passages encoded" in seen


def test_found_counts_the_top_five_of_those_that_were_ranked():
    ranks = [{BASE: 1}, {BASE: 5}, {BASE: 6}, {BM25: 1}]
    assert found_share(ranks, BASE) == pytest.approx(2 / 3)
    assert found_share([{BM25: 1}], BASE) is None


@pytest.mark.parametrize(
    ("base", "bm25", "words"),
    [
        (0.93, 0.5, "The base model already finds 93 % in its top 5: little to win."),
        (0.9, None, "The base model already finds 90 % in its top 5: little to win."),
        (0.8, 0.9, "The base model already finds 80 % in its top 5: something to win."),
        (0.41, 0.9, "The base model already finds 41 % in its top 5: much to win."),
        (None, 0.9, "BM25 finds 90 % in its top 5; the base model didn't rank."),
        (None, None, ""),
    ],
)
def test_what_is_found_is_said_by_a_rule(base, bm25, words):
    assert found_words(base, bm25) == words


def test_no_gated_model_is_loaded_on_a_cpu():
    gated = next(profile for profile in known_profiles().values() if profile.gated)
    assert device_for(gated, {}) is None
    assert device_for(gated, {"CUDA_VISIBLE_DEVICES": ""}) is None
    assert device_for(gated, {"CUDA_VISIBLE_DEVICES": "0"}) is None
    assert device_for(gated, {"CUDA_VISIBLE_DEVICES": "GPU-12"}) == "GPU-12"
    assert device_for(find_profile(REHEARSAL_PROFILE), {}) == "cpu"


@pytest.fixture
def by_base(asking):
    """A run whose evidence the rehearsal's own model ranks, on two documents' questions."""
    settings = {"sdg.rank_with": "base", "sdg.questions_per_document": 3}
    return replace(asking, overrides=asking.overrides | settings)


def files(context):
    return {name: (context.folder / name).read_bytes() for name in (SAMPLES, FUNNEL)}


def test_the_base_model_ranks_while_questions_arrive_and_again_the_same(by_base, endpoint):
    endpoint.delay = 0.05
    first = by_base.context("one")
    outcome = execute(first)
    samples = list(read_samples(first.folder))
    assert samples
    assert all(set(s.ranks) == {BASE, BM25} for s in samples)
    assert {f.name for s in samples for f in s.flags} & {"easy", "suspect"}
    assert all(("easy" in {f.name for f in s.flags}) is (s.ranks[BASE] == 1) for s in samples)
    kept = [s.ranks for s in samples if s.score >= 7 and not any(f.blocking for f in s.flags)]
    assert outcome.summary["found"] == pytest.approx(found_share(kept, BASE), abs=1e-4)
    assert outcome.summary["notes"][0].startswith("The base model already finds")
    told = [event.data for event in by_base.events("one") if event.type == "metric"]
    assert told[-1]["found"] == outcome.summary["found"]
    second = by_base.context("two", sdg__concurrency=1)
    execute(second)
    assert files(first) == files(second)


def test_prep_finds_every_vector_in_the_cache(by_base, library, monkeypatch):
    from pipeline.cache import encode_cached
    from pipeline.encoder import load_encoder
    from pipeline.profiles import weights_folder
    from pipeline.weights import weights_digest

    context = by_base.context()
    execute(context)
    profile = context.profile
    encoder = load_encoder(weights_folder(profile), profile, context.recipe.encoder, "cpu")
    digest = weights_digest(profile, context.cache)
    monkeypatch.setattr(encoder, "encode", lambda *_: pytest.fail("it was encoded again"))
    texts = [passage.text for passage in library[1]]
    questions = [s.question for s in read_samples(context.folder)]
    assert len(encode_cached(encoder, texts, "passage", digest, context.cache)) == len(texts)
    encode_cached(encoder, questions, "query", digest, context.cache)


def test_without_the_weights_bm25_ranks_and_the_summary_says_so(by_base):
    gated = next(profile for profile in known_profiles().values() if profile.gated)
    context = replace(by_base.context(), profile=gated)
    outcome = execute(context)
    samples = list(read_samples(context.folder))
    assert all(set(s.ranks) == {BM25} for s in samples)
    (warning,) = outcome.summary["warnings"]
    assert "BM25 alone did" in warning
    assert gated.id in warning
    assert "found" not in outcome.summary
    assert outcome.summary["notes"][0].startswith("BM25 finds")


def test_a_trial_ranks_with_bm25_alone_and_warns_of_nothing(by_base):
    context = by_base.context()
    outcome = trial_stage.execute(context)
    assert all(set(s.ranks) == {BM25} for s in read_samples(context.folder))
    assert outcome.summary["warnings"] == []


def test_ranks_are_cancelled_with_the_stage_and_what_was_encoded_is_kept(by_base):
    context = by_base.context()

    def cancel():
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            told = [e.data for e in by_base.events() if e.type == "progress"]
            if told and "ranking" in told[-1]["what"]:
                break
            time.sleep(0.01)
        ask(context.folder, "cancel")

    threading.Thread(target=cancel).start()
    with pytest.raises(Cancelled):
        execute(context)
    assert not (context.folder / SAMPLES).exists()
    assert "sdg-ranks" not in {thread.name for thread in threading.enumerate()}
    whole = by_base.context("another")
    execute(whole)
    again = by_base.context()
    execute(again)
    assert files(whole) == files(again)


def test_imported_questions_are_ranked_and_checked_and_nothing_blocks_them(bench, library):
    first = library[1][0]
    words = " ".join(first.text.split()[:12])
    entries = [
        ImportedSample(f"According to this document, {words}?", "yes", (first.id,), None, 3.0, {}),
        ImportedSample("Third?", "", (first.id,), None, None, {}),
    ]
    write_jsonl(bench.corpus.folder / IMPORTED, map(to_row, entries))
    context = bench.context()
    outcome = execute(context)
    samples = list(read_samples(context.folder))
    assert [s.score for s in samples] == [3.0, None]
    assert {"pointing", "copied"} <= {f.name for f in samples[0].flags}
    assert not any(f.blocking for s in samples for f in s.flags)
    assert all(s.ranks[BM25] >= 1 for s in samples)
    assert outcome.summary["unblocked"] == 2
    assert next(iter(read_jsonl(context.folder / SAMPLES)))["ranks"]
    assert read_json(context.folder / FUNNEL)["flags"]["pointing"] == 1
