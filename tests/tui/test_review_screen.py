"""The Review step: what it shows, what its keys write down, and what it never loses."""

import json
import shutil
import stat
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from piloted import drive, screen_text, snapshot_of, until
from runs import make_run
from text_snapshot import assert_snapshot
from textual.widgets import Input, TextArea

from pipeline.review.decisions import Action, fold
from pipeline.review.log import append_decision, read_decisions
from pipeline.run import Run
from pipeline.sdg.records import ARRIVING, read_samples
from tui.review.editor import edit_text, editor_command
from tui.review.text import agreement_rows, sample_text


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run whose 200 samples are made up."""
    return make_run(tmp_path_factory.mktemp("made") / "home", 200)


@pytest.fixture
def run(made, tmp_path):
    """A copy of it, to decide about."""
    return Run(Path(shutil.copytree(made.path, tmp_path / "pilot")))


@pytest.fixture
def at_review(make_wizard, run):
    """Runs a script on the Review step; the run's results are as they were made."""

    def go(script, size=(80, 24), ascii_only=False, results=("corpus", "sdg")):
        wizard = make_wizard(size=size, ascii_only=ascii_only)

        async def with_snapshot(pilot):
            folders = {stage: run.current(stage).folder for stage in results}
            wizard.snapshot = snapshot_of(run, folders, **dict.fromkeys(results, "done"))
            wizard.open_step("review")
            await until(pilot, lambda: "Q " in screen_text(wizard))
            await script(pilot, wizard.screen)

        drive(wizard, with_snapshot, size)

    return go


def state(run):
    return fold(read_decisions(run.decisions_path))


def kinds(run):
    return [event.action.kind for event in read_decisions(run.decisions_path)]


@pytest.mark.parametrize(
    ("size", "ascii_only"), [((80, 24), False), ((80, 24), True), ((120, 40), False)]
)
def test_the_first_sight_has_everything_that_is_needed_to_judge(at_review, size, ascii_only):
    async def script(pilot, screen):
        await pilot.pause()
        name = f"review-{size[0]}x{size[1]}{'-ascii' if ascii_only else ''}"
        assert_snapshot(name, screen_text(pilot.app))

    at_review(script, size, ascii_only)


def test_the_quote_is_seen_at_first_sight_of_every_sample_also_on_the_smallest_screen(at_review):
    async def script(pilot, screen):
        for _ in range(24):
            view = screen.viewed()
            start, end = view.evidence[0].quotes[0]
            words = view.evidence[0].text[start:end].split()
            shown = screen_text(pilot.app).split("1/")[-1]
            assert "«" + words[0] in shown
            screen.samples.action_next()
            await pilot.pause()

    at_review(script, (60, 16))


def test_accept_and_reject_go_on_and_arrows_decide_nothing(at_review, run):
    async def script(pilot, screen):
        first, second = screen.desk.listed[:2]
        await pilot.press("a", "x", "3", "j", "k", "down", "G", "g")
        decided = state(run).decisions
        assert {name: said.verdict for name, said in decided.items()} == {
            first: "accept",
            second: "reject",
        }
        assert decided[second].reason == "wrong"
        assert kinds(run) == ["accept", "reject", "reject"]
        assert "✗ reject: wrong answer" not in screen_text(pilot.app)

    at_review(script)


def test_a_digit_without_a_reject_before_it_does_nothing(at_review, run):
    async def script(pilot, screen):
        await pilot.press("1", "x", "j", "2")
        assert kinds(run) == ["reject"]

    at_review(script)


def test_undo_goes_to_the_sample_and_says_what_it_took_back(at_review, run):
    async def script(pilot, screen):
        await pilot.press("a", "x", "s", "u")
        assert "Undone: skip" in screen_text(pilot.app)
        assert screen.samples.cursor == 2
        await pilot.press("u", "u")
        assert "Undone: accept" in screen_text(pilot.app)
        assert screen.samples.cursor == 0
        assert state(run).decisions == {}
        await pilot.press("u")
        assert "nothing to undo" in screen_text(pilot.app)
        await pilot.press("U", "U", "U", "U")
        assert len(state(run).decisions) == 2
        assert len(state(run).skipped) == 1

    at_review(script)
    at_review(undo_of_another_window(run))


