"""The command line, run as its user runs it, in a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

COMMAND = Path(sys.executable).parent / "embedsmith"
RESULTS = ("corpus", "sdg", "prep", "finetune", "eval", "export")
"""The stages whose results are content-addressed and must be bit-equal."""


@dataclass
class Cli:
    """The command line in a home of its own."""

    home: Path

    @property
    def environment(self):
        return os.environ | {
            "EMBEDSMITH_HOME": str(self.home / "runs"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
        }

    def start(self, *arguments):
        return subprocess.Popen(
            [COMMAND, *map(str, arguments)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments, code=0):
        process = self.start(*arguments)
        out, err = process.communicate(timeout=900)
        assert process.returncode == code, f"{process.returncode}\n{out}\n{err}"
        return Done(out, err)

    def run_folder(self, name):
        return self.home / "runs" / name

    def done(self, run, stage):
        """The one finished result of a stage, as its done.json says."""
        folders = sorted((self.run_folder(run) / stage).glob("*/done.json"))
        assert len(folders) == 1, folders
        return json.loads(folders[0].read_text())

    def stop_services(self):
        for record in (self.home / "runs").glob("*/deploy/*/service.json"):
            name, run = record.parent.name, record.parent.parent.parent.name
            self.start("stop", run, name).communicate(timeout=60)


@dataclass
class Done:
    """What a finished command said."""

    out: str
    err: str

    @property
    def lines(self):
        return [json.loads(line) for line in self.out.splitlines()]
