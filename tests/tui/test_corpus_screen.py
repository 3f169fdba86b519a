"""The Corpus step: choosing documents, scanning them, and what is shown of them."""

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from documents import WORDS, write_documents
from piloted import drive, screen_text, snapshot_of, until
from text_snapshot import assert_snapshot

from pipeline.beir import EvalSet, write_beir
from pipeline.corpus.records import FileReport, Finding, to_row
from pipeline.corpus.source import SDG_SUFFIXES
from pipeline.errors import BadInput
from pipeline.files import write_jsonl
from pipeline.profiles import REHEARSAL_PROFILE, find_profile
from pipeline.run import create_run, home, list_runs
from tui.corpus_rows import detail_rows, document_header, document_row, finding_rows, table_of
from tui.disk import Listing, completion, count_files, list_folder
from tui.glyphs import ASCII, UNICODE
from tui.keys import keys_of
from tui.off_loop import off_loop
from tui.rows import plain, width_of
from tui.sources import MANY_FILES, Place, glance_at, look_at

REPORT = [
    FileReport("guide/first.md", "markdown", "used", "", 12_345, 17, "d1"),
    FileReport("guide/old.txt", "text", "used", "read as Windows-1252", 900, 2, "d2"),
    FileReport("image.png", "unknown", "skipped", "an image: not read yet"),
    FileReport("later.md", "markdown", "skipped", "outside of the pilot slice", 4_000, 0, "d3"),
    FileReport("twice.md", "markdown", "duplicate", "the same text as guide/first.md", 12_345),
    FileReport("evil\x1b[2J\n\u202ename.md", "markdown", "used", "", 1_000, 3, "d4"),
    FileReport("日本語/" * 12 + "文書.md", "markdown", "used", "", 800, 2, "d5"),
]
SUMMARY = {
    "source": "folder",
    "passages": 24,
    "roles": {"train": 2, "dev": 1, "test": 1},
    "imported_samples": 0,
    "warnings": ["Only 4 documents: figures will be rough below 20."],
}


# Rows


@pytest.mark.parametrize("width", [60, 76, 80, 96, 200])
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_rows_fit_their_width_and_hold_no_control_characters(width, glyphs):
    for entry in REPORT:
        cells = document_row(entry, glyphs, width)
        assert width_of(cells) <= width
        assert plain(cells).isprintable()
        for line in detail_rows(entry, glyphs, width):
            assert width_of(line) <= width
    assert width_of(document_header(width)) <= width
    if glyphs is ASCII:
        assert plain(document_row(REPORT[0], glyphs, width)).isascii()


def test_a_row_says_in_words_what_became_of_a_document_and_keeps_the_end_of_its_path():
    rows = [plain(document_row(entry, UNICODE, 120)) for entry in REPORT]
    assert [row.split()[1] for row in rows] == [
        *("used", "used", "skipped", "outside", "duplicate", "used", "used")
    ]
    assert "12,345" in rows[0]
    assert "image: not read" in rows[2]
    assert "…" in rows[6]
    assert "文書.md" in rows[6]


def test_findings_are_listed_by_kind_excerpt_and_line_and_fit():
    findings = [
        Finding("d1", "guide/" * 20 + "evil\x1b[2J.md", "e-mail address", "personal", 7, "jo (17)"),
        Finding("d1", "guide/first.md", "aws access key", "secret", 12, "AK (20)"),
    ]
    rows = finding_rows(findings, UNICODE, 76)
    assert all(width_of(cells) <= 76 and plain(cells).isprintable() for cells in rows)
    lines = [plain(cells) for cells in rows]
    assert lines[0] == "Suspected secrets: 1"
    assert "aws access key" in lines[1]
    assert lines[1].endswith("guide/first.md:12")
    assert lines[3].endswith(".md:7")


