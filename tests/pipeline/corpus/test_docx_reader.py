from __future__ import annotations

import io
import re
import zipfile

import docx
import pytest
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.blocks import markdown_blocks
from pipeline.corpus.docx_reader import read_docx
from pipeline.corpus.reading import Reading, Skipped

MEGABYTES = 20


def saved(document):
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def changed(content, part, change):
    """The same archive with one part changed; None takes it out."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            data = change(data) if name == part else data
            if data is not None:
                new.writestr(name, data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def body(document, xml):
    """Put raw XML before the end of a document's body."""
    xml = re.sub(r"^<([\w:]+)", rf"<\1 {nsdecls('w', 'm')} {MC}", xml)
    document.element.body.insert(len(document.element.body) - 1, parse_xml(xml))


MC = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'


def text(document):
    reading = read_docx(saved(document), MEGABYTES)
    assert isinstance(reading, Reading), reading
    return reading.text


def test_headings_lists_and_paragraphs_keep_their_order():
    document = docx.Document()
    document.add_heading("Manual", 0)
    document.add_heading("Pump", 1)
    document.add_paragraph("First.")
    for style, words in [
        ("List Bullet", "a"), ("List Bullet 2", "b"), ("List Bullet", "c"),
        ("List Number", "d"), ("List Number", "e"),
    ]:  # fmt: skip
        document.add_paragraph(words, style=style)
    document.add_heading("Valve", 2)
    document.add_paragraph("Last.")
    assert text(document) == (
        "# Manual\n\n# Pump\n\nFirst.\n\n- a\n- b\n- c\n1. d\n2. e\n\n## Valve\n\nLast."
    )


def numbered(document, depth, words):
    paragraph = document.add_paragraph(words)
    properties = paragraph._p.get_or_add_pPr()
    numbers = f'<w:numPr {nsdecls("w")}><w:ilvl w:val="{depth}"/><w:numId w:val="77"/></w:numPr>'
    properties.append(parse_xml(numbers))


def test_items_nest_and_count_as_the_numbering_says():
    document = docx.Document()
    root = document.part.numbering_part.element
    levels = "".join(
        f'<w:lvl w:ilvl="{depth}"><w:start w:val="{start}"/><w:numFmt w:val="{form}"/></w:lvl>'
        for depth, start, form in [(0, 3, "decimal"), (1, 1, "bullet"), (2, 1, "lowerLetter")]
    )
    kind = f'<w:abstractNum {nsdecls("w")} w:abstractNumId="77">{levels}</w:abstractNum>'
    root.insert(0, parse_xml(kind))
    link = f'<w:num {nsdecls("w")} w:numId="77"><w:abstractNumId w:val="77"/></w:num>'
    root.append(parse_xml(link))
    for depth, words in [(2, "deep"), (0, "a"), (1, "b"), (1, "c"), (2, "d"), (2, "e"), (0, "f")]:
        numbered(document, depth, words)
    lines = ["1. deep", "3. a", "   - b", "   - c", "     1. d", "     2. e", "4. f"]
    assert text(document) == "\n".join(lines)
    assert [block.kind for block in markdown_blocks(text(document))] == ["list"]


def test_a_style_of_ones_own_is_a_heading_by_its_base_or_its_outline_level():
    document = docx.Document()
    own = document.styles.add_style("Kapitel", WD_STYLE_TYPE.PARAGRAPH)
    own.base_style = document.styles["Heading 2"]
    document.add_paragraph("By base", style="Kapitel")
    paragraph = document.add_paragraph("By level")
    level = parse_xml(f'<w:outlineLvl {nsdecls("w")} w:val="2"/>')
    paragraph._p.get_or_add_pPr().append(level)
    assert text(document) == "## By base\n\n### By level"


def test_merged_cells_say_their_text_in_each_of_their_places():
    document = docx.Document()
    table = document.add_table(3, 3)
    for row in range(3):
        for column in range(3):
            table.cell(row, column).text = f"{row}{column}"
    table.cell(0, 1).merge(table.cell(0, 2)).text = "wide"
    table.cell(1, 0).merge(table.cell(2, 0)).text = "a|b"
    assert text(document).split("\n") == [
        "| 00 | wide | wide |",
        "| --- | --- | --- |",
        "| a\\|b | 11 | 12 |",
        "| a\\|b | 21 | 22 |",
    ]


