"""The Train step: its states, its keys, and two windows on one training."""

import asyncio
import shutil
from contextlib import contextmanager
from dataclasses import replace

import pytest
from fake_nvml import FakeNvml, h200
from piloted import drive, screen_text, snapshot_of, until
from runs import make_run
from text_snapshot import assert_snapshot

from pipeline.job import plan_job
from pipeline.journal import JournalWriter
from pipeline.locks import Lock
from pipeline.recipe import Recipe, flatten
from pipeline.review.decisions import Action
from pipeline.review.kept import load_kept
from pipeline.review.log import append_decision
from pipeline.run import Run, cache_home
from tui.kept_counts import count_kept
from tui.screens.dialogs import FailureDialog, Question

STEPS = 60


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A run whose training file is there."""
    return make_run(tmp_path_factory.mktemp("prepared") / "runs", 200, through="prep")


@pytest.fixture
def run(prepared, tmp_path):
    """A copy of its own of it."""
    shutil.copytree(prepared.path, tmp_path / "pilot")
    return Run(tmp_path / "pilot")


class Training:
    """A training's journal, written by hand, with its lock held."""

    def __init__(self, folder, clock):
        self.folder = folder
        self.journal = JournalWriter(folder / "journal.jsonl", clock)

    def begin(self):
        self.journal.write("started", stage="finetune")
        self.journal.write("metric", step=0, ndcg_at_10=0.41, base_ndcg_at_10=0.41)

    def steps(self, first, last):
        for step in range(first, last + 1):
            self.journal.write(
                "metric",
                step=step,
                steps=STEPS,
                epoch=step / STEPS,
                loss=0.4 + 2 / step,
                learning_rate=1e-5,
                gradient_norm=1.25,
                samples_per_second=16.0,
                tokens_per_second=2400.0,
            )
            self.journal.write("progress", done=step, total=STEPS, what="training steps")

    def validation(self, step, score):
        self.journal.write(
            "metric",
            step=step,
            ndcg_at_10=score,
            base_ndcg_at_10=0.41,
            best_step=step,
            best_ndcg_at_10=score,
        )


@pytest.fixture
def clock():
    """Half a second a look, so that ETA and elapsed are the same in every run of a test."""
    times = iter(1_760_000_000 + number / 2 for number in range(100_000))
    return lambda: next(times)


@pytest.fixture
def training(run, clock):
    """A training that is at work on the run, until the block is left."""

    @contextmanager
    def at_work():
        folder = plan_job(run, "", "finetune", {}, cache_home()).folder
        with Lock(folder / "lock", "the test"):
            yield Training(folder, clock)

    return at_work


@pytest.fixture
def at_train(make_wizard, run):
    """Runs a script on the Train step of the run."""

    def go(script, size=(80, 24), ascii_only=False, waits_for="Kept:"):
        wizard = make_wizard((run), size=size, ascii_only=ascii_only)

        async def opened(pilot):
            await until(pilot, lambda: wizard.snapshot is not None)
            wizard.open_step("train")
            await until(pilot, lambda: waits_for in screen_text(wizard))
            await script(pilot, wizard)

        drive(wizard, opened, size)

    return go


def started(wizard, monkeypatch):
    """What the wizard would start."""
    calls = []
    monkeypatch.setattr(wizard, "start", lambda stages, options=None: calls.append(list(stages)))
    return calls


def test_before_it_shows_what_is_kept_and_enter_starts_what_is_left(at_train, monkeypatch):
    async def script(pilot, wizard):
        calls = started(wizard, monkeypatch)
        assert "Start" in screen_text(wizard)
        await pilot.press("enter")
        assert calls == [["finetune", "eval"]]

    at_train(script)


def test_all_three_stages_start_in_one_worker_when_nothing_is_mined(make_wizard, run, monkeypatch):
    shutil.rmtree(run.path / "prep")

    async def script(pilot):
        await until(pilot, lambda: wizard.snapshot is not None)
        wizard.open_step("train")
        calls = started(wizard, monkeypatch)
        await until(pilot, lambda: "Start" in screen_text(wizard))
        await pilot.press("enter")
        assert calls == [["prep", "finetune", "eval"]]

    wizard = make_wizard(run)
    drive(wizard, script)


def test_without_questions_enter_goes_to_the_step_that_is_missing(make_wizard, rehearsal_run):
    wizard = make_wizard()

    async def script(pilot):
        wizard.snapshot = snapshot_of(rehearsal_run, corpus="done", sdg="new")
        wizard.open_step("train")
        await until(pilot, lambda: "To Generate" in screen_text(wizard))
        await pilot.press("enter")
        assert wizard.screen.STEP == "generate"

    drive(wizard, script)


