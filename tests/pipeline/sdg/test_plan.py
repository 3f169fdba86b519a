from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from pipeline.corpus.records import Document, Passage
from pipeline.errors import BadRecipe
from pipeline.recipe import Recipe, apply
from pipeline.sdg.batches import QUERY_KINDS, questions_for
from pipeline.sdg.plan import REASONINGS, plan
from pipeline.settings import SdgSettings


def word(*numbers):
    """A word of its own for some numbers."""
    return "".join("bcdfghklmn"[int(d)] + "aeiouaeiou"[int(d)] for n in numbers for d in f"{n:03d}")


def a_document(name, count, group="", role="train", fold=0):
    document = Document(f"id-{name}", f"{name}.md", name, "x" * count, group or name, fold, role)
    passages = [
        Passage(
            id=f"p-{name}-{number:03d}",
            document=document.id,
            start=number * 100,
            end=number * 100 + 90,
            # The second word stands in the passages a third of the document away, too.
            text=f"Here {word(500 + number % max(1, count // 3))} means "
            + " ".join(word(number, other) for other in range(6))
            + ".",
            headings=(name,),
            tokens=20,
            role=role,
        )
        for number in range(count)
    ]
    return document, passages


def asked(*made, seed=42, **changes):
    documents = [document for document, _ in made]
    passages = [passage for _, cut in made for passage in cut]
    return plan(documents, passages, replace(SdgSettings(), **changes), seed)


@pytest.mark.parametrize(
    ("passages", "questions"), [(1, 1), (2, 1), (5, 4), (10, 7), (20, 14), (100, 70)]
)
def test_questions_scale_with_length_and_are_never_none(passages, questions):
    assert questions_for(passages, SdgSettings()) == questions
    assert len(asked(a_document("a", passages))) == questions


def test_the_same_seed_plans_the_same_and_another_one_something_else():
    made = a_document("a", 20)
    assert asked(made) == asked(made)
    assert asked(made) != asked(made, seed=7)


def test_a_grown_corpus_asks_the_same_of_its_old_documents():
    old, new = kin("old", "x"), kin("new", "x", 30)
    grown, before = asked(new, old)[21:], asked(old)
    alone = [a for a in grown if not a.titles]
    assert alone == before[: len(alone)]
    # Those across documents come last, so that few of a document's calls change.
    assert 0 < len(grown) - len(alone) <= 3
    assert [a.id for a in grown] == [a.id for a in before]
    assert [(a.style, a.complexity, a.reasoning) for a in grown] == [
        (a.style, a.complexity, a.reasoning) for a in before
    ]
    assert asked(new, old, cross_document_share=0.0)[21:] == asked(old, cross_document_share=0.0)


def test_simple_questions_cover_the_passages_evenly():
    simple = asked(a_document("a", 20), hops_max=1)
    assert all(a.hops == 1 for a in simple)
    used = Counter(int(a.passages[0].id[-3:]) for a in simple)
    assert max(used.values()) == 1
    gaps = [b - a for a, b in pairwise(sorted(used))]
    assert max(gaps) <= 2


def test_hops_lead_to_distinct_passages_that_are_no_neighbours():
    chains = [a for a in asked(a_document("a", 40)) if a.hops > 1]
    assert chains
    for chain in chains:
        places = [int(passage.id[-3:]) for passage in chain.passages]
        assert places == sorted(places)
        assert all(b - a >= 2 for a, b in pairwise(places))
        assert chain.query == "multi_hop"
    assert {chain.hops for chain in chains} == {2, 3}
    assert len({tuple(p.id for p in chain.passages) for chain in chains}) == len(chains)


def test_passages_without_anything_in_common_are_never_joined():
    document, passages = a_document("a", 20)
    lone = [
        replace(p, text=p.text.replace(word(500 + n % 6), "this"), headings=())
        for n, p in enumerate(passages)
    ]
    assert any(a.hops > 1 for a in asked((document, passages)))
    assert all(a.hops == 1 and a.query != "multi_hop" for a in asked((document, lone)))


def test_near_copies_are_never_joined():
    document, passages = a_document("a", 12)
    copies = [replace(p, text=passages[0].text, headings=()) for p in passages]
    assert all(a.hops == 1 for a in asked((document, copies), document_passages=10))


