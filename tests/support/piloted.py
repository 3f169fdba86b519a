"""Helpers for the wizard under Textual's Pilot."""

from __future__ import annotations

import asyncio
import time

from text_snapshot import screen_text

from pipeline.profiles import find_profile
from pipeline.run import Result
from tui.steps import StageState
from tui.terminal import Terminal
from tui.watch import Snapshot

CHAIN = ("corpus", "sdg", "prep", "finetune", "eval", "export", "deploy", "verify")


def terminal(size=(80, 24), colours=16777216):
    return Terminal(
        tty=True,
        term="xterm-256color",
        colours=colours,
        colours_from="TERM",
        encoding="utf-8",
        unicode=True,
        tmux=False,
        tmux_version="",
        screen=False,
        ssh=True,
        size=size,
    )


def snapshot_of(run, results=None, **states):
    """A snapshot as if the stages stood so; `results` maps stages to result folders."""
    recipe = run.recipe()
    done = {
        name: Result(folder, name, "f" * 16, "d" * 16, {}, "made", False, 0.0, 1.0)
        for name, folder in (results or {}).items()
    }
    return Snapshot(
        run=run,
        variant="",
        recipe=recipe,
        profile=find_profile(recipe.profile),
        stages={
            name: StageState(states.get(name, "waiting"), "as the test says") for name in CHAIN
        },
        folders={name: result.folder for name, result in done.items()},
        results=done,
    )


def drive(wizard, script, size=(80, 24)):
    """Run the wizard under a Pilot and `script(pilot)` in it."""

    async def run():
        async with wizard.run_test(size=size) as pilot:
            await script(pilot)

    asyncio.run(run())


async def until(pilot, holds, seconds=90.0):
    """Wait until something holds; fails with what the screen shows."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise AssertionError("never came:\n" + screen_text(pilot.app))
        await pilot.pause(0.02)


async def settled(pilot, seconds=10.0):
    """What the screen shows once it stays so for a moment: scrollbars come a frame later."""
    end = time.monotonic() + seconds
    text = ""
    while (shown := screen_text(pilot.app)) != text:
        assert time.monotonic() < end, "the screen never rests:\n" + shown
        text = shown
        await pilot.pause(0.15)
    return text


__all__ = ["drive", "screen_text", "settled", "snapshot_of", "terminal", "until"]