def test_a_long_reason_is_shown_whole():
    reason = " ".join(f"reason{number}" for number in range(20))
    entry = FileReport("a.pdf", "pdf", "skipped", reason)
    said = " ".join(" ".join(plain(cells) for cells in detail_rows(entry, ASCII, 60)).split())
    assert reason in said


def test_skipped_documents_come_first_then_duplicates_the_slice_and_remarks():
    table = table_of(REPORT)
    assert table.by_name == tuple(REPORT)
    order = [entry.path.split("/")[0].split(".")[0] for entry in table.skipped_first]
    assert order[:4] == ["image", "twice", "later", "guide"]
    assert table.counts == {"used": 4, "skipped": 1, "outside": 1, "duplicate": 1}


# Disks and sources


def test_completion_takes_folders_first_keeps_what_was_typed_and_hides_hidden_names():
    listing = Listing(Path("/x"), (".git", "docs", "dos\x1b"), ("do.md", "done.jsonl"))
    assert completion("~/x/do", listing, SDG_SUFFIXES) == "~/x/docs/"
    assert completion("don", listing, SDG_SUFFIXES) == "done.jsonl"
    assert completion("/x/do.", listing, SDG_SUFFIXES) is None
    assert completion("/x/dos", listing, SDG_SUFFIXES) is None
    assert completion("/x/", listing, SDG_SUFFIXES) == "/x/docs/"
    assert completion("/x/.", listing, SDG_SUFFIXES) == "/x/.git/"


def test_a_folder_is_listed_without_hidden_entries_and_counted_with_a_limit(tmp_path):
    write_documents(tmp_path / "docs", 6)
    (tmp_path / "docs" / ".hidden.md").write_text("x")
    (tmp_path / "docs" / "sub").mkdir()
    listing = list_folder(tmp_path / "docs")
    assert (listing.folders, len(listing.files)) == (("sub",), 6)
    assert count_files(tmp_path, 100, lambda: False) == 6
    assert count_files(tmp_path, 4, lambda: False) == 4
    assert count_files(tmp_path, 100, lambda: True) == 0


def test_a_disk_that_hangs_holds_up_neither_loop_nor_end():
    seen = []

    def hangs(stopped):
        while not stopped():
            time.sleep(0.01)
        seen.append("stopped")

    async def ask():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(off_loop(hangs), 0.1)
        with pytest.raises(FileNotFoundError):
            await off_loop(lambda _stopped: list_folder(Path("/nowhere/at/all")))
        return await off_loop(lambda _stopped: 7)

    assert asyncio.run(ask()) == 7
    time.sleep(0.1)
    assert seen == ["stopped"]


def test_a_source_is_told_by_what_it_is(tmp_path, monkeypatch):
    def words(source):
        return look_at(source, lambda run, recipe: True).words

    assert words(str(write_documents(tmp_path / "docs", 1))) == "folder of 1 file"
    assert words("pydoc") == "Python's own documentation"
    write_beir(tmp_path / "beir", EvalSet({"q": "?"}, {"p": WORDS}, {"q": {"p": 1}}), "test")
    assert "BEIR" in words(str(tmp_path / "beir"))
    (tmp_path / "made.jsonl").write_text(json.dumps(sdg_record(8.0)))
    assert "SDG" in words(str(tmp_path / "made.jsonl"))
    for wrong in ("nowhere", "~nobody-at-all/x", str(tmp_path / "docs" / "0.md")):
        with pytest.raises(BadInput):
            words(wrong)
    with pytest.raises(BadInput, match="inside the documents"):
        words(str(home().parent))
    monkeypatch.setattr("tui.sources.MANY_FILES", 3)
    many = glance_at(str(write_documents(tmp_path / "many", 9)), lambda: False)
    assert many.kind is None
    assert f"{MANY_FILES:,}" in Place("x", None, 4).words.replace("3", f"{MANY_FILES:,}")


def test_the_browsers_keys_do_not_get_in_the_lists_way():
    names = [
        name
        for key in keys_of("browser", "list")
        for name in key.keys.split(",")
        if key.action != "choose" or key.scope == "browser"
    ]
    assert len(names) == len(set(names))


