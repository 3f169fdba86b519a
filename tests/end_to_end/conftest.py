"""One undisturbed rehearsal, shared by the tests that look at it."""

from __future__ import annotations

import time

import pytest
from commandline import Cli


@pytest.fixture
def cli(tmp_path):
    cli = Cli(tmp_path)
    yield cli
    cli.stop_services()


@pytest.fixture(scope="session")
def rehearsal(tmp_path_factory):
    """`embedsmith rehearse --documents 12`, undisturbed; gives its command line and lines."""
    cli = Cli(tmp_path_factory.mktemp("rehearsal"))
    began = time.monotonic()
    done = cli("rehearse", "--documents", "12", "--json")
    done.seconds = time.monotonic() - began
    yield cli, done
    cli.stop_services()
