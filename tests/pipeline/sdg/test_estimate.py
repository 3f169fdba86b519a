"""The estimate counts as the plan and the writer do, and loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace

import pytest

from pipeline.corpus.records import Document, Passage
from pipeline.sdg.batches import batches
from pipeline.sdg.estimate import Estimate, estimate, in_words
from pipeline.sdg.plan import plan
from pipeline.sdg.stage import execute
from pipeline.settings import SdgSettings

HOSTED = SdgSettings()
LOCAL = replace(HOSTED, base_url="http://127.0.0.1:8000/v1")


def a_corpus(documents, passages):
    made = [Document(f"d{n}", f"{n}.md", "t", "x", f"g{n}", 0, "train") for n in range(documents)]
    cut = [
        Passage(f"p-{d}-{n}", f"d{d}", n, n + 1, "x", (), 300, "train")
        for d in range(documents)
        for n in range(passages)
    ]
    return made, cut


@pytest.mark.parametrize(
    "changes",
    [{}, {"questions_per_document": 5}, {"hops_max": 1}, {"hops_min": 2}, {"document_passages": 3}],
)
def test_questions_and_calls_are_those_of_the_plan(library, changes):
    settings = replace(HOSTED, **changes)
    planned = plan(*library, settings, 42)
    found = estimate(*library, settings)
    assert found.questions == len(planned)
    assert found.calls == 2 * len(list(batches(planned)))


def test_the_calls_are_those_that_are_made_and_the_passages_those_that_are_sent(
    asking, endpoint, library
):
    context = asking.context()
    execute(context)
    found = estimate(*library, context.recipe.sdg)
    assert found.calls == len(endpoint.chats())
    # The fixture counts a passage's words as its tokens, so that the prompts are left to compare.
    sent = sum(len(m["content"]) for r in endpoint.chats() for m in r.body["messages"]) / 4
    assert 0.5 < found.tokens_in / sent < 1.5


def test_tokens_grow_with_the_passages_and_with_guidance():
    small, large = (estimate(*a_corpus(4, n), HOSTED) for n in (10, 40))
    assert large.tokens_in > 3 * small.tokens_in
    guided = estimate(*a_corpus(4, 10), replace(HOSTED, audience="engineers on call"))
    assert guided.calls == small.calls
    assert guided.tokens_in > small.tokens_in


def test_minutes_follow_the_limit_of_a_hosted_endpoint_and_the_own_concurrency():
    corpus = a_corpus(100, 10)
    calls = estimate(*corpus, HOSTED).calls
    assert calls == 400
    assert estimate(*corpus, HOSTED).minutes == 10.0
    few = replace(HOSTED, concurrency=4)
    assert estimate(*corpus, few).minutes == pytest.approx(400 / 30, abs=0.05)
    assert estimate(*corpus, LOCAL).minutes == pytest.approx(1.7, abs=0.1)


def test_minutes_follow_a_rate_of_ones_own_wherever_it_is():
    corpus = a_corpus(100, 10)
    for settings in (HOSTED, LOCAL):
        assert estimate(*corpus, replace(settings, requests_per_minute=20)).minutes == 20.0


def test_a_cost_is_told_where_there_is_a_price():
    corpus = a_corpus(4, 10)
    assert estimate(*corpus, HOSTED).cost is None
    assert "cost" not in in_words(estimate(*corpus, HOSTED))
    priced = estimate(*corpus, replace(HOSTED, price_in=1000.0, price_out=2000.0))
    assert priced.cost == pytest.approx((priced.tokens_in + 2 * priced.tokens_out) / 1000)
    assert f"a cost of {priced.cost:,.2f}" in in_words(priced)


def test_rounds_and_styles_change_nothing_and_a_target_or_a_limit_takes_less():
    corpus = a_corpus(10, 10)
    whole = estimate(*corpus, HOSTED)
    assert estimate(*corpus, replace(HOSTED, rounds=3, styles=("keyword",))) == whole
    assert estimate(*corpus, replace(HOSTED, target=1000)) == whole
    aimed = estimate(*corpus, replace(HOSTED, target=7))
    assert (aimed.questions, aimed.calls, aimed.least) == (7, 4, True)
    assert in_words(aimed).startswith("At least 7 questions in 4 calls")
    limited = estimate(*corpus, replace(HOSTED, calls_max=10))
    assert (limited.calls, limited.questions) == (10, 18)


def test_nothing_is_called_offline_or_for_imported_samples(library):
    offline = estimate(*library, replace(HOSTED, writer="offline"))
    assert offline.questions > 0
    assert (offline.calls, offline.tokens_in, offline.tokens_out, offline.minutes) == (0, 0, 0, 0)
    assert estimate(*library, HOSTED, imported=True) == Estimate(0, 0, 0, 0, 0.0)
    assert "no call" in in_words(offline)


def test_ten_thousand_passages_are_estimated_at_once():
    corpus = a_corpus(500, 20)
    began = time.perf_counter()
    estimate(*corpus, HOSTED)
    assert time.perf_counter() - began < 0.3


def test_estimate_consent_and_trials_load_nothing_heavy():
    code = (
        "import sys, pipeline.sdg.estimate, pipeline.sdg.consent, pipeline.sdg.trial\n"
        "print([m for m in ('numpy', 'openai', 'torch', 'tokenizers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
