"""Where the wizard's steps stand, from where the stages stand."""

import pytest

from pipeline.stage import STAGE_NAMES
from tui.steps import STEP_NAMES, STEPS, StageState, opening_step, step_states

CHAIN = ("corpus", "sdg", "prep", "finetune", "eval", "export", "deploy", "verify")


def stages(**states):
    reached = [states.get(name, "") for name in CHAIN]
    return {
        name: StageState(state or ("new" if index == 0 else "waiting"), "")
        for index, (name, state) in enumerate(zip(CHAIN, reached, strict=True))
    }


def states_of(machine_ready=True, reviewed=False, **states):
    return step_states(stages(**states), machine_ready=machine_ready, reviewed=reviewed)


def test_every_stage_of_the_chain_has_a_step():
    assert tuple(name for step in STEPS for name in step.stages) == STAGE_NAMES


def test_before_a_run_the_machine_is_next_and_all_else_waits():
    states = step_states({}, machine_ready=False, reviewed=False)
    assert states["machine"] == "ready"
    assert {states[name] for name in STEP_NAMES[1:]} == {"blocked"}
    assert opening_step(states) == "machine"


def test_a_new_run_begins_at_its_corpus():
    states = states_of()
    assert (states["machine"], states["corpus"], states["generate"]) == ("done", "ready", "blocked")
    assert opening_step(states) == "corpus"


def test_review_opens_while_questions_still_arrive():
    states = states_of(corpus="done", sdg="running")
    assert states["review"] == "ready"
    assert opening_step(states) == "generate"


def test_after_the_questions_comes_the_review_and_training_is_open():
    states = states_of(corpus="done", sdg="done", prep="new")
    assert (states["review"], states["train"]) == ("ready", "ready")
    assert opening_step(states) == "review"
    assert opening_step(states_of(corpus="done", sdg="done", reviewed=True)) == "train"


def test_running_work_is_where_the_wizard_opens():
    states = states_of(reviewed=True, corpus="done", sdg="done", prep="done", finetune="running")
    assert states["train"] == "running"
    assert opening_step(states) == "train"


@pytest.mark.parametrize(
    ("stage", "shown"),
    [("failed", "failed"), ("vanished", "stopped"), ("stopped", "stopped"), ("stale", "stale")],
)
def test_unfinished_training_is_said_as_what_it_is(stage, shown):
    states = states_of(reviewed=True, corpus="done", sdg="done", prep="done", finetune=stage)
    assert states["train"] == shown
    assert opening_step(states) == "train"


def test_a_changed_corpus_leaves_what_follows_stale_and_nothing_is_hidden():
    states = states_of(
        reviewed=True, corpus="stale", sdg="stale", prep="stale", finetune="stale", eval="stale"
    )
    assert states["corpus"] == states["generate"] == states["train"] == "stale"
    assert opening_step(states) == "corpus"


def test_a_machine_below_the_gate_opens_no_step():
    states = states_of(machine_ready=False)
    assert states["machine"] == "ready"
    assert states["corpus"] == "blocked"


def test_a_finished_run_opens_at_its_endpoint():
    done = dict.fromkeys(CHAIN, "done")
    assert opening_step(states_of(reviewed=True, **done)) == "deploy"
