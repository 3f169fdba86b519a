"""A command line with a home of its own."""

from __future__ import annotations

import pytest
from commandline import Cli


@pytest.fixture
def cli(tmp_path):
    cli = Cli(tmp_path)
    yield cli
    cli.stop_services()
