"""The app beside its run folder: readings in order, keys that wait, workers that come and go."""

import threading
import time

import pytest
from piloted import drive, screen_text, snapshot_of, until
from runs import make_run

from pipeline.errors import StageFailure
from pipeline.journal import JournalWriter
from pipeline.locks import Lock
from pipeline.recipe import flatten
from pipeline.run import change_recipe, home
from tui.screens.dialogs import FailureDialog, Question
from tui.screens.step import StepScreen
from tui.watch import read_snapshot


def step_of(wizard):
    return wizard.screen.STEP if isinstance(wizard.screen, StepScreen) else None


def reviewed(wizard):
    """The run whose samples are on the screen; None where none are."""
    desk = wizard.screen.desk if step_of(wizard) == "review" else None
    return desk and desk.source.run


class Readings:
    """`read_snapshot`, held up until it is let go."""

    def __init__(self, answer=read_snapshot):
        self.answer, self.gate = answer, threading.Event()
        self.begun = self.at_once = self.most = 0

    def __call__(self, run, variant=""):
        self.begun += 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        snapshot = self.answer(run, variant)
        self.gate.wait(10)
        self.at_once -= 1
        return snapshot


@pytest.fixture
def readings(monkeypatch):
    def hold(answer=read_snapshot):
        held = Readings(answer)
        monkeypatch.setattr("tui.run_app.read_snapshot", held)
        return held

    return hold


def test_a_change_during_a_reading_is_read_afterwards(make_wizard, readings):
    run = make_run(home(), 40)
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: step_of(wizard) == "review")
        wizard.open_step("generate")
        await until(pilot, lambda: wizard.settled)
        held = readings()
        wizard.read_run()
        await until(pilot, lambda: held.begun == 1)
        # Behind the reading's back, and seen by nothing but the look at the files.
        change_recipe(run, {"sdg.questions_per_document": 9}, "a test")
        held.gate.set()
        await until(pilot, lambda: wizard.snapshot.recipe.sdg.questions_per_document == 9)

    drive(wizard, script)


def test_readings_never_overlap_nor_pile_up(make_wizard, readings):
    make_run(home(), 40)
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: step_of(wizard) == "review" and wizard.settled)
        held = readings()
        for _ in range(5):
            wizard.read_run()
        await until(pilot, lambda: held.begun == 1)
        held.gate.set()
        await until(pilot, lambda: wizard.settled)
        assert (held.begun, held.most) == (2, 1)

    drive(wizard, script)


def test_enter_waits_for_the_reading_and_is_never_lost(make_wizard, rehearsal_run, readings):
    wizard = make_wizard()
    done = snapshot_of(rehearsal_run, finetune="done", eval="done")
    held = readings(lambda _run, _variant: done)

    async def script(pilot):
        wizard.take_run(snapshot_of(rehearsal_run, finetune="done", eval="running"))
        wizard.open_step("metrics")
        await until(pilot, lambda: wizard.screen.stands)
        wizard.read_run()
        await pilot.press("enter")
        await until(pilot, lambda: "One moment" in wizard.notice[0])
        assert step_of(wizard) == "metrics"
        held.gate.set()
        await until(pilot, lambda: step_of(wizard) == "export")

    drive(wizard, script)


def test_a_key_that_waits_is_dropped_where_the_user_went_elsewhere(
    make_wizard, rehearsal_run, readings
):
    wizard = make_wizard()
    done = snapshot_of(rehearsal_run, finetune="done", eval="done")
    held = readings(lambda _run, _variant: done)

    async def script(pilot):
        wizard.take_run(done)
        wizard.open_step("metrics")
        await until(pilot, lambda: wizard.screen.stands)
        wizard.read_run()
        await pilot.press("enter", "less_than_sign")
        held.gate.set()
        await until(pilot, lambda: wizard.settled)
        await pilot.pause(0.2)
        assert step_of(wizard) == "train"

    drive(wizard, script)


def test_a_reading_that_breaks_keeps_no_key_waiting(make_wizard, rehearsal_run, readings):
    wizard = make_wizard()

    def broken(_run, _variant):
        raise TypeError("a bug")

    readings(broken).gate.set()

    async def script(pilot):
        wizard.take_run(snapshot_of(rehearsal_run))
        wizard.read_run()
        await until(pilot, lambda: "a bug" in wizard.notice[0])
        assert wizard.settled

    drive(wizard, script)


def test_a_slow_reading_does_not_hold_up_leaving(make_wizard, rehearsal_run, readings):
    wizard = make_wizard()
    held = readings()
    left = []

    async def script(pilot):
        wizard.take_run(snapshot_of(rehearsal_run))
        wizard.read_run()
        await until(pilot, lambda: held.begun)
        left.append(time.monotonic())

    drive(wizard, script)
    assert time.monotonic() - left[0] < 5
    held.gate.set()