# The screen


def sdg_record(score):
    text = " ".join(f"word{index}" for index in range(80))
    pair = {"question": "what?", "answer": "that", "segment_ids": [1], "hop_count": 1}
    evaluation = {"overall": {"score": score, "assessment": ""}}
    return {
        "file_name": ["a.md"],
        "text": text,
        "chunks": [{"chunk_id": 1, "text": text, "start": 0, "end": len(text)}],
        "qa_generation": {"pairs": []},
        "deduplicated_qa_pairs": [pair],
        "qa_evaluations": {"evaluations": [evaluation] if score is not None else []},
    }


def distinct(folder, count):
    """Documents of which no two share a group."""
    folder.mkdir(parents=True)
    for number in range(count):
        words = " ".join(f"w{number}x{index}" for index in range(120))
        (folder / f"{number:02d}.md").write_text(f"# Part {number}\n\n{words}\n")
    return folder


@pytest.fixture
def at_corpus(make_wizard):
    """Runs a script on the Corpus step; without a run it is a rehearsal's."""

    def go(script, *, run=None, size=(80, 24), profile=REHEARSAL_PROFILE, ascii_only=False):
        wizard = make_wizard(run=run, size=size, ascii_only=ascii_only)

        async def there(pilot):
            await until(pilot, lambda: getattr(wizard.screen, "STEP", "") in ("machine", "corpus"))
            if not run:
                wizard.new_run()
                wizard.profile_id = profile
                wizard.open_step("corpus")
            await until(pilot, lambda: getattr(wizard.screen, "STEP", "") == "corpus")
            await script(pilot, wizard)

        drive(wizard, there, size)

    return go


def make(folder, name="pilot", **settings):
    overrides = {"corpus.source": str(folder), **settings}
    return create_run(home() / name, find_profile(REHEARSAL_PROFILE), overrides, "a test")


def unwrapped(wizard):
    """The screen's text without its line breaks: a long path is broken anywhere."""
    return "".join(screen_text(wizard).split())


async def scanned(pilot, wizard):
    await until(pilot, lambda: "Ahead" in screen_text(wizard) and wizard.screen.primary())


async def type_path(pilot, wizard, key, path):
    await pilot.press(key)
    field = wizard.screen.query_one("#prompt-field")
    await until(pilot, lambda: field.display and wizard.focused is field)
    field.value = str(path)
    await pilot.press("enter")


def test_a_rehearsal_begins_with_pythons_own_documentation(at_corpus):
    async def script(pilot, wizard):
        await until(pilot, lambda: "Python's own documentation" in screen_text(wizard))
        await until(pilot, lambda: "rehearsal-python-docs" in unwrapped(wizard))
        assert wizard.screen.primary() == "Scan"
        assert wizard.states()["corpus"] == "ready"

    at_corpus(script)


