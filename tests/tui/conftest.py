"""The wizard without a terminal: driven by Textual's Pilot, in a home of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from piloted import terminal

from pipeline.profiles import REHEARSAL_PROFILE, find_profile
from pipeline.run import create_run
from tui.app import Wizard
from tui.opening import read_opening


@pytest.fixture
def make_wizard(own_home):
    """Builds a wizard; `run` is opened, else the home's runs decide."""

    def make(run=None, *, size=(80, 24), colours=16777216, ascii_only=False):
        opening = read_opening(terminal(size, colours), ascii_only=ascii_only)
        return Wizard(replace(opening, run=run))

    return make


@pytest.fixture
def rehearsal_run(tmp_path):
    """A run folder with a recipe and nothing made yet, outside of the home."""
    return create_run(
        tmp_path / "pilot",
        find_profile(REHEARSAL_PROFILE),
        {"corpus.source": "pydoc", "corpus.documents": 3},
        "a test",
    )