def test_two_keys_start_one_worker(make_wizard, rehearsal_run, monkeypatch):
    wizard = make_wizard()
    calls, gate = [], threading.Event()

    class Launcher:
        def __init__(self, environment):
            pass

        def start(self, run, stage, variant, options, then=()):
            calls.append(stage)
            gate.wait(10)
            raise StageFailure("It can't be started.", safe="-", next_step="-")

    monkeypatch.setattr("pipeline.launch.LocalLauncher", Launcher)

    async def script(pilot):
        wizard.take_run(snapshot_of(rehearsal_run))
        wizard.start(["corpus"])
        wizard.start(["corpus"])
        assert wizard.starting("corpus")
        assert "already" in wizard.notice[0]
        await until(pilot, lambda: calls)
        gate.set()
        await until(pilot, lambda: "It can't be started." in screen_text(wizard))
        assert calls == ["corpus"]
        assert not wizard.starting("corpus")

    drive(wizard, script)


def test_a_killed_worker_is_told(make_wizard, rehearsal_run):
    wizard = make_wizard()
    folder = rehearsal_run.path / "finetune" / "0123456789abcdef"
    lock = Lock(folder / "lock", "a test")

    async def script(pilot):
        wizard.take_run(snapshot_of(rehearsal_run))
        lock.take()
        JournalWriter(folder / "journal.jsonl").write("started", stage="finetune")
        await until(pilot, lambda: wizard.running("finetune"))
        lock.release()
        await until(pilot, lambda: "finetune: its worker was killed" in wizard.notice[0])

    drive(wizard, script)


def test_a_failure_that_comes_while_keys_are_pressed_starts_nothing(make_wizard, rehearsal_run):
    wizard = make_wizard()
    started = []

    async def script(pilot):
        wizard.take_run(snapshot_of(rehearsal_run, corpus="done", sdg="done"))
        wizard.open_step("review")
        wizard.start = lambda stages, options=None: started.append(list(stages))
        folder = rehearsal_run.path / "finetune" / "0123456789abcdef"
        folder.mkdir(parents=True)
        wizard.snapshot = snapshot_of(rehearsal_run, {"finetune": folder})
        journal = JournalWriter(folder / "journal.jsonl")
        journal.write("started", stage="finetune")
        assert wizard.job("finetune")
        remedy = {"finetune.micro_batch_size": 4}
        journal.write("failed", happened="Full.", safe="-", next="-", exit_code=1, remedy=remedy)
        await until(pilot, lambda: isinstance(wizard.screen, FailureDialog))
        await pilot.press("s", "r")  # skip and reject, as far as the user knows
        await pilot.pause()
        assert isinstance(wizard.screen, FailureDialog)
        assert not started
        before = flatten(rehearsal_run.recipe())
        await until(pilot, lambda: "s Apply" in screen_text(wizard))
        await pilot.press("s")
        # Whatever step is shown, the whole chain goes on.
        await until(pilot, lambda: started == [["finetune", "eval"]])
        assert flatten(rehearsal_run.recipe()) == before | remedy

    drive(wizard, script)


def test_a_recipe_that_breaks_meanwhile_leaves_the_run_on_the_screen(make_wizard):
    run = make_run(home(), 40)
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: step_of(wizard) == "review")
        whole = run.recipe_path.read_text()
        run.recipe_path.write_text("[corpus]\nsource = \n")
        await until(pilot, lambda: isinstance(wizard.screen, FailureDialog))
        await pilot.press("escape")
        await until(pilot, lambda: step_of(wizard) == "review")
        assert wizard.current == run
        run.recipe_path.write_text(whole.replace("seed = 0", "seed = 7"))
        await until(pilot, lambda: wizard.snapshot.recipe.seed == 7)

    drive(wizard, script)


def test_a_run_that_is_being_opened_calls_nobody_back(make_wizard, readings):
    make_run(home(), 40)
    held = readings()
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: held.begun)
        await pilot.press("f3")
        await until(pilot, lambda: "1 run in" in screen_text(wizard))
        held.gate.set()
        await until(pilot, lambda: wizard.settled)
        await pilot.pause(0.2)
        assert "1 run in" in screen_text(wizard)

    drive(wizard, script)


def test_what_was_wrong_with_the_preferences_outlasts_the_opening(make_wizard, own_home):
    from tui.preferences import preferences_path

    path = preferences_path()
    path.parent.mkdir(parents=True)
    path.write_text('[keys]\n"machine.nothing" = "z"\n"machine.never" = "w"\n')
    make_run(home(), 40)
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: step_of(wizard) == "review")
        assert "machine.nothing" in wizard.notice[0] or "1 more" in wizard.notice[0]

    drive(wizard, script)


def test_a_key_that_can_do_nothing_now_says_so(make_wizard):
    make_run(home(), 40, through="corpus")
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: step_of(wizard) == "generate" and wizard.screen.stands)
        await pilot.press("p")
        assert wizard.notice[0] == "p (Pause) has nothing to do here now."

    drive(wizard, script)


def test_below_the_smallest_size_no_key_acts_blindly(make_wizard):
    run = make_run(home(), 40)
    wizard = make_wizard(size=(50, 10))

    async def script(pilot):
        await until(pilot, lambda: step_of(wizard) == "review")
        await until(pilot, lambda: wizard.screen.desk)
        assert "Please enlarge" in screen_text(wizard)
        await pilot.press("a", "x", "enter")
        await pilot.pause(0.1)
        assert step_of(wizard) == "review"
        assert not run.decisions_path.exists()
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "Q " in screen_text(wizard))
        await pilot.press("a")
        await until(pilot, lambda: run.decisions_path.exists())

    drive(wizard, script, size=(50, 10))