def test_a_box_of_one_cell_is_a_paragraph_and_a_table_in_a_table_loses_no_word():
    document = docx.Document()
    document.add_table(1, 1).cell(0, 0).text = "Note well"
    outer = document.add_table(2, 2)
    inner = outer.cell(1, 1).add_table(2, 2)
    inner.cell(1, 1).text = "within"
    outer.cell(0, 0).text = "outside"
    found = text(document)
    assert found.startswith("Note well\n\noutside")
    assert "within" in found


def test_code_styles_become_one_fence():
    document = docx.Document()
    document.styles.add_style("Source Code", WD_STYLE_TYPE.PARAGRAPH)
    for line in ["def f():", "    return '```'", "", "f()"]:
        document.add_paragraph(line, style="Source Code")
    assert text(document) == "````\ndef f():\n    return '```'\n\nf()\n````"


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        ("<w:sdt><w:sdtContent><w:p><w:r><w:t>control</w:t></w:r></w:p></w:sdtContent></w:sdt>",
         "control"),
        ("<w:p><w:r><w:t>a</w:t></w:r><w:ins w:id='1'><w:r><w:t>b</w:t></w:r></w:ins>"
         "<w:del w:id='2'><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>", "ab"),
        ("<w:p><w:hyperlink><w:r><w:t>link</w:t></w:r></w:hyperlink></w:p>", "link"),
        ("<w:p><w:r><w:t>un</w:t></w:r><w:r><w:t>broken</w:t></w:r></w:p>", "unbroken"),
        ("<w:p><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:noBreakHyphen/>"
         "<w:t>d</w:t></w:r></w:p>", "a b\nc-d"),
        ("<w:p><w:r><w:fldChar/><w:instrText>PAGE</w:instrText><w:t>7</w:t></w:r></w:p>", "7"),
        ("<w:p><w:r><w:t>host</w:t><mc:AlternateContent><mc:Choice><w:txbxContent><w:p><w:r>"
         "<w:t>box</w:t></w:r></w:p></w:txbxContent></mc:Choice><mc:Fallback><w:txbxContent>"
         "<w:p><w:r><w:t>box</w:t></w:r></w:p></w:txbxContent></mc:Fallback>"
         "</mc:AlternateContent></w:r></w:p>", "host\n\nbox"),
        ("<w:p><m:oMath><m:r><m:t>x=1</m:t></m:r></m:oMath></w:p>", "x=1"),
    ],
)  # fmt: skip
def test_what_word_shows_is_read_and_what_it_hides_is_not(xml, expected):
    document = docx.Document()
    body(document, xml)
    assert text(document) == expected


def test_footnotes_follow_their_paragraph():
    document = docx.Document()
    body(document, "<w:p><w:r><w:t>word</w:t><w:footnoteReference w:id='2'/></w:r></w:p>")
    document.add_paragraph("next")
    notes = (
        f"<w:footnotes {nsdecls('w')}><w:footnote w:id='0' w:type='separator'><w:p/></w:footnote>"
        "<w:footnote w:id='2'><w:p><w:r><w:t>the note</w:t>"
        "<w:footnoteReference w:id='2'/></w:r></w:p></w:footnote></w:footnotes>"
    )
    content = saved(document)
    with zipfile.ZipFile(stream := io.BytesIO(content), "a") as archive:
        archive.writestr("word/footnotes.xml", notes)
    assert read_docx(stream.getvalue(), MEGABYTES).text == "word\n\nthe note\n\nnext"


def test_a_paragraph_stays_a_paragraph_whatever_it_says():
    document = docx.Document()
    for line in ["# not a heading", "```", "---", "| --- | --- |", "<div>", "a\n==="]:
        document.add_paragraph(line)
    assert {block.kind for block in markdown_blocks(text(document))} == {"paragraph"}
    assert len(markdown_blocks(text(document))) == 6


def test_the_title_is_that_of_the_properties():
    document = docx.Document()
    document.core_properties.title = "The\nmanual"
    document.add_paragraph("x")
    assert read_docx(saved(document), MEGABYTES).title == "The manual"


def one_paragraph():
    document = docx.Document()
    document.add_paragraph("words")
    return saved(document)


