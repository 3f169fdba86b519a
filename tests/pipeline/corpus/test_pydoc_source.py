from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.corpus.blocks import markdown_blocks
from pipeline.corpus.pydoc_source import MODULES, render_module

RENDER_ALL = (
    "import hashlib, sys; from pipeline.corpus.pydoc_source import MODULES, render_module;"
    "texts = [render_module(name).text for name in MODULES];"
    "print(hashlib.sha256('\\n'.join(texts).encode()).hexdigest())"
)


@pytest.fixture(scope="module")
def renderings():
    return [render_module(name) for name in MODULES]


def test_another_process_with_other_hashes_and_another_home_renders_the_same_bytes(renderings):
    other = subprocess.run(
        [sys.executable, "-c", RENDER_ALL],
        env={**os.environ, "PYTHONHASHSEED": "1", "HOME": "/home/somebody", "USER": "somebody"},
        capture_output=True,
        text=True,
        check=True,
    )
    own = "\n".join(one.text for one in renderings)
    assert other.stdout.strip() == hashlib.sha256(own.encode()).hexdigest()


def test_every_module_is_there_and_says_enough(renderings):
    assert len(renderings) == len(set(MODULES)) == 80
    assert [one.module for one in renderings if one.reason] == []
    assert min(len(one.text) for one in renderings) > 1000


def test_nothing_of_this_machine_or_process_comes_in(renderings, monkeypatch):
    monkeypatch.setenv("EMBEDSMITH_SECRET_PROBE", "hunter2-in-the-environment")
    text = "\n".join([*(one.text for one in renderings), render_module("os").text])
    for trace in (" at 0x", sys.prefix, sys.base_prefix, "hunter2-in-the-environment"):
        assert trace not in text
    if len(Path.home().parts) > 1:
        assert str(Path.home()) not in text


def test_sections_classes_and_members_are_headings_and_noise_is_gone():
    text = render_module("json").text
    blocks = markdown_blocks(text)
    titles = [block.title for block in blocks if block.level]
    assert titles[:2] == ["json", "Description"]
    assert {"Classes", "Functions", "json.dumps", "JSONDecoder.raw_decode"} <= set(titles)
    for noise in ("Method resolution order", "inherited from", "MODULE REFERENCE", "FILE", " |  "):
        assert noise not in text


def test_no_docstring_opens_a_heading_or_swallows_the_rest(renderings):
    for one in renderings:
        levels = {"#" * b.level for b in markdown_blocks(one.text) if b.level}
        lines = [line for line in one.text.split("\n") if line.split(" ")[0] in levels]
        headings = [b for b in markdown_blocks(one.text) if b.level]
        assert len(headings) == len(lines), one.module
        assert headings[0].title == one.module


def test_a_module_that_this_python_lacks_has_a_reason():
    rendering = render_module("telnetlib_of_the_past")
    assert rendering.text == ""
    assert "no module telnetlib_of_the_past" in rendering.reason