def test_hops_and_complexity_stay_within_the_settings():
    limits = {"hops_min": 2, "hops_max": 2, "complexity_min": 3, "complexity_max": 4}
    made = asked(a_document("a", 40), document_passages=20, **limits)
    assert {a.hops for a in made} == {2}
    assert {a.complexity for a in made} == {3, 4}


def test_kinds_follow_the_published_mix_and_complexity_is_spread():
    made = asked(a_document("a", 100))
    shares = Counter(a.query for a in made)
    assert shares["structural"] == 20
    assert shares["multi_hop"] <= 30
    assert set(shares) == set(QUERY_KINDS)
    assert {a.reasoning for a in made} == set(REASONINGS) - {"visual"}
    levels = Counter(a.complexity for a in made)
    assert set(levels) == {2, 3, 4, 5}
    assert max(levels.values()) - min(levels.values()) <= 1


def test_only_the_longest_of_near_duplicates_is_asked_about():
    made = asked(a_document("a", 10, "twins"), a_document("b", 12, "twins"), a_document("c", 10))
    assert {a.title for a in made} == {"b", "c"}


def test_the_role_is_that_of_the_document_and_a_document_without_passages_is_passed_over():
    empty, _ = a_document("empty", 3)
    made = asked(a_document("a", 10, role="test"), (empty, []))
    assert {a.role for a in made} == {"test"}
    assert len({a.id for a in made}) == len(made)


def kin(name, pair, count=20, **placed):
    """A document whose passages share four words with some of its pair's other one."""
    document, passages = a_document(name, count, **placed)
    texts = [
        "Here "
        + " ".join(f"{word(shared + n % 10)}{pair}" for shared in (500, 600, 700, 800))
        + " means "
        + " ".join(f"{word(n, other)}{name}" for other in range(5))
        + "."
        for n in range(count)
    ]
    return document, [replace(p, text=t) for p, t in zip(passages, texts, strict=True)]


def across(*made, **changes):
    return [a for a in asked(*made, **changes) if a.titles]


def test_questions_across_documents_join_what_shares_rare_terms():
    docs = [kin(name, "xxyy"["abcd".index(name)]) for name in "abcd"]
    joined = across(*docs)
    multi = sum(a.hops > 1 for a in asked(*docs))
    assert 0.2 <= len(joined) / multi <= 0.4
    for a in joined:
        assert a.query == "multi_hop"
        assert a.document == f"id-{a.title}" == a.passages[0].document
        assert {p.document for p in a.passages} in ({"id-a", "id-b"}, {"id-c", "id-d"})
        assert a.titles == tuple(p.document.removeprefix("id-") for p in a.passages)
        assert [a.title_of(p) for p in a.passages] == list(a.titles)
        assert 2 <= a.hops <= 3
        for one, other in pairwise(a.passages):
            apart = one.document != other.document or other.start - one.start >= 200
            assert apart
    assert len({frozenset(p.id for p in a.passages) for a in joined}) == len(joined)
    assert {a.hops for a in joined} == {2, 3}


def test_no_question_joins_folds_or_roles_or_near_duplicates():
    here = kin("a", "x")
    assert across(here, kin("b", "x"))
    assert not across(here, kin("b", "y"))
    assert not across(here, kin("b", "x", fold=1))
    assert not across(here, kin("b", "x", role="dev"))
    assert not across(here, kin("b", "x", group="a"))
    assert not across(here, kin("b", "x"), cross_document_share=0.0)
    assert not across(here, kin("b", "x"), hops_max=1)


def test_documents_that_share_common_words_alone_are_not_joined():
    def plain(name, offset):
        document, passages = a_document(name, 20)
        return document, [
            replace(
                p, text=f"Here is the {word(offset + n)} thing that {word(offset + n, 3)} does."
            )
            for n, p in enumerate(passages)
        ]

    assert not across(plain("a", 100), plain("b", 300))


def test_the_share_of_questions_across_documents_is_kept_by_short_documents_too():
    made = asked(*(kin(f"d{number}", f"p{number // 2}", 4) for number in range(60)))
    share = sum(bool(a.titles) for a in made) / len(made)
    # Three of seven questions are multi-hop, three of ten of these go across documents.
    assert 0.08 <= share <= 0.18


def test_styles_are_dealt_evenly_and_change_no_evidence():
    made = asked(a_document("a", 100))
    counts = Counter(a.style for a in made)
    assert set(counts) == set(SdgSettings().styles)
    assert max(counts.values()) - min(counts.values()) <= 1
    terse = asked(a_document("a", 100), styles=("terse",))
    assert {a.style for a in terse} == {"terse"}
    assert [replace(a, style="") for a in terse] == [replace(a, style="") for a in made]


