"""The peers' sections of `gpu.py`, each in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import torch
from accelerated import Bench, Clock, Figures, sentence
from torch.nn import functional
from transformers import AutoModel, PreTrainedModel
from workload import Workload, make_workload

TEMPERATURE = 0.02
LEARNING_RATE = 1e-5
PUBLISHED_MICRO_BATCH = 4
_MULTIPLE = 8


def train_published(bench: Bench) -> Figures:
    """The published recipe: four queries at a time, every passage padded to the longest allowed."""
    return _train_published(bench, bench.shape.tokens_max)


def train_published_trimmed(bench: Bench) -> Figures:
    """The same, padded only to the longest of the micro-batch, as its code does."""
    return _train_published(bench, 0)


def _train_published(bench: Bench, width: int) -> Figures:
    """Queries and passages in forwards of their own, hard negatives alone, bfloat16 weights.

    Its texts come tokenised, which its own code does while it trains.
    """
    workload = make_workload(bench.shape)
    # sdpa and weights in bfloat16 as its configuration has them.
    model: PreTrainedModel = AutoModel.from_pretrained(
        bench.folder, dtype=torch.bfloat16, attn_implementation="sdpa", local_files_only=True
    )
    model.to(bench.device).train()  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, weight_decay=0.01, fused=True
    )
    clock, batches = Clock(bench), bench.shape.batches
    clock.begin()
    for step in count():
        _published_step(model, workload, step % batches, width, bench.device)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if not clock.lap():
            break
    return clock.figures(workload)


def _published_step(
    model: PreTrainedModel, workload: Workload, batch: int, width: int, device: str
) -> None:
    shape = workload.shape
    micro_batches = -(-shape.batch // PUBLISHED_MICRO_BATCH)
    first = batch * shape.batch
    for start in range(first, first + shape.batch, PUBLISHED_MICRO_BATCH):
        rows = range(start, min(start + PUBLISHED_MICRO_BATCH, first + shape.batch))
        queries = _embed(model, [workload.query(row) for row in rows], 0, device)
        texts = [workload.passage(row, c) for row in rows for c in range(shape.passages)]
        passages = _embed(model, texts, width, device)
        grouped = passages.view(len(rows), shape.passages, -1)
        scores = torch.einsum("qd,qpd->qp", queries, grouped) / TEMPERATURE
        target = torch.zeros(len(rows), dtype=torch.long, device=device)
        (functional.cross_entropy(scores, target) / micro_batches).backward()  # type: ignore[no-untyped-call]


def _embed(
    model: PreTrainedModel, texts: Sequence[Sequence[int]], width: int, device: str
) -> torch.Tensor:
    """Mean-pooled, normalised vectors, (n, hidden); padded to `width`, or to the longest for 0."""
    longest = max(map(len, texts))
    width = width or -(-longest // _MULTIPLE) * _MULTIPLE
    tokens = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in texts])
    lengths = torch.tensor([len(ids) for ids in texts])
    mask = (torch.arange(width) < lengths[:, None]).long().to(device)
    states = model(input_ids=tokens.to(device), attention_mask=mask).last_hidden_state
    kept = mask.unsqueeze(-1)
    pooled = (states * kept).sum(dim=1).float() / kept.sum(dim=1)
    return functional.normalize(pooled, dim=1)


def train_merged(bench: Bench) -> Figures:
    """sentence-transformers: one padded forward over all columns of 8 rows, sdpa.

    Padded to the longest of 48 texts that is 25,000 tokens: a GPU is busy, and memory holds them.
    """
    return _train_peer(bench, "sdpa", 8, {})


def train_cached(bench: Bench) -> Figures:
    """sentence-transformers: the cached loss over the whole batch, in parts of 16,384 tokens."""
    return _train_peer(bench, "sdpa", bench.shape.batch, {"mini_batch_num_tokens": 16_384})


def train_flash(bench: Bench) -> Figures:
    """sentence-transformers: 16 rows at a time, unpadded by FlashAttention 2."""
    return _train_peer(bench, "flash_attention_2", 16, {})


def _train_peer(bench: Bench, attention: str, rows: int, cached: Mapping[str, int]) -> Figures:
    """`SentenceTransformerTrainer` in bf16 over float32 weights, gradients gathered to a batch."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import (
        CachedMultipleNegativesRankingLoss,
        MultipleNegativesRankingLoss,
    )
    from transformers import TrainerCallback

    clock, workload, shape = Clock(bench), make_workload(bench.shape), bench.shape

    class Timer(TrainerCallback):
        """Times optimizer steps and ends the training in time."""

        def on_train_begin(self, *_: object, **__: object) -> None:
            clock.begin()

        def on_step_end(self, args: object, state: object, control: Any, **_: object) -> None:
            control.should_training_stop = not clock.lap()

    on_gpu = bench.device == "cuda"
    model = SentenceTransformer(
        str(bench.folder),
        device=bench.device,
        local_files_only=True,
        model_kwargs={"attn_implementation": attention},
    )
    model.max_seq_length = shape.tokens_max
    loss_type = CachedMultipleNegativesRankingLoss if cached else MultipleNegativesRankingLoss
    rows = min(rows, shape.batch)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(bench.folder.parent / "trainer"),
        num_train_epochs=1000,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=shape.batch // rows,
        learning_rate=LEARNING_RATE,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        dataloader_num_workers=4 if on_gpu else 0,
        dataloader_pin_memory=on_gpu,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(_columns(workload)),
        loss=loss_type(model, scale=1 / TEMPERATURE, **cached),
        callbacks=[Timer()],
    ).train()
    return clock.figures(workload)


def _columns(workload: Workload) -> dict[str, list[str]]:
    rows = range(len(workload.queries))
    names = ["positive", *(f"negative_{n}" for n in range(1, workload.shape.passages))]
    return {
        "anchor": [sentence(workload.query(row)) for row in rows],
        **{
            name: [sentence(workload.passage(row, column)) for row in rows]
            for column, name in enumerate(names)
        },
    }
