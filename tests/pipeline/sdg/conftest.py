"""A small corpus of real documentation, and what a worker hands to the stage."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from endpoint import MODEL, ScriptedEndpoint

from pipeline.context import Context
from pipeline.corpus.pydoc_source import render_module
from pipeline.corpus.records import DOCUMENTS, PASSAGES, Document, Passage, to_row
from pipeline.files import digest_value, write_jsonl
from pipeline.journal import JournalWriter, read_journal
from pipeline.profiles import REHEARSAL_PROFILE, base_recipe, find_profile
from pipeline.requests import Requests
from pipeline.run import Result, create_run
from pipeline.sdg.consent import leaving, record_consent

MODULES = {"bisect": "train", "textwrap": "test", "queue": "train", "shelve": "dev"}
KEY = "nvapi-0123456789abcdefSECRET"


def document_of(module, role, text, fold=0):
    """A document and its passages: a heading with what stands below it, short ones joined."""
    identity = digest_value(text)
    document = Document(identity, f"{module}.md", module, text, f"g-{module}", fold, role)
    passages, start, headings = [], 0, ()
    borders = [match.start() for match in re.finditer(r"^#", text, re.MULTILINE)]
    for border in [*borders[1:], len(text)]:
        if border - start < 300 and border < len(text):
            continue
        body = text[start:border].rstrip()
        headings = (module, body.split("\n")[0].lstrip("# "))
        passages.append(
            Passage(
                id="p-" + digest_value([identity, start])[:16],
                document=identity,
                start=start,
                end=start + len(body),
                text=body,
                headings=headings,
                tokens=len(body.split()),
                role=role,
            )
        )
        start = border
    return document, passages


def write_corpus(folder: Path, documents, passages):
    """A corpus result's files."""
    write_jsonl(folder / DOCUMENTS, map(to_row, documents))
    write_jsonl(folder / PASSAGES, map(to_row, passages))
    return Result(folder, "corpus", "f", "d", {}, "made", False, 0.0, 0.0)


@pytest.fixture(scope="session")
def library():
    """Documents and passages of four modules of the standard library."""
    documents, passages = [], []
    for module, role in MODULES.items():
        document, cut = document_of(module, role, render_module(module).text)
        documents.append(document)
        passages += cut
    return documents, passages


class Events:
    """Every event of the stage, in its journal."""

    def __init__(self, journal):
        self._journal = journal

    def progress(self, done, total, what):
        self._journal.write("progress", done=done, total=total, what=what)

    def metric(self, **values):
        self._journal.write("metric", **values)

    def log(self, message, *, level="info"):
        self._journal.write("log", message=message, level=level)

    def artifact(self, path, what):
        self._journal.write("artifact", path=path, what=what)

    def resumed(self, **where):
        self._journal.write("resumed", **where)


@dataclass
class Bench:
    """One run with a corpus; `context` gives what one call of the stage is handed."""

    path: Path
    corpus: Result
    overrides: dict
    agreed: bool = True

    def context(self, name="result", **overrides):
        """A context; settings by dotted name with `__` for the dot."""
        changed = self.overrides | {key.replace("__", "."): v for key, v in overrides.items()}
        profile = find_profile(REHEARSAL_PROFILE)
        run = create_run(self.path, profile, changed, "a test")
        if self.agreed and (what := leaving(self.corpus.folder, run.recipe().sdg)):
            record_consent(run, what, time.time)
        folder = self.path / "sdg" / name
        folder.mkdir(parents=True, exist_ok=True)
        journal = JournalWriter(folder / "journal.jsonl")
        return Context(
            run=run,
            recipe=run.recipe(),
            profile=profile,
            variant="",
            folder=folder,
            inputs={"corpus": self.corpus},
            events=Events(journal),
            control=Requests(folder / "requests.jsonl", journal),
            device="cpu",
            cache=self.path / "cache",
        )

    def events(self, name="result"):
        """What the stage wrote into its journal."""
        return read_journal(self.path / "sdg" / name / "journal.jsonl")


@pytest.fixture
def bench(tmp_path, library):
    """A run on the small corpus, writing offline."""
    # The base model takes seconds to load, and few tests are about it.
    settings = {"sdg.rank_with": "bm25"}
    return Bench(tmp_path / "run", write_corpus(tmp_path / "corpus", *library), settings)


@pytest.fixture
def endpoint():
    """A scripted endpoint that behaves."""
    with ScriptedEndpoint() as server:
        yield server


@pytest.fixture
def asking(bench, endpoint, monkeypatch):
    """A run on the small corpus that asks the scripted endpoint, with a key."""
    monkeypatch.setenv("NVIDIA_API_KEY", KEY)
    settings = bench.overrides | {
        "sdg.writer": "endpoint",
        "sdg.base_url": endpoint.base_url,
        "sdg.model": MODEL,
        "sdg.timeout_seconds": 5.0,
    }
    return replace(bench, overrides=settings)


@pytest.fixture
def settings(endpoint):
    """Settings that mean the scripted endpoint."""
    published = base_recipe(find_profile(REHEARSAL_PROFILE)).sdg
    return replace(
        published,
        writer="endpoint",
        base_url=endpoint.base_url,
        model=MODEL,
        timeout_seconds=2.0,
    )
