"""Loading a source: its files read one by one, each used or reported with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from pipeline.corpus.beir_source import load_beir
from pipeline.corpus.decoding import GUESSED
from pipeline.corpus.entries import Entry, Loaded
from pipeline.corpus.hf_source import load_dataset_rows
from pipeline.corpus.pdf_reader import close_pdf_process
from pipeline.corpus.pydoc_source import MODULES, render_modules
from pipeline.corpus.readers import read_content
from pipeline.corpus.reading import Reading, Skipped
from pipeline.corpus.ready_source import load_ready
from pipeline.corpus.records import FileReport
from pipeline.corpus.sdg_source import load_sdg
from pipeline.corpus.source import Source, SourceFile
from pipeline.corpus.spool import Spool
from pipeline.corpus.text import normalise
from pipeline.errors import StageFailure
from pipeline.run import datasets_cache
from pipeline.settings import CorpusSettings

Step = Callable[[int, int, str], None]
"""Called after each piece: done, total, what. It may raise to end the stage."""


def load(source: Source, settings: CorpusSettings, step: Step, spool: Spool) -> Loaded:
    """Read everything that a source holds; the texts of files go to `spool`.

    Raises:
        BadInput: a BEIR folder is damaged, or a dataset cannot be read.
        MissingPart: the process that reads a dataset died.
        StageFailure: the process that renders `pydoc` died, or the one that reads PDF files hung.
    """
    try:
        loaded = _load(source, settings, step, spool)
    finally:
        close_pdf_process()
    return replace(loaded, unused=(*loaded.unused, *source.left_out))


def _load(source: Source, settings: CorpusSettings, step: Step, spool: Spool) -> Loaded:
    if source.kind == "beir" and source.root:
        return load_beir(source.root)
    if source.kind == "sdg":
        return load_sdg(source, lambda done: step(done, 0, "records read"))
    if source.kind == "ready":
        return load_ready(source, settings, lambda done: step(done, 0, "rows read"))
    if source.kind == "hf":
        return load_dataset_rows(source, settings.text_field, datasets_cache(), step)
    read = _pydoc() if source.kind == "pydoc" else _files(source, settings)
    total = len(MODULES) if source.kind == "pydoc" else len(source.files)
    entries: list[Entry] = []
    unused: list[FileReport] = []
    guessed = 0
    for done, one in enumerate(read, start=1):
        if isinstance(one, Entry):
            entries.append(one.spooled(spool))
            guessed += GUESSED in one.remark
        else:
            unused.append(one)
        step(done, total, "documents read")
    warnings = (_guess_warning(guessed, settings.encoding),) if guessed else ()
    return Loaded(tuple(entries), tuple(unused), warnings=warnings)


def _pydoc() -> Iterator[Entry | FileReport]:
    try:
        for rendering in render_modules():
            path = f"{rendering.module}.md"
            if rendering.reason:
                yield FileReport(path, "pydoc", "skipped", rendering.reason)
            else:
                yield Entry(path, "pydoc", normalise(rendering.text))
    except ChildProcessError as error:
        raise StageFailure(
            f"The standard library's documentation could not be rendered: {error}",
            safe="Nothing was changed.",
            next_step="Run the same command again, or give a folder of documents.",
        ) from error


def _files(source: Source, settings: CorpusSettings) -> Iterator[Entry | FileReport]:
    for file in source.files:
        read = _read_file(file, settings)
        if isinstance(read, Skipped):
            yield FileReport(file.name, read.kind, "skipped", read.reason)
            continue
        characters = len(read.text.strip())
        if characters < settings.document_characters_min:
            least = settings.document_characters_min
            reason = f"{characters} characters; corpus.document_characters_min is {least}"
            yield FileReport(file.name, read.kind, "skipped", reason, characters)
            continue
        title = read.title or PurePosixPath(file.name).stem
        yield Entry(file.name, read.kind, read.text, title, read.remark)


def _read_file(file: SourceFile, settings: CorpusSettings) -> Reading | Skipped:
    most = settings.file_megabytes_max
    try:
        size = file.path.stat().st_size
        if size > most * 1_000_000:
            return Skipped(f"larger than {most} MB (corpus.file_megabytes_max)")
        content = file.path.read_bytes()
    except OSError as error:
        return Skipped(f"it cannot be read: {error.strerror or error}")
    return read_content(file.name, content, settings)


def _guess_warning(guessed: int, encoding: str) -> str:
    return f"{guessed} files are no UTF-8 and were read as {encoding} (corpus.encoding)."