def undo_of_another_window(run):
    async def script(pilot, screen):
        # Undo reaches back across a restart, and the cursor began at the first undecided one.
        assert screen.samples.cursor == 3
        await pilot.press("u", "u", "u")
        assert state(run).decisions == {}

    return script


def test_threshold_keys_in_a_row_are_one_event_and_one_undo(at_review, run):
    async def script(pilot, screen):
        before = screen.desk.counts().kept
        await pilot.press("]", "]", "}", "[")
        assert "threshold  7.6" in screen_text(pilot.app)
        assert screen.desk.counts().kept < before
        assert kinds(run) == []
        await until(pilot, lambda: kinds(run) == ["threshold"])
        assert state(run).threshold == 7.6
        await pilot.press("u")
        assert "threshold  7.0" in screen_text(pilot.app)
        assert "the threshold is 7.0" in screen_text(pilot.app)

    at_review(script)


@pytest.mark.parametrize("way", ["a", ">", "q"])
def test_a_moved_threshold_is_written_before_anything_else_happens(at_review, run, way):
    async def script(pilot, screen):
        await pilot.press("]", way)

    at_review(script)
    assert kinds(run)[0] == "threshold"


def test_a_filter_lists_and_counts_and_a_wrong_one_says_why_beside_the_field(at_review, run):
    async def script(pilot, screen):
        await pilot.press("slash", *"score<7 rol:test", "enter")
        assert "there is no such facet" in screen_text(pilot.app)
        pilot.app.screen.query_one("#prompt-field", Input).value = "score<7 role:test"
        await pilot.press("enter")
        await pilot.pause()
        entries = [screen.desk.entry(place) for place in range(len(screen.desk.listed))]
        assert entries
        assert all(entry.score < 7 and entry.role == "test" for entry in entries)
        assert f"{len(entries)} of 200 samples match" in screen_text(pilot.app)
        await pilot.press("a")
        assert len(screen.desk.listed) == len(entries)
        await pilot.press("slash", "ctrl+u", "enter")
        await pilot.pause()
        assert len(screen.desk.listed) == 200

    at_review(script)


def test_letters_typed_into_a_field_decide_nothing(at_review, run):
    async def script(pilot, screen):
        await pilot.press("slash", *"axsuU")
        await pilot.press("escape", "e")
        await until(pilot, lambda: screen.query("#edit-question"))
        await pilot.press(*"axsuXA[]")
        assert kinds(run) == []
        await pilot.press("escape")
        assert kinds(run) == []

    at_review(script)


def test_bulk_asks_first_with_the_count_and_is_one_undo(at_review, run):
    async def script(pilot, screen):
        await pilot.press("X")
        await until(pilot, lambda: "Reject 200 samples at once?" in screen_text(pilot.app))
        await pilot.press("n")
        assert kinds(run) == []
        await pilot.press("X", "y")
        await until(pilot, lambda: len(state(run).decisions) == 200)
        await pilot.pause()
        assert screen.desk.counts().kept == 0
        await pilot.press("u")
        assert state(run).decisions == {}
        assert "reject of 200 samples" in screen_text(pilot.app)

    at_review(script)


def test_an_edit_in_place_is_kept_until_it_is_saved(at_review, run):
    async def script(pilot, screen):
        sample = screen.here()
        await pilot.press("e")
        await until(pilot, lambda: screen.query("#edit-question"))
        screen.query_one("#edit-question", TextArea).text = "  "
        await pilot.press("ctrl+s")
        assert "The question is empty" in screen_text(pilot.app)
        screen.query_one("#edit-question", TextArea).text = "Which valve\nopens first?"
        await pilot.press("escape")
        assert "kept for the next e" in screen_text(pilot.app)
        assert kinds(run) == []
        await pilot.press("e")
        await until(pilot, lambda: screen.query("#edit-question"))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: kinds(run) == ["edit"])
        said = state(run).decisions[sample]
        assert (said.verdict, said.question, said.answer) == (
            "accept",
            "Which valve opens first?",
            None,
        )
        await until(pilot, lambda: "✎ edited" in screen_text(pilot.app))
        assert screen.samples.has_focus

    at_review(script)


