from __future__ import annotations

import json
from dataclasses import replace

import pytest
from endpoint import completion

from pipeline.sdg.calls import Call, CallJournal
from pipeline.sdg.spending import cost_of, in_money, spent

CALL = Call("generate", "m", ({"role": "user", "content": "x" * 40},), 0.6, 0.95, 100, {})


def test_tokens_are_summed_by_purpose_and_model_and_estimated_where_nobody_counts(tmp_path):
    path = tmp_path / "calls.jsonl"
    uncounted = json.loads(completion("m", "y" * 20))
    del uncounted["usage"]
    with CallJournal(path) as journal:
        journal.keep(CALL, completion("m", "hi"))
        journal.keep(replace(CALL, sample=1), json.dumps(uncounted))
        journal.keep(replace(CALL, purpose="judge", model="j"), completion("j", "hi"))
        journal.keep(CALL, "<html>a page costs nothing</html>")
    with path.open("ab") as stream:
        stream.write(b'{"v":1,"torn')
    generate, judge = spent(path)
    assert (generate.purpose, generate.model, generate.calls) == ("generate", "m", 2)
    # "assistant" is a part of the message, too.
    assert (generate.tokens_in, generate.tokens_out) == (100 + 10, 20 + 8)
    assert generate.estimated == 1
    assert (judge.calls, judge.tokens_in, judge.tokens_out, judge.estimated) == (1, 100, 20, 0)


def test_nothing_is_spent_before_the_first_call(tmp_path):
    assert spent(tmp_path / "none.jsonl") == ()


def test_a_price_makes_a_cost_and_none_makes_none(tmp_path, settings):
    path = tmp_path / "calls.jsonl"
    with CallJournal(path) as journal:
        journal.keep(CALL, completion("m", "hi"))
    assert cost_of(spent(path), settings) is None
    priced = replace(settings, price_in=1.0, price_out=5.0)
    assert cost_of(spent(path), priced) == pytest.approx((100 + 5 * 20) / 1e6)


def test_a_cost_shows_two_decimals_or_two_digits():
    amounts = (0.0, 0.00063, 0.0099, 0.02, 3.456, 1234.5)
    said = ("0.00", "0.00063", "0.0099", "0.02", "3.46", "1,234.50")
    assert tuple(map(in_money, amounts)) == said
