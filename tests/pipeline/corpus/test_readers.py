from __future__ import annotations

import io
import zipfile

import pytest

from pipeline.corpus.readers import Reading, Skipped, read_content, suffix_of


def office(part):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(part, "x")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "kind", "text"),
    [
        ("a.txt", b"plain", "text", "plain"),
        ("a.md", b"# T\n\nx", "markdown", "# T\n\nx"),
        ("A.MARKDOWN", b"x", "markdown", "x"),
        ("README", b"words", "text", "words"),
        ("notes.2024", b"words", "text", "words"),
        ("README", b"# One\n\nx\n\n## Two\n\ny", "markdown", "# One\n\nx\n\n## Two\n\ny"),
        ("a.txt", b"\xef\xbb\xbfgr\xc3\xbc\xc3\x9fe", "text", "grüße"),
        ("a.txt", "grüße".encode("utf-16"), "text", "grüße"),
        ("a.txt", "grüße".encode("utf-32"), "text", "grüße"),
        ("a.md", b"---\ntitle: T\n---\nbody", "markdown", "body"),
    ],
)
def test_text_and_markdown_are_read_by_content_and_suffix(name, content, kind, text):
    reading = read_content(name, content)
    assert isinstance(reading, Reading)
    assert (reading.kind, reading.text, reading.remark) == (kind, text, "")


def test_a_windows_file_is_read_and_flagged():
    reading = read_content("a.txt", "Preis: 5 € für „Größe“, déjà".encode("cp1252"))
    assert isinstance(reading, Reading)
    assert reading.text == "Preis: 5 € für „Größe“, déjà"
    assert "Windows-1252" in reading.remark


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.pdf", b"%PDF-1.7 ...", "PDF is not read yet"),
        ("renamed.txt", b"%PDF-1.7 ...", "PDF is not read yet"),
        ("a.docx", office("word/document.xml"), "a Word document: not read yet"),
        ("a.xlsx", office("xl/workbook.xml"), "a spreadsheet: not read yet"),
        ("a.zip", office("readme.txt"), "a zip archive or Office document: not read yet"),
        ("a.txt", b"abc\0def", "binary: it holds NUL bytes"),
        ("a.txt", b"", "the file is empty"),
        ("a.html", b"<!DOCTYPE html><p>x", "HTML is not read yet"),
        ("a.txt", b"\n<html><p>x", "HTML is not read yet"),
        ("a.py", b"x = 1", ".py files are not read yet; text and Markdown are"),
        ("a.txt", b"bad \x81\x8d here", "its encoding is neither UTF-8 nor Windows-1252"),
        ("a.txt", b"\xff\xfea", "its byte order mark says utf-16, but it is damaged"),
        ("a.txt", b"\x01\x02 text", "more than 1 % of it are control or replacement characters"),
    ],
)
def test_what_is_not_read_says_why(name, content, reason):
    skipped = read_content(name, content)
    assert isinstance(skipped, Skipped)
    assert skipped.reason == reason


def test_comments_of_a_configuration_file_are_no_headings():
    content = b"# first option\nport = 1\n\n# second option\nhost = x\n"
    assert read_content("config", content).kind == "text"


def test_a_long_or_numeric_suffix_is_none():
    assert suffix_of("a.TXT") == ".txt"
    assert suffix_of("v1.2") == suffix_of("about.everything_here") == suffix_of("x") == ""
