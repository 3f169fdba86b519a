from __future__ import annotations

import signal
import sys

import pytest
from documents import pdf_bytes, pdf_line, pdf_paragraph

from pipeline.corpus import pdf_reader
from pipeline.corpus.pdf_reader import close_pdf_process, read_pdf
from pipeline.corpus.reading import Reading, Skipped
from pipeline.errors import StageFailure

PAGES = 2000
LONG = "The valve regulates the flow of the coolant through the"


@pytest.fixture(autouse=True)
def _ended():
    yield
    close_pdf_process()


def read(*pages, **more):
    return read_pdf("a.pdf", pdf_bytes(pages, **more), PAGES)


def text(*pages, **more):
    reading = read(*pages, **more)
    assert isinstance(reading, Reading), reading
    return reading.text


def test_lines_become_paragraphs_and_broken_words_are_whole():
    page = [
        *pdf_paragraph([LONG, "outer ring of the reac-", "tor (as built). It is well-", "known."]),
        *pdf_paragraph([LONG, "well-known pump."], top=600),
    ]
    assert text(page) == (
        f"{LONG} outer ring of the reactor (as built). It is well-known.\n\n{LONG} well-known pump."
    )


def test_a_paragraph_goes_on_over_the_end_of_a_page():
    first, second = pdf_paragraph([LONG, LONG, "outer"]), pdf_paragraph(["ring."])
    assert text(first, second) == f"{LONG} {LONG} outer ring."


def test_larger_type_is_a_heading_by_its_size():
    page = [
        pdf_line("The manual", y=740, size=24),
        pdf_line("Pumps and valves", y=700, size=16),
        *pdf_paragraph([LONG, LONG, LONG], top=670),
        pdf_line("Filters", y=560, size=16),
        *pdf_paragraph([LONG, LONG], top=530),
    ]
    found = text(page)
    assert found.startswith(f"# The manual\n\n## Pumps and valves\n\n{LONG} {LONG}")
    assert "\n\n## Filters\n\n" in found


def test_the_outline_names_the_headings_where_there_is_one():
    page = [
        pdf_line("ACME INC", y=740, size=30),
        pdf_line("2.1 Pumps", y=700),
        *pdf_paragraph([LONG, LONG], top=670),
    ]
    found = text(page, outline=[("Pumps", 0)], title="Manual")
    assert found == f"ACME INC\n\n# 2.1 Pumps\n\n{LONG} {LONG}"


def test_type_that_is_large_everywhere_says_nothing():
    slide = [pdf_line(LONG, y=700, size=20), pdf_line(LONG, y=650, size=12)]
    assert "#" not in text(slide, slide)


def test_code_and_lists_keep_their_lines():
    page = [
        *pdf_paragraph([LONG + ":"]),
        pdf_line("def run():", y=680, font="F2"),
        pdf_line("return 1", x=72 + 4 * 6.6, y=666, font="F2"),
        pdf_line("- one thing", y=630),
        pdf_line("- another, and it", y=616),
        pdf_line("goes on", y=602),
    ]
    assert text(page) == (
        f"{LONG}:\n\n```\ndef run():\n    return 1\n```\n\n- one thing\n- another, and it goes on"
    )


def test_running_heads_and_page_numbers_are_removed():
    pages = [
        [
            pdf_line("ACME pump manual", y=770),
            *pdf_paragraph([f"{LONG} part {'abcde'[at]}.", LONG + " end."]),
            pdf_line(f"Page {at + 3} of 9", y=30),
        ]
        for at in range(5)
    ]
    found = text(*pages)
    assert "ACME" not in found
    assert "Page" not in found
    assert all(f"part {letter}." in found for letter in "abcde")


def test_pages_that_are_alike_hold_no_running_heads():
    assert text(*[pdf_paragraph([LONG])] * 4).count(LONG) == 4


def test_what_a_page_says_never_becomes_other_structure():
    assert text(pdf_paragraph(["# not a heading", LONG])).startswith("\\# not a heading The valve")


