"""Our sections of `gpu.py`, each in a process of its own."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast
from workload import SPECIAL, Shape, Workload, make_workload

from pipeline import attention
from pipeline.encoder import Encoder, load_encoder
from pipeline.finetune.batches import Sampler
from pipeline.finetune.engine import Engine
from pipeline.finetune.examples import read_training_set
from pipeline.finetune.kernels import compile_layers, fuse, require_kernels
from pipeline.finetune.randomness import seed_all
from pipeline.mining.scores import Vectors
from pipeline.mining.search import ExactSearch
from pipeline.prep.records import TrainingExample
from pipeline.profiles import Profile, base_recipe, find_profile
from pipeline.schedule import schedule_for
from pipeline.settings import FinetuneSettings

Figures = dict[str, float]

WARM_UP_STEPS = 2
_PROFILE = "nvidia/llama-nemotron-embed-1b-v2"
DEPTH = 100
"""Passages found a query, the recipe's `prep.search_depth`."""
BLOCK = 50_000
_PARITY_TEXTS = 32
_CHECKED = 16
_SEARCHES = 3


@dataclass(frozen=True)
class Bench:
    """Where and how long a section measures.

    Attributes:
        shape: of model and work.
        device: `cuda` or `cpu`.
        folder: of the model.
        seconds: to measure, after warming up.
    """

    shape: Shape
    device: str
    folder: Path
    seconds: float


class Clock:
    """Steps timed until the time is over, once the device has done what it was given."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._last = 0.0
        self.steps: list[float] = []
        self._warm = 0

    def begin(self) -> None:
        """The first step begins."""
        self._last = now(self._bench.device)

    def lap(self) -> bool:
        """A step ended; returns whether there is time for another."""
        moment = now(self._bench.device)
        if self._warm < WARM_UP_STEPS:
            self._warm += 1
        else:
            self.steps.append(moment - self._last)
        self._last = moment
        return sum(self.steps) < self._bench.seconds

    def figures(self, workload: Workload) -> Figures:
        """Rates of the median step; texts are counted without padding, each once."""
        rows = workload.shape.batch / median(self.steps)
        return {
            "tokens a second": rows * workload.row_tokens,
            "FLOP a second": rows * workload.row_flops,
            "rows a second": rows,
            "steps": len(self.steps),
            "peak memory, GB": peak_gigabytes(self._bench.device),
        }


def now(device: str) -> float:
    """Seconds, when all that was begun is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_gigabytes(device: str) -> float:
    """The most memory that torch has held on the GPU; on a CPU, the process."""
    if device == "cuda":
        return torch.cuda.max_memory_reserved() / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def profile_of(shape: Shape) -> Profile:
    """The default profile, in this width."""
    return replace(find_profile(_PROFILE), dimension=shape.hidden, matryoshka=())


def sentence(words: Sequence[int]) -> str:
    """A text that the tokenizer reads as these words."""
    return " ".join(map(str, words))


def load(bench: Bench) -> Encoder:
    """The model as the pipeline loads it."""
    profile = profile_of(bench.shape)
    settings = base_recipe(find_profile(_PROFILE)).encoder
    longest = bench.shape.tokens_max
    settings = replace(settings, query_tokens=longest, passage_tokens=longest)
    return load_encoder(bench.folder, profile, settings, bench.device)


def prepare(bench: Bench) -> Figures:
    """Write a model of random weights, as the pipeline saves one."""
    shape = bench.shape
    torch.manual_seed(0)
    config = LlamaConfig.from_dict(
        {
            "vocab_size": shape.vocabulary,
            "hidden_size": shape.hidden,
            "intermediate_size": shape.inner,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.key_heads,
            "max_position_embeddings": 8192,
            "is_causal": False,
            "use_cache": False,
            "pad_token_id": 0,
        }
    )
    with torch.device(bench.device):
        model = LlamaModel(config)
    words = {"[PAD]": 0, "[UNK]": 1} | {str(n): n for n in range(SPECIAL, shape.vocabulary)}
    backend = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]"
    )
    profile, settings = profile_of(shape), base_recipe(find_profile(_PROFILE)).encoder
    place = torch.device(bench.device)
    encoder = Encoder(model.train(False), tokenizer, profile, settings, place)
    encoder.save(bench.folder, "# Random weights\n")
    return {"parameters": float(sum(p.numel() for p in model.parameters()))}


def measure_rate(bench: Bench) -> Figures:
    """The matrix rate, of large square products in training precision."""
    side = bench.shape.square
    kind = torch.bfloat16 if bench.device == "cuda" else torch.float32
    left, right = (torch.randn(side, side, device=bench.device).to(kind) for _ in range(2))
    times: list[float] = []
    for _ in range(30):
        began = now(bench.device)
        for _ in range(5):
            left @ right
        times.append((now(bench.device) - began) / 5)
        if sum(times) * 5 > bench.seconds:
            break
    return {"FLOP a second": 2 * side**3 / median(times[1:] or times)}


def train(bench: Bench) -> Figures:
    """Optimizer steps of the pipeline's engine with the profile's settings."""
    return _train(bench, load(bench))


def train_fused(bench: Bench) -> Figures:
    """The same with `finetune.liger`."""
    encoder = load(bench)
    require_kernels(encoder.model, replace(FinetuneSettings(), liger=True), bench.device)
    fuse(encoder)
    return _train(bench, encoder)


def train_compiled(bench: Bench) -> Figures:
    """The same with `finetune.compile`; on a CPU its front alone: C++ would take a minute."""
    encoder = load(bench)
    began = now(bench.device)
    compile_layers(encoder, _refuse, "inductor" if bench.device == "cuda" else "eager")
    return {"compiled in, s": now(bench.device) - began} | _train(bench, encoder)


