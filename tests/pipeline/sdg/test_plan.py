from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from pipeline.corpus.records import Document, Passage
from pipeline.recipe import SdgSettings
from pipeline.sdg.batches import QUERY_KINDS, questions_for
from pipeline.sdg.plan import REASONINGS, plan


def word(*numbers):
    """A word of its own for some numbers."""
    return "".join("bcdfghklmn"[int(d)] + "aeiouaeiou"[int(d)] for n in numbers for d in f"{n:03d}")


def a_document(name, count, group="", role="train"):
    document = Document(f"id-{name}", f"{name}.md", name, "x" * count, group or name, 0, role)
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
    old, new = a_document("old", 20), a_document("new", 30)
    assert asked(new, old)[21:] == asked(old)


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
    assert {a.reasoning for a in made} == set(REASONINGS)
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
