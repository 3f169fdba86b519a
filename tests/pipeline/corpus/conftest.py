"""Surroundings of the corpus tests: a real run, recorded events, real token counters."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pipeline.beir import EvalSet, write_beir
from pipeline.context import Context
from pipeline.corpus.stage import execute
from pipeline.corpus.tokens import TokenCounter, profile_counter
from pipeline.profiles import REHEARSAL_PROFILE, find_profile
from pipeline.run import Run, create_run


@dataclass
class RecordedEvents:
    """Keeps what a stage wrote."""

    progressed: list = field(default_factory=list)
    logged: list = field(default_factory=list)
    artifacts: list = field(default_factory=list)

    def progress(self, done, total, what):
        self.progressed.append((done, total, what))

    def metric(self, **values):
        raise AssertionError("corpus measures nothing")

    def log(self, message, *, level="info"):
        self.logged.append((level, message))

    def artifact(self, path, what):
        self.artifacts.append(path)

    def resumed(self, **where):
        raise AssertionError("corpus has nothing to resume")


class CountdownControl:
    """Raises the given exception at the n-th poll; never without one."""

    finish_asked = False

    def __init__(self, polls=0, error=None):
        self._left, self._error = polls, error

    def poll(self):
        self._left -= 1
        if self._error is not None and self._left < 0:
            raise self._error


class Workshop:
    """Makes runs, and executes the stage on them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self.events = RecordedEvents()

    def run(self, source, **overrides) -> Run:
        settings = {"corpus.source": str(source)}
        settings |= {f"corpus.{name}": value for name, value in overrides.items()}
        path = self._folder / f"run-{next(self._numbers)}"
        return create_run(path, find_profile(REHEARSAL_PROFILE), settings, "test")

    def execute(self, run, control=None):
        """The outcome, and the folder of the result."""
        self.events = RecordedEvents()
        folder = self._folder / f"result-{next(self._numbers)}"
        folder.mkdir()
        recipe = run.recipe()
        context = Context(
            run=run,
            recipe=recipe,
            profile=find_profile(recipe.profile),
            variant="",
            folder=folder,
            inputs={},
            events=self.events,
            control=control or CountdownControl(),
            device="cpu",
            cache=self._folder / "cache",
        )
        return execute(context), folder

    def make(self, source, **overrides):
        return self.execute(self.run(source, **overrides))


@pytest.fixture
def workshop(tmp_path):
    folder = tmp_path / "workshop"
    folder.mkdir()
    return Workshop(folder)


@pytest.fixture
def countdown():
    return CountdownControl


@pytest.fixture(scope="session")
def minilm():
    return profile_counter(REHEARSAL_PROFILE)


@pytest.fixture(scope="session")
def byte_bpe():
    """A byte-level tokenizer of the kind that Llama models have: blanks are tokens too."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog\n\n" * 20], trainer)
    return TokenCounter(tokenizer)


@pytest.fixture
def write_folder(tmp_path):
    """Write files by name; a value may be text or bytes."""

    def write(files, name="docs"):
        folder = tmp_path / name
        for path, content in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder

    return write


@pytest.fixture
def write_beir_folder(tmp_path):
    """Write a BEIR folder: passages, and by split the passages that answer each query."""

    def write(passages, splits, name="beir"):
        folder = tmp_path / name
        queries = {query: f"what is {query}?" for split in splits.values() for query in split}
        for split, cited in splits.items():
            qrels = {query: dict.fromkeys(ids, 1) for query, ids in cited.items()}
            write_beir(folder, EvalSet(queries, passages, qrels), split)
        return folder

    return write


@pytest.fixture
def distinct_text():
    """A text of its own for every number: no two share a word 5-gram."""

    def text(number, words=60):
        return " ".join(f"w{number}x{index}" for index in range(words))

    return text


@pytest.fixture
def sdg_record():
    """One record in NVIDIA's shape, its chunks joined by single spaces as NVIDIA's are."""

    def record(name, sentences, pairs, scores=None, text=None):
        chunks = [
            {"chunk_id": number, "text": sentence, "start": 0, "end": 0}
            for number, sentence in enumerate(sentences, start=1)
        ]
        scores = [8.0] * len(pairs) if scores is None else scores
        return {
            "file_name": [name],
            "text": "\n\n".join(sentences) if text is None else text,
            "chunks": chunks,
            "qa_generation": {"pairs": []},
            "deduplicated_qa_pairs": [
                {
                    "question": question,
                    "answer": f"answer to {question}",
                    "query_type": "multi_hop",
                    "reasoning_type": "causal",
                    "question_complexity": 3,
                    "hop_count": len(segments),
                    "segment_ids": segments,
                }
                for question, segments in pairs
            ],
            "qa_evaluations": {
                "evaluations": [{"overall": {"score": score, "assessment": ""}} for score in scores]
            },
        }

    return record


@pytest.fixture
def write_jsonl_file(tmp_path):
    def write(rows, name="sdg.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write
