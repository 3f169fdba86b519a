"""Rounds: what is asked next follows from what was kept, and a replay pays nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from endpoint import Answer

from pipeline.corpus.records import ROLES, Document, Passage
from pipeline.files import read_json
from pipeline.identity import settings_of
from pipeline.profiles import REHEARSAL_PROFILE, base_recipe, find_profile
from pipeline.recipe import Recipe, apply
from pipeline.sdg.batches import batch_sizes
from pipeline.sdg.funnel import read_funnel
from pipeline.sdg.plan import plan
from pipeline.sdg.records import FUNNEL, SAMPLES, passes, read_samples
from pipeline.sdg.rounds import ROUNDS_MAX, last_round, portions, wanted_of
from pipeline.sdg.stage import execute
from pipeline.settings import SdgSettings
from pipeline.stage import find_stage

SEED = 42
PLAIN = SdgSettings()


def a_corpus(documents=10, cut=10):
    made, passages = [], []
    for number in range(documents):
        role = ROLES[max(0, number - documents + 3)]
        name = f"d{number}"
        made.append(Document(name, f"{number}.md", "t", "x", f"g{number}", 0, role))
        passages += [
            Passage(f"p-{name}-{n}", name, n, n + 1, f"{name} {n} " * 50, (), 300, role)
            for n in range(cut)
        ]
    return made, passages


def walk(settings, keeps, corpus=None):
    """All portions, where of every question `keeps` says whether it is kept."""
    steps = portions(*(corpus or a_corpus()), settings, SEED)
    kept, found = Counter(), []
    try:
        portion = next(steps)
        while True:
            found.append(portion)
            kept.update(a.document for a in portion if keeps(a))
            portion = steps.send(dict(kept))
    except StopIteration:
        return found


def test_one_round_is_the_plan():
    (only,) = walk(PLAIN, lambda a: False)
    assert only == plan(*a_corpus(), PLAIN, SEED)


def test_further_rounds_ask_about_what_came_out_empty_or_short():
    def keeps(assignment):
        number = int(assignment.id.rpartition(":")[2])
        few = {"d0": 0, "d1": 2}.get(assignment.document, 4)
        return number < few

    first, second, third = walk(replace(PLAIN, rounds=3), keeps)
    assert len(first) == 70
    assert Counter(a.document for a in second) == {"d0": 7, "d1": 5}
    assert {a.round for a in second} == {2}
    # d1 kept two more, and has more than half of its plan.
    assert Counter(a.document for a in third) == {"d0": 7}
    assert len({a.id for a in (*first, *second, *third)}) == 70 + 12 + 7


def test_nothing_is_asked_again_where_all_documents_have_enough():
    assert len(walk(replace(PLAIN, rounds=5), lambda a: True)) == 1


def test_short_means_less_than_half_of_the_plan():
    planned = {"none": 7, "few": 7, "half": 6, "all": 3, "one": 1}
    kept = {"few": 3, "half": 3, "all": 3}
    assert wanted_of(planned, kept) == {"none": 7, "few": 4, "one": 1}


def test_a_target_asks_for_no_more_than_it_takes_and_first_about_every_role():
    portion, *_ = walk(replace(PLAIN, target=12), lambda a: True)
    assert len(portion) == 12
    assert {a.role for a in portion} == set(ROLES)
    whole, *_ = walk(replace(PLAIN, target=40), lambda a: True)
    assert {a.document for a in whole} == {f"d{n}" for n in range(10)}


def test_what_a_target_asks_is_part_of_the_plan_in_its_own_calls():
    """So raising the target, or giving it up, pays no reply twice."""
    planned = plan(*a_corpus(), PLAIN, SEED)
    for portion in walk(replace(PLAIN, target=30), lambda a: int(a.id[-1]) % 2 == 0):
        if portion[0].round == 1:
            places = [planned.index(a) for a in portion]
            assert places == sorted(places)
        sizes = Counter(a.document for a in portion)
        assert all(count in (3, 4, 7) for count in sizes.values())
    assert batch_sizes(7) == [4, 3]


def test_the_next_portion_is_as_large_as_the_yield_so_far_asks_for():
    kept = set()

    def half(assignment):
        if len(kept) * 2 < len(seen):
            kept.add(assignment.id)
        seen.add(assignment.id)
        return assignment.id in kept

    seen = set()
    found = walk(replace(PLAIN, target=20), half)
    assert [len(portion) for portion in found][:2] == [20, 20]
    assert 20 <= len(kept) <= 23


def test_a_target_goes_on_in_further_rounds_with_those_first_that_kept_least():
    found = walk(replace(PLAIN, target=80), lambda a: a.document not in ("d3", "d4"))
    rounds = [portion[0].round for portion in found]
    assert rounds[0] == 1
    assert rounds[-1] == 2
    second = next(portion for portion in found if portion[0].round == 2)
    assert {"d3", "d4"} <= {a.document for a in second}


def test_a_round_that_keeps_nothing_is_the_last_one():
    found = walk(replace(PLAIN, target=10), lambda a: False)
    assert {a.round for portion in found for a in portion} == {1}
    assert sum(map(len, found)) == 70


def test_rounds_towards_a_target_are_bounded():
    once = Counter()

    def one_a_round(assignment):
        once[assignment.round] += 1
        return once[assignment.round] == 1

    found = walk(replace(PLAIN, target=500), one_a_round)
    assert found[-1][0].round == ROUNDS_MAX == last_round(replace(PLAIN, target=500))


def test_the_threshold_identifies_a_result_only_where_later_rounds_follow_from_it():
    stage = find_stage("sdg")
    one = apply(Recipe(), {"sdg.threshold": 8.0}, "a test")
    assert settings_of(stage, one) == settings_of(stage, Recipe())
    for more in ({"sdg.rounds": 2}, {"sdg.target": 5}):
        high, low = (apply(each, more, "a test") for each in (one, Recipe()))
        assert settings_of(stage, high) != settings_of(stage, low)


def invented():
    """A reply whose questions rest on nothing, so that a check blocks them."""
    pairs = ",".join(
        f'{{"slot":{n},"question":"What is invented in {n}?","answer":"All.",'
        f'"evidence":[{{"chunk":"c1","quote":"words that stand nowhere at all"}}]}}'
        for n in range(4)
    )
    return Answer(content=f'{{"pairs":[{pairs}]}}')


def files(context):
    return {name: (context.folder / name).read_bytes() for name in (SAMPLES, FUNNEL)}


def test_a_run_is_topped_up_where_it_is_empty_and_pays_nothing_again(asking, endpoint):
    settings = {"sdg__questions_per_document": 3, "sdg__concurrency": 1}
    # Exactly the first document's questions are worth nothing.
    endpoint.script(invented())
    first = asking.context("one", **settings)
    execute(first)
    (empty,) = read_funnel(first.folder, 7.0).empty
    paid = len(endpoint.chats())
    more = asking.context("two", **settings, sdg__rounds=2)
    outcome = execute(more)
    fresh = endpoint.chats()[paid:]
    assert {r.purpose for r in fresh} == {"generate", "judge"}
    assert len(fresh) == 2
    assert outcome.summary["empty"] == 0
    assert read_json(more.folder / FUNNEL)["rounds"]["2"] == empty.planned
    assert {s.round for s in read_samples(more.folder)} == {1, 2}
    paid = len(endpoint.chats())
    again = asking.context("three", **settings, sdg__rounds=2)
    execute(again)
    assert len(endpoint.chats()) == paid
    assert files(more) == files(again)
    assert any("Round 2" in str(e.data.get("message")) for e in asking.events("two"))


@pytest.mark.parametrize("offline", [True, False])
def test_a_target_ends_the_writing_once_it_is_reached(bench, asking, endpoint, offline):
    made = bench if offline else asking
    context = made.context(sdg__target=6, sdg__threshold=0.0)
    outcome = execute(context)
    samples = list(read_samples(context.folder))
    kept = [s for s in samples if passes(s.score, any(f.blocking for f in s.flags), 0.0)]
    whole = plan_of(context)
    assert len(kept) >= 6
    assert len(samples) < len(whole)
    assert outcome.summary["kept"] == len(kept)
    assert not outcome.partial
    assert any("the target of 6 is reached" in note for note in outcome.summary["notes"])


def plan_of(context):
    from pipeline.corpus.records import read_documents, read_passages

    folder = context.inputs["corpus"].folder
    settings = replace(context.recipe.sdg, target=0)
    return plan(read_documents(folder), list(read_passages(folder)), settings, context.recipe.seed)


def test_a_target_that_is_out_of_reach_ends_with_the_calls(asking, endpoint):
    context = asking.context(sdg__target=10_000, sdg__calls_max=9)
    outcome = execute(context)
    assert outcome.partial
    assert 8 <= len(endpoint.chats()) <= 9
    assert any("is not reached" in note for note in outcome.summary["notes"])


def test_a_raised_target_pays_only_what_is_new(asking, endpoint):
    execute(asking.context("one", sdg__target=6))
    paid = len(endpoint.chats())
    execute(asking.context("two", sdg__target=14))
    requests = Counter(request.identity for request in endpoint.chats())
    assert len(endpoint.chats()) > paid
    assert max(requests.values()) == 1
    recipe = base_recipe(find_profile(REHEARSAL_PROFILE))
    assert recipe.sdg.target == 0