def test_without_a_terminal_to_give_away_the_editor_is_the_form(at_review, run, monkeypatch):
    monkeypatch.setenv("VISUAL", "true")

    async def script(pilot, screen):
        await pilot.press("E")
        await until(pilot, lambda: screen.query("#edit-question"))
        assert kinds(run) == []

    at_review(script)


def test_pages_orders_and_the_copy_are_of_the_sample_under_the_cursor(at_review, run):
    async def script(pilot, screen):
        await pilot.press("space")
        assert "characters" in screen_text(pilot.app)
        here = screen.here()
        await pilot.press("o")
        await until(pilot, lambda: "by path and reading order" in screen_text(pilot.app))
        await pilot.press("j", "enter")
        await until(pilot, lambda: "order document" in screen_text(pilot.app))
        assert screen.here() == here
        await pilot.press("y")
        copied = sample_text(screen.viewed())
        assert here in copied
        assert screen.viewed().evidence[0].path in copied
        assert kinds(run) == []

    at_review(script)


def test_the_audit_is_walked_through_and_says_its_precision(at_review, run):
    async def script(pilot, screen):
        await pilot.press("m")
        assert "Audit 1 of 30: nothing of the audit was read yet" in screen_text(pilot.app)
        for _ in range(4):
            await pilot.press("a", "m")
        assert "Audit 5 of 30: 4 of 4 good, so at least 51 %" in screen_text(pilot.app)

    at_review(script)


def test_next_undecided_passes_what_was_decided_or_skipped(at_review):
    async def script(pilot, screen):
        await pilot.press("a", "s", "a", "g", "n")
        assert screen.samples.cursor == 3

    at_review(script)


def test_enter_asks_before_it_is_enough_and_is_no_wall(at_review):
    async def script(pilot, screen):
        await pilot.press("enter")
        await until(pilot, lambda: "Go on to training?" in screen_text(pilot.app))
        assert "and 0 of 30 audit samples." in screen_text(pilot.app)
        await pilot.press("y")
        await until(pilot, lambda: pilot.app.screen.STEP == "train")

    at_review(script)


def test_what_another_window_decides_appears(at_review, run):
    async def script(pilot, screen):
        sample = screen.desk.listed[2]
        append_decision(run.decisions_path, Action("reject", (sample,), reason="generic"))
        await until(pilot, lambda: "✗ reject" in screen_text(pilot.app))
        assert screen.samples.cursor == 0
        assert screen.desk.counts().rejected == 1

    at_review(script)


def test_a_decision_that_cannot_be_written_changes_nothing_and_is_said(at_review, run, monkeypatch):
    def full(path, action):
        raise OSError(28, "No space left on device")

    async def script(pilot, screen):
        monkeypatch.setattr("tui.review.desk.append_decision", full)
        await pilot.press("a")
        await until(pilot, lambda: "What is safe" in screen_text(pilot.app))
        await pilot.press("escape")
        assert screen.samples.cursor == 0
        assert screen.desk.counts().accepted == 0
        await pilot.press("]")
        await until(pilot, lambda: "What is safe" in screen_text(pilot.app))
        await pilot.press("escape")
        assert "threshold  7.0" in screen_text(pilot.app)

    at_review(script)


