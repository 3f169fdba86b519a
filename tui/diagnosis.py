"""What `doctor` says of a terminal and of what lies around it: pure, facts in, checks out."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.gate import Check
from tui.clipboard import TERMINAL_LENGTH_MAX
from tui.terminal import COLUMNS_MIN, ROWS_MIN, Terminal
from tui.tmux import Tmux

ESCAPE_ADVISED = 100
"""Milliseconds; above it Escape feels slow and arrow keys may be taken for Escape."""

LINK_ADVISED = 0.25
"""Seconds for a round trip above which typing lags behind."""

_WIZARD_ONLY = "Every step is a command, too: `embedsmith --help`."


def terminal_checks(terminal: Terminal, environment: Mapping[str, str]) -> tuple[Check, ...]:
    """Whether the wizard can be shown, and how well."""
    columns, rows = terminal.size
    named = (name for name in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(name))
    locale = next((f"{name}={environment[name]}" for name in named), "no locale is set")
    moves = terminal.term not in ("", "dumb", "unknown")
    return (
        _judged(
            "TTY",
            terminal.tty,
            "input and output are a terminal"
            if terminal.tty
            else "no terminal: input or output is a pipe or a file",
            f"Run embedsmith on a terminal (`ssh -t`) for the wizard. {_WIZARD_ONLY}",
        ),
        _judged(
            "TERM",
            moves,
            terminal.term or "not set",
            f"The wizard needs a TERM such as xterm-256color. {_WIZARD_ONLY}",
        ),
        _colours_check(terminal),
        _encoding_check(terminal, locale),
        _judged(
            "size",
            not terminal.small,
            f"{columns}x{rows}",
            f"Enlarge the window: below {COLUMNS_MIN}x{ROWS_MIN} a note takes the wizard's place.",
        ),
    )


def _colours_check(terminal: Terminal) -> Check:
    name = "colours"
    if terminal.colours == 0 and terminal.colours_from != "TERM":
        return Check(name, "pass", f"none, as {terminal.colours_from} asks; the theme is plain")
    counted = {0: "none", 16777216: "16.7 million"}.get(terminal.colours, str(terminal.colours))
    remedy = (
        "Where the terminal shows more: TERM=xterm-256color, or in tmux "
        "`set -g default-terminal tmux-256color`."
    )
    good = terminal.colours >= 256
    return _judged(name, good, f"{counted}, as {terminal.colours_from} says", remedy)


def _encoding_check(terminal: Terminal, locale: str) -> Check:
    detail = f"{terminal.encoding} ({locale})"
    if terminal.term == "linux":
        return Check(
            "encoding", "pass", f"{detail}; ASCII signs, for the Linux console has no others"
        )
    remedy = "`export LC_ALL=C.UTF-8`; until then the wizard draws with ASCII signs."
    return _judged("encoding", terminal.unicode, detail, remedy)


def multiplexer_checks(terminal: Terminal, tmux: Tmux | None) -> tuple[Check, ...]:
    """tmux with the options that matter, or GNU screen, or neither."""
    if terminal.screen:
        return (
            Check(
                "GNU screen",
                "warn",
                "it lies between: 256 colours at most, and copying may be lost",
                "tmux 3.2 or later does both.",
            ),
        )
    if not terminal.tmux:
        return (Check("tmux", "pass", "not between"),)
    if tmux is None:
        return (
            Check(
                "tmux",
                "warn",
                f"TMUX is set, but tmux {terminal.tmux_version} doesn't answer".replace("  ", " "),
                "Look at `tmux info`; after `sudo` or in a container its socket is out of reach.",
            ),
        )
    waits = tmux.escape_time
    return (
        _judged(
            "tmux",
            tmux.writes_out,
            tmux.version,
            "tmux 3.2 or later hands copied text on to the terminal around it.",
        ),
        Check("tmux set-clipboard", "pass", tmux.set_clipboard or "not told"),
        _judged(
            "tmux escape-time",
            waits is not None and waits <= ESCAPE_ADVISED,
            "not told" if waits is None else f"{waits} ms",
            "Escape comes late: put `set -sg escape-time 10` into ~/.tmux.conf.",
        ),
        Check("tmux mouse", "pass", "on" if tmux.mouse else "off"),
    )


def clipboard_check(terminal: Terminal, tmux: Tmux | None) -> Check:
    """Where a copied text would go."""
    always = "always to a file, too"
    limit = f"up to {TERMINAL_LENGTH_MAX // 1000} KB of base64"
    if terminal.tmux and tmux is not None:
        if tmux.writes_out and tmux.clients:
            detail = f"tmux's buffer, and on to the terminal ({limit}); {always}"
            return Check("clipboard", "pass", detail)
        why = "no terminal shows this session" if tmux.writes_out else "tmux is older than 3.2"
        detail = f"tmux's buffer alone ({why}); {always}"
        return Check("clipboard", "warn", detail, "Paste with prefix ].")
    if terminal.tmux or not terminal.tty or terminal.term in ("", "dumb", "unknown", "linux"):
        return Check(
            "clipboard", "warn", "to a file alone", "The message after copying names the file."
        )
    through = "through GNU screen " if terminal.screen else ""
    detail = f"the terminal's, {through}by OSC 52 ({limit}), which it may ignore; {always}"
    return Check("clipboard", "pass", detail)


def link_checks(terminal: Terminal, seconds: float | None) -> tuple[Check, ...]:
    """SSH, and how long the terminal takes to answer.

    Args:
        terminal: the terminal.
        seconds: the round trip; None when it wasn't or couldn't be measured.
    """
    over = "this session came over SSH" if terminal.ssh else "no SSH between"
    ssh = Check("SSH", "pass", f"{over}; a worker outlives a line that drops")
    if not terminal.tty:
        return ssh, Check("link", "pass", "not measured: no terminal")
    if seconds is None:
        remedy = "The wizard works, but can't tell how slow the line is; `reset` may help."
        return ssh, Check("link", "warn", "the terminal didn't answer within a second", remedy)
    between = " (tmux answers; the line beyond it isn't measured)" if terminal.tmux else ""
    return ssh, _judged(
        "link",
        seconds <= LINK_ADVISED,
        f"{seconds * 1000:.1f} ms there and back{between}",
        "A slow line: `embedsmith --no-mouse`, inside tmux on the server.",
    )


def session_check(kills: bool | None) -> Check:
    """Whether logging out ends the workers.

    Args:
        kills: logind's KillUserProcesses; None where there is no logind.
    """
    if kills is None:
        return Check("logout", "pass", "no systemd-logind here: workers outlive a logout")
    return _judged(
        "logout",
        not kills,
        f"KillUserProcesses={'yes' if kills else 'no'} in systemd-logind",
        "Logging out ends the workers: start with `loginctl enable-linger` and "
        "`systemd-run --user --scope tmux`, or set KillUserProcesses=no in logind.conf.",
    )


def _judged(name: str, good: bool, detail: str, remedy: str) -> Check:
    return Check(name, "pass", detail) if good else Check(name, "warn", detail, remedy)
