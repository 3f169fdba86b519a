"""What the wizard starts with: preferences, themes and keys, and what was wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.run import Run
from tui.keys import default_keymap
from tui.preferences import (
    Preferences,
    preferences_path,
    read_preferences,
    resolve_keymap,
)
from tui.terminal import Terminal
from tui.themes import Theme, built_in_themes, choose, themes_folder, user_themes


@dataclass(frozen=True)
class Opening:
    """What the wizard starts with.

    Attributes:
        terminal: what the terminal can do.
        preferences: the user's, as they are kept.
        preferences_path: where they are kept.
        keymap: keys by binding id, the user's in them.
        themes: every theme, by name.
        theme: the one to begin with.
        ascii: whether screens draw with ASCII signs alone.
        mouse: whether the wizard takes the mouse.
        messages: what was wrong with preferences, keymap or themes.
        run: the run to open; None chooses.
        variant: its variant, or empty.
    """

    terminal: Terminal
    preferences: Preferences
    preferences_path: Path
    keymap: Mapping[str, str]
    themes: Mapping[str, Theme]
    theme: str
    ascii: bool = False
    mouse: bool = True
    messages: tuple[str, ...] = ()
    run: Run | None = None
    variant: str = ""


def read_opening(
    terminal: Terminal, *, theme: str = "", ascii_only: bool = False, mouse: bool = True
) -> Opening:
    """Read the user's preferences, themes and keys; what is wrong is said and passed over.

    Args:
        terminal: what the terminal can do.
        theme: a theme by name; empty takes the preferences'.
        ascii_only: draw with ASCII signs; else what terminal and preferences say.
        mouse: False leaves the mouse to the terminal.
    """
    path = preferences_path()
    preferences, failures = read_preferences(path)
    keymap, wrong = resolve_keymap(default_keymap(), preferences.keys)
    failures += wrong
    mine, wrong = user_themes(themes_folder())
    failures += wrong
    themes = {each.name: each for each in (*built_in_themes(), *mine)}
    chosen, unknown = choose(themes.values(), theme or preferences.theme, terminal)
    failures += [unknown] if unknown else []
    messages = tuple(f"{failure.happened} {failure.next_step}" for failure in failures)
    return Opening(
        terminal=terminal,
        preferences=preferences,
        preferences_path=path,
        keymap=keymap,
        themes=themes,
        theme=chosen.name,
        ascii=ascii_only or preferences.ascii or not terminal.unicode,
        mouse=mouse and preferences.mouse,
        messages=messages,
    )
