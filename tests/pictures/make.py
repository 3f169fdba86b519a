"""Makes the pictures of the README: each step of the wizard, over a real rehearsal.

    .venv/bin/python tests/pictures/make.py /tmp/runs

The rehearsal is made in that folder first, unless it is there. The pictures are of the wizard's own
screens as Textual draws them, in `docs/pictures/`.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from pathlib import Path

SIZE = (100, 30)
RUN = "pilot"
DOCUMENTS = "20"
ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
CELL = 12.2
"""The width of one character in Textual's pictures."""
SETTLE_SECONDS = 3.0
"""How long a screen has for what it reads in threads."""


def main(home: Path) -> None:
    """Make the rehearsal, then a picture of every step."""
    os.environ["EMBEDSMITH_HOME"] = str(home)
    command = [str(Path(sys.executable).parent / "embedsmith")]
    rehearse = ["rehearse", "--documents", DOCUMENTS, "--name", RUN]
    subprocess.run([*command, *rehearse], check=True)
    try:
        asyncio.run(_take(home))
    finally:
        subprocess.run([*command, "stop", RUN, "local"], check=False)


async def _take(home: Path) -> None:
    from dataclasses import replace

    from pipeline.run import find_run
    from tui.app import Wizard
    from tui.opening import read_opening
    from tui.steps import STEP_NAMES
    from tui.terminal import read_terminal

    environment = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    terminal = read_terminal(environment, True, True, "utf-8", SIZE)
    wizard = Wizard(replace(read_opening(terminal), run=find_run(home, RUN)))
    PICTURES.mkdir(parents=True, exist_ok=True)
    async with wizard.run_test(size=SIZE) as pilot:
        until = time.monotonic() + 30
        while wizard.snapshot is None and time.monotonic() < until:
            await pilot.pause(0.1)
        for name in STEP_NAMES:
            wizard.open_step(name)
            await pilot.pause(SETTLE_SECONDS)
            picture = wizard.export_screenshot(title=f"embedsmith: {name}")
            (PICTURES / f"{name}.svg").write_text(anywhere(picture), encoding="utf-8")


def anywhere(picture: str) -> str:
    """A picture that says `~` for the folder that this checkout lies in."""

    def shorter(found: re.Match[str]) -> str:
        width = float(found[1]) - CELL * (len(str(ROOT)) - 1)
        return f'textLength="{width:g}"{found[2]}~'

    return re.sub(rf'textLength="([\d.]+)"([^<>]*>[^<]*?){re.escape(str(ROOT))}', shorter, picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
