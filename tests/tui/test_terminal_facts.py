"""What a terminal is taken for, and what is written to give it back."""

import pytest

from tui.terminal import (
    notify_sequence,
    read_terminal,
    restore_sequence,
    title_sequence,
    unfit,
)


def terminal(tty=True, encoding="utf-8", size=(80, 24), **environment):
    return read_terminal({"TERM": "xterm-256color", **environment}, tty, tty, encoding, size)


@pytest.mark.parametrize(
    ("environment", "colours", "says"),
    [
        ({"TERM": "xterm-256color"}, 256, "TERM"),
        ({"TERM": "tmux-256color", "TMUX": "x"}, 256, "TERM"),
        ({"TERM": "xterm"}, 16, "TERM"),
        ({"TERM": "linux"}, 16, "TERM"),
        ({"TERM": "screen"}, 16, "TERM"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, 16777216, "COLORTERM"),
        ({"TERM": "xterm", "COLORTERM": "24bit"}, 16777216, "COLORTERM"),
        ({"TERM": "xterm-256color", "COLORTERM": "yes"}, 256, "TERM"),
        ({"TERM": "xterm-kitty"}, 16777216, "TERM"),
        ({"TERM": "xterm-direct"}, 16777216, "TERM"),
        ({"TERM": "screen-256color", "COLORTERM": "truecolor", "STY": "1.x"}, 256, "TERM"),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, 0, "TERM"),
        ({"TERM": "vt100"}, 0, "TERM"),
        ({"TERM": "", "COLORTERM": "truecolor"}, 0, "TERM"),
        ({"COLORTERM": "truecolor", "NO_COLOR": "1"}, 0, "NO_COLOR"),
        ({"COLORTERM": "truecolor", "NO_COLOR": ""}, 16777216, "COLORTERM"),
        ({"COLORTERM": "truecolor", "CLICOLOR": "0"}, 0, "CLICOLOR"),
    ],
)
def test_colour_depth(environment, colours, says):
    found = terminal(**environment)
    assert (found.colours, found.colours_from) == (colours, says)


@pytest.mark.parametrize(
    ("encoding", "term", "unicode"),
    [
        ("utf-8", "xterm", True),
        ("UTF8", "xterm", True),
        ("ascii", "xterm", False),
        ("iso8859-1", "xterm", False),
        ("no such", "xterm", False),
        ("utf-8", "linux", False),
    ],
)
def test_signs_beyond_ascii_need_utf8_and_a_font(encoding, term, unicode):
    assert terminal(encoding=encoding, TERM=term).unicode is unicode


def test_what_lies_between_is_seen():
    inside = terminal(TMUX="/tmp/x,1,0", TERM_PROGRAM="tmux", TERM_PROGRAM_VERSION="3.3a", STY="1")
    assert (inside.tmux, inside.tmux_version, inside.screen) == (True, "3.3a", False)
    assert terminal(TERM_PROGRAM="iTerm.app", TERM_PROGRAM_VERSION="3").tmux_version == ""
    assert terminal(STY="1.pts").screen
    assert terminal(SSH_CONNECTION="a 1 b 22").ssh
    assert not terminal().ssh


@pytest.mark.parametrize(
    ("size", "small"), [((60, 16), False), ((59, 16), True), ((60, 15), True), ((200, 50), False)]
)
def test_below_sixty_by_sixteen_is_small(size, small):
    assert terminal(size=size).small is small


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (terminal(tty=False), "terminal"),
        (terminal(TERM="dumb"), "'dumb'"),
        (terminal(TERM=""), "''"),
    ],
)
def test_where_the_wizard_cannot_be_shown_the_commands_are_named(found, word):
    failure = unfit(found)
    assert failure.exit_code == 2
    assert word in failure.happened
    assert "embedsmith run" in failure.next_step
    assert "embedsmith show" in failure.next_step


def test_no_colour_and_an_old_encoding_still_show_the_wizard():
    assert unfit(terminal(NO_COLOR="1", encoding="ascii", size=(20, 5))) is None


def test_everything_that_textual_switches_on_is_switched_off():
    sequence = restore_sequence()
    for mode in (1000, 1003, 1006, 1015, 1016, 1004, 2004, 2048, 1049):
        assert f"\x1b[?{mode}l" in sequence
    assert "\x1b[?25h" in sequence
    # Kitty's keys are pushed on the alternate screen's own stack.
    assert sequence.index("\x1b[<u") < sequence.index("\x1b[?1049l")


def test_a_title_or_notification_cannot_end_its_own_sequence():
    evil = "62%\x1b]52;c;ZXZpbA==\x07\x9c\n12 min"
    for sequence in (title_sequence(evil), notify_sequence(evil, terminal())):
        assert sequence.count("\x1b") == 1
        body = sequence.lstrip("\x07").removeprefix("\x1b]").removesuffix("\x07")
        assert all(" " <= char < "\x7f" for char in body)
        assert len(body) < 200


def test_a_notification_is_no_command_of_conemu():
    assert notify_sequence("4;3;50", terminal()) == "\x07\x1b]9;embedsmith: 4;3;50\x07"


def test_multiplexers_get_the_bell_alone_unless_they_hand_on():
    inside = terminal(TMUX="x")
    assert notify_sequence("done", inside) == "\x07"
    wrapped = notify_sequence("done", inside, passthrough=True)
    assert wrapped == "\x07\x1bPtmux;\x1b\x1b]9;embedsmith: done\x07\x1b\\"
    assert notify_sequence("done", terminal(STY="1")) == "\x07"
    assert notify_sequence("done", terminal(TERM="linux")) == "\x07"
