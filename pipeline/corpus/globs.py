"""Globs over paths: which files of a folder `corpus.include` and `corpus.exclude` mean."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

_TOKEN = re.compile(r"\*+|\?|\[!?\]?[^\]/]*\]|.", re.DOTALL)


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether a path matches one of these globs.

    `*` and `?` stay within one name, `**` is any number of folders, `[a-z]` and `[!a-z]` one
    character. A glob without a slash means a name at any depth; one that means a folder means all
    that lies in it. Case counts.

    Args:
        patterns: globs; the paths that they are held against are relative, POSIX form.
    """
    rules = [re.compile(_regex(_same_form(pattern))) for pattern in patterns if pattern]
    return lambda path: any(rule.fullmatch(_same_form(path)) for rule in rules)


def _same_form(text: str) -> str:
    """One form of accents: some systems keep file names decomposed."""
    return unicodedata.normalize("NFC", text)


def _regex(pattern: str) -> str:
    anywhere = "/" not in pattern.strip("/")
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    written = ""
    for place, part in enumerate(parts):
        last = place == len(parts) - 1
        if part == "**":
            written += ".*" if last else "(?:[^/]+/)*"
        else:
            written += "".join(map(_token, _TOKEN.findall(part))) + ("" if last else "/")
    return ("(?:.*/)?" if anywhere else "") + written + "(?:/.*)?"


def _token(token: str) -> str:
    if token.startswith("*"):
        return "[^/]*"
    if token == "?":
        return "[^/]"
    if len(token) > 2 and token.startswith("[") and token.endswith("]"):
        inner = token[1:-1].replace("\\", "\\\\").replace("[", "\\[").replace("&", "\\&")
        inner = inner.replace("~", "\\~").replace("|", "\\|")
        negated = inner.startswith("!")
        inner = (inner[1:] if negated else inner).replace("^", "\\^").replace("]", "\\]")
        # A range that runs backwards is no range.
        try:
            re.compile(f"[{inner}]")
        except re.error:
            return re.escape(token)
        return f"(?!/)[{'^' if negated else ''}{inner}]"
    return re.escape(token)
