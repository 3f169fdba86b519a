"""The wizard in tmux, over a whole rehearsal: a window that may be killed and opened again."""

import os
import random
import signal
import time

from commandline import COMMAND


class Window:
    """What a user sees of one run, and the keys that they press.

    Args:
        tmux: a terminal.
        cli: whose home and cache the wizard works in.
        run: the run's name.
    """

    def __init__(self, tmux, cli, run):
        self.tmux, self.cli, self.run = tmux, cli, run
        self.draw = random.Random(7)

    def open(self):
        self.tmux.run([COMMAND], {k: v for k, v in self.cli.environment.items() if _ours(k)})

    def press(self, *keys):
        self.tmux.keys(*keys)

    def shows(self, *texts, timeout=60):
        for text in texts:
            lines = self.tmux.wait_for(text, timeout)
        return "\n".join(lines)

    def finished(self, stage, timeout=180):
        """Wait until a stage has its result."""
        until = time.monotonic() + timeout
        while not list(self.cli.run_folder(self.run).glob(f"{stage}/*/done.json")):
            assert time.monotonic() < until, f"{stage} doesn't end"
            time.sleep(0.1)

    def kill(self):
        """End the window as a crash would, at some moment, and open another one."""
        time.sleep(self.draw.uniform(0.0, 1.5))
        os.kill(self.tmux.pid(), signal.SIGKILL)
        self.tmux.wait()
        self.open()


def _ours(name):
    return name.startswith(("EMBEDSMITH", "XDG", "HF_", "PATH", "HOME"))
