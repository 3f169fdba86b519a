"""The Metrics step: table, verdict, misses, and files of it."""

import json
import threading

import pytest
from measured import ranked_set, write_evaluation
from piloted import drive, screen_text, settled, snapshot_of, until


@pytest.fixture
def evaluated(tmp_path):
    """An evaluation with the synthetic set and one of the user's own."""
    synthetic = ranked_set({f"s{n}": (4, 1, 1) for n in range(60)})
    own = ranked_set({"q0": (1, 15, 2), "q1": (None, 1, 3), "q2": (2, 2, 2)})
    write_evaluation(tmp_path / "eval", {"synthetic": synthetic, "tickets": own})
    return tmp_path / "eval"


@pytest.fixture
def at_metrics(make_wizard, rehearsal_run, evaluated):
    """Runs a script on the Metrics step of a run that was measured."""

    def go(script, size=(80, 24)):
        wizard = make_wizard()

        async def with_snapshot(pilot):
            wizard.snapshot = snapshot_of(
                rehearsal_run, {"eval": evaluated}, finetune="done", eval="done"
            )
            wizard.open_step("metrics")
            await until(pilot, lambda: "nDCG@10" in screen_text(wizard))
            await script(pilot, wizard)

        drive(wizard, with_snapshot, size)

    return go


def test_the_users_own_set_leads_and_every_metric_has_its_difference(at_metrics):
    async def script(pilot, wizard):
        text = await settled(pilot)
        assert text.index("tickets (3 queries)") < text.index("synthetic (60 queries)")
        assert "Too few queries for a verdict" in text
        for name in ("nDCG@1", "nDCG@10", "Recall@10", "Precision@10", "MAP@10"):
            assert name in text
        await pilot.press("s")
        assert "Better: nDCG@10" in screen_text(wizard)

    at_metrics(script)


def test_enter_goes_on_from_the_table_the_misses_and_an_empty_list_of_wins(at_metrics):
    async def script(pilot, wizard):
        for looks in range(4):
            wizard.open_step("metrics")
            await until(pilot, lambda: "nDCG@10" in screen_text(wizard))
            # In a row, as a slow line hands them over.
            await pilot.press(*["v"] * looks, "enter")
            await until(pilot, lambda: getattr(wizard.screen, "STEP", "") == "export")
            wizard.open_step("metrics")
            await pilot.press(*["v"] * (3 - looks))

    at_metrics(script)


def test_misses_that_come_late_are_not_shown_for_another_set(at_metrics, monkeypatch):
    from pipeline.eval.misses import load_misses

    gate = threading.Event()

    def slow(folder, name, k):
        found = load_misses(folder, name, k)
        if name == "tickets":
            gate.wait(10)
        return found

    monkeypatch.setattr("tui.screens.metrics.load_misses", slow)

    async def script(pilot, wizard):
        await pilot.press("v", "s")
        await until(pilot, lambda: "of 60 queries missed" in screen_text(wizard))
        gate.set()
        await pilot.pause(0.2)
        assert "of 60 queries missed" in screen_text(wizard)

    at_metrics(script)


def test_the_passages_of_a_miss_are_paged(at_metrics):
    async def script(pilot, wizard):
        await pilot.press("v")
        await until(pilot, lambda: "should be found" in screen_text(wizard))
        pane = wizard.screen.query_one("#miss")
        await until(pilot, lambda: pane.max_scroll_y > 0)
        seen = []
        for _ in range(pane.max_scroll_y + 1):
            await pilot.press("space")
            seen.append(pane.scroll_offset.y)
        assert max(seen) == pane.max_scroll_y
        assert 0 in seen

    at_metrics(script, size=(80, 16))


def test_misses_show_the_query_what_should_win_and_what_won(at_metrics):
    async def script(pilot, wizard):
        await pilot.press("v")
        await until(pilot, lambda: "1 of 3 queries missed" in screen_text(wizard))
        text = screen_text(wizard)
        assert "What is q0?" in text
        assert "worse" in text
        assert "should be found  p-q0" in text
        assert "rank 1 instead" in text
        await pilot.press("v")
        await until(pilot, lambda: "won over the base" in screen_text(wizard))
        assert "What is q1?" in screen_text(wizard)

    at_metrics(script, size=(120, 40))


@pytest.mark.parametrize(
    ("moves", "name"), [(0, "metrics.md"), (1, "metrics.csv"), (2, "metrics.json")]
)
def test_the_table_is_written_beside_the_run(at_metrics, rehearsal_run, moves, name):
    async def script(pilot, wizard):
        await pilot.press("w", *["j"] * moves, "enter")
        path = rehearsal_run.path / name
        await until(pilot, path.is_file)
        assert str(path) in wizard.notice[0]
        text = path.read_text()
        assert "tickets" in text
        if name.endswith("json"):
            assert [each["name"] for each in json.loads(text)["sets"]] == ["tickets", "synthetic"]

    at_metrics(script)


def test_enter_goes_on_to_the_export(at_metrics):
    async def script(pilot, wizard):
        assert wizard.screen.primary() == "Go on"
        await pilot.press("enter")
        await until(pilot, lambda: wizard.screen.STEP == "export")

    at_metrics(script)


def test_without_a_model_the_step_says_where_it_comes_from(make_wizard, rehearsal_run):
    wizard = make_wizard()

    async def script(pilot):
        wizard.snapshot = snapshot_of(rehearsal_run, finetune="new")
        wizard.open_step("metrics")
        await until(pilot, lambda: "no model to measure yet" in screen_text(wizard))
        assert wizard.screen.primary() == ""

    drive(wizard, script)
