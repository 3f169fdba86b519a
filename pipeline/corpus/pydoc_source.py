"""The corpus that every machine has: Python's standard library, rendered by `pydoc`.

One Markdown document a module. Only what is documented comes in; what would differ between
two machines or processes (values of data, paths, addresses, inherited members) stays out.
The modules are imported by a process of their own, because what pydoc says depends on what a
process did before: `logging.shutdown` shows the handlers, a patched function is another one.
This file is that process's script, so it imports nothing but the standard library.
"""

from __future__ import annotations

import importlib
import json
import os
import pydoc
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

RENDERER_VERSION = 1
"""Raised when the same module would be rendered differently."""

# fmt: off
MODULES: tuple[str, ...] = (
    "argparse", "asyncio.events", "asyncio.locks", "asyncio.queues", "asyncio.streams",
    "asyncio.tasks", "base64", "bisect", "bz2", "calendar", "cmd", "codecs", "collections",
    "concurrent.futures", "configparser", "contextlib", "csv", "dataclasses", "datetime",
    "decimal", "difflib", "doctest", "email.message", "enum", "fileinput", "fractions",
    "ftplib", "functools", "graphlib", "gzip", "heapq", "html.parser", "http.client",
    "http.cookiejar", "http.cookies", "http.server", "importlib.metadata", "ipaddress",
    "itertools", "json", "logging", "logging.handlers", "lzma", "mailbox", "math",
    "mimetypes", "optparse", "pathlib", "pickle", "pkgutil", "platform", "poplib", "queue",
    "random", "re", "sched", "secrets", "selectors", "shelve", "shutil", "smtplib",
    "socketserver", "sqlite3", "statistics", "struct", "subprocess", "tarfile", "tempfile",
    "textwrap", "threading", "timeit", "traceback", "tracemalloc", "unittest.mock",
    "urllib.parse", "urllib.request", "uuid", "weakref", "xml.etree.ElementTree", "zipfile",
)
# fmt: on
"""Modules of Python 3.11 to 3.14 with docstrings worth reading, of moderate size."""

_RENDERER: pydoc.TextDoc = pydoc.plaintext  # type: ignore[attr-defined]
_KEPT_SECTIONS = ("DESCRIPTION", "CLASSES", "FUNCTIONS")
_SECTION = re.compile(r"[A-Z][A-Z ]+")
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")
_CLASS = re.compile(r"class (?P<name>\w+)")
_MEMBER = re.compile(r"(?:async )?(?P<name>\w+)(?:\(| = |$)")
_CLASS_PART = re.compile(
    r"(?P<what>Method resolution order|Built-in subclasses|(?:Class m|Static m|M)ethods"
    r"|Data descriptors|(?:Readonly p|P)roperties|Data and other attributes)"
    r"(?P<where> defined here| inherited from [\w.]+)?:"
)
_RULE = re.compile(r"-{60,}")
_UNDERLINE = re.compile(r"\s{0,3}([=\-~^*+#\"'`._])\1{2,}\s*")
_MARKDOWN_START = re.compile(r"#{1,6}(\s|$)|```|~~~|<[!?a-zA-Z/]|===|---")
_KEPT_PARTS = frozenset(
    {
        "Methods",
        "Class methods",
        "Static methods",
        "Data descriptors",
        "Readonly properties",
        "Properties",
    }
)


@dataclass(frozen=True)
class Rendering:
    """One module.

    Attributes:
        module: its name.
        text: Markdown; empty when it could not be rendered.
        reason: why it was skipped, or empty.
    """

    module: str
    text: str
    reason: str


@dataclass
class _Member:
    """A function, method or property: its signature lines and its docstring's lines."""

    signature: list[str]
    doc: list[str] = field(default_factory=list)


def render_modules(names: Sequence[str] = MODULES, hash_seed: int = 0) -> Iterator[Rendering]:
    """Render modules of the standard library as Markdown, in order, as they get finished.

    A module that this Python lacks, or cannot import on this system, comes with a reason.

    Args:
        names: the modules.
        hash_seed: of the process that renders; the texts don't depend on it.

    Raises:
        ChildProcessError: the process died; the message ends with its last words.
    """
    # Nothing of this environment goes in: it may hold secrets, and pydoc shows values.
    environment = {"PYTHONHASHSEED": str(hash_seed), "HOME": os.sep, "PATH": os.defpath}
    if libraries := os.environ.get("LD_LIBRARY_PATH"):
        environment["LD_LIBRARY_PATH"] = libraries
    command = [sys.executable, "-P", "-s", "-S", "-X", "utf8", __file__, *names]
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=environment,
            cwd=os.sep,
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                yield Rendering(**json.loads(line))
        except BaseException:
            process.kill()
            raise
        if process.wait():
            complaints.seek(0)
            words = complaints.read().decode("utf-8", "replace").strip().split("\n")
            raise ChildProcessError(f"pydoc ended with code {process.returncode}: {words[-1]}")