def test_a_setting_is_edited_checked_and_written_and_what_gets_stale_is_said_first(at_train, run):
    async def script(pilot, wizard):
        wizard.snapshot = replace(
            wizard.snapshot,
            stages={
                **wizard.snapshot.stages,
                "eval": replace(wizard.snapshot.stages["eval"], state="done"),
            },
        )
        await pilot.press("e")
        assert "makes Train and Metrics stale" not in screen_text(wizard)
        assert "makes Metrics stale" in screen_text(wizard)
        field = wizard.screen.query_one("#prompt-field")
        field.value = "0"
        await pilot.press("enter")
        assert "at least 1" in screen_text(wizard)
        field.value = "7"
        await pilot.press("enter")
        await until(pilot, lambda: "default 1" in screen_text(wizard))
        assert run.recipe().finetune.epochs == 7
        assert wizard.notice[0] == "epochs: 7"

    at_train(script)


def test_a_setting_that_was_left_is_as_it_was(at_train, run):
    async def script(pilot, wizard):
        before = flatten(run.recipe())
        await pilot.press("e", "5", "escape")
        await pilot.pause()
        assert flatten(run.recipe()) == before
        assert not wizard.notice[0]

    at_train(script)


def test_kept_questions_are_counted_as_prep_counts_them(run):
    folder = run.current("sdg", "").folder
    samples = load_kept(run, folder, 0.0)
    append_decision(run.decisions_path, Action("reject", (samples[0].id,), reason="other"))
    kept = load_kept(run, folder, 6.0)
    counts = count_kept(run, folder, 6.0)
    assert sum(counts.roles.values()) == len(kept)
    assert counts.train == sum(sample.role == "train" for sample in kept)
    assert counts.decided == 1
    assert counts.samples == 200


def test_a_training_is_shown_live_and_its_keys_reach_the_worker(at_train, training):
    with training() as work:
        work.begin()
        work.steps(1, 20)
        work.validation(20, 0.52)

        async def script(pilot, wizard):
            await until(pilot, lambda: "20/60" in screen_text(wizard))
            text = screen_text(wizard)
            assert "best 0.520 at 20" in text
            assert "base 0.410" in text
            assert "CPU" in text
            work.steps(21, 30)
            await until(pilot, lambda: "30/60" in screen_text(wizard))
            requests = work.folder / "requests.jsonl"
            await pilot.press("p")
            assert "pause" in requests.read_text()
            work.journal.write("paused")
            await until(pilot, lambda: "paused: p goes on" in screen_text(wizard))
            await pilot.press("p")
            assert "resume" in requests.read_text()
            work.journal.write("continued")
            await pilot.press("x")
            assert "cancel" in requests.read_text()

        at_train(script, waits_for="mean loss")


def test_finishing_early_asks_first_and_says_what_is_kept(at_train, training):
    with training() as work:
        work.begin()
        work.steps(1, 20)
        work.validation(20, 0.52)

        async def script(pilot, wizard):
            requests = work.folder / "requests.jsonl"
            await pilot.press("f")
            await until(pilot, lambda: isinstance(wizard.screen, Question))
            assert "step 20" in screen_text(wizard)
            await pilot.press("n")
            assert not requests.exists()
            await pilot.press("f")
            await until(pilot, lambda: isinstance(wizard.screen, Question))
            await pilot.press("y")
            await until(pilot, requests.is_file)
            assert "finish" in requests.read_text()

        at_train(script, waits_for="mean loss")


def test_full_memory_offers_the_smaller_batch_and_goes_on_with_it(
    at_train, training, run, monkeypatch
):
    with training() as work:
        work.begin()
        work.steps(1, 9)

        async def script(pilot, wizard):
            calls = started(wizard, monkeypatch)
            work.journal.write(
                "failed",
                happened="The GPU's memory was full while the model trained.",
                safe="The last checkpoint is kept.",
                next="Halve finetune.micro_batch_size.",
                exit_code=6,
                remedy={"finetune.micro_batch_size": 4},
            )
            await until(pilot, lambda: isinstance(wizard.screen, FailureDialog))
            goes_on = "finetune.micro_batch_size = 4 and goes on"
            await until(pilot, lambda: goes_on in screen_text(wizard))
            await until(pilot, lambda: "s Apply" in screen_text(wizard))
            await pilot.press("s")
            await until(pilot, lambda: bool(calls))
            assert calls == [["finetune", "eval"]]
            assert run.recipe().finetune.micro_batch_size == 4

        at_train(script, waits_for="mean loss")


