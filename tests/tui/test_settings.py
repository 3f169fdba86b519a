"""A recipe's settings as rows, and what a change of them makes stale."""

from pipeline.identity import NOT_IDENTITY
from pipeline.profiles import base_recipe, find_profile
from pipeline.recipe import Recipe, apply
from pipeline.stage import STAGE_NAMES
from tui.settings import setting_choice, setting_words, stages_after, stale_sentence
from tui.steps import StageState


def stages(**states):
    return {
        name: StageState(states.get(name, "waiting"), "as the test says") for name in STAGE_NAMES
    }


def choice(recipe, usual=None):
    return setting_choice(
        recipe, usual or Recipe(), "finetune.epochs", "epochs", "How often.", "of 9"
    )


def test_a_default_is_marked_and_a_change_names_it():
    assert choice(Recipe()).hint == "default; of 9"
    assert choice(Recipe()).tone == "text"
    changed = choice(apply(Recipe(), {"finetune.epochs": 5}, "a test"))
    assert changed.value == "5"
    assert changed.hint == "default 3; of 9"
    assert changed.tone == "strong"


def test_the_default_is_the_base_models_own():
    usual = base_recipe(find_profile("sentence-transformers/all-MiniLM-L6-v2"))
    assert choice(usual, usual).hint.startswith("default;")
    assert choice(Recipe(), usual).hint.startswith("default 1;")


def test_values_are_words():
    assert setting_words(True) == "yes"
    assert setting_words(("fp32", "fp16")) == "fp32,fp16"
    assert setting_words("") == "-"
    assert setting_words(3e-05) == "3e-05"


def test_a_setting_reaches_its_stage_and_all_that_follow():
    assert stages_after("finetune.epochs") == ("finetune", "eval", "export", "deploy", "verify")
    assert stages_after("prep.hard_negatives")[0] == "prep"
    assert stages_after("corpus.passage_tokens") == STAGE_NAMES
    assert stages_after("deploy.target") == ("deploy", "verify")
    assert stages_after("sdg.threshold")[0] == "prep"
    assert stages_after("corpus.source") == STAGE_NAMES
    assert stages_after("finetune.micro_batch_size") == ()


def test_what_no_fingerprint_holds_makes_nothing_stale_or_acts_through_an_input():
    silent = {name for name in NOT_IDENTITY if not stages_after(name)}
    assert NOT_IDENTITY.keys() - silent == {"corpus.source", "sdg.threshold", "deploy.port"}


def test_what_gets_stale_is_said_of_what_was_made():
    assert stale_sentence("finetune.epochs", stages(corpus="done", prep="done")) == ""
    made = stages(prep="done", finetune="done", eval="done")
    assert stale_sentence("finetune.epochs", made) == (
        "A change makes Train and Metrics stale; the old value brings them back."
    )
    assert "Train, Metrics and Export stale" in stale_sentence(
        "prep.search_depth", {**made, "export": StageState("done", "")}
    )
    assert stale_sentence("finetune.micro_batch_size", made).startswith("Nothing")
