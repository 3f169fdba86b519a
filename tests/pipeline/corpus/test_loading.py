from __future__ import annotations

import io
from dataclasses import replace

import docx
from documents import pdf_bytes, pdf_paragraph

from pipeline.corpus import pdf_reader
from pipeline.corpus.loading import load
from pipeline.corpus.source import open_source
from pipeline.corpus.spool import Spool
from pipeline.settings import CorpusSettings

LONG = "The valve regulates the flow of the coolant through the ring."


def word(text):
    document, stream = docx.Document(), io.BytesIO()
    document.add_paragraph(text)
    document.save(stream)
    return stream.getvalue()


def loaded(folder, files, **given):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    settings = CorpusSettings(source=str(folder), **given)
    steps = []
    source = open_source(str(folder), settings)
    with Spool() as spool:
        read = load(source, settings, lambda *step: steps.append(step), spool)
        result = replace(read, entries=tuple(entry.held() for entry in read.entries))
    assert [step[0] for step in steps] == list(range(1, len(files) + 1))
    return result


def test_a_folder_of_every_format_is_read(tmp_path):
    result = loaded(
        tmp_path / "docs",
        {
            "a.txt": LONG.encode(),
            "b.md": f"# Pump\n\n{LONG}".encode(),
            "c.html": f"<title>Ring</title><p>{LONG}".encode(),
            "d.docx": word(LONG),
            "e.pdf": pdf_bytes([pdf_paragraph([LONG])], title="Valve"),
            "f.rst": f"Pump\n====\n\n{LONG}".encode(),
            "g.bin": b"\0\1",
        },
    )
    kinds = [entry.kind for entry in result.entries]
    assert kinds == ["text", "markdown", "html", "docx", "pdf", "rst"]
    assert all(LONG in entry.text for entry in result.entries)
    titles = [entry.title for entry in result.entries]
    assert titles == ["a", "b", "Ring", "d", "Valve", "f"]
    assert [(one.path, one.status) for one in result.unused] == [("g.bin", "skipped")]
    assert pdf_reader._SERVICE._process is None


def test_the_limits_and_the_encoding_are_the_settings(tmp_path):
    files = {
        "big.txt": b"words " * 200_000,
        "old.txt": ("документ " * 20).encode("koi8-r"),
        "long.pdf": pdf_bytes([pdf_paragraph([LONG])] * 3),
    }
    given = {"file_megabytes_max": 1, "pdf_pages_max": 2, "encoding": "koi8-r"}
    result = loaded(tmp_path / "docs", files, **given)
    assert {one.path: one.reason for one in result.unused} == {
        "big.txt": "larger than 1 MB (corpus.file_megabytes_max)",
        "long.pdf": "3 pages; corpus.pdf_pages_max is 2",
    }
    assert result.entries[0].text.startswith("документ")
    assert result.warnings == ("1 files are no UTF-8 and were read as koi8-r (corpus.encoding).",)
    more = loaded(tmp_path / "docs", files, file_megabytes_max=2, encoding="koi8-r")
    assert more.unused == ()