def test_dangling_parts_and_strict_names_are_no_reason_to_refuse():
    content = one_paragraph()
    for part in ("word/styles.xml", "word/numbering.xml", "docProps/core.xml", "_rels/.rels"):
        assert read_docx(changed(content, part, lambda _: None), MEGABYTES).text == "words"
    strict = changed(
        content,
        "word/document.xml",
        lambda data: data.replace(
            b"http://schemas.openxmlformats.org/wordprocessingml/2006/main",
            b"http://purl.oclc.org/ooxml/wordprocessingml/main",
        ),
    )
    assert read_docx(strict, MEGABYTES).text == "words"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:100], "its XML cannot be parsed"),
        (lambda data: None, "its text is not in the archive"),
        (lambda data: b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>", "its XML cannot be parsed"),
        (lambda data: b"<?xml version='1.0' encoding='foo'?><x/>", "its XML cannot be parsed"),
        (lambda data: b"<?xml version='1.0' encoding='utf-7'?><x/>", "its XML cannot be parsed"),
        (lambda data: b"<x/>", "no text"),
        (lambda data: b" " * 61_000_000, "it unpacks to 61 MB, more than 3 x corpus.file_mega"),
    ],
)
def test_a_damaged_document_says_how(change, reason):
    skipped = read_docx(changed(one_paragraph(), "word/document.xml", change), MEGABYTES)
    assert isinstance(skipped, Skipped)
    assert reason in skipped.reason


def test_an_encrypted_member_is_said_to_be_so():
    content = bytearray(one_paragraph())
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        for found in re.finditer(re.escape(mark), bytes(content)):
            content[found.start() + offset] |= 1
    assert "encrypted" in read_docx(bytes(content), MEGABYTES).reason


def test_content_that_nests_deeper_than_pythons_stack_is_read():
    document = docx.Document()
    document.add_paragraph("words")

    def nested(data):
        start = data.index(b"<w:p>")
        end = data.index(b"</w:p>") + 6
        many = 3000
        return data[:start] + b"<w:sdt>" * many + data[start:end] + b"</w:sdt>" * many + data[end:]

    assert read_docx(changed(saved(document), "word/document.xml", nested), MEGABYTES).text == (
        "words"
    )


PARAGRAPHS = st.sampled_from(
    [
        "<w:p><w:r><w:t>WORD</w:t></w:r></w:p>",
        "<w:p><w:pPr><w:pStyle w:val='Heading1'/></w:pPr><w:r><w:t># WORD</w:t></w:r></w:p>",
        "<w:p><w:pPr><w:outlineLvl w:val='99'/></w:pPr><w:ins><w:r><w:t>WORD</w:t></w:r></w:ins>"
        "</w:p>",
        "<w:p><w:pPr><w:numPr><w:ilvl w:val='-1'/><w:numId w:val='x'/></w:numPr></w:pPr><w:r>"
        "<w:br/><w:t>WORD</w:t><w:tab/></w:r></w:p>",
        "<w:p><w:r><w:t>WORD</w:t><w:txbxContent><w:p><w:r><w:t>WORD</w:t></w:r></w:p>"
        "</w:txbxContent></w:r></w:p>",
        "<w:p><!-- c --><?pi x?></w:p>",
    ]
)
STYLES = (
    f"<w:styles {nsdecls('w')}><w:style w:type='paragraph' w:styleId='Heading1'>"
    "<w:name w:val='heading 1'/></w:style></w:styles>"
)
CELL_FORMS = st.sampled_from(
    ["", "<w:gridSpan w:val='3'/>", "<w:vMerge w:val='restart'/>", "<w:gridSpan w:val='0'/>"]
)


def wrapped(inner):
    blocks = st.lists(inner, max_size=3).map("".join)
    cell = st.builds("<w:tc><w:tcPr>{}</w:tcPr>{}</w:tc>".format, CELL_FORMS, blocks)
    row = st.lists(cell, max_size=3).map(lambda cells: f"<w:tr>{''.join(cells)}</w:tr>")
    table = st.lists(row, max_size=3).map(lambda rows: f"<w:tbl>{''.join(rows)}</w:tbl>")
    return st.one_of(table, blocks.map("<w:sdt><w:sdtContent>{}</w:sdtContent></w:sdt>".format))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.lists(st.recursive(PARAGRAPHS, wrapped, max_leaves=8), max_size=4).map("".join))
def test_no_word_of_a_document_is_lost(xml):
    count = xml.count("WORD")
    for at in range(count):
        xml = xml.replace("WORD", f"w{at}z", 1)
    xml = f"<w:document {nsdecls('w')}><w:body>{xml}</w:body></w:document>"
    with zipfile.ZipFile(stream := io.BytesIO(), "w") as archive:
        archive.writestr("word/document.xml", xml)
        archive.writestr("word/styles.xml", STYLES)
    read = read_docx(stream.getvalue(), MEGABYTES)
    found = getattr(read, "text", "")
    assert [at for at in range(count) if f"w{at}z" not in found] == []
