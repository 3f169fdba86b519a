"""The canvas sends only changed cells, and the terminal always shows what Textual painted."""

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from tui.canvas import Canvas

WIDTH, HEIGHT = 24, 4
STYLES = (None, Style(bold=True), Style(color="red"), Style(color="red", bgcolor="blue"))


class Terminal:
    """A terminal emulator that is fed what the canvas writes."""

    def __init__(self):
        self.screen = pyte.Screen(WIDTH, HEIGHT)
        self.stream = pyte.Stream(self.screen)
        self.canvas = Canvas()
        self.console = Console(color_system="truecolor", force_terminal=True)

    def paint(self, rows):
        update = LayoutUpdate([[row] for row in rows], Region(0, 0, WIDTH, HEIGHT))
        written = self.canvas.paint(update, self.console)
        self.stream.feed(written)
        return written

    def lines(self):
        return [line.rstrip() for line in self.screen.display]


def strip(*segments):
    return Strip([Segment(text, style) for text, style in segments]).adjust_cell_length(WIDTH)


def plain(rows):
    return [row.text.rstrip() for row in rows]


texts = st.text(alphabet="abc xyz日本é🔥", max_size=20)
rows_of_text = st.lists(
    st.lists(st.tuples(texts, st.sampled_from(STYLES)), max_size=4),
    min_size=HEIGHT,
    max_size=HEIGHT,
)


@settings(deadline=None)
@given(st.lists(rows_of_text, min_size=1, max_size=4))
def test_the_terminal_shows_what_was_painted_after_any_updates(frames):
    terminal = Terminal()
    for frame in frames:
        rows = [strip(*segments) for segments in frame]
        terminal.paint(rows)
        assert terminal.lines() == plain(rows)


looks = st.builds(
    Style,
    color=st.sampled_from([None, "red", "#d7d7d7", "#0000d7", "#123456"]),
    bgcolor=st.sampled_from([None, "#121212", "#0000d7", "#5f5f00"]),
    bold=st.booleans(),
    underline=st.booleans(),
    reverse=st.booleans(),
)
styled_rows = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["a", "bc", " ", "       ", "x        y"]), looks), max_size=4
    ),
    min_size=HEIGHT,
    max_size=HEIGHT,
)


def seen(cell):
    """What of a cell anybody sees: of a bare blank neither its weight nor the colour of text."""
    if cell.data == " " and not (cell.underscore or cell.reverse or cell.strikethrough):
        return cell._replace(fg="default", bold=False, italics=False)
    return cell


@settings(deadline=None)
@given(st.lists(styled_rows, min_size=2, max_size=4))
def test_styles_are_those_that_one_painting_of_everything_gives(frames):
    terminal, whole = Terminal(), Terminal()
    for frame in frames:
        rows = [strip(*segments) for segments in frame]
        terminal.paint(rows)
    whole.canvas = Canvas(erases=False)
    whole.paint(rows)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            assert seen(terminal.screen.buffer[y][x]) == seen(whole.screen.buffer[y][x])


def test_the_same_frame_again_writes_nothing():
    terminal = Terminal()
    rows = [strip(("hello", None))] * HEIGHT
    terminal.paint(rows)
    assert terminal.paint(rows) == ""


def test_one_changed_digit_costs_a_jump_and_a_cell():
    terminal = Terminal()
    terminal.paint([strip(("loss 0.274", None))] * HEIGHT)
    rows = [strip(("loss 0.274", None))] * HEIGHT
    rows[2] = strip(("loss 0.275", None))
    written = terminal.paint(rows)
    assert len(written) <= 20
    assert terminal.lines()[2] == "loss 0.275"


def test_a_blank_whose_look_is_the_same_is_not_sent_again():
    terminal = Terminal()
    terminal.paint([strip(("a b", Style(color="red")))] * HEIGHT)
    rows = [strip(("a b", Style(color="red")))] * HEIGHT
    rows[1] = strip(("a", Style(color="red")), (" ", Style(color="blue", bold=True)), ("b", None))
    written = terminal.paint(rows)
    assert written.count("\x1b[") == 3, "a place, a colour, and the end"
    assert terminal.screen.buffer[1][2].fg == "default"


def test_runs_of_one_style_are_written_one_after_the_other():
    terminal = Terminal()
    red, blue = Style(color="red"), Style(color="blue")

    def rows(first, second):
        return [strip((first, red), ("   ", None), (second, blue))] * HEIGHT

    terminal.paint(rows("aaa", "bbb"))
    written = terminal.paint(rows("ccc", "ddd"))
    assert written.count("m") == 3, "red, blue, and the end"
    assert terminal.lines() == plain(rows("ccc", "ddd"))


def test_a_change_of_style_alone_is_painted():
    terminal = Terminal()
    terminal.paint([strip(("word", None))] * HEIGHT)
    terminal.paint([strip(("word", Style(bold=True)))] * HEIGHT)
    assert terminal.screen.buffer[0][0].bold


def test_a_forgotten_screen_is_painted_whole():
    terminal = Terminal()
    rows = [strip(("hello", None))] * HEIGHT
    first = terminal.paint(rows)
    terminal.canvas.forget()
    assert terminal.paint(rows) == first


@pytest.mark.parametrize("system", [ColorSystem.STANDARD, ColorSystem.EIGHT_BIT])
def test_colours_are_those_that_the_terminal_has(system):
    terminal = Terminal()
    terminal.console = Console(
        color_system="256" if system is ColorSystem.EIGHT_BIT else "standard", force_terminal=True
    )
    written = terminal.paint([strip(("x", Style(color="#ff8800")))] * HEIGHT)
    assert "38;2" not in written
