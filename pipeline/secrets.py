"""Keeps secrets out of everything that is written down."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_NAMED_LIKE_SECRETS = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL)", re.IGNORECASE)
_LENGTH_MIN = 6
"""A shorter value is too likely to be an ordinary word."""


def redact(text: str, environment: Mapping[str, str], names: Iterable[str] = ()) -> str:
    """`text` with the value of every secret of the environment replaced by its name.

    Args:
        text: what is about to be written down.
        environment: the process's variables.
        names: variables that hold secrets, whatever they are called.
    """
    secret = set(names)
    for name, value in environment.items():
        value = value.strip()
        if len(value) < _LENGTH_MIN or not (name in secret or _NAMED_LIKE_SECRETS.search(name)):
            continue
        text = text.replace(value, f"<{name}>")
    return text
