"""The list of runs while it is shown, and copying where tmux is slow to answer."""

import shutil
from dataclasses import replace

from piloted import drive, screen_text, until

from pipeline.profiles import REHEARSAL_PROFILE, find_profile
from pipeline.run import create_run, home
from tui.widgets.pane import ListPane

SLOW_TMUX = "#!/bin/sh\nsleep 1.5\necho 'no answer that is understood'\n"


def make(name):
    profile = find_profile(REHEARSAL_PROFILE)
    return create_run(home() / name, profile, {"corpus.source": "pydoc"}, "a test")


def test_runs_that_come_and_go_are_seen_and_the_cursor_stays_on_its_run(make_wizard):
    make("first")
    make("second")

    async def script(pilot):
        wizard = pilot.app
        pane = wizard.screen.query_one("#runs", ListPane)
        await until(pilot, lambda: pane.count == 2)
        pane.move_to(1)
        here = wizard.screen._found[1][0]
        make("third")
        await until(pilot, lambda: "third" in screen_text(wizard))
        assert "3 runs in" in screen_text(wizard)
        assert wizard.screen._found[pane.cursor][0] == here
        shutil.rmtree(home() / "third")
        await until(pilot, lambda: "third" not in screen_text(wizard))
        assert wizard.screen._found[pane.cursor][0] == here

    drive(make_wizard(), script)


def test_a_tmux_that_is_slow_to_answer_holds_up_no_key(make_wizard, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "tmux"
    program.parent.mkdir()
    program.write_text(SLOW_TMUX)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    wizard = make_wizard()
    terminal = replace(wizard.opening.terminal, tmux=True)
    wizard.opening = replace(wizard.opening, terminal=terminal)

    async def script(pilot):
        await until(pilot, lambda: getattr(wizard.screen, "STEP", ""))
        wizard.copy("some words")
        await pilot.press("f1")
        await until(pilot, lambda: wizard.screen.is_modal)
        assert "tmux" not in wizard.notice[0]
        await until(pilot, lambda: "tmux is silent" in wizard.notice[0])

    drive(wizard, script)
    assert (tmp_path / "state" / "embedsmith" / "last-copy.txt").read_text() == "some words"
