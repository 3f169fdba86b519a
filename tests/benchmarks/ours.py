"""Our side of the benchmark: the pipeline's own code, as its stages call it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from measure import (
    WARM_UP_TEXTS,
    Cost,
    Exported,
    Service,
    Settings,
    Stopwatch,
    Training,
    without_dropout,
)
from texts import Example, Question

from pipeline.cache import encode_cached
from pipeline.context import Context
from pipeline.deploy.services import list_services, stop_service
from pipeline.deploy.stage import execute as deploy
from pipeline.encoder import Encoder, load_encoder
from pipeline.export.stage import execute as export
from pipeline.finetune.batches import Sampler
from pipeline.finetune.checkpoint import Checkpoints, Progress
from pipeline.finetune.engine import Engine
from pipeline.finetune.examples import read_training_set
from pipeline.finetune.kernels import equip
from pipeline.finetune.loop import Hooks, train
from pipeline.finetune.randomness import deterministic, seed_all
from pipeline.finetune.speed import Shape, training_flops
from pipeline.mining.mine import Miner, Pool, Wanted
from pipeline.prep.records import TrainingExample
from pipeline.profiles import REHEARSAL_PROFILE, find_profile, weights_folder
from pipeline.recipe import Recipe
from pipeline.run import Result, Run
from pipeline.schedule import schedule_for
from pipeline.weights import weights_digest

_MATMUL_SIZE = 2048

Negatives = dict[str, tuple[str, ...]]
"""By question, hardest first."""


class Silent:
    """A stage's events and control: nobody watches, nobody interrupts."""

    finish_asked = False

    def progress(self, done: int, total: int, what: str) -> None:
        """Say nothing."""

    def metric(self, **values: float | int | str) -> None:
        """Say nothing."""

    def log(self, message: str, *, level: str = "info") -> None:
        """Say nothing."""

    def artifact(self, path: str, what: str) -> None:
        """Say nothing."""

    def resumed(self, **where: float | int | str) -> None:
        """Say nothing."""

    def poll(self) -> None:
        """Nobody asks for anything."""


class Laps(Silent):
    """The loss and the cost of every training step."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.costs: list[Cost] = []
        self._watch = Stopwatch()

    def metric(self, **values: float | int | str) -> None:
        """A step ended."""
        self.losses.append(float(values["loss"]))
        self.costs.append(self._watch.lap())


def start(settings: Settings) -> None:
    """Import, load and warm up: what no figure includes."""
    torch.set_num_threads(settings.threads)
    _encoder(settings).encode(WARM_UP_TEXTS, "passage")


def mine_negatives(
    passages: Sequence[str], questions: Sequence[Question], folder: Path, settings: Settings
) -> tuple[Negatives, Cost]:
    """Encode what the cache in `folder` doesn't have, search, and choose."""
    encoder, prep = _encoder(settings), settings.recipe().prep
    watch = Stopwatch()
    digest = weights_digest(encoder.profile, folder)
    vectors = encode_cached(encoder, passages, "passage", digest, folder)
    asked = encode_cached(encoder, [q.text for q in questions], "query", digest, folder)
    wanted = [
        Wanted(
            vector=vector,
            positives=vectors[list(question.answers)],
            positive_texts=tuple(passages[number] for number in question.answers),
        )
        for question, vector in zip(questions, asked, strict=True)
    ]
    ids = tuple(f"{number:08d}" for number in range(len(passages)))
    mined = Miner(Pool(ids, tuple(passages), vectors)).mine(wanted, prep)
    chosen = {
        question.text: tuple(passages[int(key)] for key, _ in one.negatives)
        for question, one in zip(questions, mined, strict=True)
    }
    return chosen, watch.lap()


