"""A tiny randomly initialised base, and a task that it can learn in seconds.

Topic t has a question word `q<t>` and a passage word `p<t>`; that they belong together is what
training has to find out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from pipeline.beir import EvalSet, write_beir
from pipeline.context import Context
from pipeline.corpus.records import PASSAGES, Passage, to_row
from pipeline.encoder import Encoder, load_encoder
from pipeline.files import write_jsonl
from pipeline.finetune.stage import execute
from pipeline.prep.records import TrainingExample, write_training
from pipeline.profiles import Profile, find_profile
from pipeline.recipe import Recipe, apply
from pipeline.run import Result, Run
from pipeline.settings import EncoderSettings

TOPICS = 16
NOISE = 20


@pytest.fixture(autouse=True)
def one_thread():
    """The same bits in every test process, and no fight for the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _tokenizer() -> PreTrainedTokenizerFast:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words += [f"{kind}{number}" for kind in "pq" for number in range(TOPICS)]
    words += [f"n{number}" for number in range(NOISE)]
    tokenizer = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory) -> Path:
    """A 2-layer BERT with dropout, as a sentence-transformers folder."""
    folder = tmp_path_factory.mktemp("base") / "tiny"
    tokenizer = _tokenizer()
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=48,
        pad_token_id=0,
    )
    profile = Profile(
        id="tiny",
        title="tiny",
        revision="test",
        architecture="sentence_transformers",
        pooling="mean",
        normalize=True,
        query_prefix="",
        passage_prefix="",
        dimension=32,
        matryoshka=(),
        tokens_max=48,
        licence="none",
    )
    model = BertModel(config)
    # The usual small initial weights give nearly equal vectors; a toy has no time for those.
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    encoder = Encoder(model, tokenizer, profile, EncoderSettings(), torch.device("cpu"))
    encoder.save(folder, "tiny")
    return folder


@pytest.fixture
def tiny_encoder(tiny_base):
    """A fresh encoder of the tiny base; `dropout=False` turns dropout off in training too."""

    def make(dropout: bool = True) -> Encoder:
        encoder = load_encoder(tiny_base, find_profile(str(tiny_base)), EncoderSettings(), "cpu")
        if not dropout:
            without_dropout(encoder.model)
        return encoder

    return make


def without_dropout(model: torch.nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


@dataclass
class Recorder:
    """Events as a list; keeps the order."""

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def progress(self, done: int, total: int, what: str) -> None:
        self.events.append(("progress", {"done": done, "total": total, "what": what}))

    def metric(self, **values: float | int | str) -> None:
        self.events.append(("metric", values))

    def log(self, message: str, *, level: str = "info") -> None:
        self.events.append(("log", {"message": message, "level": level}))

    def artifact(self, path: str, what: str) -> None:
        self.events.append(("artifact", {"path": path, "what": what}))

    def resumed(self, **where: float | int | str) -> None:
        self.events.append(("resumed", where))

    def of(self, kind: str, having: str = "") -> list[dict[str, Any]]:
        return [
            data for name, data in self.events if name == kind and (having in data or not having)
        ]


@dataclass
class Scripted:
    """Requests that come at the n-th poll; 0 is never."""

    stop_at: int = 0
    error: type[Exception] | None = None
    finish_at: int = 0
    polls: int = 0

    @property
    def finish_asked(self) -> bool:
        return 0 < self.finish_at <= self.polls

    def poll(self) -> None:
        self.polls += 1
        if self.error and self.polls == self.stop_at:
            raise self.error


@dataclass(frozen=True)
class Toy:
    """A run's inputs on the disk, and contexts over them."""

    root: Path
    base: Path

    def context(self, name: str = "result", overrides: dict[str, Any] | None = None, **changes):
        profile = find_profile(str(self.base))
        settings = {
            "profile": str(self.base),
            "seed": 8,
            "encoder.query_tokens": 48,
            "encoder.passage_tokens": 48,
            "finetune.learning_rate": 1e-2,
            "finetune.temperature": 0.1,
            "finetune.batch_size": 8,
            "finetune.auto_scale": False,
            "finetune.epochs": 8,
            "finetune.checkpoint_steps": 7,
            "finetune.validation_steps": 10,
            **(overrides or {}),
        }
        folder = self.root / "finetune" / name
        folder.mkdir(parents=True, exist_ok=True)
        context = Context(
            run=Run(self.root),
            recipe=apply(Recipe(), settings, "test"),
            profile=profile,
            variant="",
            folder=folder,
            inputs={stage: _result(self.root / stage, stage) for stage in ("corpus", "prep")},
            events=Recorder(),
            control=Scripted(),
            device="cpu",
            cache=self.root / "cache",
        )
        return replace(context, **changes)


def _result(folder: Path, stage: str) -> Result:
    return Result(folder, stage, "0" * 16, "digest", {}, "made", False, 0.0, 0.0)


def write_toy(root: Path, *, dev: bool = True, per_topic: int = 3) -> None:
    """Corpus and prep results for the toy task."""
    words = random.Random(7)

    def noise(count: int) -> str:
        return " ".join(f"n{words.randrange(NOISE)}" for _ in range(count))

    passages = {
        f"p-{topic:03d}": " ".join([f"p{topic}"] * words.randrange(2, 7) + [noise(1)])
        for topic in range(TOPICS)
    }
    write_jsonl(
        root / "corpus" / PASSAGES,
        (
            to_row(Passage(key, "d", 0, len(text), text, (), 9, "train"))
            for key, text in passages.items()
        ),
    )
    examples = []
    for number in range(TOPICS * per_topic):
        topic = number % TOPICS
        others = words.sample([other for other in range(TOPICS) if other != topic], k=4)
        examples.append(
            TrainingExample(
                query=f"q-{number:03d}",
                question=f"q{topic} q{topic} {noise(1)}",
                positives=(f"p-{topic:03d}",),
                negatives=tuple((f"p-{other:03d}", 0.5) for other in others),
                positive_score=0.9,
                shortfall="",
            )
        )
    write_training(root / "prep", examples)
    if dev:
        queries = {f"q-dev{topic}": f"q{topic} {noise(1)}" for topic in range(TOPICS)}
        qrels = {f"q-dev{topic}": {f"p-{topic:03d}": 1} for topic in range(TOPICS)}
        write_beir(root / "prep" / "dev_beir", EvalSet(queries, passages, qrels), "dev")


@pytest.fixture
def toy(tmp_path, tiny_base) -> Toy:
    """The toy task with dev questions."""
    write_toy(tmp_path)
    return Toy(tmp_path, tiny_base)


@pytest.fixture
def toy_without_dev(tmp_path, tiny_base) -> Toy:
    """The toy task without dev questions."""
    write_toy(tmp_path, dev=False)
    return Toy(tmp_path, tiny_base)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, tiny_base):
    """One whole training, to compare with: its context and its outcome. Only to be read."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("undisturbed")
    write_toy(root)
    context = Toy(root, tiny_base).context()
    outcome = execute(context)
    torch.set_num_threads(before)
    return context, outcome


@pytest.fixture
def scripted():
    """A control that asks for things at a given poll."""
    return Scripted
