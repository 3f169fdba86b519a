"""What all steps share: where the wizard opens, what it follows, what it asks and remembers."""

import os
from dataclasses import replace

import pytest
from piloted import drive, screen_text, snapshot_of, until
from runs import make_run, training_journal

from pipeline.errors import StageFailure
from pipeline.run import home
from pipeline.stage import STAGE_NAMES
from tui.preferences import preferences_path, read_preferences
from tui.screens.step import StepScreen
from tui.steps import STEP_NAMES


def step_of(wizard):
    return wizard.screen.STEP if isinstance(wizard.screen, StepScreen) else None


def test_without_runs_it_opens_at_the_machine(make_wizard):
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: step_of(wizard) == "machine")

    drive(wizard, script)


def test_the_only_run_opens_at_its_next_step(make_wizard):
    make_run(home(), 40)
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: step_of(wizard) == "review")
        await until(pilot, lambda: "REHEARSAL" in screen_text(wizard))

    drive(wizard, script)


def test_several_runs_are_listed_and_one_is_opened(make_wizard):
    make_run(home(), 40, name="first")
    make_run(home(), 40, name="second")
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: "second" in screen_text(wizard))
        assert "first" in screen_text(wizard)
        await pilot.press("enter")
        await until(pilot, lambda: step_of(wizard) == "review")
        await pilot.press("f3")
        await until(pilot, lambda: "2 runs" in screen_text(wizard))
        await pilot.press("n")
        await until(pilot, lambda: step_of(wizard) == "machine")

    drive(wizard, script)


def test_running_work_comes_first_also_among_several_runs(make_wizard):
    make_run(home(), 40, name="other")
    run = make_run(home(), 40, name="busy", through="prep")
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: step_of(wizard) == "train")
        await until(pilot, lambda: "finetune" in wizard.activity())
        assert wizard.current == run

    with training_journal(run, 500, 10):
        drive(wizard, script)


def test_every_step_can_be_gone_to_and_back_without_losing_anything(make_wizard):
    make_run(home(), 40)
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: step_of(wizard) == "review")
        before = {path: path.stat().st_mtime_ns for path in home().rglob("*") if path.is_file()}
        for name in STEP_NAMES:
            wizard.open_step(name)
            await until(pilot, lambda name=name: step_of(wizard) == name)
            await pilot.pause()
        for _ in STEP_NAMES:
            wizard.action_previous_step()
            await pilot.pause()
        assert step_of(wizard) == "machine"
        after = {path: path.stat().st_mtime_ns for path in home().rglob("*") if path.is_file()}
        assert {p.name for p in after.keys() ^ before.keys() if "lock" not in p.name} == set()

    drive(wizard, script)


def test_a_failure_says_three_things_and_its_remedy_is_one_key(make_wizard, rehearsal_run):
    wizard = make_wizard()
    started = []

    async def script(pilot):
        wizard.snapshot = snapshot_of(rehearsal_run, corpus="done", sdg="done", finetune="failed")
        wizard.open_step("metrics")
        await pilot.pause()
        wizard.start = lambda stages, options=None: started.append(list(stages))
        wizard.fail(
            StageFailure("Memory is full.", safe="Every step is kept.", next_step="Take less."),
            log=["line one", "torch.OutOfMemoryError"],
            retry=["finetune", "eval"],
            remedy={"finetune.micro_batch_size": 4},
        )
        await until(pilot, lambda: "Memory is full." in screen_text(wizard))
        text = screen_text(wizard)
        for words in ("Every step is kept.", "Take less.", "finetune.micro_batch_size = 4"):
            assert words in text
        await pilot.press("s")
        await until(pilot, lambda: started)
        assert started == [["finetune", "eval"]]
        assert rehearsal_run.recipe().finetune.micro_batch_size == 4

    drive(wizard, script)


def test_the_help_lists_every_key_of_the_step_and_of_everywhere(make_wizard):
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: step_of(wizard) == "machine")
        await pilot.press("f1")
        await until(pilot, lambda: "Keys of machine" in screen_text(wizard))
        for words in ("look at the machine again", "leave the wizard", "all steps, to go to one"):
            assert words in screen_text(wizard)

    drive(wizard, script, size=(100, 45))


