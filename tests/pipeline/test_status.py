"""The stage table: what identifies a result, and what is left out and why."""

from dataclasses import replace

import pytest
from runs import make_run

from pipeline.beir import EvalSet, write_beir
from pipeline.errors import BadInput
from pipeline.identity import CAME_LATER, NOT_IDENTITY, Identity, settings_of
from pipeline.profiles import REHEARSAL_PROFILE, find_profile
from pipeline.recipe import Recipe, apply, default_settings
from pipeline.run import create_run
from pipeline.stage import STAGE_NAMES, STAGES, find_stage
from pipeline.status import status_of_run
from tui import cli


@pytest.fixture
def run(tmp_path):
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "one.md").write_text("# One\n\n" + "Some words about one thing. " * 20)
    profile = find_profile(REHEARSAL_PROFILE)
    return create_run(tmp_path / "run", profile, {"corpus.source": str(documents)}, "test")


def test_the_command_line_knows_the_same_stages_in_the_same_order():
    assert cli.STAGES == STAGE_NAMES


def test_every_setting_identifies_a_stage_or_is_left_out_with_a_reason():
    used = {name for stage in STAGES for name in settings_of(stage, Recipe())}
    # The profile is identified by its weights and its rules for texts.
    everything = set(default_settings()) - {"profile"}
    assert used.isdisjoint(NOT_IDENTITY)
    assert used | set(NOT_IDENTITY) | set(CAME_LATER) >= everything - {"deploy.target"}
    assert set(NOT_IDENTITY) | set(CAME_LATER) <= everything
    assert used.isdisjoint(CAME_LATER), "a default is the value that changes nothing"


FIRST_VERSION = {
    "corpus": "ee01d6bf55f4f8f5",
    "sdg": "ed932311a9bd7a3c",
    "prep": "c2b7c911309bd8d7",
    "finetune": "3d724fbd01cda7c4",
}
"""Fingerprints of default settings by the version that had no guidance."""


@pytest.mark.parametrize("name", FIRST_VERSION)
def test_an_upgrade_makes_no_finished_stage_stale(name):
    settings = settings_of(find_stage(name), Recipe())
    assert Identity(name, 1, settings, {"corpus": "d"}).fingerprint == FIRST_VERSION[name]


@pytest.mark.parametrize("name", ["sdg", "trial"])
@pytest.mark.parametrize(
    ("setting", "value"),
    [("sdg.audience", "engineers"), ("sdg.language", "German"), ("sdg.examples", ["how"])],
)
def test_guidance_is_part_of_what_questions_are_made_from(name, setting, value):
    guided = settings_of(find_stage(name), apply(Recipe(), {setting: value}, "test"))
    plain = settings_of(find_stage(name), Recipe())
    assert set(guided) - set(plain) == {setting}


def test_every_stage_needs_only_earlier_ones():
    for position, stage in enumerate(STAGES):
        assert set(stage.needs) <= set(STAGE_NAMES[:position])


def test_a_fingerprint_follows_version_settings_and_inputs():
    identity = Identity("corpus", 1, {"a": 1}, {"source": "x"})
    others = (
        replace(identity, version=2),
        replace(identity, settings={"a": 2}),
        replace(identity, inputs={"source": "y"}),
    )
    assert len({identity.fingerprint, *(other.fingerprint for other in others)}) == 4
    assert replace(identity).fingerprint == identity.fingerprint


@pytest.mark.parametrize("name", ["sdg.threshold", "sdg.concurrency", "sdg.base_url"])
def test_moving_the_threshold_or_the_endpoint_leaves_sdg_as_it_was(name):
    value = {"sdg.threshold": 8.0, "sdg.concurrency": 9, "sdg.base_url": "http://x/v1"}[name]
    changed = apply(Recipe(), {name: value}, "test")
    assert settings_of(find_stage("sdg"), changed) == settings_of(find_stage("sdg"), Recipe())


def test_a_new_run_has_one_stage_to_make_and_the_others_waiting(run, tmp_path):
    states = {s.stage.name: s.state for s in status_of_run(run, "", tmp_path / "cache")}
    assert states.pop("corpus") == "new"
    assert set(states.values()) == {"waiting"}


def test_a_changed_document_changes_the_corpus_s_fingerprint(run, tmp_path):
    def fingerprint():
        return status_of_run(run, "", tmp_path / "cache")[0].identity.fingerprint

    before = fingerprint()
    source = tmp_path / "documents" / "one.md"
    source.touch()
    assert fingerprint() == before, "its time is not its content"
    source.write_text(source.read_text() + "More.")
    assert fingerprint() != before


def test_a_window_sees_the_other_stages_where_one_cannot_start(tmp_path):
    run = create_run(
        tmp_path / "run",
        find_profile(REHEARSAL_PROFILE),
        {"corpus.source": str(tmp_path / "gone")},
        "a test",
    )
    with pytest.raises(BadInput):
        status_of_run(run, "", tmp_path / "cache")
    corpus, sdg, *_ = status_of_run(run, "", tmp_path / "cache", lenient=True)
    assert (corpus.state, sdg.state) == ("failed", "waiting")
    assert "gone" in corpus.reason


def test_what_a_probe_s_folder_holds_is_part_of_what_training_is_made_from(tmp_path):
    run = make_run(tmp_path / "home", 20, through="prep")
    folder = tmp_path / "general"
    write_beir(folder, EvalSet({"q": "who?"}, {"p": "me"}, {"q": {"p": 1}}), "test")

    def training(**settings):
        named = {f"finetune.{name}": value for name, value in settings.items()}
        recipe = apply(run.recipe(""), named, "test")
        return status_of_run(run, "", tmp_path / "cache", recipe=recipe)[3].identity

    before = training(probe=str(folder))
    (folder / "corpus.jsonl").touch()
    assert training(probe=str(folder)) == before, "its time is not its content"
    write_beir(folder, EvalSet({"q": "who?"}, {"p": "you"}, {"q": {"p": 1}}), "test")
    after = training(probe=str(folder))
    assert after.settings == before.settings
    assert after.fingerprint != before.fingerprint
    for plain in (training(), training(probe="python")):
        assert "probe" not in plain.inputs
