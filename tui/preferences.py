"""What a user prefers, beyond any run: theme, mouse, signs, keys. A bad value stops nothing."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import platformdirs
import tomli_w

from pipeline.errors import BadRecipe, Failure
from pipeline.files import write_text

_SAFE = "Every other preference counts."
_KEY = re.compile(r"[^\s\x00-\x1f\x7f]|[a-z0-9_]+(\+[a-z0-9_]+)*(\+[^\s\x00-\x1f\x7f])?")
"""A character, or a key's name with its modifiers: `a`, `f1`, `ctrl+s`, `question_mark`."""


@dataclass(frozen=True)
class Preferences:
    """What a user prefers.

    Attributes:
        theme: a theme's name; empty for the default.
        mouse: whether the terminal reports the mouse.
        ascii: whether signs are ASCII even where more can be shown.
        notifications: whether the end of long work is announced when nobody looks.
        bell: whether the announcement rings.
        keys: binding id to keys, several parted by commas.
    """

    theme: str = ""
    mouse: bool = True
    ascii: bool = False
    notifications: bool = True
    bell: bool = True
    keys: Mapping[str, str] = field(default_factory=dict)


_NAMES = tuple(entry.name for entry in fields(Preferences))
_PLAIN_NAMES = tuple(name for name in _NAMES if name != "keys")


def preferences_path() -> Path:
    """Where the preferences lie."""
    return platformdirs.user_config_path("embedsmith") / "preferences.toml"


def read_preferences(path: Path) -> tuple[Preferences, list[Failure]]:
    """The preferences, and what is wrong with those that don't count; no file: the defaults."""
    try:
        document = _read(path)
    except BadRecipe as failure:
        return Preferences(), [failure]
    values: dict[str, Any] = {}
    failures: list[Failure] = []
    for name, value in document.items():
        if name == "keys":
            values["keys"], bad = _read_keys(value, path)
            failures += bad
        elif name not in _NAMES:
            failures.append(_unknown(str(path), name, "preference", _NAMES))
        elif type(value) is not type(getattr(Preferences(), name)):
            kind = "a theme's name in quotes" if name == "theme" else "true or false"
            failures.append(_bad(f"{path}: {name} is {value!r}.", f"Write {kind}."))
        else:
            values[name] = value
    return Preferences(**values), failures


def _read(path: Path) -> dict[str, Any]:
    """The file's TOML; empty when there is no file.

    Raises:
        BadRecipe: it can't be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadRecipe(
            f"The preferences {path} can't be read: {error}.",
            safe="The file is as it was; the defaults count.",
            next_step="Mend that line, or remove the file.",
        ) from error


def _read_keys(table: Any, path: Path) -> tuple[dict[str, str], list[Failure]]:
    if not isinstance(table, dict):
        return {}, [_bad(f"{path}: keys is no table.", "Put the keys below a line `[keys]`.")]
    keys: dict[str, str] = {}
    failures: list[Failure] = []
    for name, value in _flat(table):
        listed = [value] if value == "," else value
        if isinstance(listed, str):
            listed = listed.split(",")
        if not isinstance(listed, list) or not all(isinstance(key, str) for key in listed):
            failures.append(
                _bad(f"{path}: keys.{name} is {value!r}.", 'Write keys as "a" or ["a", "ctrl+s"].')
            )
            continue
        # A comma parts keys, so the key itself goes by its name.
        named = ["comma" if key == "," else key.strip() for key in listed]
        bad = [key for key in named if not _KEY.fullmatch(key)]
        if bad or not named:
            what = repr(bad[0]) if bad else "nothing"
            failures.append(
                _bad(
                    f"{path}: keys.{name} has {what}, which is no key.",
                    "Write keys such as a, f5, ctrl+s or question_mark.",
                )
            )
            continue
        keys[name] = ",".join(named)
    return keys, failures


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Entries by dotted name: `review.accept = "a"` is a table in a table to TOML."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def write_preferences(path: Path, preferences: Preferences) -> None:
    """Put the preferences into their file; comments and names that aren't ours stay.

    The table of keys is the user's own hand: it is written only where it means something else.

    Raises:
        BadRecipe: the file there can't be read, so it isn't touched.
        OSError: the folder can't be written.
    """
    path = path.resolve()
    old = _read(path)
    new = dict(old)
    text = path.read_text(encoding="utf-8") if old else ""
    defaults = Preferences()
    for name in _PLAIN_NAMES:
        value = getattr(preferences, name)
        if old.get(name, getattr(defaults, name)) != value:
            new[name] = value
            text = _with_line(text, name, value)
    if dict(preferences.keys) != read_preferences(path)[0].keys:
        new["keys"] = dict(preferences.keys)
    if new == old:
        return
    try:
        kept = tomllib.loads(text) == new
    except tomllib.TOMLDecodeError:
        kept = False
    write_text(path, text if kept else tomli_w.dumps(new))


def _with_line(text: str, name: str, value: str | bool) -> str:
    """`text` with one line at its top level replaced, or put in front."""
    line = f"{name} = {json.dumps(value, ensure_ascii=False)}"
    table = re.search(r"(?m)^\s*\[", text)
    head, rest = (text[: table.start()], text[table.start() :]) if table else (text, "")
    old = re.compile(rf"(?m)^[ \t]*{name}[ \t]*=[^\n#]*?(?=[ \t]*(#.*)?$)")
    changed, count = old.subn(lambda _: line, head)
    return (changed if count else f"{line}\n{head}") + rest


def resolve_keymap(
    defaults: Mapping[str, str], user: Mapping[str, str]
) -> tuple[dict[str, str], list[Failure]]:
    """Every binding's keys with the user's wishes, and what is wrong with those that don't count.

    Args:
        defaults: binding id to keys. What stands before an id's last dot is its scope; one key
            may mean different things in different scopes.
        user: the user's wishes in the same form.
    """
    failures: list[Failure] = []
    wishes: dict[str, str] = {}
    for name, keys in user.items():
        if name in defaults:
            wishes[name] = keys
        else:
            failures.append(_unknown("keys", name, "key binding", tuple(defaults)))
    while clash := _first_clash(defaults, wishes):
        name, other, key = clash
        failures.append(
            _bad(
                f"keys.{name}: {key} is {other} already.",
                f"Choose another key for {name}, or another one for {other}, too.",
            )
        )
        del wishes[name]
    return {**defaults, **wishes}, failures


def _first_clash(
    defaults: Mapping[str, str], wishes: Mapping[str, str]
) -> tuple[str, str, str] | None:
    """A wish, the binding that has its key, and the key; the later of two wishes gives way."""
    holders: dict[tuple[str, str], str] = {}
    resting = {name: keys for name, keys in defaults.items() if name not in wishes}
    for name, keys in (*resting.items(), *wishes.items()):
        for key in _parted(keys):
            holder = holders.setdefault((name.rpartition(".")[0], key), name)
            # What two bindings share by default, they may go on sharing.
            shared = key in _parted(defaults[name]) and key in _parted(defaults[holder])
            if holder != name and name in wishes and not shared:
                return name, holder, key
    return None


def _parted(keys: str) -> list[str]:
    return [key.strip() for key in keys.split(",")]


def _unknown(where: str, name: str, what: str, known: tuple[str, ...]) -> Failure:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    guess = f"Did you mean {nearest[0]}?" if nearest else f"Known are {', '.join(known)}."
    return _bad(f"{where}: there is no {what} {name}.", guess)


def _bad(happened: str, next_step: str) -> BadRecipe:
    return BadRecipe(happened, safe=_SAFE, next_step=next_step)