def test_a_typed_folder_is_looked_at_scanned_and_shown(at_corpus, tmp_path):
    folder = distinct(tmp_path / "docs", 4)
    (folder / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")

    async def script(pilot, wizard):
        await type_path(pilot, wizard, "p", tmp_path / "nowhere")
        await until(pilot, lambda: "There is no folder" in screen_text(wizard))
        field = wizard.screen.query_one("#prompt-field")
        field.value = str(folder)
        await until(pilot, lambda: "folder of 5 files" in screen_text(wizard))
        await pilot.press("enter")
        await until(pilot, lambda: "rehearsal-docs" in unwrapped(wizard))
        assert list_runs(home()) == []
        await pilot.press("enter")
        await scanned(pilot, wizard)
        text = screen_text(wizard)
        assert "4 used   1 skipped" in text
        assert "written offline: no call" in text
        assert [run.name for run in list_runs(home())] == ["rehearsal-docs"]
        await pilot.press("o")
        assert wizard.screen._listed()[0].path == "image.png"
        await pilot.press("r")
        await until(pilot, lambda: "Nothing to scan" in wizard.notice[0])
        (folder / "image.png").unlink()
        await pilot.press("r")
        await until(pilot, lambda: "4 used      " in screen_text(wizard))
        assert "skipped" not in screen_text(wizard)
        await until(pilot, lambda: wizard.screen.primary() == "Go on")

    at_corpus(script)


def test_the_slice_asks_before_later_results_become_stale_and_shows_who_is_outside(
    at_corpus, tmp_path
):
    run = make(distinct(tmp_path / "docs", 6))

    async def script(pilot, wizard):
        await pilot.press("enter")
        await scanned(pilot, wizard)
        assert wizard.screen.check_action("seed", ()) is False
        # Until the worker has left, the run is read again, over what is put in here.
        await until(pilot, lambda: wizard.jobs.idle and wizard._reading is None)
        corpus = wizard.snapshot.results["corpus"]
        made = {**wizard.snapshot.results, "sdg": replace(corpus, stage="sdg")}
        wizard.snapshot = replace(wizard.snapshot, results=made)
        await type_path(pilot, wizard, "s", "-3")
        assert wizard.screen.query_one("#prompt").asking
        wizard.screen.query_one("#prompt-field").value = "4"
        await pilot.press("enter")
        await until(pilot, lambda: "Decisions and replies are kept" in screen_text(wizard))
        await pilot.press("n")
        assert run.recipe().corpus.documents == 0
        await type_path(pilot, wizard, "s", "4")
        await until(pilot, lambda: wizard.screen.is_modal)
        await pilot.press("y")
        await until(pilot, lambda: "2 outside the slice" in screen_text(wizard))
        # The run is read once more after its worker has left.
        await until(pilot, lambda: wizard.states()["corpus"] == "done")
        await until(pilot, lambda: wizard.screen.check_action("seed", ()))
        await pilot.press("d")
        await until(pilot, lambda: run.recipe().seed == 43)

    at_corpus(script, run=run)


def test_a_run_over_the_same_documents_is_offered(at_corpus, tmp_path):
    folder = distinct(tmp_path / "docs", 3)
    run = make(folder, "earlier")

    async def script(pilot, wizard):
        await type_path(pilot, wizard, "p", folder)
        await until(pilot, lambda: "earlier; enter offers" in screen_text(wizard))
        await pilot.press("enter")
        await until(pilot, lambda: "Make another run, rehearsal-docs" in screen_text(wizard))
        await pilot.press("enter")
        await until(pilot, lambda: wizard.snapshot and wizard.snapshot.run == run)

    at_corpus(script)
    assert [each.name for each in list_runs(home())] == ["earlier"]


def test_a_gated_base_model_makes_no_run_where_no_gpu_passes(at_corpus, tmp_path):
    folder = distinct(tmp_path / "docs", 3)

    async def script(pilot, wizard):
        assert wizard.screen.primary() == "Choose"
        await type_path(pilot, wizard, "p", folder)
        await until(pilot, lambda: wizard.screen.primary() == "Scan")
        await pilot.press("enter")
        await until(pilot, lambda: "What is safe" in screen_text(wizard))

    at_corpus(script, profile="nvidia/llama-nemotron-embed-1b-v2")
    assert list_runs(home()) == []


def test_documents_of_which_none_is_usable_say_so_and_others_can_be_chosen(at_corpus, tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    run = make(folder)

    async def script(pilot, wizard):
        await pilot.press("enter")
        await until(pilot, lambda: "Something went wrong" in screen_text(wizard))
        assert "holds no usable document" in screen_text(wizard).replace("\n", " ")
        await pilot.press("escape")
        await until(pilot, lambda: "✗ failed" in screen_text(wizard))
        await type_path(pilot, wizard, "p", distinct(tmp_path / "others", 3))
        await scanned(pilot, wizard)
        assert "3 used" in screen_text(wizard)

    at_corpus(script, run=run)


@pytest.mark.parametrize(("score", "step"), [(8.0, "review"), (None, "train")])
def test_sdg_output_leads_straight_on(at_corpus, tmp_path, score, step):
    path = tmp_path / "made.jsonl"
    path.write_text(json.dumps(sdg_record(score)))
    run = make(path)

    async def script(pilot, wizard):
        await pilot.press("enter")
        await scanned(pilot, wizard)
        assert "came with the source: no call" in screen_text(wizard)
        went, started = [], []
        wizard.open_step, wizard.start = went.append, started.append
        await pilot.press("enter")
        assert (went, started) == ([step], [["sdg"]])

    at_corpus(script, run=run)


def test_own_queries_are_taken_and_what_is_no_beir_folder_is_refused(at_corpus, tmp_path):
    run = make(distinct(tmp_path / "docs", 3))
    queries = {f"q{number}": "what?" for number in range(3)}
    content = EvalSet(queries, {"p": WORDS}, {query: {"p": 1} for query in queries})
    write_beir(tmp_path / "tickets", content, "test")

    async def script(pilot, wizard):
        await pilot.press("enter")
        await scanned(pilot, wizard)
        await type_path(pilot, wizard, "v", tmp_path / "docs")
        await until(pilot, lambda: "no BEIR folder" in screen_text(wizard))
        wizard.screen.query_one("#prompt-field").value = str(tmp_path / "tickets")
        await pilot.press("enter")
        await until(pilot, lambda: "tickets (3 queries)" in screen_text(wizard))

    at_corpus(script, run=run)


def test_the_browser_goes_in_and_up_and_takes_a_folder(at_corpus, tmp_path, monkeypatch):
    distinct(tmp_path / "here" / "docs", 5)
    (tmp_path / "here" / "evil\x1b[2J").mkdir()
    (tmp_path / "here" / ".git").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    async def script(pilot, wizard):
        await until(pilot, lambda: wizard.screen.primary())
        await pilot.press("b")
        await until(pilot, lambda: "docs/" in screen_text(wizard))
        assert "evil[2J/" in screen_text(wizard)
        assert ".git" not in screen_text(wizard)
        await pilot.press("j")
        await until(pilot, lambda: "5 files in docs" in screen_text(wizard))
        await pilot.press("enter")
        await until(pilot, lambda: "00.md" in screen_text(wizard))
        await pilot.press("backspace")
        await until(pilot, lambda: "00.md" not in screen_text(wizard))
        await pilot.press("space")
        await until(pilot, lambda: "folder of 5 files" in screen_text(wizard))

    at_corpus(script)


# How it looks


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("size", [(80, 24), (120, 40), (60, 16)])
def test_the_table_looks_as_it_did(make_wizard, rehearsal_run, tmp_path, size, ascii_only):
    folder = tmp_path / "corpus"
    write_jsonl(folder / "report.jsonl", map(to_row, REPORT))
    for name in ("documents.jsonl", "passages.jsonl"):
        write_jsonl(folder / name, [])
    wizard = make_wizard(size=size, ascii_only=ascii_only)

    async def script(pilot):
        snapshot = snapshot_of(rehearsal_run, {"corpus": folder}, corpus="done", sdg="new")
        result = replace(snapshot.results["corpus"], summary=SUMMARY)
        wizard.snapshot = replace(snapshot, results={"corpus": result})
        wizard.open_step("corpus")
        await until(pilot, lambda: "Ahead" in screen_text(wizard))
        await until(pilot, lambda: "chars passages" in screen_text(wizard))
        await until(pilot, lambda: size[1] < 22 or "no remark" in screen_text(wizard))
        wizard.say("")
        await pilot.pause()
        kind = "ascii" if ascii_only else "unicode"
        assert_snapshot(f"corpus-{size[0]}x{size[1]}-{kind}", screen_text(wizard))

    drive(wizard, script, size)