def render_module(name: str) -> Rendering:
    """Render one module in this process."""
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        return Rendering(name, "", f"this Python has no module {name}: {error.msg}")
    plain = _RENDERER.document(module, name)
    return Rendering(name, _markdown(name, _without_machine(_ADDRESS.sub("", plain))), "")


def _without_machine(text: str) -> str:
    """Drop lines that name a folder of this machine."""
    places = {sys.prefix, sys.base_prefix, str(Path(sys.executable).parent), str(Path.home())}
    folders = [place for place in places if len(Path(place).parts) > 1]
    return "\n".join(
        line for line in text.split("\n") if not any(folder in line for folder in folders)
    )


def _markdown(name: str, plain: str) -> str:
    sections = dict(_sections(plain))
    summary = " ".join(sections.get("NAME", [""])[0].split())
    lines = [f"# {name}", "", *([summary, ""] if summary != name else [])]
    for title in _KEPT_SECTIONS:
        body = sections.get(title, [])
        if title == "DESCRIPTION":
            content = _prose(body)
        elif title == "CLASSES":
            content = [line for one in _classes(body) for line in _class(one)]
        else:
            content = [line for one in _members(body) for line in _member(one, f"### {name}.")]
        if any(content):
            lines += [f"## {title.capitalize()}", "", *content, ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _sections(plain: str) -> Iterator[tuple[str, list[str]]]:
    """Pydoc's sections: a title at the margin, the body indented by four."""
    title, body = "", list[str]()
    for line in plain.split("\n"):
        if _SECTION.fullmatch(line):
            yield title, body
            title, body = line, []
        else:
            body.append(line.removeprefix("    "))
    yield title, body


def _classes(body: list[str]) -> Iterator[list[str]]:
    """The classes of a section; the tree of bases above them is left out."""
    current: list[str] | None = None
    for line in body:
        if _CLASS.match(line):
            if current:
                yield current
            current = [line]
        elif current is not None:
            current.append(line.removeprefix(" |").removeprefix("  "))
    if current:
        yield current


def _class(lines: list[str]) -> Iterator[str]:
    match = _CLASS.match(lines[0])
    name = match["name"] if match else lines[0]
    head, parts = list[str](), list[tuple[str, list[str]]]()
    for line in lines[1:]:
        if _RULE.fullmatch(line.strip()):
            continue
        if part := _CLASS_PART.fullmatch(line.strip()):
            kept = part["what"] in _KEPT_PARTS and part["where"] == " defined here"
            parts.append((part["what"] if kept else "", []))
        else:
            (parts[-1][1] if parts else head).append(line)
    content = list(_prose(head))
    for what, body in parts:
        for one in _members(body) if what else ():
            content += _member(one, f"#### {name}.")
    if any(content):
        yield from (f"### {lines[0].strip()}", "", *content, "")


def _members(body: list[str]) -> Iterator[_Member]:
    """Functions, methods or properties: a signature at the margin, the docstring indented."""
    current: _Member | None = None
    for line in body:
        if line.startswith(")") and current:
            # A long signature is broken over lines; what looked like a docstring was arguments.
            current.signature += [*current.doc, line]
            current.doc = []
        elif line and not line[0].isspace():
            if current:
                yield current
            current = _Member([line])
        elif current:
            current.doc.append(line)
    if current:
        yield current


def _member(member: _Member, heading: str) -> Iterator[str]:
    """One member under its heading; nothing for one whose docstring says nothing of its own."""
    signature = " ".join(line.strip() for line in member.signature)
    match = _MEMBER.match(signature)
    doc = textwrap.dedent("\n".join(member.doc)).strip("\n").split("\n")
    if not match or not any(doc) or (_is_special(match["name"]) and len(doc) == 1):
        return
    yield from (f"{heading}{match['name']}", "")
    if "(" in signature:
        yield from (f"`{signature}`", "")
    yield from _prose(doc)
    yield ""


def _is_special(name: str) -> bool:
    """`__add__` and the like: their one-line docstrings are the same in every class."""
    return name.startswith("__") and name.endswith("__")


def _prose(lines: list[str]) -> list[str]:
    """A docstring as Markdown: nothing in it may open a heading, a fence or HTML."""
    kept = (line.rstrip() for line in lines if not _UNDERLINE.fullmatch(line))
    return [f"    {line}" if _MARKDOWN_START.match(line.lstrip()) else line for line in kept]


def _main() -> None:
    # Modules may print when imported; the renderings keep the true standard output.
    output, sys.stdout = sys.stdout, sys.stderr
    for name in sys.argv[1:]:
        output.write(json.dumps(asdict(render_module(name))) + "\n")
        output.flush()


if __name__ == "__main__":
    _main()
