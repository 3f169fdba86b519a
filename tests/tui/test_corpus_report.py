"""What `embedsmith corpus` shows before anything is spent."""

import pytest
from commandline import Cli
from documents import WORDS

from pipeline.corpus.records import FileReport
from tui.commands.corpus_report import FILES_SHOWN, REASONS_SHOWN, file_line, totals_lines

RUN = "rehearsal-documents"
TOKEN = "ghp_" + "Zq8Lx2Vw" * 5


@pytest.fixture
def cli(tmp_path):
    return Cli(tmp_path / "home")


@pytest.fixture
def documents(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(FILES_SHOWN + 2):
        words = " ".join(f"word{number}x{n}" for n in range(40))
        (folder / f"{number:02}.md").write_text(f"# Part {number}\n\n{words}. {WORDS}")
    (folder / "short.txt").write_text("too short")
    (folder / "tiny.txt").write_text("short")
    with (folder / "03.md").open("a") as stream:
        stream.write(f"\n\nUse {TOKEN} and write to jane.doe@kernel.org.\n")
    return folder


def test_a_person_sees_totals_reasons_findings_and_what_would_leave(cli, documents):
    cli("rehearse", documents, "--to", "corpus")
    asking = ("--set", "sdg.writer=endpoint", "--set", "sdg.base_url=https://llm.example.com/v1")
    shown = cli("corpus", RUN, *asking).out
    assert "used           12: 12 markdown" in shown
    assert "skipped         2: 2 text" in shown
    assert "2 skipped: corpus.document_characters_min is 50" in shown
    assert "00.md " in shown
    assert "4 more: " in shown
    assert "report.jsonl" in shown
    assert "1 suspected secrets and 1 pieces of personal data in 1 documents" in shown
    assert "03.md, line 5: GitHub token, gh… (44 characters)" in shown
    assert TOKEN not in shown
    assert "jane.doe" not in shown
    assert "of 12 documents" in shown
    assert "go to llm.example.com, outside of this machine; nothing is sent before" in shown
    offline = cli("corpus", RUN, "--set", "sdg.writer=offline").out
    assert "Writing questions would send nothing anywhere." in offline


def test_programs_get_every_file_and_finding_in_a_line(cli, documents):
    cli("rehearse", documents, "--to", "corpus")
    lines = cli("corpus", RUN, "--json").lines
    files = [line for line in lines if line["type"] == "file"]
    assert [line["path"] for line in files] == sorted(path.name for path in documents.iterdir())
    (counts,) = [line for line in lines if line["type"] == "findings"]
    assert (counts["secrets"], counts["personal"], counts["documents"]) == (1, 1, 1)
    found = [line for line in lines if line["type"] == "finding"]
    assert [(line["path"], line["line"]) for line in found] == [("03.md", 5)] * 2
    assert TOKEN not in str(lines)


def test_many_reasons_are_cut_and_the_commonest_come_first():
    report = [FileReport(f"{n}.x", "unknown", "skipped", f"reason {n % 12}") for n in range(25)]
    lines = totals_lines(report)
    assert lines[1].split() == ["3", "skipped:", "reason", "0"]
    assert lines[-1].strip() == f"and for {12 - REASONS_SHOWN} other reasons"


def test_a_long_path_keeps_its_end():
    line = file_line(FileReport("a" * 90 + "/end.md", "markdown", "used", "", 1234567, 89))
    assert line.startswith("…")
    assert "/end.md markdown   1,234,567       89  used" in line
