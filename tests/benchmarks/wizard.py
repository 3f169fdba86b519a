"""The wizard in a real pseudo-terminal: how soon it stands, and what it writes to the line.

    python tests/benchmarks/wizard.py [--only start,train,review] [--rounds 7] [--json]

Bytes are exact and repeat; seconds depend on the machine, so the start is measured beside a bare
Textual app's, in turns, in the same run. Nothing here passes or fails.

- A start is timed from the process's birth until the terminal has got a first row that isn't
  blank. CPU seconds are the process's until then, in steps of a hundredth.
- A training is a worker that only writes its journal, so it leaves the cores to the wizard.
- Key to echo is timed through a line of limited speed: from the key until the terminal has got the
  bytes that show its effect.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory

import psutil  # type: ignore[import-untyped]

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

from emulator import Wanted, shows
from pty_terminal import PtyTerminal
from runs import Through, make_run, training_journal

from pipeline.run import Run

WIZARD = (Path(sys.executable).parent / "embedsmith",)
SIZE = (120, 40)
LINE_RATE = 50_000.0
"""Bytes a second of the slow line."""
JOURNAL_HZ = 10.0
TRAINING_STEPS = 100_000
"""More than any measurement lasts."""

BARE_APP = """
from textual.app import App
from textual.widgets import Static

class Bare(App):
    def compose(self):
        yield Static("x" * 4000)

Bare().run()
"""


@dataclass(frozen=True)
class Step:
    """One key and what the screen shows then."""

    key: str
    shown: Wanted


@dataclass(frozen=True)
class Page:
    """A page of the wizard.

    Attributes:
        arrived: what the screen shows when the wizard has opened at a run.
        way: keys from there to the page.
        echo: a key whose effect is seen at once, and the key that takes it back.
        accept: the key that decides and goes on; empty where there is none.
    """

    arrived: Wanted
    way: tuple[Step, ...]
    echo: tuple[Step, Step]
    accept: str = ""


TRAIN_PAGE = Page(
    arrived="mean loss",
    way=(),
    echo=(Step("s", "on a logarithmic scale"), Step("s", "on a linear scale")),
)
REVIEW_PAGE = Page(
    arrived="order queue",
    way=(),
    echo=(Step("]", "threshold  7.1"), Step("[", "threshold  7.0")),
    accept="a",
)


@dataclass(frozen=True)
class Start:
    """What it took until the first frame: seconds on the wall and of the CPU, and megabytes."""

    wall: float
    cpu: float
    memory: float


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: what was measured, with its unit.
        ours: the wizard's figure.
        bare: the bare app's, or None where it has none.
        goal: the most that ours may be, or None.
    """

    what: str
    ours: float
    bare: float | None = None
    goal: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours divided by the bare app's."""
        return self.ours / self.bare if self.bare else None


def start_once(command: Sequence[str | Path], environment: Mapping[str, str]) -> Start:
    """Start a program and end it at its first frame."""
    with PtyTerminal(command, environment, *SIZE) as terminal:
        wall = terminal.first_frame_seconds()
        process = psutil.Process(terminal.pid)
        times = process.cpu_times()
        return Start(wall, times.user + times.system, process.memory_info().rss / 1e6)


def start_in_turns(
    commands: Sequence[Sequence[str | Path]], environment: Mapping[str, str], rounds: int
) -> list[Start]:
    """The median start of each command; they take turns, after one of each that isn't counted."""
    taken: list[list[Start]] = [[] for _ in commands]
    for turn in range(rounds + 1):
        for number, command in enumerate(commands):
            start = start_once(command, environment)
            if turn:
                taken[number].append(start)
    return [
        Start(
            median(start.wall for start in starts),
            median(start.cpu for start in starts),
            median(start.memory for start in starts),
        )
        for starts in taken
    ]


def go(terminal: PtyTerminal, page: Page) -> None:
    """From the first screen to a page."""
    terminal.wait_for(page.arrived, 30.0)
    for step in page.way:
        terminal.key(step.key)
        terminal.wait_for(step.shown, 30.0)


def bytes_a_second(terminal: PtyTerminal, seconds: float) -> float:
    """What is written to the terminal while nobody touches a key."""
    mark, began = terminal.mark(), time.monotonic()
    time.sleep(seconds)
    return (terminal.mark() - mark) / (time.monotonic() - began)


def key_bytes(terminal: PtyTerminal, key: str, presses: int, quiet: float = 0.3) -> list[int]:
    """What each of some presses of a key writes, until the screen is still."""
    counts = []
    for _ in range(presses):
        terminal.settle(quiet)
        mark = terminal.mark()
        terminal.key(key)
        terminal.settle(quiet)
        counts.append(terminal.mark() - mark)
    return counts


