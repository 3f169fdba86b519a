from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from pipeline.corpus.blocks import markdown_blocks
from pipeline.corpus.pydoc_source import MODULES, render_module, render_modules


@pytest.fixture(scope="module")
def renderings():
    return list(render_modules(hash_seed=1))


def test_two_processes_render_the_same_bytes_whatever_this_one_did(renderings, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("USER", "somebody")
    monkeypatch.setattr("threading.excepthook", print)
    assert list(render_modules(hash_seed=2)) == renderings


def test_every_module_is_there_and_says_enough(renderings):
    assert len(renderings) == len(set(MODULES)) == 80
    assert [one.module for one in renderings if one.reason] == []
    assert min(len(one.text) for one in renderings) > 1000


def test_nothing_of_this_machine_or_process_comes_in(renderings, monkeypatch):
    monkeypatch.setenv("EMBEDSMITH_SECRET_PROBE", "hunter2-in-the-environment")
    text = "\n".join(one.text for one in [*renderings, *render_modules(["os"])])
    assert "### os.walk" in text
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


def test_a_module_that_this_python_lacks_has_a_reason_and_stops_nothing():
    # `this` prints when it is imported.
    lacking, present, _ = render_modules(["telnetlib_of_the_past", "bisect", "this"])
    assert lacking.text == ""
    assert "no module telnetlib_of_the_past" in lacking.reason
    assert present.text.startswith("# bisect\n")


def test_a_process_that_dies_is_a_failure_with_its_last_words():
    with pytest.raises(ChildProcessError, match="ended with code 1: ValueError"):
        list(render_modules(["bisect", ""]))


def test_a_reader_that_stops_early_leaves_no_process(tmp_path):
    reader = render_modules()
    assert next(reader).module == MODULES[0]
    reader.close()
    children = psutil.Process().children()
    assert not [child for child in children if "pydoc_source" in " ".join(child.cmdline())]