def test_the_users_keys_reach_dispatch_footer_and_help(make_wizard, own_home):
    path = preferences_path()
    path.parent.mkdir(parents=True)
    path.write_text('[keys]\n"machine.rehearse" = "w"\n"machine.nothing" = "z"\n')
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: "w Rehearse" in screen_text(wizard))
        assert "machine.nothing" in wizard.notice[0]
        await pilot.press("w")
        await until(pilot, lambda: step_of(wizard) == "corpus")

    drive(wizard, script, size=(100, 30))


def test_a_theme_that_is_chosen_is_remembered_and_a_bad_one_is_passed_over(make_wizard):
    path = preferences_path()
    folder = path.parent / "themes"
    folder.mkdir(parents=True)
    (folder / "broken.toml").write_text("name = 'broken'\nformat = 1\n")
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: "broken.toml" in wizard.notice[0])
        before = wizard.theme
        await pilot.press("f5")
        assert wizard.theme != before
        assert read_preferences(path)[0].theme == wizard.theme

    drive(wizard, script)


def test_without_colours_the_theme_stays_plain(make_wizard):
    wizard = make_wizard(colours=0)

    async def script(pilot):
        await until(pilot, lambda: step_of(wizard) == "machine")
        await pilot.press("f5")
        assert wizard.theme == "plain"

    drive(wizard, script)


def test_a_decision_of_another_window_is_seen(make_wizard):
    run = make_run(home(), 40)
    wizard = make_wizard()

    async def script(pilot):
        from pipeline.review.decisions import Action
        from pipeline.review.log import append_decision

        await until(pilot, lambda: step_of(wizard) == "review" and "keep" in screen_text(wizard))
        append_decision(run.decisions_path, Action("threshold", value=8.5))
        await until(pilot, lambda: "threshold  8.5" in screen_text(wizard))

    drive(wizard, script)


def test_a_gated_profile_cannot_be_typed_into_a_rehearsal(make_wizard, rehearsal_run):
    wizard = make_wizard()

    async def script(pilot):
        wizard.snapshot = snapshot_of(rehearsal_run)
        assert not wizard.change_setting("profile", "nvidia/llama-nemotron-embed-1b-v2")
        await until(pilot, lambda: "stays a rehearsal" in screen_text(wizard))
        assert rehearsal_run.recipe().profile == "sentence-transformers/all-MiniLM-L6-v2"

    drive(wizard, script)


def test_a_typed_key_reaches_a_worker_and_nothing_else(make_wizard, rehearsal_run, monkeypatch):
    wizard = make_wizard()
    seen = []

    class Launcher:
        def __init__(self, environment):
            seen.append(environment)

        def start(self, run, stage, variant, options, then=()):
            raise StageFailure("seen", safe="-", next_step="-")

    async def script(pilot):
        monkeypatch.setattr("pipeline.launch.LocalLauncher", Launcher)
        wizard.snapshot = snapshot_of(rehearsal_run)
        wizard.secrets["NVIDIA_API_KEY"] = "nvapi-typed"
        wizard.start(["corpus"])
        await until(pilot, lambda: seen)
        assert seen[0]["NVIDIA_API_KEY"] == "nvapi-typed"
        assert "NVIDIA_API_KEY" not in os.environ
        assert "nvapi-typed" not in screen_text(wizard)

    drive(wizard, script)


@pytest.mark.parametrize("stage", STAGE_NAMES)
def test_a_stage_that_fails_is_shown_with_its_sentences(make_wizard, rehearsal_run, stage):
    wizard = make_wizard()
    folder = rehearsal_run.path / stage / "0123456789abcdef"

    async def script(pilot):
        from pipeline.journal import JournalWriter

        snapshot = snapshot_of(rehearsal_run)
        wizard.take_run(replace(snapshot, folders={stage: folder}))
        journal = JournalWriter(folder / "journal.jsonl")
        journal.write("started", stage=stage)
        assert wizard.job(stage)
        journal.write(
            "failed", happened="It broke.", safe="All is safe.", next="Mend it.", exit_code=1
        )
        # The notice has its first sentence before the dialog has been drawn.
        for words in ("All is safe.", "Mend it.", "It broke."):
            await until(pilot, lambda words=words: words in screen_text(wizard))

    drive(wizard, script)
