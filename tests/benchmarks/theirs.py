"""The peer's side of the benchmark: sentence-transformers, as its documentation calls it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from functools import cache
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset
from measure import WARM_UP_TEXTS, Answers, Cost, Settings, Stopwatch, Training, without_dropout
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.util import mine_hard_negatives
from texts import NEGATIVES, Example, Question
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, TrainerCallback

from pipeline.finetune.rates import learning_rate
from pipeline.profiles import REHEARSAL_PROFILE, find_profile, weights_folder
from pipeline.schedule import schedule_for


class Laps(TrainerCallback):
    """The loss and the cost of every training step, from one log to the next."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.costs: list[Cost] = []
        self._watch = Stopwatch()

    def on_log(
        self,
        args: object,
        state: object,
        control: object,
        logs: Mapping[str, float] | None = None,
        **_: object,
    ) -> None:
        """A step ended; the last log has no loss."""
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))
            self.costs.append(self._watch.lap())


def start(settings: Settings) -> None:
    """Import, load and warm up: what no figure includes."""
    torch.set_num_threads(settings.threads)
    _model(settings).encode(list(WARM_UP_TEXTS), show_progress_bar=False)


def mine_negatives(
    passages: Sequence[str], questions: Sequence[Question], folder: Path, settings: Settings
) -> tuple[dict[str, tuple[str, ...]], Cost]:
    """Encode what `folder` doesn't have, search with faiss, and choose by the same rule."""
    recipe, model = settings.recipe(), _model(settings)
    pairs = [(q.text, passages[number]) for q in questions for number in q.answers]
    watch = Stopwatch()
    dataset = Dataset.from_dict(
        {"anchor": [a for a, _ in pairs], "positive": [p for _, p in pairs]}
    )
    with redirect_stderr(StringIO()):  # its progress bars can't be turned off
        mined = mine_hard_negatives(
            dataset,
            model,
            corpus=list(passages),
            range_max=recipe.prep.search_depth,
            relative_margin=1 - recipe.prep.positive_percentage,
            num_negatives=recipe.prep.hard_negatives,
            sampling_strategy="top",
            output_format="n-tuple",
            batch_size=recipe.encoder.batch_size,
            use_faiss=True,
            verbose=False,
            cache_folder=str(folder),
        )
    columns = [f"negative_{number + 1}" for number in range(recipe.prep.hard_negatives)]
    chosen = {row["anchor"]: tuple(row[name] for name in columns) for row in mined}
    return chosen, watch.lap()


def train_steps(examples: Sequence[Example], settings: Settings, dropout: bool) -> Training:
    """Train the base model for one epoch over the rows, in the order given."""
    finetune = settings.recipe().finetune
    model = _load(settings)
    if not dropout:
        without_dropout(model)
    columns = {
        "anchor": [one.question for one in examples],
        "positive": [one.positive for one in examples],
        **{f"negative_{n + 1}": [one.negatives[n] for one in examples] for n in range(NEGATIVES)},
    }
    laps = Laps()
    with TemporaryDirectory() as folder:
        trainer = SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                output_dir=folder,
                num_train_epochs=1,
                per_device_train_batch_size=finetune.batch_size,
                learning_rate=finetune.learning_rate,
                weight_decay=finetune.weight_decay,
                max_grad_norm=finetune.gradient_clip,
                seed=settings.seed,
                batch_sampler=_in_order,
                use_cpu=True,
                dataloader_pin_memory=False,
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_dict(columns),
            loss=MultipleNegativesRankingLoss(model, scale=1 / finetune.temperature),
            callbacks=[laps],
        )
        trainer.remove_callback(PrinterCallback)
        schedule = schedule_for(len(examples), finetune)
        # Our rates: theirs fall to zero a step later.
        trainer.lr_scheduler = LambdaLR(
            trainer.create_optimizer(),
            lambda step: learning_rate(step, schedule, finetune) / finetune.learning_rate,
        )
        trainer.train()
    return Training(tuple(laps.losses), tuple(laps.costs), tuple(range(len(examples))))


def encode(requests: Sequence[Sequence[str]], kind: str, settings: Settings) -> Answers:
    """Encode one request after another."""
    model, size = _model(settings), settings.recipe().encoder.batch_size
    work = model.encode_query if kind == "query" else model.encode_document
    seconds: list[float] = []
    watch, whole = Stopwatch(), Stopwatch()
    for request in requests:
        vectors = work(list(request), batch_size=size, show_progress_bar=False)
        seconds.append(watch.lap().wall)
    return Answers(seconds, whole.lap().cpu, vectors)


def _in_order(dataset: Dataset, **settings: Any) -> DefaultBatchSampler:
    return DefaultBatchSampler(SequentialSampler(dataset), **settings)


@cache
def _model(settings: Settings) -> SentenceTransformer:
    return _load(settings)


def _load(settings: Settings) -> SentenceTransformer:
    profile = find_profile(REHEARSAL_PROFILE)
    model = SentenceTransformer(str(weights_folder(profile)), device="cpu", local_files_only=True)
    model.max_seq_length = settings.recipe().encoder.passage_tokens
    return model
