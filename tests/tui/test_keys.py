"""One table of keys feeds everything, and nothing in it gets in another's way."""

import importlib
import re
from itertools import combinations

import pytest

from tui.app import _SCREENS, Wizard
from tui.keys import KEYS, default_keymap, keys_of, names_of
from tui.steps import STEP_NAMES
from tui.widgets.pane import ListPane

PORTABLE = re.compile(
    r"[a-zA-Z0-9]|f([1-9]|10)|ctrl\+[a-z]|up|down|left|right|home|end|pageup|pagedown|enter|tab|"
    r"escape|space|backspace|delete|question_mark|less_than_sign|greater_than_sign|colon|slash|"
    r"(left|right)_(square|curly)_bracket|minus|plus|equals_sign|comma|full_stop"
)
TAKEN_BY_MULTIPLEXERS = {"ctrl+b", "ctrl+a"}
ALIASES = {"ctrl+i", "ctrl+m", "ctrl+j", "ctrl+h"}


def keys(key):
    return [name.strip() for name in key.keys.split(",")]


def test_ids_are_unique():
    assert len(default_keymap()) == len(KEYS)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.id)
def test_every_terminal_sends_the_key(key):
    for name in keys(key):
        assert PORTABLE.fullmatch(name), name
        assert name not in TAKEN_BY_MULTIPLEXERS | ALIASES


@pytest.mark.parametrize("step", STEP_NAMES)
def test_no_key_means_two_things_on_a_step(step):
    # Enter on a list is the step's own enter.
    reachable = keys_of(step, "everywhere", "list")
    for one, other in combinations(reachable, 2):
        assert not set(keys(one)) & set(keys(other)) - {"enter"}, (one.id, other.id)


@pytest.mark.parametrize("step", STEP_NAMES)
def test_every_key_of_a_step_does_something(step):
    module, _, name = _SCREENS[step].partition(":")
    screen = getattr(importlib.import_module(module), name)
    for key in keys_of(step):
        assert hasattr(screen, f"action_{key.action}"), key.id


def test_keys_that_work_everywhere_do_something():
    for key in keys_of("everywhere"):
        assert hasattr(Wizard, f"action_{key.action}"), key.id
    for key in keys_of("list"):
        assert hasattr(ListPane, f"action_{key.action}"), key.id


def test_keys_are_named_as_people_write_them():
    assert list(names_of("f1,question_mark,ctrl+p,pagedown,a")) == ["F1", "?", "^p", "PgDn", "a"]