def test_a_training_that_stopped_says_so_and_enter_resumes_it(at_train, training, monkeypatch):
    with training() as work:
        work.begin()
        work.steps(1, 20)
        work.journal.write("cancelled", safe="What was done is kept.")

    async def script(pilot, wizard):
        calls = started(wizard, monkeypatch)
        text = screen_text(wizard)
        assert "finetune stopped" in text
        assert "Resume" in text
        await pilot.press("v")
        assert "mean of some" in screen_text(wizard)
        await pilot.press("enter")
        assert calls == [["finetune", "eval"]]

    at_train(script)


def test_a_worker_that_was_killed_is_missed(at_train, training):
    with training() as work:
        work.begin()
        work.steps(1, 20)

    async def script(pilot, wizard):
        assert "finetune vanished: its worker died" in screen_text(wizard)

    at_train(script)


def test_two_windows_on_a_training_show_the_same(make_wizard, run, training):
    with training() as work:
        work.begin()
        work.steps(1, 30)
        work.validation(30, 0.5)
        work.journal.write("started", stage="finetune")
        work.journal.write("resumed", step=20)
        work.steps(21, 40)

        async def shown(wizard):
            async with wizard.run_test(size=(120, 40)) as pilot:
                await until(pilot, lambda: "f Finish" in screen_text(wizard))
                await pilot.pause(1.2)
                text = screen_text(wizard)
                assert "40/60" in text
                return [
                    line
                    for line in text.splitlines()
                    if "elapsed" not in line and "ends at" not in line
                ]

        first = asyncio.run(shown(make_wizard(run, size=(120, 40))))
        assert first == asyncio.run(shown(make_wizard(run, size=(120, 40))))
        assert any("none yet" in line or "base 0.410" in line for line in first)


def test_settings_are_left_alone_while_a_training_runs(at_train, training):
    with training() as work:
        work.begin()
        work.steps(1, 5)

        async def script(pilot, wizard):
            assert not wizard.screen.check_action("edit", ())
            assert "epochs" not in screen_text(wizard)

        at_train(script, waits_for="mean loss")


def test_memory_and_load_of_the_gpu_are_read_in_a_thread(at_train, training, monkeypatch):
    monkeypatch.setattr("tui.screens.train_base.open_nvml", lambda: FakeNvml(h200(free=0, load=97)))
    with training() as work:
        work.begin()
        work.journal.write("log", message="GPU", level="info", gpu="GPU-h200")
        work.steps(1, 5)

        async def script(pilot, wizard):
            assert "GPU" not in screen_text(wizard)
            monkeypatch.setattr(type(wizard), "rehearsing", False)
            await until(pilot, lambda: "97%" in screen_text(wizard))
            assert "150.8/150.8 GB" in screen_text(wizard)

        at_train(script, waits_for="mean loss")


SUMMARY = {
    "steps": 40,
    "steps_planned": 60,
    "best_step": 30,
    "seconds": 754.0,
    "dev_ndcg_at_10_base": 0.41,
    "dev_ndcg_at_10": 0.6134,
    "dev_queries": 51,
    "warnings": ["Ended early, after 40 of 60 steps."],
}


@pytest.mark.parametrize("ascii_only", [False, True], ids=["unicode", "ascii"])
@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
def test_the_finished_training_looks_like_this(
    make_wizard, rehearsal_run, tmp_path, clock, size, ascii_only
):
    work = Training(tmp_path / "finetune" / "0123456789abcdef", clock)
    work.begin()
    for end in (10, 20, 30, 40):
        work.steps(end - 9, end)
        work.validation(end, 0.6134 - (end - 30) ** 2 / 2000)
    work.journal.write("finished", summary=SUMMARY, seconds=754.0, partial=True)
    folder = work.folder
    wizard = make_wizard(size=size, ascii_only=ascii_only)

    async def script(pilot):
        snapshot = snapshot_of(
            rehearsal_run,
            {"finetune": folder},
            **dict.fromkeys(("corpus", "sdg", "prep", "finetune"), "done"),
        )
        result = replace(snapshot.results["finetune"], summary=SUMMARY, partial=True)
        wizard.snapshot = replace(snapshot, results={"finetune": result})
        wizard.open_step("train")
        await until(pilot, lambda: "trained in part" in screen_text(wizard))
        await pilot.pause()
        kind = "ascii" if ascii_only else "unicode"
        assert_snapshot(f"train-{size[0]}x{size[1]}-{kind}", screen_text(wizard))
        if ascii_only:
            assert screen_text(wizard).isascii()
        await pilot.press("enter")
        assert wizard.screen.STEP == "metrics"

    drive(wizard, script, size)


def test_every_setting_that_is_shown_exists():
    from tui.train_rows import setting_choices

    names = [choice.setting for choice in setting_choices(Recipe(), Recipe(), None, 0)]
    assert set(names) <= set(flatten(Recipe()))
    assert len(names) == len(set(names))