def test_the_title_is_that_of_the_file():
    assert read(pdf_paragraph([LONG]), title="Microsoft Word - Manual").title == "Manual"
    assert read(pdf_paragraph([LONG]), title="untitled").title == ""


def test_an_order_that_jumps_is_a_remark():
    lines = [pdf_line(f"{LONG} {at}.", y=100 + 40 * at) for at in range(10)]
    assert "order of its text is doubtful" in read(lines).remark
    columns = [*pdf_paragraph([LONG[:30]] * 20), *pdf_paragraph([LONG[:30]] * 20, x=320)]
    assert read(columns).remark == ""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pdf_bytes([pdf_paragraph([LONG])], encrypted=True), "encrypted: a password is needed"),
        (pdf_bytes([[], [pdf_line("7")]]), "scanned, needs OCR: 1 characters on 2 pages"),
        (pdf_bytes([pdf_paragraph([LONG])] * 3), "3 pages; corpus.pdf_pages_max is 2"),
        (b"%PDF-1.7 torn", "a damaged PDF: it cannot be opened"),
        (pdf_bytes([]), "a damaged PDF: it cannot be opened"),
    ],
)
def test_what_cannot_be_read_says_why(content, reason):
    skipped = read_pdf("a.pdf", content, 2)
    assert isinstance(skipped, Skipped)
    assert reason in skipped.reason


def stand_in(tmp_path, monkeypatch, script):
    """Another program in the place of the process that reads PDF files."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    close_pdf_process()
    monkeypatch.setattr(sys, "executable", str(path))


def test_a_crash_costs_one_file(tmp_path, monkeypatch):
    good, python = pdf_bytes([pdf_paragraph([LONG])]), sys.executable
    stand_in(tmp_path, monkeypatch, "kill -SEGV $$")
    skipped = read_pdf("bad.pdf", good, PAGES)
    assert isinstance(skipped, Skipped)
    assert "crashes the reader" in skipped.reason
    monkeypatch.setattr(sys, "executable", python)
    assert read_pdf("good.pdf", good, PAGES).text == LONG


def test_a_crash_that_does_not_come_back_is_forgotten(tmp_path, monkeypatch):
    mark = tmp_path / "crashed"
    script = f'if [ -e {mark} ]; then exec {sys.executable} "$@"; fi; touch {mark}; kill -ABRT $$'
    stand_in(tmp_path, monkeypatch, script)
    assert read_pdf("a.pdf", pdf_bytes([pdf_paragraph([LONG])]), PAGES).text == LONG


@pytest.mark.parametrize("script", ["exec sleep 60", "kill -KILL $$", "exit 3"])
def test_what_says_nothing_of_the_file_ends_the_stage_and_names_it(tmp_path, monkeypatch, script):
    monkeypatch.setattr(pdf_reader, "_PATIENCE", 0.3)
    stand_in(tmp_path, monkeypatch, script)
    with pytest.raises(StageFailure, match=r"slow\.pdf") as failure:
        read_pdf("slow.pdf", pdf_bytes([pdf_paragraph([LONG])]), PAGES)
    assert "corpus.exclude" in failure.value.next_step


def test_the_process_is_told_no_key(tmp_path, monkeypatch):
    monkeypatch.setenv("NVIDIA_API_KEY", "secret")
    seen = tmp_path / "environment"
    stand_in(tmp_path, monkeypatch, f'env > {seen}; exec {sys.executable} "$@"')
    read_pdf("a.pdf", pdf_bytes([pdf_paragraph([LONG])]), PAGES)
    assert "secret" not in seen.read_text()


def test_who_ends_the_stage_does_not_end_the_process_under_it():
    read(pdf_paragraph([LONG]))
    process = pdf_reader._SERVICE._process
    process.terminate()
    process.send_signal(signal.SIGINT)
    assert read(pdf_paragraph([LONG])).text == LONG
    assert pdf_reader._SERVICE._process is process


def test_one_process_serves_many_files_and_ends():
    for _ in range(3):
        assert read(pdf_paragraph([LONG])).text == LONG
    process = pdf_reader._SERVICE._process
    assert process is not None
    close_pdf_process()
    assert process.returncode == 0
