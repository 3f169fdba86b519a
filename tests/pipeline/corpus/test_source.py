from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.globs import matcher
from pipeline.corpus.source import open_source
from pipeline.errors import BadInput
from pipeline.settings import CorpusSettings


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


def left_out(source):
    return [(row.path, row.status, row.reason) for row in source.left_out]


def test_globs_choose_the_files_and_the_report_counts_the_others(write_folder):
    files = {"a.md": "a", "b.MD": "b", "docs/c.md": "c", "docs/old/d.md": "d", "e.log": "e"}
    folder = str(write_folder(files))
    chosen = CorpusSettings(include=("*.md", "docs/"), exclude=("docs/**/old/*",))
    source = open_source(folder, chosen)
    assert names(source) == ["a.md", "docs/c.md"]
    assert left_out(source) == [
        ("(corpus.exclude)", "skipped", "1 file excluded by corpus.exclude: docs/old/d.md"),
        ("(corpus.include)", "skipped", "2 files not included by corpus.include: b.MD, e.log"),
    ]


def test_excluded_files_are_no_part_of_the_digest_and_one_line_of_the_report(write_folder):
    folder = write_folder({"a.md": "a", **{f"x{number}.log": "" for number in range(9)}})
    chosen = CorpusSettings(exclude=("*.log",))
    source = open_source(str(folder), chosen)
    assert left_out(source)[0][2] == (
        "9 files excluded by corpus.exclude: x0.log, x1.log, x2.log and 6 more"
    )
    (folder / "new.log").write_text("new")
    assert open_source(str(folder), chosen).digest() == source.digest()
    assert open_source(str(folder)).digest() != source.digest()


def test_an_excluded_name_of_a_file_leaves_its_other_name(write_folder):
    folder = write_folder({"a.log": "text"})
    os.link(folder / "a.log", folder / "b.md")
    assert names(open_source(str(folder), CorpusSettings(exclude=("*.log",)))) == ["b.md"]


def test_globs_that_leave_nothing_are_bad_input(write_folder):
    with pytest.raises(BadInput, match=r"corpus.include: a.md"):
        open_source(str(write_folder({"a.md": "a"})), CorpusSettings(include=("*.txt",)))


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("*.md", "a/b.md", True),
        ("*.md", "a/b.MD", False),
        ("docs/*.md", "docs/a/b.md", False),
        ("docs/**/*.md", "docs/a/c/b.md", True),
        ("docs/**/*.md", "docs/b.md", True),
        ("**/x.txt", "x.txt", True),
        ("drafts/", "a/drafts/x.md", True),
        ("drafts", "a/drafts/x/y.md", True),
        ("a/**", "a/b/c", True),
        ("[!a]?.md", "bb.md", True),
        ("[!a]?.md", "ab.md", False),
        ("[z-a].md", "[z-a].md", True),
        ("[", "[", True),
        ("/a.md", "a.md", True),
        ("caf\u00e9.md", "cafe\u0301.md", True),
        ("a.md", "axmd", False),
    ],
)
def test_a_glob_means_what_its_user_expects(glob, path, matches):
    assert matcher([glob])(path) is matches


@given(st.text("ab*?[]!-/.\\^&~|", max_size=8), st.text("ab/.", max_size=8))
def test_every_glob_is_one(glob, path):
    matcher([glob])(path)


def test_a_large_file_that_nobody_reads_counts_by_its_size(write_folder):
    folder = write_folder({"a.md": "a", "large.md": b"x" * 1_000_001})
    small = CorpusSettings(file_megabytes_max=1)
    before = open_source(str(folder), small).digest()
    (folder / "large.md").write_bytes(b"y" * 1_000_001)
    assert open_source(str(folder), small).digest() == before
    assert open_source(str(folder)).digest() != before


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
    named = write_folder(
        {"generation_result.json": '{"output_path": "a.jsonl"}', "a.jsonl": '{"text": "none"}'},
        "named",
    )
    with pytest.raises(BadInput, match="no SDG records"):
        open_source(str(named / "generation_result.json"))


def test_opening_a_source_imports_nothing_heavy():
    script = (
        "import sys; from pipeline.corpus.source import open_source; open_source('pydoc').digest();"
        "heavy = {'torch', 'tokenizers', 'pyarrow', 'numpy', 'datasets', 'markdown_it'};"
        "heavy &= set(sys.modules);"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