def _refuse(said: str) -> None:
    raise RuntimeError(said)


def _train(bench: Bench, encoder: Encoder) -> Figures:
    shape, workload = bench.shape, make_workload(bench.shape)
    recipe = base_recipe(find_profile(_PROFILE))
    settings = replace(recipe.finetune, batch_size=shape.batch, auto_scale=False, epochs=1)
    rows, texts = _rows(workload)
    data = read_training_set(rows, texts, encoder.tokenize, settings.hard_negatives)
    schedule = schedule_for(len(rows), settings)
    sampler = Sampler(data, schedule, recipe.seed, settings.in_batch_negatives)
    seed_all(recipe.seed)
    began = now(bench.device)
    engine = Engine(encoder, data, sampler, schedule, settings)
    clock, losses, held, step = Clock(bench), list[float](), 0, 0
    probed = now(bench.device) - began
    with encoder.precision():
        packs = encoder.packs  # as it stands after the probe: in training
    clock.begin()
    while True:
        report = engine.step(step % schedule.total_steps)
        losses.append(report.loss)
        # The engine starts the GPU's record anew at every step.
        held = max(held, report.memory_bytes)
        step += 1
        if not clock.lap():
            break
    return clock.figures(workload) | {
        "memory in use, GB": held / 1e9,
        "probe, s": probed,
        "first loss": losses[0],
        "packs, 1 is yes": float(packs),
        "tokens a pass": engine.fitted.pass_tokens,
        "tokens kept": engine.fitted.kept_tokens,
    }


def _rows(workload: Workload) -> tuple[list[TrainingExample], dict[str, str]]:
    rows: list[TrainingExample] = []
    texts: dict[str, str] = {}
    for row in range(len(workload.queries)):
        keys = [f"p-{row}-{column}" for column in range(workload.shape.passages)]
        texts |= {key: sentence(workload.passage(row, c)) for c, key in enumerate(keys)}
        rows.append(
            TrainingExample(
                query=f"q-{row}",
                question=sentence(workload.query(row)),
                positives=(keys[0],),
                negatives=tuple((key, 0.0) for key in keys[1:]),
                positive_score=1.0,
                shortfall="",
            )
        )
    return rows, texts


def compare_forwards(bench: Bench) -> Figures:
    """Packed forward passes against padded ones, which are the reference.

    In float32 the packed one is computed by the CPU's attention wherever it runs; in bfloat16, as
    training computes, by the device's own. There both differ from the padded one in float32.
    """
    workload = make_workload(bench.shape)
    rows = range(min(_PARITY_TEXTS, len(workload.queries)))
    texts = [workload.passage(row, 0) for row in rows] + [workload.query(row) for row in rows]
    encoder = load(bench)

    def bfloat16() -> torch.Tensor:
        with torch.inference_mode(), torch.autocast(bench.device, dtype=torch.bfloat16):
            return encoder.forward(texts)

    with torch.inference_mode(), attention.overridden(attention.attend_each):
        packed = encoder.forward(texts)
        really = encoder.packs
    with torch.autocast(bench.device, dtype=torch.bfloat16):
        really = really and encoder.packs
    packed_half = bfloat16()
    encoder.model.set_attn_implementation("sdpa")  # no packing with any attention but ours
    with torch.inference_mode():
        padded = encoder.forward(texts)
    padded_half = bfloat16()
    return {
        "packs, 1 is yes": float(really and not encoder.packs),
        "float32, packed - padded": _difference(packed, padded),
        "bfloat16, packed - padded": _difference(packed_half, padded_half),
        "bfloat16 packed - float32": _difference(packed_half, padded),
        "bfloat16 padded - float32": _difference(padded_half, padded),
        "bfloat16, smallest cosine": float((packed_half * padded_half).sum(dim=1).min()),
    }


def _difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max())


def search(bench: Bench) -> Figures:
    """Exact search of all queries in all passages, by the pipeline's own search."""
    shape = bench.shape
    pool, queries = (_vectors(bench, count) for count in (shape.pool, shape.searches))
    moments = [now(bench.device)]
    engine = ExactSearch(pool, bench.device)
    hits = engine.search(queries, DEPTH)
    moments.append(now(bench.device))
    for _ in range(_SEARCHES):
        engine.search(queries, DEPTH)
        moments.append(now(bench.device))
    first, *others = np.diff(moments).tolist()
    peak = peak_gigabytes(bench.device)
    checked = slice(0, _CHECKED)
    best = _brute_force(bench, pool, queries[checked])
    same = [
        len({*mine.rows} & {*theirs}) / len(theirs)
        for mine, theirs in zip(hits[checked], best, strict=True)
    ]
    return {
        "with the pool's transfer, s": first,
        "search, s": median(others),
        "share of brute force's best": float(np.mean(same)),
        "peak memory, GB": peak,
    }


def _brute_force(bench: Bench, pool: Vectors, queries: Vectors) -> list[list[int]]:
    """Rows of the best passages by scores in float64."""
    asked = torch.from_numpy(queries).to(bench.device).double()
    scores = [
        asked @ torch.from_numpy(pool[start : start + BLOCK]).to(bench.device).double().T
        for start in range(0, len(pool), BLOCK)
    ]
    best: list[list[int]] = torch.cat(scores, dim=1).topk(DEPTH).indices.tolist()
    return best


def _vectors(bench: Bench, count: int) -> Vectors:
    """Random directions; made on the device, since a CPU would take a minute."""
    vectors = np.empty((count, bench.shape.hidden), dtype=np.float32)
    for start in range(0, count, BLOCK):
        part = torch.randn(min(BLOCK, count - start), bench.shape.hidden, device=bench.device)
        vectors[start : start + len(part)] = torch.nn.functional.normalize(part, dim=1).cpu()
    return vectors
