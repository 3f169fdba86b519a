"""Every theme is legible at 256 and at 16 colours; a bad one of the user's is said and skipped."""

from itertools import combinations

import pytest
from rich._palettes import EIGHT_BIT_PALETTE, STANDARD_PALETTE
from rich.color import Color, ColorSystem

from pipeline.errors import BadRecipe
from tui.terminal import read_terminal
from tui.themes import (
    COLOURS,
    DEFAULT_THEME,
    built_in_themes,
    choose,
    read_theme,
    user_themes,
)

GROUNDS = ("background", "surface", "panel", "cursor")
WORDS = ("foreground", "muted", "primary", "accent", "good", "warn", "bad")
LINES = ("border", "series_1", "series_2", "series_3")
COLOURED = [theme for theme in built_in_themes() if not theme.plain]
COLOUR_BLIND = [theme for theme in COLOURED if theme.name.startswith("colour-blind")]

# Machado, Oliveira and Fernandes 2009, severity 1.0, over linear RGB.
SEEN_BY = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
}


def by_name(themes):
    return pytest.mark.parametrize("theme", themes, ids=lambda theme: theme.name)


def linear(rgb):
    return [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in rgb)
    ]


def contrast(one, other):
    """WCAG 2's contrast ratio."""
    low, high = sorted(
        sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear(rgb), strict=True))
        for rgb in (one, other)
    )
    return (high + 0.05) / (low + 0.05)


def rgb(colour):
    return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))


def as_rich_quantises(colour):
    number = Color.parse(colour).downgrade(ColorSystem.EIGHT_BIT).number
    return tuple(EIGHT_BIT_PALETTE[number])


def as_nearest(colour):
    """The nearest of the 240 fixed colours, as tmux and terminals choose."""
    wanted = rgb(colour)
    numbers = range(16, 256)
    return min(
        (tuple(EIGHT_BIT_PALETTE[number]) for number in numbers),
        key=lambda each: sum((a - b) ** 2 for a, b in zip(wanted, each, strict=True)),
    )


def ansi(colour):
    return Color.parse(colour).downgrade(ColorSystem.STANDARD).number


def lab(light):
    shares = (
        sum(w * c for w, c in zip(row, light, strict=True)) / white
        for row, white in (
            ((0.4124, 0.3576, 0.1805), 0.95047),
            ((0.2126, 0.7152, 0.0722), 1.0),
            ((0.0193, 0.1192, 0.9505), 1.08883),
        )
    )
    knee = 6 / 29
    x, y, z = (s ** (1 / 3) if s > knee**3 else s / (3 * knee**2) + 4 / 29 for s in shares)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def seen_distance(one, other, eye):
    """CIE76 distance between two colours as somebody with this eye sees them."""
    seen = (
        lab(
            [
                min(1, max(0, sum(w * c for w, c in zip(row, linear(rgb(colour)), strict=True))))
                for row in SEEN_BY[eye]
            ]
        )
        for colour in (one, other)
    )
    return sum((a - b) ** 2 for a, b in zip(*seen, strict=True)) ** 0.5


@by_name(COLOURED)
@pytest.mark.parametrize("quantise", [rgb, as_rich_quantises, as_nearest])
def test_words_and_lines_can_be_read_on_every_ground(theme, quantise):
    wanted = 7.0 if theme.name.startswith("contrast") else 4.5
    pairs = [(word, ground, wanted) for word in WORDS for ground in GROUNDS]
    pairs += [(line, ground, 3.0) for line in LINES for ground in GROUNDS[:3]]
    pairs.append(("foreground", "quote", wanted))
    poor = {
        f"{upper} on {ground}": round(ratio, 2)
        for upper, ground, least in pairs
        if (ratio := contrast(quantise(getattr(theme, upper)), quantise(getattr(theme, ground))))
        < least
    }
    assert poor == {}


@by_name(COLOURED)
def test_sixteen_colours_still_tell_words_from_their_ground(theme):
    poor = {}
    for word in WORDS:
        for ground in GROUNDS:
            pair = [ansi(getattr(theme, name)) for name in (word, ground)]
            if contrast(*(STANDARD_PALETTE[number] for number in pair)) < 2.5:
                poor[f"{word} on {ground}"] = pair
    assert poor == {}
    assert len({ansi(theme.good), ansi(theme.warn), ansi(theme.bad)}) == 3