def test_leaving_asks_about_edits_that_were_not_saved(make_wizard):
    make_run(home(), 40)
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: step_of(wizard) == "review" and "Q " in screen_text(wizard))
        await pilot.press("e", "z", "escape")
        await until(pilot, lambda: not wizard.screen.editing)
        await pilot.press("q")
        await until(pilot, lambda: isinstance(wizard.screen, Question))
        assert "1 edit was typed and not saved" in screen_text(wizard)
        await pilot.press("n")
        await until(pilot, lambda: step_of(wizard) == "review")
        assert wizard.return_value is None

    drive(wizard, script)


def test_typed_words_outlive_the_window_that_closed_over_them(make_wizard):
    from textual.widgets import TextArea

    run = make_run(home(), 40)

    def area(wizard):
        return wizard.screen.query_one("#edit-question", TextArea)

    async def type_and_be_cut_off(pilot):
        wizard = pilot.app
        await until(pilot, lambda: step_of(wizard) == "review" and "Q " in screen_text(wizard))
        await pilot.press("e", "Z", "Z")
        assert area(wizard).text.endswith("ZZ")
        wizard.exit(129)  # what a hang-up leads to, before the pause after the last key is over

    async def find_it_again(pilot):
        wizard = pilot.app
        await until(pilot, lambda: "An edit was typed and not saved: e at 1" in screen_text(wizard))
        await pilot.press("e")
        await until(pilot, lambda: wizard.screen.query(TextArea))
        assert area(wizard).text.endswith("ZZ")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: run.decisions_path.exists())
        assert not list((run.path / "review" / "drafts").glob("*.json")), "saved, and no draft"

    drive(make_wizard(), type_and_be_cut_off)
    assert len(list((run.path / "review" / "drafts").glob("*.json"))) == 1
    drive(make_wizard(), find_it_again)


def test_another_run_gets_no_words_that_were_typed_for_this_one(make_wizard):
    from textual.widgets import TextArea

    first = make_run(home(), 40, name="first")
    second = make_run(home(), 40, name="second")
    wizard = make_wizard(run=first)

    async def script(pilot):
        await until(pilot, lambda: step_of(wizard) == "review" and "Q " in screen_text(wizard))
        await pilot.press("e", "Z", "Z")
        wizard.open_run(second)
        await until(pilot, lambda: reviewed(wizard) == second)
        assert not wizard.screen.editing
        await pilot.press("e")
        await until(pilot, lambda: wizard.screen.query(TextArea))
        assert "ZZ" not in wizard.screen.query_one("#edit-question", TextArea).text
        wizard.open_run(first)
        await until(pilot, lambda: reviewed(wizard) == first)
        await until(pilot, lambda: not wizard.screen.query(TextArea))
        await pilot.press("e")
        await until(pilot, lambda: wizard.screen.query(TextArea))
        assert "ZZ" in wizard.screen.query_one("#edit-question", TextArea).text

    drive(wizard, script)


def test_a_key_without_a_place_in_the_keymap_is_no_reason(make_wizard):
    """`²` counts as a digit for Python, and French keyboards have a key for it."""
    make_run(home(), 40)
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: step_of(wizard) == "review" and "Q " in screen_text(wizard))
        await pilot.press("x", "²")
        assert "Why?" in wizard.notice[0]
        await pilot.press("3")
        assert wizard.notice[0].startswith("Rejected: ")

    drive(wizard, script)


def test_the_window_says_a_key_where_the_command_line_says_a_command():
    from tui.screens.dialogs import in_window

    said = "Free some space (`embedsmith prune`), then run the same command again."
    assert in_window(said, "r").endswith("then press r to try again.")
    assert in_window("Run the same command again: it goes on.", "") == "Try again: it goes on."
    remedy = "Halve it: run the same command again with --set finetune.batch_size=8."
    assert in_window(remedy, "r") == (
        "Halve it: set finetune.batch_size to 8 and press r to try again."
    )


def test_time_is_not_spent_on_a_hung_worker(make_wizard, rehearsal_run):
    """A worker that said its last long ago and holds its lock keeps no key waiting."""
    from tui.jobs import LEAVE_SECONDS

    wizard = make_wizard()
    folder = rehearsal_run.path / "eval" / "0123456789abcdef"
    lock = Lock(folder / "lock", "a test")

    async def script(pilot):
        lock.take()
        journal = JournalWriter(folder / "journal.jsonl", lambda: time.time() - 2 * LEAVE_SECONDS)
        journal.write("started", stage="eval")
        journal.write("finished", seconds=1.0)
        wizard.take_run(snapshot_of(rehearsal_run))
        await until(pilot, lambda: wizard.running("eval"))
        assert not wizard.jobs.leaving()
        lock.release()

    drive(wizard, script)
