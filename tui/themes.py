"""Themes as data: built in or the user's own, read and checked; nothing here draws."""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import platformdirs

from pipeline.errors import BadRecipe, Failure
from tui.terminal import Terminal

FORMAT = 1
"""Version of a theme file."""

DEFAULT_THEME = "forge-dark"
PLAIN_THEME = "plain"
"""The theme without any colour."""

TERMINAL_COLOUR = "default"
"""A colour that is left to the terminal."""

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_SAFE = "The other themes are untouched."


@dataclass(frozen=True)
class Theme:
    """The colours of the wizard, each `#rrggbb`, or `default` for the terminal's own.

    Attributes:
        name: what the user chooses it by.
        dark: whether light words stand on a dark ground.
        background, surface, panel: grounds, from the screen to what lies on it.
        foreground, muted: words, and words that matter less.
        primary, accent: what leads the eye.
        good, warn, bad: verdicts; a word stands beside each.
        quote: the ground of evidence in a passage.
        cursor: the ground of the selected row.
        border: lines around things.
        series_1, series_2, series_3: lines and bars of charts.
    """

    name: str
    dark: bool
    background: str
    surface: str
    panel: str
    foreground: str
    muted: str
    primary: str
    accent: str
    good: str
    warn: str
    bad: str
    quote: str
    cursor: str
    border: str
    series_1: str
    series_2: str
    series_3: str

    @property
    def plain(self) -> bool:
        """Whether it has no colour, so that bold, reverse, dim and underline must do."""
        return all(getattr(self, name) == TERMINAL_COLOUR for name in COLOURS)


COLOURS = tuple(field.name for field in dataclasses.fields(Theme))[2:]
"""The names of a theme's colours."""


def read_theme(text: str, where: str) -> Theme:
    """The theme that a TOML file holds.

    Args:
        text: the file's content.
        where: the file's name, for the message.

    Raises:
        BadRecipe: no TOML, a later format, or a field that is unknown (the nearest is named),
            missing or no colour.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _bad(f"The theme {where} is no TOML: {error}.", "Mend that line.") from error
    if document.get("format") != FORMAT:
        raise _bad(
            f"The theme {where} has the format {document.get('format')!r}, and {FORMAT} is known.",
            f"Write `format = {FORMAT}` as its first line.",
        )
    _check_names(document, ("format", "name", "dark", "colours"), where, "")
    name, dark, colours = document["name"], document["dark"], document["colours"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _bad(
            f"{where}: the name {name!r} can't be a theme's.",
            "Use up to 40 small letters, digits, - and _, such as `my-dark`.",
        )
    if not isinstance(dark, bool):
        raise _bad(f"{where}: dark is {dark!r}.", "Write `dark = true` or `dark = false`.")
    if not isinstance(colours, dict):
        raise _bad(f"{where}: colours is no table.", "Put the colours below a line `[colours]`.")
    _check_names(colours, COLOURS, where, "colours.")
    for field, colour in colours.items():
        if not isinstance(colour, str) or not _is_colour(colour):
            raise _bad(
                f"{where}: colours.{field} is {colour!r}, which is no colour.",
                f'Write it as "#rrggbb", or "{TERMINAL_COLOUR}" for the terminal\'s own.',
            )
    return Theme(name=name, dark=dark, **{field: colours[field].lower() for field in COLOURS})


def _is_colour(text: str) -> bool:
    return text == TERMINAL_COLOUR or bool(_COLOUR.fullmatch(text))


def _check_names(table: Mapping[str, Any], known: Sequence[str], where: str, before: str) -> None:
    for name in table:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            guess = f"Did you mean {before}{nearest[0]}? " if nearest else ""
            raise _bad(
                f"{where}: there is no field {before}{name}.",
                f"{guess}Known are {', '.join(known)}.",
            )
    missing = [name for name in known if name not in table]
    if missing:
        raise _bad(
            f"{where}: {', '.join(before + name for name in missing)} is missing.",
            f"Add it; a built-in theme such as {DEFAULT_THEME} shows how.",
        )


def _bad(happened: str, next_step: str) -> BadRecipe:
    return BadRecipe(happened, safe=_SAFE, next_step=next_step)


@cache
def built_in_themes() -> tuple[Theme, ...]:
    """The themes that come with the package, the default first, then by name."""
    found = (
        read_theme(entry.read_text(encoding="utf-8"), entry.name)
        for entry in files("themes").iterdir()
        if entry.name.endswith(".toml")
    )
    return tuple(sorted(found, key=lambda theme: (theme.name != DEFAULT_THEME, theme.name)))


def themes_folder() -> Path:
    """Where the user's own themes lie."""
    return platformdirs.user_config_path("embedsmith") / "themes"


def user_themes(folder: Path) -> tuple[list[Theme], list[Failure]]:
    """The user's own themes by file name, and what is wrong with the files that are skipped."""
    taken = {theme.name: "built in" for theme in built_in_themes()}
    themes: list[Theme] = []
    failures: list[Failure] = []
    for path in sorted(folder.glob("*.toml")):
        try:
            theme = read_theme(path.read_text(encoding="utf-8"), str(path))
            if theme.name in taken:
                raise _bad(
                    f"{path}: the name {theme.name} is taken ({taken[theme.name]}).",
                    "Give this theme another name.",
                )
        except Failure as failure:
            failures.append(failure)
        except (OSError, UnicodeDecodeError) as error:
            failures.append(_bad(f"The theme {path} can't be read: {error}.", "Mend the file."))
        else:
            taken[theme.name] = path.name
            themes.append(theme)
    return themes, failures


def choose(
    themes: Iterable[Theme], wanted: str, terminal: Terminal
) -> tuple[Theme, Failure | None]:
    """The theme to show, and why it isn't the wanted one where that is unknown.

    Args:
        themes: all themes that can be shown, the built-in ones among them.
        wanted: a theme's name; empty takes the default.
        terminal: one without colours gets the plain theme, whatever is wanted.
    """
    known = {theme.name: theme for theme in themes}
    if terminal.colours == 0:
        return known[PLAIN_THEME], None
    name = wanted or DEFAULT_THEME
    if name in known:
        return known[name], None
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    guess = f"Did you mean {nearest[0]}? " if nearest else ""
    failure = BadRecipe(
        f"There is no theme {name!r}; {DEFAULT_THEME} is shown.",
        safe="Your preferences are as they were.",
        next_step=f"{guess}Known are {', '.join(sorted(known))}.",
    )
    return known[DEFAULT_THEME], failure
