"""Trials: the same few documents whatever the guidance, and no call that is paid twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from pipeline.corpus.records import IMPORTED, ImportedSample, to_row
from pipeline.errors import BadInput, NoConsent
from pipeline.files import read_json, write_jsonl
from pipeline.sdg import stage, trial_stage
from pipeline.sdg.consent import leaving, record_consent
from pipeline.sdg.records import FUNNEL, read_samples
from pipeline.sdg.trial import CHOSEN, choose, trial_leaving
from pipeline.settings import SdgSettings

LOCAL = replace(SdgSettings(), base_url="http://127.0.0.1:8000/v1")


def with_documents(context, count):
    return replace(context, options={"documents": str(count)})


def test_training_documents_come_first_and_the_seed_decides_among_them(library):
    roles = [document.role for document, _ in choose(*library, 42, 4)]
    assert roles == ["train", "train", "dev", "test"]
    first = {choose(*library, seed, 1)[0][0].title for seed in range(20)}
    assert first == {"bisect", "queue"}


def test_a_grown_corpus_keeps_the_order_of_what_was_there(library):
    documents, passages = library
    order = [document.id for document, _ in choose(documents, passages, 42, 9)]
    fewer = [document for document in documents if document.id != order[0]]
    assert [document.id for document, _ in choose(fewer, passages, 42, 9)] == order[1:]


def test_a_trial_asks_about_its_documents_alone_and_says_which(bench, library):
    context = with_documents(bench.context(), 2)
    outcome = trial_stage.execute(context)
    chosen = read_json(context.folder / FUNNEL)[CHOSEN]
    passages = {passage for row in chosen for passage in row["passages"]}
    samples = list(read_samples(context.folder))
    assert [row["path"] for row in chosen] == [d.path for d, _ in choose(*library, 42, 2)]
    assert outcome.summary["written"] == len(samples) > 0
    assert {passage for sample in samples for passage in sample.passages} <= passages
    assert {sample.role for sample in samples} == {"train"}


def test_guidance_changes_the_questions_and_not_the_documents(asking):
    contexts = [asking.context("one"), asking.context("two", sdg__audience="people on call")]
    for context in contexts:
        trial_stage.execute(context)
    one, two = (read_json(context.folder / FUNNEL)[CHOSEN] for context in contexts)
    assert one == two


def test_the_run_does_not_pay_again_what_a_trial_paid(asking, endpoint):
    trial_stage.execute(with_documents(asking.context("trial"), 2))
    paid = len(endpoint.answered)
    outcome = stage.execute(asking.context("whole"))
    asked = Counter(request.identity for request in endpoint.answered)
    assert paid > 0
    assert max(asked.values()) == 1, "nothing was asked twice"
    assert outcome.summary["calls_paid"] == len(endpoint.answered) - paid


def test_a_yes_to_a_trial_is_none_to_the_whole_and_a_yes_to_the_whole_is_one_to_a_trial(
    asking, endpoint
):
    careful = replace(asking, agreed=False)
    context = with_documents(careful.context("trial"), 1)
    with pytest.raises(NoConsent):
        trial_stage.execute(context)
    settings = context.recipe.sdg
    small = trial_leaving(asking.corpus.folder, settings, context.recipe.seed, 1)
    record_consent(context.run, small, lambda: 0.0)
    trial_stage.execute(context)
    with pytest.raises(NoConsent):
        stage.execute(careful.context("whole"))
    record_consent(context.run, leaving(asking.corpus.folder, settings), lambda: 0.0)
    trial_stage.execute(with_documents(careful.context("another"), 3))


def test_imported_samples_leave_nothing_to_try(bench, library):
    entry = ImportedSample("First?", "yes", (library[1][0].id,), None, None, {})
    write_jsonl(bench.corpus.folder / IMPORTED, [to_row(entry)])
    assert trial_leaving(bench.corpus.folder, LOCAL, 42, 3) is None
    with pytest.raises(BadInput, match="came with the source"):
        trial_stage.execute(bench.context())