@by_name(COLOURED)
def test_sixteen_colours_still_show_the_selected_row_and_the_evidence(theme):
    grounds = {ansi(theme.background), ansi(theme.surface)}
    assert ansi(theme.cursor) not in grounds
    assert ansi(theme.quote) not in grounds


@by_name(COLOUR_BLIND)
@pytest.mark.parametrize("eye", SEEN_BY)
@pytest.mark.parametrize(
    "names", [("good", "warn", "bad"), ("series_1", "series_2", "series_3")], ids=str
)
def test_colour_blind_themes_keep_verdicts_and_series_apart(theme, eye, names):
    close = [
        pair
        for pair in combinations(names, 2)
        if seen_distance(*(getattr(theme, name) for name in pair), eye) < 40
    ]
    assert close == []


def test_the_themes_that_are_promised_are_there():
    assert [theme.name for theme in built_in_themes()] == [
        "forge-dark",
        "colour-blind-dark",
        "colour-blind-light",
        "contrast-dark",
        "contrast-light",
        "forge-light",
        "plain",
    ]
    assert [theme.name for theme in built_in_themes() if theme.plain] == ["plain"]


GOOD = "\n".join(
    ["format = 1", 'name = "mine"', "dark = true", "[colours]"]
    + [f'{name} = "#A0B0C0"' for name in COLOURS]
)


def test_a_theme_of_the_users_own_is_read():
    theme = read_theme(GOOD, "mine.toml")
    assert (theme.name, theme.dark, theme.border) == ("mine", True, "#a0b0c0")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("format = 1", "format = 2", ["format 2"]),
        ("[colours]", "[colours", ["no TOML", "line 4"]),
        ("dark = true", 'dark = "yes"', ["dark is 'yes'"]),
        ('name = "mine"', 'name = "../x"', ["'../x'"]),
        ('cursor = "#A0B0C0"', 'cursor = "blue"', ["colours.cursor is 'blue'", "#rrggbb"]),
        ('cursor = "#A0B0C0"', "cursor = 3", ["colours.cursor is 3"]),
        ('cursor = "#A0B0C0"', "", ["colours.cursor is missing"]),
        ('cursor = "#A0B0C0"', 'curser = "#A0B0C0"', ["colours.curser", "mean colours.cursor?"]),
        ("dark = true", "dark = true\ndrak = true", ["field drak", "mean dark?"]),
        ("[colours]", "colours = 3\n[other]", ["no field other"]),
    ],
)
def test_a_bad_theme_names_file_field_and_the_nearest_known_one(old, new, words):
    assert old in GOOD
    with pytest.raises(BadRecipe) as caught:
        read_theme(GOOD.replace(old, new), "mine.toml")
    said = f"{caught.value.happened} {caught.value.next_step}"
    assert [word for word in ["mine.toml", *words] if word not in said] == []


def test_a_bad_file_is_reported_and_the_others_are_taken(tmp_path):
    (tmp_path / "1.toml").write_text("format = ")
    (tmp_path / "2.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "3.toml").write_text(GOOD)
    (tmp_path / "4.toml").write_text(GOOD)
    (tmp_path / "5.toml").write_text(GOOD.replace("mine", "plain"))
    (tmp_path / "6.toml").mkdir()
    themes, failures = user_themes(tmp_path)
    assert [theme.name for theme in themes] == ["mine"]
    named = [failure.happened for failure in failures]
    assert ["1" in named[0], "2" in named[1], "taken (3.toml)" in named[2]] == [True] * 3
    assert "taken (built in)" in named[3]
    assert len(named) == 5


def test_no_folder_of_themes_is_no_fault(tmp_path):
    assert user_themes(tmp_path / "none") == ([], [])


def terminal(**environment):
    return read_terminal({"TERM": "xterm-256color", **environment}, True, True, "utf-8", (80, 24))


def test_no_color_takes_the_plain_theme_whatever_is_wanted():
    theme, failure = choose(built_in_themes(), "forge-light", terminal(NO_COLOR="1"))
    assert (theme.plain, failure) == (True, None)


def test_an_unknown_theme_gives_the_default_and_says_so():
    assert choose(built_in_themes(), "", terminal())[0].name == DEFAULT_THEME
    assert choose(built_in_themes(), "forge-light", terminal())[0].name == "forge-light"
    theme, failure = choose(built_in_themes(), "forge-lihgt", terminal())
    assert theme.name == DEFAULT_THEME
    assert "mean forge-light?" in failure.next_step