def train_steps(examples: Sequence[Example], settings: Settings, dropout: bool) -> Training:
    """Train the base model for one epoch."""
    recipe = settings.recipe()
    encoder = _load(settings)
    equip(encoder, recipe.finetune, print)
    if not dropout:
        without_dropout(encoder.model)
    texts = {text: text for one in examples for text in (one.positive, *one.negatives)}
    rows = [
        TrainingExample(
            query=f"q-{number:08d}",
            question=one.question,
            positives=(one.positive,),
            negatives=tuple((text, 0.0) for text in one.negatives),
            positive_score=1.0,
            shortfall="",
        )
        for number, one in enumerate(examples)
    ]
    data = read_training_set(rows, texts, encoder.tokenize, recipe.finetune.hard_negatives)
    schedule = schedule_for(len(rows), recipe.finetune)
    sampler = Sampler(data, schedule, recipe.seed, recipe.finetune.in_batch_negatives)
    batches = [sampler.batch(step) for step in range(schedule.total_steps)]
    laps = Laps()
    with TemporaryDirectory() as folder, deterministic(settings.threads, "cpu"):
        seed_all(recipe.seed)
        engine = Engine(encoder, data, sampler, schedule, recipe.finetune)
        train(engine, Checkpoints(Path(folder)), Progress(), Hooks(None, 0.0, laps, laps))
    # Questions are unique, so a question's number is its row's.
    order = tuple(batch.queries[row] for batch in batches for row in batch.row_query.tolist())
    lengths = [len(text) for batch in batches for text in batch.texts(data)]
    work = training_flops(lengths, Shape.of(encoder.model)) / len(rows)
    return Training(tuple(laps.losses), tuple(laps.costs), order, _matmul_rate() / work)


def _matmul_rate() -> float:
    """Floating-point operations a CPU second in large float32 matrix products, the best of five.

    In CPU seconds, unlike the engine's own peak: other work on the machine hardly matters.
    """
    matrix = torch.ones(_MATMUL_SIZE, _MATMUL_SIZE)
    watch, costs = Stopwatch(), []
    for _ in range(5):
        matrix @ matrix
        costs.append(watch.lap().cpu)
    return float(2 * _MATMUL_SIZE**3 / min(costs))


def export_model(folder: Path, settings: Settings) -> Exported:
    """Write the base model as ONNX below `folder` and compare it, as the stage does."""
    _load(settings).save(folder / "finetune" / "model", "# The base model\n")
    watch = Stopwatch()
    outcome = export(stage_context(folder, "export", ("finetune",), settings.recipe()))
    (graph,) = outcome.summary["graphs"]
    return Exported(watch.lap(), float(graph["difference"]), float(graph["cosine"]))


def start_server(folder: Path, settings: Settings) -> Service:
    """Serve what `export_model` wrote, in a process of its own."""
    watch = Stopwatch()
    deploy(stage_context(folder, "deploy", ("export",), settings.recipe()))
    seconds = watch.lap().wall
    (service,) = list_services(Run(folder))
    return Service(service.url, service.model, service.record.pid, seconds)


def stop_server(folder: Path) -> None:
    """End the server, if there is one."""
    for service in list_services(Run(folder)):
        stop_service(Run(folder), service.name)


def stage_context(
    folder: Path, stage: str, needs: Sequence[str], recipe: Recipe, cache: Path | None = None
) -> Context:
    """What a stage works in, in a folder of its own under `folder`, with nobody watching."""
    (folder / stage).mkdir(exist_ok=True)
    return Context(
        run=Run(folder),
        recipe=recipe,
        profile=find_profile(REHEARSAL_PROFILE),
        variant="",
        folder=folder / stage,
        inputs={
            name: Result(folder / name, name, "", "", {}, "made", False, 0.0, 0.0) for name in needs
        },
        events=Silent(),
        control=Silent(),
        device="cpu",
        cache=cache or folder / "cache",
    )


@cache
def _encoder(settings: Settings) -> Encoder:
    return _load(settings)


def _load(settings: Settings) -> Encoder:
    profile = find_profile(REHEARSAL_PROFILE)
    return load_encoder(weights_folder(profile), profile, settings.recipe().encoder, "cpu")
