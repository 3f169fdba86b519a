"""When two texts count as the same."""

from __future__ import annotations

import unicodedata


def normalised(text: str) -> str:
    """A text as it is compared: compatible characters, case and white space made one."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
