"""The probe: the same every time, of another domain, and honest about what it shows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.beir import EvalSet, write_beir
from pipeline.errors import BadRecipe
from pipeline.finetune.docstrings import PAIRS, docstring_task
from pipeline.finetune.forgetting import Probe, forgetting, is_foreign, probe_task
from pipeline.finetune.validation import mean, measure
from pipeline.recipe import Recipe, apply

TASK = EvalSet({"q-1": "one"}, {"p-1": "two"}, {"q-1": {"p-1": 1}})


@pytest.fixture(scope="module")
def docstrings():
    task = docstring_task()
    assert task is not None
    return task


def recipe(**settings):
    overrides = {f"finetune.{name}": value for name, value in settings.items()}
    return apply(Recipe(), {"corpus.source": "/documents", **overrides}, "test")


def test_the_standard_library_gives_pairs_of_summary_and_body(docstrings):
    assert len(docstrings.queries) == len(docstrings.passages) == PAIRS
    assert docstring_task() == docstrings
    texts = [*docstrings.queries.values(), *docstrings.passages.values()]
    assert len(set(texts)) == 2 * PAIRS
    assert not any("\n" in text for text in texts)
    assert all(docstrings.qrels[f"q-{n:03d}"] == {f"p-{n:03d}": 1} for n in range(PAIRS))


def test_sources_that_are_not_there_give_no_probe(tmp_path):
    assert docstring_task(tmp_path) is None


def test_a_damaged_source_file_costs_its_own_pairs_alone(tmp_path):
    body = " ".join(f"word{n}" for n in range(20))
    (tmp_path / "os.py").write_text(f'"""A module that says what it does.\n\n{body}\n"""\n')
    (tmp_path / "glob.py").write_text("def broken(:\n")
    (tmp_path / "wave.py").write_bytes(b"\xff\xfe\x00")
    task = docstring_task(tmp_path)
    assert task is not None
    assert list(task.queries.values()) == ["A module that says what it does."]


def test_real_weights_find_most_bodies_and_random_ones_few(minilm, docstrings, tiny_encoder):
    names = list(docstrings.queries)[:30]
    few = EvalSet(
        {name: docstrings.queries[name] for name in names},
        {f"p{name[1:]}": docstrings.passages[f"p{name[1:]}"] for name in names},
        {name: docstrings.qrels[name] for name in names},
    )
    assert mean(measure(few, minilm.encode)) > 0.75
    assert mean(measure(few, tiny_encoder().encode)) < 0.5


def test_a_fall_beyond_the_tolerance_is_said_with_its_interval():
    probe = Probe("a set", TASK, True, (0.9, 0.8, 0.7, 0.8) * 2)
    lost = forgetting(probe, (0.7, 0.6, 0.5, 0.6) * 2, 0.02)
    assert lost.exceeded
    (said,) = lost.warnings
    assert "0.8000 to 0.6000" in said
    assert "finetune.interpolate" in said
    assert "noise" not in said
    kept = forgetting(probe, (0.9, 0.8, 0.7, 0.75) * 2, 0.02)
    assert not kept.exceeded
    assert kept.warnings == []


def test_a_fall_of_just_the_tolerance_is_tolerated():
    probe = Probe("a set", TASK, True, (1.0,) * 50)
    assert not forgetting(probe, (1.0,) * 49 + (0.0,), 0.02).exceeded
    assert forgetting(probe, (1.0,) * 48 + (0.0,) * 2, 0.02).exceeded


def test_a_fall_that_may_be_noise_says_so():
    probe = Probe("a set", TASK, True, (0.9, 0.8, 0.7, 0.2))
    assert "may be noise" in forgetting(probe, (0.2, 0.9, 0.8, 0.2), 0.02).warnings[0]


def test_a_probe_of_the_documents_own_domain_is_marked():
    own = replace(recipe(probe="python"), corpus=replace(Recipe().corpus, source="pydoc"))
    assert not is_foreign(own)
    assert is_foreign(recipe(probe="python"))
    said = forgetting(Probe("docs", TASK, False, (0.5,)), (0.5,), 0.02).warnings
    assert "own domain" in said[0]


def test_there_is_a_probe_where_one_is_asked_for_or_needed(tmp_path):
    assert probe_task(recipe(), tmp_path) is None
    for asked in (recipe(probe="python"), recipe(interpolate=True)):
        found = probe_task(asked, tmp_path)
        assert found is not None
        assert "standard library" in found[0]


def test_the_users_own_set_is_taken_and_named_without_its_path(tmp_path):
    folder = tmp_path / "general"
    write_beir(folder, TASK, "test")
    expected = ("the general set general", TASK)
    assert probe_task(recipe(probe=str(folder)), tmp_path / "run") == expected
    assert probe_task(recipe(probe="general"), tmp_path) == expected


def test_a_probe_that_is_no_set_is_refused_by_name(tmp_path):
    with pytest.raises(BadRecipe, match=r"finetune\.probe"):
        probe_task(recipe(probe=str(tmp_path)), tmp_path)
