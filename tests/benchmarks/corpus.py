"""What the corpus stage costs for many small files. By hand: `python tests/benchmarks/corpus.py`.

The texts are real words in their real frequencies (the language reference that comes with Python),
put together anew from a seed, about 5 KB a file; every tenth file is Markdown. Each measurement is
a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from pipeline.context import Context
from pipeline.corpus.stage import execute
from pipeline.files import digest_folder
from pipeline.profiles import REHEARSAL_PROFILE, find_profile
from pipeline.run import create_run

FILES = (1_000, 10_000)
"""Small and large: the difference of their peaks is what memory grows by."""
FILE_CHARACTERS = 5_000
LIMIT_SECONDS = 60.0
"""For the larger number of files, on two cores."""
_BYTES_A_UNIT = 1 if sys.platform == "darwin" else 1024
"""Of `ru_maxrss`, which is bytes on macOS and KiB on Linux."""


@dataclass
class Steps:
    """Events that note when each kind of work was last heard of."""

    began: float
    seconds: dict[str, float] = field(default_factory=dict)
    _last: str = ""

    def progress(self, done: int, total: int, what: str) -> None:
        """Time since the last sign of life belongs to what is reported, or lies before it."""
        now = time.perf_counter()
        name = what if what == self._last else f"before the first of: {what}"
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self.began
        self.began, self._last = now, what

    def metric(self, **values: float | int | str) -> None:
        """Nothing is measured so."""

    def log(self, message: str, *, level: str = "info") -> None:
        """Warnings don't matter here."""

    def artifact(self, path: str, what: str) -> None:
        """Files are counted at the end."""

    def resumed(self, **where: float | int | str) -> None:
        """There is nothing to go on from."""


class Unasked:
    """A control that nobody uses."""

    finish_asked = False

    def poll(self) -> None:
        """Goes on."""


def write_files(folder: Path, count: int, seed: int) -> int:
    """Write the texts; returns their bytes."""
    draw = random.Random(seed)
    words = re.findall(r"[^\s`*]+", "\n".join(topics.values()))
    total = 0
    folder.mkdir(parents=True)
    for number in range(count):
        markdown = number % 10 == 0
        parts: list[str] = []
        size = 0
        while size < FILE_CHARACTERS:
            part = " ".join(draw.choices(words, k=draw.randrange(20, 120)))
            if markdown:
                part = f"## {' '.join(draw.choices(words, k=4))}\n\n{part}"
            parts.append(part)
            size += len(part) + 2
        content = "\n\n".join(parts).encode()
        total += len(content)
        (folder / f"{number:05}{'.md' if markdown else '.txt'}").write_bytes(content)
    return total


def measure(source: str, place: Path) -> dict[str, Any]:
    """Run the stage here, once."""
    profile = find_profile(REHEARSAL_PROFILE)
    settings = {"corpus.source": source}
    run = create_run(place / "run", profile, settings, "benchmark")
    folder = place / "result"
    folder.mkdir()
    began = time.perf_counter()
    steps = Steps(began)
    outcome = execute(
        Context(
            run=run,
            recipe=run.recipe(),
            profile=profile,
            variant="",
            folder=folder,
            inputs={},
            events=steps,
            control=Unasked(),
            device="cpu",
            cache=place / "cache",
        )
    )
    ended = time.perf_counter()
    split = {what: round(seconds, 2) for what, seconds in steps.seconds.items()}
    return {
        "seconds": round(ended - began, 2),
        "steps": split | {"after the last of them": round(ended - steps.began, 2)},
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_A_UNIT / 1e6),
        "documents": outcome.summary["documents"],
        "passages": outcome.summary["passages"],
        "digests": {name: digest[:12] for name, digest in digest_folder(folder).items()},
    }


def measured(source: str) -> dict[str, Any]:
    """Run the stage in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, __file__, "--source", source, "--place", place]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env=dict(os.environ)
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Print one line of JSON a measurement; exit 1 when the limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, nargs="*", default=list(FILES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--source", help="measure this source alone, here")
    parser.add_argument("--place", help="where the run goes, with --source")
    arguments = parser.parse_args()
    if arguments.place:
        print(json.dumps(measure(arguments.source, Path(arguments.place))))
        return 0
    if arguments.source:
        print(json.dumps(measured(arguments.source)))
        return 0
    slowest = 0.0
    with tempfile.TemporaryDirectory() as place:
        for count in arguments.files:
            source = Path(place) / str(count)
            size = write_files(source, count, arguments.seed)
            found = measured(str(source))
            slowest = max(slowest, found["seconds"] if count <= max(FILES) else 0.0)
            rate = round(count / found["seconds"])
            print(json.dumps({"files": count, "mb": size / 1e6, "files_a_second": rate} | found))
    return int(slowest > LIMIT_SECONDS)


if __name__ == "__main__":
    raise SystemExit(main())
