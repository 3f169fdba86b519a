"""`doctor`: terminal, machine and installation at a glance, each with its remedy, to be copied."""

from __future__ import annotations

import os
import re
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from pipeline.errors import Failure
from pipeline.gate import Check, read_machine
from pipeline.gpus import open_nvml
from pipeline.packages import package_checks
from pipeline.preflight import judge, preflight, read_surroundings
from pipeline.profiles import REHEARSAL_PROFILE, find_profile, weights_folder
from pipeline.recipe import Recipe
from pipeline.run import cache_home, home
from pipeline.secrets import redact
from tui.clipboard import copy, copy_folder
from tui.diagnosis import (
    clipboard_check,
    link_checks,
    multiplexer_checks,
    session_check,
    terminal_checks,
)
from tui.glyphs import ASCII, UNICODE
from tui.installation import (
    kills_user_processes,
    place_check,
    read_mounts,
    torch_check,
    version_checks,
)
from tui.link import round_trip
from tui.output import Output
from tui.terminal import Terminal, this_terminal
from tui.tmux import read_tmux

_WORDS = {"pass": "ok  ", "warn": "warn", "refuse": "NO  "}
_KEYS = {
    "EMBEDSMITH_API_KEY": "a local server beyond loopback",
    "HF_TOKEN": "models that their makers hand out on request",
}
"""Variables for keys that only some need, and who."""


@dataclass(frozen=True)
class Section:
    """Checks that belong together."""

    title: str
    checks: tuple[Check, ...]


def doctor_command(arguments: Namespace, output: Output) -> int:
    """`embedsmith doctor`: always exit 0; what it found is in the report."""
    terminal = this_terminal(os.environ)
    sections = [
        Section(section.title, tuple(_tidy(check, os.environ) for check in section.checks))
        for section in diagnose(terminal, os.environ)
    ]
    lines = report_lines(sections, terminal.unicode)
    output.say("\n".join(lines))
    for section in sections:
        for check in section.checks:
            output.record("check", {"section": section.title, **vars(check)})
    if arguments.copy:
        _copy("\n".join(lines) + "\n", terminal, output)
    return 0


def diagnose(terminal: Terminal, environment: Mapping[str, str]) -> list[Section]:
    """Look at everything; nothing is changed."""
    tmux = read_tmux(environment) if terminal.tmux else None
    seconds = _measure_link() if terminal.tty else None
    machine, gpu = _machine(environment)
    return [
        Section(
            "Terminal",
            (
                *terminal_checks(terminal, environment),
                *multiplexer_checks(terminal, tmux),
                clipboard_check(terminal, tmux),
                *link_checks(terminal, seconds),
                session_check(kills_user_processes()),
            ),
        ),
        Section("Machine", machine),
        Section("Places", _places()),
        Section("Installation", (*version_checks(), torch_check(gpu), *package_checks())),
    ]


def _machine(environment: Mapping[str, str]) -> tuple[tuple[Check, ...], bool]:
    """GPUs, disk, docker, keys and weights; and whether a GPU passes the gate."""
    recipe = Recipe()
    surroundings = read_surroundings(
        home(), recipe.sdg.key_variable, environment, find_profile(recipe.profile)
    )
    more = (_rehearsal_check(), *(_key_check(name, environment) for name in _KEYS))
    try:
        report = judge(read_machine(open_nvml(), environment), surroundings)
    except Failure as failure:
        refused = Check("gate", "refuse", failure.happened, failure.next_step)
        return (refused, *preflight(surroundings), *more), False
    return (*report.checks, *more), report.open


def _key_check(name: str, environment: Mapping[str, str]) -> Check:
    there = "set" if environment.get(name) else "not set"
    return Check(name, "pass", f"{there}; for {_KEYS[name]} alone")


def _rehearsal_check() -> Check:
    profile = find_profile(REHEARSAL_PROFILE)
    name = f"weights of {profile.title}"
    try:
        return Check(name, "pass", f"for rehearsals, in {weights_folder(profile)}")
    except Failure as failure:
        return Check(name, "warn", failure.happened, failure.next_step)


def _places() -> tuple[Check, ...]:
    mounts = read_mounts()
    return (
        place_check("runs", home(), True, mounts),
        place_check("preferences", platformdirs.user_config_path("embedsmith"), True, mounts),
        place_check("cache", cache_home(), False, mounts),
        place_check("last copy", copy_folder(), False, mounts),
    )


def _measure_link() -> float | None:
    keys, screen = sys.__stdin__, sys.__stdout__
    if keys is None or screen is None:
        return None
    return round_trip(keys.fileno(), screen.fileno())


def report_lines(sections: list[Section], unicode: bool) -> list[str]:
    """The report: a sign and a word for each verdict, and the remedy below it."""
    glyphs = UNICODE if unicode else ASCII
    signs = {"pass": glyphs.passed, "warn": glyphs.warned, "refuse": glyphs.refused}
    lines: list[str] = []
    for section in sections:
        lines += ["", section.title] if lines else [section.title]
        for check in section.checks:
            sign, word = signs[check.verdict], _WORDS[check.verdict]
            lines.append(f"  {sign} {word}  {check.name}: {check.detail}")
            if check.remedy:
                lines.append(f"            -> {check.remedy}")
    return lines


def _tidy(check: Check, environment: Mapping[str, str]) -> Check:
    """The check as it may be shown to others: no secret, and no name of a home folder."""
    user = re.escape(str(Path.home()).rstrip("/"))

    def shown(text: str) -> str:
        text = redact(text, environment)
        return re.sub(rf"(?<![\w.-]){user}(?![\w.-])", "~", text) if user else text

    return Check(check.name, check.verdict, shown(check.detail), shown(check.remedy))


def _copy(text: str, terminal: Terminal, output: Output) -> None:
    def write(sequence: str) -> None:
        sys.stdout.write(sequence)
        sys.stdout.flush()

    copied = copy(text, terminal, os.environ, write, copy_folder())
    output.say()
    output.say(copied.sentence)
    output.record("copied", {"sentence": copied.sentence, "reached": copied.reached})
