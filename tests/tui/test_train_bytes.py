"""What a running training costs on the line: bytes are exact, CPU is not."""

import time

import psutil
from commandline import COMMAND
from pty_terminal import PtyTerminal
from runs import make_run, training_journal

from pipeline.run import home

SECONDS = 10.0
STEPS, HZ = 3000, 10.0
BUDGET = 500.0
"""Bytes a second at 120x40, from the issue."""


def test_a_running_training_writes_half_a_kilobyte_a_second_at_most():
    run = make_run(home(), 200, through="prep")
    with (
        training_journal(run, STEPS, HZ),
        PtyTerminal([COMMAND], {}, 120, 40) as terminal,
    ):
        terminal.wait_for("mean loss")
        time.sleep(3)
        process = psutil.Process(terminal.pid)
        mark, used = terminal.mark(), sum(process.cpu_times()[:2])
        time.sleep(SECONDS)
        count = len(terminal.bytes_since(mark))
        cpu = (sum(process.cpu_times()[:2]) - used) / SECONDS
        print(f"{count / SECONDS:.0f} bytes a second, {100 * cpu:.1f} % of a core")
        assert count / SECONDS <= BUDGET, f"{count / SECONDS:.0f} bytes a second"
        assert any("mean loss" in line for line in terminal.screen())