def test_samples_that_arrive_follow_the_others_and_the_cursor_stays(make_wizard, run):
    sdg = run.current("sdg").folder
    samples = list(read_samples(sdg))
    arriving = run.path / "sdg" / "running" / ARRIVING
    arriving.parent.mkdir()

    def write(first, last):
        with arriving.open("a") as stream:
            stream.writelines(json.dumps(asdict(sample)) + "\n" for sample in samples[first:last])

    write(0, 50)
    wizard = make_wizard()

    async def script(pilot):
        snapshot = snapshot_of(run, {"corpus": run.current("corpus").folder}, sdg="running")
        snapshot.folders["sdg"] = arriving.parent
        wizard.snapshot = snapshot
        wizard.open_step("review")
        await until(pilot, lambda: "not all are written" in screen_text(wizard))
        screen = wizard.screen
        await pilot.press("j", "j", "a")
        here, listed = screen.here(), list(screen.desk.listed)
        write(50, 120)
        await until(pilot, lambda: len(screen.desk.listed) == 120)
        assert screen.desk.listed[:50] == listed
        assert screen.here() == here
        assert sum(bar.count for bar in screen.desk.histogram().bins) > 100
        # The stage is done: the result's samples take over, the order stays.
        listed = list(screen.desk.listed)
        done = {"corpus": run.current("corpus").folder, "sdg": sdg}
        wizard.snapshot = snapshot_of(run, done, corpus="done", sdg="done")
        screen.refresh_work()
        await until(pilot, lambda: len(screen.desk.listed) == 200)
        assert screen.desk.listed[:120] == listed
        assert screen.here() == here
        assert len(state(run).decisions) == 1

    drive(wizard, script)


def test_the_agreement_names_the_better_threshold_and_moves_nothing(at_review, run):
    async def script(pilot, screen):
        listed = [screen.desk.entry(place) for place in range(200)]
        scored = [entry for entry in listed if entry.score is not None and not entry.blocking]
        low = tuple(entry.id for entry in scored if entry.score < 8)
        high = tuple(entry.id for entry in scored if entry.score >= 8)
        append_decision(run.decisions_path, Action("reject", low))
        append_decision(run.decisions_path, Action("accept", high))
        await until(pilot, lambda: screen.desk.counts().decided == len(scored))
        await pilot.press("t")
        await until(pilot, lambda: "It is never moved by itself" in screen_text(pilot.app))
        rows = agreement_rows(screen.desk.suggestion(), screen.desk.counts())
        assert "The threshold 7 agrees with" in rows[0][0].text
        assert screen.desk.threshold == 7.0

    at_review(script)


def test_without_samples_the_step_says_where_they_come_from(make_wizard, rehearsal_run):
    wizard = make_wizard()

    async def script(pilot):
        wizard.snapshot = snapshot_of(rehearsal_run)
        wizard.open_step("review")
        await until(pilot, lambda: "No samples yet" in screen_text(wizard))
        await pilot.press("a", "x", "u", "]", "enter", "space", "m")
        assert not rehearsal_run.decisions_path.exists()

    drive(wizard, script)


def test_the_users_editor_is_found(monkeypatch):
    assert editor_command({"VISUAL": "code --wait", "EDITOR": "nano"}) == ["code", "--wait"]
    assert editor_command({"VISUAL": " ", "EDITOR": "nano"}) == ["nano"]
    assert editor_command({}, {"nano": "/bin/nano"}.get) == ["nano"]
    with pytest.raises(Exception, match="neither vi nor nano"):
        editor_command({}, {}.get)


def test_an_editor_works_on_a_private_file_and_an_error_means_no_edit(tmp_path):
    seen = tmp_path / "seen"
    script = tmp_path / "editor.py"
    script.write_text(
        "import os, sys\n"
        f"open({str(seen)!r}, 'w').write(oct(os.stat(sys.argv[-1]).st_mode) + sys.argv[-1])\n"
        "text = open(sys.argv[-1]).read()\n"
        "open(sys.argv[-1], 'w').write(text.replace('old', 'new'))\n"
        "sys.exit(int(sys.argv[1]))\n"
    )
    editor = [sys.executable, str(script)]
    assert edit_text([*editor, "0"], "the old words") == "the new words"
    assert edit_text([*editor, "0"], "no change") is None
    assert edit_text([*editor, "1"], "the old words") is None
    mode, _, path = seen.read_text().partition("/")
    assert stat.S_IMODE(int(mode, 8)) == 0o600
    assert not Path("/" + path).exists()
