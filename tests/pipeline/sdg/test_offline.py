from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

from pipeline.sdg.offline import CRITERIA, SCORE_WITHOUT_PROSE, OfflineWriter
from pipeline.sdg.plan import plan
from pipeline.sdg.queries import WORDS_MAX, question, symptom, words
from pipeline.sdg.words import copied_run
from pipeline.sdg.writer import Draft, Lost
from pipeline.settings import SdgSettings


def drafts_of(library, seed=42):
    documents, passages = library
    assignments = plan(documents, passages, SdgSettings(), seed)
    return list(OfflineWriter(passages, seed).write(assignments))


def test_two_writers_write_the_same(library):
    assert drafts_of(library) == drafts_of(library)
    assert drafts_of(library) != drafts_of(library, seed=7)


def test_quotes_are_the_passages_own_words_and_the_answer(library):
    texts = {passage.id: passage.text for passage in library[1]}
    for draft in drafts_of(library):
        assert isinstance(draft, Draft)
        assert len(draft.quotes) == draft.hops == draft.assignment.hops
        for quote in draft.quotes:
            assert texts[quote.passage][quote.start : quote.end] == quote.text
            assert set(quote.text.split()) - {"|"} <= set(draft.answer.split())


def test_queries_are_diverse_and_seldom_copies(library):
    drafts = drafts_of(library)
    texts = {passage.id: passage.text for passage in library[1]}
    assert len({draft.question for draft in drafts}) >= 0.97 * len(drafts)
    assert {draft.kind for draft in drafts} >= {"question", "keyword", "heading"}
    assert {draft.style for draft in drafts} == set(SdgSettings().styles)
    assert {draft.language for draft in drafts} == {"en"}
    assert {draft.judge for draft in drafts} == {""}
    runs = [max(copied_run(d.question, texts[p]) for p in d.passages) for d in drafts]
    assert sum(run <= 5 for run in runs) >= 0.9 * len(runs)
    lengths = [len(words(draft.question)) for draft in drafts]
    assert sum(3 <= length <= WORDS_MAX + 2 for length in lengths) >= 0.95 * len(lengths)
    sentences = Counter(draft.answer for draft in drafts if draft.hops == 1)
    assert sum(count - 1 for count in sentences.values()) <= 0.1 * len(drafts)


def test_scores_are_the_weighted_criteria_and_spread(library):
    drafts = drafts_of(library)
    for draft in drafts:
        expected = sum(CRITERIA[name] * draft.levels[name] for name in CRITERIA)
        expected *= 10 / sum(CRITERIA.values())
        if draft.levels["prose"] == 0:
            expected = min(expected, SCORE_WITHOUT_PROSE)
        assert draft.score == round(expected, 2)
        assert 0 <= draft.score <= 10
    kept = sum(draft.score >= SdgSettings().threshold for draft in drafts) / len(drafts)
    assert 0.55 <= kept <= 0.92
    assert len({draft.score for draft in drafts}) > 10


def test_code_and_boilerplate_score_low(library):
    documents, passages = library
    footer = "All rights in this generated reference are reserved by nobody in particular."
    code = "x = {1: 2}\ny = f(x)[0]\nassert y == 2"
    changed = [
        replace(passage, text=footer if number % 2 else code)
        for number, passage in enumerate(passages)
    ]
    assignments = plan(documents, changed, SdgSettings(), 42)
    for draft in OfflineWriter(changed, 42).write(assignments):
        assert isinstance(draft, Draft)
        assert draft.score <= SCORE_WITHOUT_PROSE


def test_a_passage_without_words_is_lost_with_a_reason(library):
    documents, passages = library
    bare = [replace(passage, text="--- *** ---") for passage in passages]
    written = list(OfflineWriter(bare, 42).write(plan(documents, bare, SdgSettings(), 42)))
    assert all(isinstance(entry, Lost) and "no words" in entry.reason for entry in written)


def test_rules_turn_sentences_into_questions_or_leave_them():
    asked = {
        "Return True if the queue is empty, False otherwise.": "how to check whether the queue is "
        "empty in Queue.put",
        "Compile a list of patterns into one object.": "how to compile a list of patterns into "
        "one object in Queue.put",
        "Raises QueueFull if no slot is free.": "when is QueueFull raised in Queue.put",
        "If the file is missing, nothing happens.": "what happens when the file is missing in "
        "Queue.put",
    }
    for sentence, expected in asked.items():
        assert question(sentence, ["Queue.put"]) == expected
    assert question("See the notes below for details.", ["Queue.put"]) is None


def test_rules_turn_failures_into_symptoms_or_leave_them():
    assert symptom("Raises QueueFull if no slot is free.", ["Queue.put"]) == (
        "why do I get QueueFull in Queue.put"
    )
    assert symptom("If the file is missing, nothing happens.", []) == (
        "problem when the file is missing"
    )
    assert symptom("Compile a list of patterns into one object.", []) is None


def test_eight_hundred_passages_take_less_than_six_seconds(library):
    documents, passages = library
    copies = range(800 // len(passages) + 1)
    many = [
        replace(p, id=f"{p.id}{n}", document=f"{p.document}{n}", text=f"{p.text} copy{n}")
        for n in copies
        for p in passages
    ]
    shelf = [replace(d, id=f"{d.id}{n}", group=f"{d.group}{n}") for n in copies for d in documents]
    start = time.process_time()
    assignments = plan(shelf, many, SdgSettings(), 42)
    written = list(OfflineWriter(many, 42).write(assignments))
    assert len(written) == len(assignments) >= 500
    assert time.process_time() - start < 6