def echo_times(
    terminal: PtyTerminal, there: Step, back: Step, presses: int, rate: float
) -> list[float]:
    """Seconds from each key to its echo through a line of `rate` bytes a second."""
    terminal.rate = rate
    times = []
    try:
        for number in range(presses):
            step = (there, back)[number % 2]
            # Not in step with whatever the page does at regular intervals.
            time.sleep(0.3 + 0.037 * (number % 10))
            times.append(terminal.echo_seconds(step.key, partial(shows, wanted=step.shown)))
    finally:
        terminal.rate = None
    return times


def measure_start(folder: Path, rounds: int) -> Iterator[Row]:
    """First frame of the wizard in an empty home, beside a bare Textual app's."""
    script = folder / "bare.py"
    script.write_text(BARE_APP)
    bare_command = (sys.executable, script)
    bare, ours = start_in_turns((bare_command, WIZARD), _environment(folder), rounds)
    yield Row("first frame, wall s", ours.wall, bare.wall, 0.5)
    yield Row("first frame, CPU s", ours.cpu, bare.cpu)
    yield Row("first frame, memory MB", ours.memory, bare.memory)


def measure_train(
    folder: Path, seconds: float, presses: int, page: Page = TRAIN_PAGE
) -> Iterator[Row]:
    """The training's page while losses arrive."""
    environment = _environment(folder)
    run = _made(environment, "training", 200, "prep")
    with (
        training_journal(run, TRAINING_STEPS, JOURNAL_HZ),
        PtyTerminal((*WIZARD, "open", run.name), environment, *SIZE) as terminal,
    ):
        go(terminal, page)
        terminal.settle(0.2)
        steady = bytes_a_second(terminal, seconds)
        yield Row(
            f"training page, {seconds:.0f} s at {JOURNAL_HZ:.0f} Hz, bytes/s", steady, None, 500
        )
        times = [1000 * taken for taken in echo_times(terminal, *page.echo, presses, LINE_RATE)]
        line = f"training page, key to echo at {LINE_RATE / 1000:.0f} KB/s"
        yield Row(f"{line}, median ms", median(times), None, 50)
        yield Row(f"{line}, worst ms", max(times))


def measure_review(
    folder: Path, samples: int, presses: int, page: Page = REVIEW_PAGE
) -> Iterator[Row]:
    """The review of many samples: until its list stands, and what a decision writes."""
    environment = _environment(folder)
    run = _made(environment, "review", samples, "sdg")
    began = time.monotonic()
    with PtyTerminal((*WIZARD, "open", run.name), environment, *SIZE) as terminal:
        go(terminal, page)
        yield Row(f"{samples:,} samples, first list, wall s", time.monotonic() - began, None, 1.0)
        counts = key_bytes(terminal, page.accept, presses)
        yield Row(f"{samples:,} samples, accept and go on, median bytes", median(counts), None, 600)
        yield Row(f"{samples:,} samples, accept and go on, mean bytes", mean(counts))
        yield Row(f"{samples:,} samples, accept and go on, worst bytes", max(counts))
        memory = psutil.Process(terminal.pid).memory_info().rss / 1e6
        yield Row(f"{samples:,} samples, memory MB", memory)


def _made(environment: Mapping[str, str], name: str, samples: int, through: Through) -> Run:
    # Runs are made in this process, in the home that the wizard will look at.
    os.environ.update(environment)
    return make_run(Path(environment["EMBEDSMITH_HOME"]), samples, name=name, through=through)


def _environment(folder: Path) -> dict[str, str]:
    """A home of its own."""
    return {
        "EMBEDSMITH_HOME": str(folder / "runs"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
    }


def _print(rows: Sequence[Row]) -> None:
    print(f"{'':<58}{'wizard':>10}{'bare app':>10}{'ratio':>7}{'goal':>8}")
    for row in rows:
        bare = "" if row.bare is None else f"{row.bare:,.3f}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        goal = "" if row.goal is None else f"{row.goal:,g}"
        print(f"{row.what:<58}{row.ours:>10,.3f}{bare:>10}{ratio:>7}{goal:>8}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="The wizard in a pseudo-terminal.")
    parser.add_argument("--only", default="start,train,review", metavar="PARTS")
    parser.add_argument("--rounds", type=int, default=7, help="starts of each program")
    parser.add_argument("--seconds", type=float, default=20.0, help="of a steady page")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--presses", type=int, default=20, help="of each key")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    parts, rows = given.only.split(","), list[Row]()
    with TemporaryDirectory() as name:
        folder = Path(name)
        if "start" in parts:
            rows += measure_start(folder, given.rounds)
        if "train" in parts:
            rows += measure_train(folder, given.seconds, given.presses)
        if "review" in parts:
            rows += measure_review(folder, given.samples, given.presses)
    if given.json:
        print(json.dumps({"load": os.getloadavg(), "rows": [asdict(row) for row in rows]}))
    else:
        print(f"{SIZE[0]}x{SIZE[1]}, load average {os.getloadavg()[0]:.1f}")
        _print(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