def test_the_language_is_the_recipes_or_the_documents_own():
    document, passages = a_document("a", 10)
    text = "Die Datei wird nicht gelesen, wenn der Pfad leer ist, und das ist ein Fehler."
    german = replace(document, text=text), passages
    assert {a.language for a in asked(german)} == {"de"}
    assert {a.language for a in asked((document, passages))} == {""}
    assert {a.language for a in asked(german, language="Swiss German")} == {"Swiss German"}


def test_visual_questions_rest_on_something_to_see():
    document, passages = a_document("a", 40)
    table = "Sizes of things, as they are sold.\n\n| name | size |\n|---|---|\n| box | large one |"
    seen = [
        replace(p, text=f"{p.text}\n\n{table}") if n % 4 == 0 else p for n, p in enumerate(passages)
    ]
    visual = [a for a in asked((document, seen)) if a.reasoning == "visual"]
    assert len(visual) >= 3
    assert all(any("| box |" in p.text for p in a.passages) for a in visual)


def test_tables_of_figures_and_boilerplate_are_asked_about_for_want_of_others_alone():
    document, passages = a_document("a", 12)
    figures = "| 2019 | 2020 |\n|---|---|\n" + "| 12345 | 67890 |\n" * 5
    footer = "Copyright 2020 Nobody. All rights reserved. Privacy policy. Terms of use."
    poor = [
        replace(p, text=(figures, footer)[n % 2] if n % 3 else p.text)
        for n, p in enumerate(passages)
    ]
    assert all(p.text not in (figures, footer) for a in asked((document, poor)) for p in a.passages)
    bare = [replace(p, text=figures) for p in passages]
    assert len(asked((document, bare))) == questions_for(12, SdgSettings())


def later(*made, round, wanted, **changes):  # noqa: A002
    documents = [document for document, _ in made]
    passages = [passage for _, cut in made for passage in cut]
    return plan(documents, passages, replace(SdgSettings(), **changes), 42, round, wanted)


def test_a_later_round_asks_what_is_wanted_of_other_evidence_first():
    made = a_document("a", 40), a_document("b", 40)
    first = asked(*made, hops_max=1)
    second = later(*made, round=2, wanted={"id-b": 6, "id-gone": 3}, hops_max=1)
    third = later(*made, round=3, wanted={"id-b": 6}, hops_max=1)
    assert [a.id for a in second] == [f"id-b:r2:{n:03d}" for n in range(6)]
    assert {a.round for a in second} == {2}
    assert {a.round for a in first} == {1}
    used = [{a.passages[0].id for a in turn} for turn in (first, second, third)]
    assert not used[0] & used[1]
    assert not (used[0] | used[1]) & used[2]
    assert later(*made, round=1, wanted={"id-b": 6}, hops_max=1) == first


def test_a_later_round_joins_other_passages():
    made = kin("a", "x", 40), kin("b", "x", 40)
    first = {frozenset(p.id for p in a.passages) for a in asked(*made) if a.hops > 1}
    wanted = {"id-a": 14, "id-b": 14}
    second = [a for a in later(*made, round=2, wanted=wanted) if a.hops > 1]
    again = sum(frozenset(p.id for p in a.passages) in first for a in second)
    assert len(second) >= 8
    assert again <= 1


def test_a_document_of_one_passage_can_be_asked_again_and_again():
    made = a_document("a", 1)
    assert len(later(made, round=2, wanted={"id-a": 3})) == 3


def test_neighbours_of_the_evidence_are_no_evidence():
    for a in asked(a_document("a", 40)):
        mine = {p.id for p in a.passages}
        places = [int(p.id[-3:]) for p in a.nearby]
        assert places
        assert all(abs(place - int(a.passages[0].id[-3:])) == 1 for place in places)
        assert not mine & {p.id for p in a.nearby}


@pytest.mark.parametrize("styles", [(), ("question", "poem"), ("",)])
def test_styles_without_a_rule_are_a_bad_recipe(styles):
    with pytest.raises(BadRecipe, match=r"sdg\.styles") as caught:
        apply(Recipe(), {"sdg.styles": list(styles)}, "a test")
    assert "keyword" in caught.value.happened
