from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from pipeline.corpus.source import open_source
from pipeline.errors import BadInput


def names(source):
    return [file.name for file in source.files]


def test_the_walk_is_sorted_and_passes_over_what_nobody_wrote(write_folder):
    folder = write_folder(
        {
            "b.md": "b",
            "a/z.txt": "z",
            "a/.hidden": "h",
            ".git/config": "c",
            "node_modules/m.md": "m",
            "x/__pycache__/p.txt": "p",
            "B.md": "B",
        }
    )
    assert names(open_source(str(folder))) == ["B.md", "a/z.txt", "b.md"]


def test_links_count_once_and_only_inside_of_the_folder(write_folder, tmp_path):
    folder = write_folder({"a.md": "a", "sub/b.md": "b"})
    (tmp_path / "outside.md").write_text("secret")
    (folder / "out.md").symlink_to(tmp_path / "outside.md")
    (folder / "again.md").symlink_to(folder / "a.md")
    (folder / "gone.md").symlink_to(folder / "nothing.md")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    os.link(folder / "sub/b.md", folder / "sub/same.md")
    os.mkfifo(folder / "pipe")
    assert names(open_source(str(folder))) == ["a.md", "sub/b.md"]


def test_a_file_name_that_is_no_utf8_doesnt_stop_the_others(write_folder):
    folder = write_folder({"a.md": "a"})
    with open(os.fsencode(folder) + b"/b\xff.md", "wb") as stream:  # noqa: PTH123
        stream.write(b"text")
    source = open_source(str(folder))
    assert names(source) == ["a.md", "b\ufffd.md"]
    source.digest()


@pytest.mark.parametrize("missing", ["", "/nonexistent/corpus"])
def test_a_missing_source_is_bad_input(missing):
    with pytest.raises(BadInput) as caught:
        open_source(missing)
    assert caught.value.happened
    assert caught.value.safe
    assert caught.value.next_step


def test_a_folder_without_files_is_bad_input(tmp_path):
    (tmp_path / ".hidden").write_text("x")
    with pytest.raises(BadInput, match="holds no files"):
        open_source(str(tmp_path))


def test_a_single_document_is_no_source(write_folder):
    with pytest.raises(BadInput, match="one file"):
        open_source(str(write_folder({"a.md": "a"}) / "a.md"))


def test_the_digest_follows_names_and_contents_not_places(write_folder):
    one = write_folder({"a.md": "a", "b.md": "b"}, "one")
    other = write_folder({"a.md": "a", "b.md": "b"}, "two")
    first = open_source(str(one)).digest()
    assert first == open_source(str(other)).digest()
    (other / "b.md").write_text("changed")
    changed = open_source(str(other)).digest()
    (other / "b.md").rename(other / "c.md")
    (other / "c.md").write_text("b")
    renamed = open_source(str(other)).digest()
    assert len({first, changed, renamed, open_source("pydoc").digest()}) == 4


def test_a_beir_folder_is_told_by_its_files(write_beir_folder):
    source = open_source(str(write_beir_folder({"1": "one"}, {"test": {"q": ["1"]}})))
    assert source.kind == "beir"
    assert names(source) == ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"]


def test_sdg_output_is_told_by_file_folder_and_manifest(write_folder, sdg_record):
    record = json.dumps(sdg_record("a.txt", ["One."], []))
    path = write_folder({"data.jsonl": record}, "stage0_sdg") / "data.jsonl"
    by_file = open_source(str(path))
    assert (by_file.kind, names(by_file)) == ("sdg", ["data.jsonl"])
    assert open_source(str(path.parent)).kind == "sdg"
    manifest = path.parent / "generation_result.json"
    # The path of another machine: the file lies beside the manifest now.
    manifest.write_text(json.dumps({"schema_version": 1, "output_path": "/gone/data.jsonl"}))
    for source in (open_source(str(manifest)), open_source(str(path.parent))):
        assert source.digest() == by_file.digest()


def test_a_folder_of_other_json_is_a_folder_of_documents(write_folder):
    assert open_source(str(write_folder({"a.json": '{"x": 1}'}))).kind == "folder"


def test_mixed_sdg_formats_and_empty_manifests_are_refused(write_folder, sdg_record):
    record = json.dumps(sdg_record("a", ["One."], []))
    mixed = write_folder({"a.json": record, "b.jsonl": record}, "mixed")
    with pytest.raises(BadInput, match="mixes"):
        open_source(str(mixed))
    manifest = write_folder({"generation_result.json": '{"output_path": "gone.jsonl"}'}, "empty")
    with pytest.raises(BadInput, match="no such file"):
        open_source(str(manifest))
    other = write_folder({"a.jsonl": '{"text": "no record"}'}, "other")
    with pytest.raises(BadInput, match="no SDG records"):
        open_source(str(other / "a.jsonl"))


def test_opening_a_source_imports_nothing_heavy():
    script = (
        "import sys; from pipeline.corpus.source import open_source; open_source('pydoc').digest();"
        "heavy = {'torch', 'tokenizers', 'pyarrow', 'numpy', 'markdown_it'} & set(sys.modules);"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
