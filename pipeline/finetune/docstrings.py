"""A small general retrieval task that every Python carries: docstrings' summaries and bodies.

PEP 257 asks for a summary line, a blank line, then the rest: a title and its text, written by
people for readers, on networks, dates, numbers, files, mail, sound and language. Files are read,
never run.
"""

from __future__ import annotations

import ast
import hashlib
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.beir import EvalSet
from pipeline.texts import normalised

# fmt: off
MODULES: tuple[str, ...] = (
    "argparse", "base64", "bisect", "calendar", "cmd", "codecs", "collections/__init__",
    "concurrent/futures/_base", "configparser", "contextlib", "csv", "datetime", "difflib",
    "doctest", "email/message", "enum", "filecmp", "fileinput", "fractions", "ftplib", "functools",
    "getpass", "gettext", "glob", "gzip", "heapq", "http/client", "http/cookiejar", "http/server",
    "imaplib", "inspect", "ipaddress", "json/__init__", "locale", "logging/__init__",
    "logging/handlers", "mailbox", "mimetypes", "operator", "optparse", "os", "pathlib", "pickle",
    "platform", "plistlib", "poplib", "pprint", "random", "sched", "selectors", "shelve", "shutil",
    "smtplib", "socket", "socketserver", "ssl", "statistics", "string", "subprocess", "tarfile",
    "tempfile", "textwrap", "threading", "timeit", "tokenize", "traceback", "urllib/parse",
    "urllib/request", "uuid", "warnings", "wave", "weakref", "webbrowser", "zipfile",
)
# fmt: on
"""Modules of the standard library with docstrings worth reading; a missing one is left out."""

PAIRS = 200
"""Enough to see a fall of 0.05 nDCG@10; a second on a GPU, some ten on two cores."""

_FROM_ONE_MODULE = 12
"""No module's vocabulary shall outweigh the others'."""

_SUMMARY_WORDS = range(5, 31)
_BODY_WORDS_MIN = 15
_BODY_WORDS_MAX = 60
"""Longer bodies are cut: their beginning says what they are about, and costs less."""


@dataclass(frozen=True)
class Pair:
    """A docstring in two parts.

    Attributes:
        name: module and qualified name.
        summary: its first paragraph, as one line.
        body: the rest, as one line.
    """

    name: str
    summary: str
    body: str


def docstring_task(folder: Path | None = None) -> EvalSet | None:
    """Summaries as queries, bodies as passages; the same for the same Python.

    Args:
        folder: of the standard library; None finds it.

    Returns:
        None where the sources of the standard library aren't there.
    """
    library = folder or Path(sysconfig.get_path("stdlib"))
    pairs: list[Pair] = []
    seen: set[str] = set()
    for module in MODULES:
        fresh = []
        for pair in _pairs(library / f"{module}.py", module):
            keys = {normalised(pair.summary), normalised(pair.body)}
            if not keys & seen:
                seen |= keys
                fresh.append(pair)
        pairs += sorted(fresh, key=_chance)[:_FROM_ONE_MODULE]
    chosen = sorted(pairs, key=_chance)[:PAIRS]
    if not chosen:
        return None
    names = [f"{number:03d}" for number in range(len(chosen))]
    return EvalSet(
        queries={f"q-{n}": pair.summary for n, pair in zip(names, chosen, strict=True)},
        passages={f"p-{n}": pair.body for n, pair in zip(names, chosen, strict=True)},
        qrels={f"q-{n}": {f"p-{n}": 1} for n in names},
    )


def _chance(pair: Pair) -> str:
    """An order that means nothing and never changes."""
    return hashlib.sha256(pair.name.encode()).hexdigest()


def _pairs(path: Path, module: str) -> Iterator[Pair]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return  # this Python has no such module, or not as a source
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        summary, _, body = (ast.get_docstring(node) or "").partition("\n\n")
        words = body.split()
        if len(summary.split()) in _SUMMARY_WORDS and len(words) >= _BODY_WORDS_MIN:
            name = f"{module}.{getattr(node, 'name', '')}.{getattr(node, 'lineno', 0)}"
            yield Pair(name, " ".join(summary.split()), " ".join(words[:_BODY_WORDS_MAX]))
