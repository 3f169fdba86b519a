"""Durable files: a reader sees the old content or the new, never a half."""

import pytest

from pipeline.errors import BadInput
from pipeline.files import (
    append_line,
    digest_folder,
    read_json,
    read_jsonl,
    replacing,
    sweep,
    write_jsonl,
)


def test_an_interrupted_write_leaves_the_old_content_and_no_rubbish(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write_half():
        with replacing(path) as temporary:
            temporary.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_swept_and_nothing_else(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / ".file.txt.x1.part").write_text("ha")
    (tmp_path / "deep" / ".model.part").mkdir()
    (tmp_path / "deep" / ".model.part" / ".weights.x2.part").write_text("ha")
    (tmp_path / "deep" / "file.part").write_text("mine")
    sweep(tmp_path)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file.part"]


def test_json_lines_survive_every_character(tmp_path):
    rows = [{"text": "line\u2028separator \u0085 ünïcode 🙂 \t"}, {"text": ""}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert list(read_jsonl(tmp_path / "rows.jsonl")) == rows


@pytest.mark.parametrize("content", ['{"a": 1}\n{broken\n', '{"a": 1}\n[1]\n'])
def test_a_broken_line_is_named(tmp_path, content):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(BadInput, match=r"rows\.jsonl, line 2"):
        list(read_jsonl(path))


def test_broken_json_names_the_file(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(BadInput, match=r"x\.json, line 1"):
        read_json(tmp_path / "x.json")


def test_a_folder_s_digest_is_its_content_and_names(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_text("1")
    first = digest_folder(tmp_path)
    assert list(first) == ["a/one"]
    (tmp_path / "a" / "one").write_text("2")
    assert digest_folder(tmp_path) != first


def test_lines_are_appended_whole(tmp_path):
    for word in ("one", "two"):
        append_line(tmp_path / "deep" / "lines", word)
    assert (tmp_path / "deep" / "lines").read_text() == "one\ntwo\n"
