"""A theme of ours as Textual wants it."""

from __future__ import annotations

from textual.theme import Theme as TextualTheme

from tui.themes import TERMINAL_COLOUR, Theme

PLAIN_STYLES = {
    "title": "bold",
    "strong": "bold",
    "accent": "bold",
    "good": "none",
    "warn": "bold",
    "bad": "bold reverse",
    "quote": "underline",
    "key": "bold",
    "cursor": "reverse",
    "muted": "none",
}
"""What tells tones apart where there is no colour."""

COLOUR_STYLES = dict.fromkeys(PLAIN_STYLES, "none") | {
    "title": "bold",
    "strong": "bold",
    "key": "bold",
}


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
    styles = PLAIN_STYLES if theme.plain else COLOUR_STYLES

    def colour(name: str) -> str:
        value = str(getattr(theme, name))
        return "ansi_default" if value == TERMINAL_COLOUR else value

    variables = {
        "tone-muted": colour("muted"),
        "tone-accent": colour("accent"),
        "tone-good": colour("good"),
        "tone-warn": colour("warn"),
        "tone-bad": colour("bad"),
        "tone-quote": colour("quote"),
        "tone-border": colour("border"),
        "tone-series-1": colour("series_1"),
        "tone-series-2": colour("series_2"),
        "tone-series-3": colour("series_3"),
        "row-cursor": colour("cursor"),
        "border": colour("border"),
        "scrollbar": colour("border"),
        "scrollbar-background": colour("background"),
        "scrollbar-hover": colour("muted"),
        "scrollbar-active": colour("muted"),
        "scrollbar-background-hover": colour("background"),
        "scrollbar-background-active": colour("background"),
        "scrollbar-corner-color": colour("background"),
        **(_PLAIN_VARIABLES if theme.plain else {}),
        **{f"style-{tone}": style for tone, style in styles.items()},
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
