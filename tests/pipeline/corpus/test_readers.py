from __future__ import annotations

import io
import time
import zipfile

import docx
import pytest
from documents import pdf_bytes, pdf_paragraph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.corpus.pdf_reader import close_pdf_process
from pipeline.corpus.readers import read_content, suffix_of
from pipeline.corpus.reading import Reading, Skipped
from pipeline.corpus.text import normalise
from pipeline.settings import CorpusSettings

SETTINGS = CorpusSettings()


@pytest.fixture(autouse=True, scope="module")
def _ended():
    yield
    close_pdf_process()


def archive(*parts):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        for part in parts:
            made.writestr(part, "x")
    return stream.getvalue()


def word(*paragraphs):
    document, stream = docx.Document(), io.BytesIO()
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    document.save(stream)
    return stream.getvalue()


def pdf():
    line = "The pump feeds the ring and the valve regulates its flow."
    return pdf_bytes([pdf_paragraph([line] * 3)])


def read(name, content, given=SETTINGS):
    return read_content(name, content, given)


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
        ("a.rst", b"T\n=\n\nx", "rst", "T\n=\n\nx"),
        ("index.rst.txt", b"T\n=\n\nx", "rst", "T\n=\n\nx"),
        ("index.md.txt", b"x", "markdown", "x"),
        ("a.html", b"<p>x", "html", "x"),
        ("a.txt", b"\n<!-- c --> <html><p>x", "html", "x"),
        ("a.md", b"<?xml version='1.0'?><!DOCTYPE html><p>x", "html", "x"),
        ("a.htm", "<html><p>grüße".encode("utf-16"), "html", "grüße"),
    ],
)
def test_texts_are_read_by_content_and_suffix(name, content, kind, text):
    reading = read(name, content)
    assert isinstance(reading, Reading)
    assert (reading.kind, reading.text, reading.remark) == (kind, text, "")


@pytest.mark.parametrize("name", ["a.docx", "renamed.txt", "no_suffix"])
def test_a_word_document_is_known_by_its_members(name):
    reading = read(name, word("one", "two"))
    assert (reading.kind, reading.text) == ("docx", "one\n\ntwo")


@pytest.mark.parametrize("name", ["a.pdf", "renamed.txt", "no_suffix"])
def test_a_pdf_is_known_by_its_first_bytes(name):
    assert read(name, pdf()).kind == "pdf"


def test_a_pdf_by_name_may_begin_with_something_else():
    assert read("a.pdf", b"\n\n" + pdf()).kind == "pdf"


def test_front_matter_gives_the_title():
    assert read("a.md", b"---\ntitle: T\n---\nbody").title == "T"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.xlsx", archive("xl/workbook.xml"), "not read: a spreadsheet; save its tables as CSV"),
        ("a.pptx", archive("ppt/presentation.xml"), "not read: a presentation; save it as .pdf"),
        (
            "a.odt",
            archive("mimetype", "content.xml"),
            "not read: an OpenDocument file; save it as .docx or .pdf",
        ),
        (
            "a.epub",
            archive("mimetype", "META-INF/container.xml"),
            "not read: an EPUB book; save it as .html or .docx",
        ),
        ("a.zip", archive("readme.txt"), "not read: a zip archive"),
        ("a.zip", b"PK\x03\x04 torn", "not read: a damaged zip archive"),
        (
            "a.doc",
            b"\xd0\xcf\x11\xe0 old",
            "not read: an old Office document; save it as .docx or .pdf",
        ),
        (
            "a.docx",
            b"\xd0\xcf\x11\xe0" + "EncryptedPackage".encode("utf-16-le"),
            "encrypted: an Office document that needs a password",
        ),
        ("a.txt", b"abc\0def", "binary: it holds NUL bytes"),
        ("a.txt", b"", "the file is empty"),
        (
            "a.ipynb",
            b"{}",
            "not read: a Jupyter notebook; export it as Markdown or HTML",
        ),
        (
            "a.csv",
            b"a,b",
            "not read: a table among documents; give it as corpus.source by itself",
        ),
        (
            "a.py",
            b"x = 1",
            ".py files are not read; text, Markdown, HTML, RST, PDF and Word files are",
        ),
        ("a.png", b"\x89PNG\r\n", "not read: an image"),
        (
            "a.txt",
            b"bad \x81\x8d here",
            "its encoding is neither UTF-8 nor Windows-1252 (corpus.encoding)",
        ),
        ("a.txt", b"\xff\xfea", "its byte order mark says utf-16, but it is damaged"),
        ("a.txt", b"\x01\x02 text", "more than 1 % of it are control or replacement characters"),
    ],
)
def test_what_is_not_read_says_why(name, content, reason):
    skipped = read(name, content)
    assert isinstance(skipped, Skipped)
    assert skipped.reason == reason


def test_comments_of_a_configuration_file_are_no_headings():
    content = b"# first option\nport = 1\n\n# second option\nhost = x\n"
    assert read("config", content).kind == "text"


def test_a_long_or_numeric_suffix_is_none():
    assert suffix_of("a.TXT") == ".txt"
    assert suffix_of("v1.2") == suffix_of("about.everything_here") == suffix_of("x") == ""


def test_a_thousand_comments_cost_no_time():
    started = time.perf_counter()
    assert read("a.txt", b"<!---->" * 1100).kind == "text"
    assert time.perf_counter() - started < 1


NAMES = ["a.txt", "a.md", "a.rst", "a.html", "a.pdf", "a.docx", "a"]
SEEDS = [
    b"# T\n\ntext\n",
    b"T\n=\n\n.. code::\n\n   x\n\n+---+\n| x |\n+---+\n",
    b"<html><title>T</title><table><tr><td>a<td>b<tr><td rowspan=2>c</table><pre>x</pre><ul><li>y",
    word("one", "two"),
    pdf(),
    b"PK\x03\x04",
    b"%PDF-1.7\n",
    b"\xff\xfe<\0h\0t\0m\0l\0>\0",
]


@st.composite
def mutated(draw):
    content = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(content)))
        what = draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
        if what == "flip" and at < len(content):
            content[at] = draw(st.integers(0, 255))
        elif what == "cut":
            del content[at : at + draw(st.integers(0, 40))]
        elif what == "insert":
            content[at:at] = draw(st.binary(max_size=12))
        else:
            content[at:at] = content[at : at + 30]
    return bytes(content)


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(st.sampled_from(NAMES), st.one_of(mutated(), st.binary(max_size=300)))
def test_no_bytes_crash_a_reader_and_the_same_bytes_say_the_same(name, content):
    first = read(name, content)
    assert first == read(name, content)
    if isinstance(first, Skipped):
        assert first.reason
    else:
        assert first.text == normalise(first.text)
        assert "\n" not in first.title
