"""A run with an eval set, MiniLM, and a fine-tuned model that differs from it."""

from __future__ import annotations

import pytest
from surroundings import Control, Recorder, save_finetuned

from pipeline.beir import EvalSet, write_beir
from pipeline.context import Context
from pipeline.profiles import REHEARSAL_PROFILE, base_recipe, find_profile
from pipeline.run import Result, Run

_SUBJECTS = ("volcano", "bakery", "violin", "harbour", "glacier", "library", "orchard", "tunnel")


@pytest.fixture(scope="session")
def small_set():
    """Eight passages, each with one query; ids as prep gives them."""
    passages = {
        f"p-{n}": f"The {word} of the old town was opened in {1800 + n} and is a fine {word}."
        for n, word in enumerate(_SUBJECTS)
    }
    queries = {f"q-{n}": f"When did the {word} open?" for n, word in enumerate(_SUBJECTS)}
    qrels = {f"q-{n}": {f"p-{n}": 1} for n in range(len(_SUBJECTS))}
    return EvalSet(queries, passages, qrels, {"q-0": {"hops": 1}})


@pytest.fixture(scope="session")
def finetuned_folder(tmp_path_factory):
    """MiniLM with slightly other weights, saved as finetune saves it."""
    return save_finetuned(tmp_path_factory.mktemp("finetuned"))


@pytest.fixture
def make_context(tmp_path, finetuned_folder, small_set):
    """A context for eval; prep's set and the user's sets are laid out before."""

    def make(*, synthetic=small_set, user=None, result="one", control=None, cache="cache"):
        prep = tmp_path / "prep"
        if synthetic is not None:
            write_beir(prep / "eval_beir", synthetic, "test")
        run = Run(tmp_path / "run")
        for name, content in (user or {}).items():
            write_beir(run.eval_sets_path / name, content, "test")
        folder = tmp_path / result
        folder.mkdir(exist_ok=True)
        profile = find_profile(REHEARSAL_PROFILE)
        done = {"origin": "made", "partial": False, "finished": 0.0, "seconds": 0.0, "summary": {}}
        return Context(
            run=run,
            recipe=base_recipe(profile),
            profile=profile,
            variant="",
            folder=folder,
            inputs={
                "prep": Result(prep, "prep", "f1", "d1", **done),
                "finetune": Result(finetuned_folder, "finetune", "f2", "d2", **done),
            },
            events=Recorder(),
            control=control or Control(),
            device="cpu",
            cache=tmp_path / cache,
        )

    return make


@pytest.fixture(scope="session")
def interrupting_control():
    """A control that raises at its n-th poll."""
    return lambda polls, error: Control(error, polls)
