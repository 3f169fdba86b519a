"""A theme of ours as Textual wants it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from rich.style import Style
from textual.theme import Theme as TextualTheme

from tui.rows import TONES, Tone
from tui.themes import TERMINAL_COLOUR, Theme

_PLAIN_ATTRIBUTES: Mapping[Tone, str] = {
    "title": "bold",
    "strong": "bold",
    "accent": "bold",
    "warn": "bold",
    "bad": "bold reverse",
    "quote": "underline",
    "key": "bold",
}
"""What tells tones apart where there is no colour."""

_ATTRIBUTES: Mapping[Tone, str] = {"title": "bold", "strong": "bold", "key": "bold"}

_COLOURS: Mapping[Tone, str] = {
    "text": "foreground",
    "strong": "foreground",
    "quote": "foreground",
    "title": "primary",
    "key": "accent",
}
"""The theme's colour of a tone that isn't called like it."""

CURSOR = "cursor"
"""The style of the selected row, beside those of the tones."""


@lru_cache
def styles_of(theme: Theme) -> Mapping[str, Style]:
    """The Rich style of every tone and of `CURSOR`; grounds are left to the widget.

    Args:
        theme: one of ours.
    """
    attributes = _PLAIN_ATTRIBUTES if theme.plain else _ATTRIBUTES
    styles: dict[str, Style] = {}
    for tone in TONES:
        colour = str(getattr(theme, _COLOURS.get(tone, tone)))
        ground = theme.quote if tone == "quote" else TERMINAL_COLOUR
        styles[tone] = Style.parse(attributes.get(tone, "")) + Style(
            color=None if colour == TERMINAL_COLOUR else colour,
            bgcolor=None if ground == TERMINAL_COLOUR else ground,
        )
    cursor = Style(reverse=True) if theme.plain else Style(bgcolor=theme.cursor)
    return {**styles, CURSOR: cursor}


_PLAIN_VARIABLES = dict.fromkeys(
    (
        "ansi-background",
        "ansi-foreground",
        "border-blurred",
        "block-cursor-foreground",
        "block-cursor-background",
        "input-cursor-background",
        "input-cursor-foreground",
        "input-selection-background",
        "input-selection-foreground",
        "screen-selection-background",
        "screen-selection-foreground",
    ),
    "ansi_default",
) | {"input-cursor-text-style": "reverse", "block-cursor-text-style": "reverse"}
"""What Textual's own widgets ask a theme without colours for."""


def textual_theme(theme: Theme) -> TextualTheme:
    """The theme with our tones as variables of the style sheet."""

    def colour(name: str) -> str:
        value = str(getattr(theme, name))
        return "ansi_default" if value == TERMINAL_COLOUR else value

    variables = {
        "tone-muted": colour("muted"),
        "tone-accent": colour("accent"),
        "tone-warn": colour("warn"),
        "tone-bad": colour("bad"),
        "tone-border": colour("border"),
        "border": colour("border"),
        "scrollbar": colour("border"),
        "scrollbar-background": colour("background"),
        "scrollbar-hover": colour("muted"),
        "scrollbar-active": colour("muted"),
        "scrollbar-background-hover": colour("background"),
        "scrollbar-background-active": colour("background"),
        "scrollbar-corner-color": colour("background"),
        **(_PLAIN_VARIABLES if theme.plain else {}),
    }
    return TextualTheme(
        name=theme.name,
        primary=colour("primary"),
        secondary=colour("series_2"),
        accent=colour("accent"),
        success=colour("good"),
        warning=colour("warn"),
        error=colour("bad"),
        foreground=colour("foreground"),
        background=colour("background"),
        surface=colour("surface"),
        panel=colour("panel"),
        dark=theme.dark,
        ansi=theme.plain,
        variables=variables,
    )
