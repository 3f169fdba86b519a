"""Keeps secrets out of everything that is written down."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAMED_LIKE_SECRETS = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL)", re.IGNORECASE)
_LENGTH_MIN = 6
"""A shorter value is too likely to be an ordinary word."""


def redact(text: str, environment: Mapping[str, str]) -> str:
    """`text` with the value of every secret of the environment replaced by its name."""
    for name, value in environment.items():
        if len(value) >= _LENGTH_MIN and _NAMED_LIKE_SECRETS.search(name) and value in text:
            text = text.replace(value, f"<{name}>")
    return text
