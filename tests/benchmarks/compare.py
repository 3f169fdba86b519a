"""Our pipeline beside sentence-transformers: same texts, same model, same machine, same run.

    python tests/benchmarks/compare.py [--only mining,training,serving] [--json]

What is compared: hard-negative mining with `mine_hard_negatives`, training with
`SentenceTransformerTrainer` and `MultipleNegativesRankingLoss`, requests to our server with
`SentenceTransformer.encode` in the caller's own process. Nothing here passes or fails.

How it is kept fair:
- The texts are the documentation of Python's standard library and the offline writer's questions
  about it; the weights are all-MiniLM-L6-v2. Both sides get the same texts, limits, batch size,
  float32 and number of threads, on as many cores. One exception: on a CPU our encoder takes one
  text at a time whatever the batch size, so that vectors repeat bit for bit.
- Each side lives in a process of its own, in the environment that the pipeline gives its workers
  (threads that wait hardly spin), and the two take turns. Imports, loading and a first run are
  left out, but for the rows that name them. Seconds are medians; of a training step, which does
  exactly the same in every turn, the median over the steps of what its quickest turn took.
- CPU seconds are those of all threads of the process that computes. For our server that is the
  server; the client's are not in them, but the wall seconds have everything, HTTP included.
- Both train on the same rows in the same batches at the same rates, so mean losses differ by
  dropout alone; without it every step's loss is equal. No text stands in two rows: ours embeds a
  repeated text once, and would win by that.
- "If all were matmul" is the floor: what the step's floating-point operations on real tokens take
  at the rate of a large float32 matrix product, measured right after the training.
- Memory is what the whole process holds: imports, model and work.

The sizes are small: two idle cores need twenty minutes. Other work on the machine makes every
figure worse, those of two threads most: look at the load average, and try --threads 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from measure import (
    REQUEST_PASSAGES,
    Answers,
    Cost,
    Exported,
    Service,
    Settings,
    Side,
    Training,
    cpu_seconds,
    pin,
    resident_megabytes,
)
from texts import NEGATIVES, Example, Lengths, Texts, make_texts

from pipeline.launch import worker_environment

_TOOLS = ("torch", "transformers", "sentence-transformers", "faiss-cpu", "onnxruntime")

_ON_THE_CPU = {"CUDA_VISIBLE_DEVICES": "", "NO_PROXY": "127.0.0.1"}


_TRAININGS: tuple[tuple[str, Lengths, float | None], ...] = (
    ("mixed lengths", "mixed", 4.0),
    ("long passages", "long", 1.6),
    ("passages as cut", "cut", None),
)
"""Name, the passages' lengths, and the goal for rows a CPU second."""

_PASSAGES_A_ROW = 2 * (1 + NEGATIVES)
"""Cut for each training row: some stretches of passages have no question."""

Requests = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        part: what was measured, in one word.
        what: what exactly, with its unit.
        better: `lower`, `higher`, or empty where neither is.
        ours: our figure.
        theirs: the peer's, or None where it has none.
        goal: the least that ours divided by theirs is meant to be, or None.
    """

    part: str
    what: str
    better: str
    ours: float
    theirs: float | None = None
    goal: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours divided by theirs."""
        return self.ours / self.theirs if self.theirs else None


def measure_mining(texts: Texts, settings: Settings) -> Iterator[Row]:
    """Negatives for the same questions from the same passages, with and without a cache."""
    passages, questions = texts.pool(settings.passages, settings.questions)
    caches = ("empty cache", "full cache")
    costs: dict[str, tuple[list[Cost], list[Cost]]] = {cache: ([], []) for cache in caches}
    chosen: list[Mapping[str, Sequence[str]]] = [{}, {}]
    with Side("ours") as ours, Side("theirs") as theirs, TemporaryDirectory() as temporary:
        sides = (ours, theirs)
        for side in sides:
            side.start(settings)
        for turn in range(settings.rounds):
            for cache in caches:
                for number, side in enumerate(sides):
                    folder = Path(temporary) / f"{number}-{turn}"
                    call = (passages, questions, folder, settings)
                    chosen[number], cost = side("mine_negatives", *call)
                    costs[cache][number].append(cost)
        memory = [side.peak_megabytes() for side in sides]
    size = f"{len(questions)} questions, {len(passages)} passages"
    for cache in caches:
        for unit, name in (("wall s", "wall"), ("CPU s", "cpu")):
            taken = [_median(each, name) for each in costs[cache]]
            yield Row("mining", f"{size}, {cache}, {unit}", "lower", *taken)
    yield Row("mining", "peak memory, MB", "lower", *memory)
    yield from _choices(chosen[0], chosen[1], settings.recipe().prep.hard_negatives)


def _choices(
    ours: Mapping[str, Sequence[str]], theirs: Mapping[str, Sequence[str]], wanted: int
) -> Iterator[Row]:
    """What was chosen, and whether it is the same."""
    full = [sum(len(found) == wanted for found in each.values()) for each in (ours, theirs)]
    yield Row("mining", "questions kept", "higher", len(ours), len(theirs))
    yield Row("mining", f"questions with {wanted} negatives", "higher", *full)
    same = [len({*ours[question]} & {*found}) / wanted for question, found in theirs.items()]
    yield Row("mining", "their negatives that are ours too, share", "", mean(same))


def measure_training(texts: Texts, settings: Settings) -> Iterator[Row]:
    """The same optimizer steps, over passages of mixed length, long ones, and as they were cut."""
    with Side("ours") as ours, Side("theirs") as theirs:
        for side in (ours, theirs):
            side.start(settings)
        for label, lengths, goal in _TRAININGS:
            examples = texts.examples(settings.rows, lengths)
            turns = [
                _train(ours, theirs, examples, settings, dropout=True)
                for _ in range(settings.rounds)
            ]
            trained = turns[0]
            for unit, name in (("s", "wall"), ("CPU s", "cpu")):
                speeds = [
                    settings.batch / _least([turn[side].costs for turn in turns], name)
                    for side in range(2)
                ]
                aim = goal if name == "cpu" else None
                yield Row("training", f"{label}, rows/{unit}", "higher", speeds[0], speeds[1], aim)
            floor = max(turn[0].floor for turn in turns)
            yield Row("training", f"{label}, rows/CPU s if all were matmul", "", floor)
            losses = [mean(each.losses) for each in trained]
            yield Row("training", f"{label}, mean loss", "", *losses)
            memory = [side.peak_megabytes() for side in (ours, theirs)]
            yield Row("training", f"{label}, peak memory, MB", "lower", *memory)
        label, lengths, _ = _TRAININGS[0]
        examples = texts.examples(settings.rows, lengths)
        exact = _train(ours, theirs, examples, settings, dropout=False)
        for step, pair in enumerate(zip(*(each.losses for each in exact), strict=True), 1):
            yield Row("training", f"{label}, loss {step} without dropout", "", *pair)


def _train(
    ours: Side, theirs: Side, examples: Sequence[Example], settings: Settings, *, dropout: bool
) -> tuple[Training, Training]:
    """Both sides over the same rows, in our order."""
    first: Training = ours("train_steps", examples, settings, dropout)
    in_order = [examples[row] for row in first.order]
    return first, theirs("train_steps", in_order, settings, dropout)


def measure_serving(texts: Texts, settings: Settings) -> Iterator[Row]:
    """Our server, asked over HTTP by OpenAI's client, and their model in the caller's process."""
    with TemporaryDirectory() as temporary, Side("ours") as ours:
        folder = Path(temporary)
        exported: Exported = ours("export_model", folder, settings)
        yield Row("export", "export to ONNX and parity report, wall s", "", exported.cost.wall)
        yield Row("export", "export to ONNX and parity report, CPU s", "", exported.cost.cpu)
        yield Row("export", "largest difference to the encoder", "", exported.difference)
        yield Row("export", "smallest cosine to the encoder", "", exported.cosine)
        try:
            service: Service = ours("start_server", folder, settings)
            with Side("theirs") as theirs:
                ready = service.seconds, theirs.start(settings)
                yield Row("serving", "start until ready, wall s", "lower", *ready)
                yield from _requests(service, theirs, texts, settings)
        finally:
            ours("stop_server", folder)


def _requests(service: Service, theirs: Side, texts: Texts, settings: Settings) -> Iterator[Row]:
    """The same requests to both, in turns."""
    count = settings.requests
    questions = [question.text for question in texts.questions]
    singles = [[questions[number % len(questions)]] for number in range(count)]
    batches = [list(texts.passages[:REQUEST_PASSAGES])] * max(1, count // 10)

    def ask(requests: Requests, kind: str) -> Answers:
        return _ask(service, requests, kind)

    def encode(requests: Requests, kind: str) -> Answers:
        answers: Answers = theirs("encode", requests, kind, settings)
        return answers

    for kind, what, requests in (
        ("query", "1 query", singles),
        ("passage", f"{REQUEST_PASSAGES} passages", batches),
    ):
        answers: tuple[list[Answers], list[Answers]] = ([], [])
        for turn in range(settings.rounds + 1):
            for side, answer in enumerate((ask, encode)):
                answered = answer(requests if turn else requests[:1], kind)
                if turn:  # the first one warms up
                    answers[side].append(answered)
        yield from _latencies(what, answers)
    memory = resident_megabytes(service.pid), theirs.resident_megabytes()
    yield Row("serving", "memory at the end, MB", "lower", *memory)


def _latencies(what: str, answers: tuple[list[Answers], list[Answers]]) -> Iterator[Row]:
    """The rows of one kind of request."""
    seconds = [np.concatenate([one.seconds for one in side]) for side in answers]
    typical = [1e3 * float(np.median(each)) for each in seconds]
    worst = [1e3 * float(np.quantile(each, 0.95)) for each in seconds]
    cpu = [1e3 * median(one.cpu / len(one.seconds) for one in side) for side in answers]
    ours, theirs = (side[-1].vectors for side in answers)
    yield Row("serving", f"{what}, median ms", "lower", *typical)
    yield Row("serving", f"{what}, 95th percentile ms", "lower", *worst)
    yield Row("serving", f"{what}, CPU ms", "lower", *cpu)
    if len(ours) > 1:
        speeds = [len(ours) / (each / 1e3) for each in typical]
        yield Row("serving", f"{what}, passages/s", "higher", *speeds)
    cosine = float((ours * theirs).sum(axis=1).min())
    yield Row("serving", f"{what}, smallest cosine of ours to theirs", "", cosine)


def _ask(service: Service, requests: Requests, kind: str) -> Answers:
    """Ask the server as its users do."""
    # Here, so that the sides' processes, which import this module, don't load it too.
    from openai import OpenAI

    client = OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0)
    seconds: list[float] = []
    before = cpu_seconds(service.pid)
    for request in requests:
        began = perf_counter()
        answer = client.embeddings.create(
            model=service.model,
            input=list(request),
            extra_body={"input_type": kind, "truncate": "END"},
        )
        seconds.append(perf_counter() - began)
    vectors = np.array([entry.embedding for entry in answer.data], dtype=np.float32)
    return Answers(seconds, cpu_seconds(service.pid) - before, vectors)


def _least(turns: Sequence[Sequence[Cost]], name: str) -> float:
    """What a step takes undisturbed: the least of each step's turns, the median over the steps."""
    steps = list(zip(*turns, strict=True))[1:]  # the first step warms up
    return median(min(float(getattr(cost, name)) for cost in turn) for turn in steps)


def _median(costs: Sequence[Cost], name: str) -> float:
    return median(float(getattr(cost, name)) for cost in costs)


PARTS: Mapping[str, Callable[[Texts, Settings], Iterator[Row]]] = {
    "mining": measure_mining,
    "training": measure_training,
    "serving": measure_serving,
}


def describe_machine() -> dict[str, Any]:
    """What the figures depend on, besides the code."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{tool: version(tool) for tool in _TOOLS},
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def as_markdown(rows: Sequence[Row], machine: Mapping[str, Any], settings: Settings) -> str:
    """The table, and what it was measured on."""
    lines = [
        "| part | what | ours | sentence-transformers | ours / theirs | goal | better |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        figures = " | ".join(map(_figure, (row.ours, row.theirs, row.ratio, row.goal)))
        lines.append(f"| {row.part} | {row.what} | {figures} | {row.better} |")
    about = "; ".join(f"{name} {value}" for name, value in machine.items())
    sizes = "; ".join(f"{name} {value}" for name, value in asdict(settings).items())
    return "\n".join([*lines, "", f"Machine: {about}.", f"Settings: {sizes}."])


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def parse_arguments(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, Settings]:
    """The options, checked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    cores = os.cpu_count() or 1
    for name, default, what in (
        ("seed", 0, "of texts, dropout and order"),
        ("threads", min(2, cores), "and cores of each side"),
        ("rounds", 2, "turns of mining, of training and of requests"),
        ("passages", 160, "searched when mining"),
        ("questions", 80, "that negatives are mined for"),
        ("batch", 16, "training rows an optimizer step"),
        ("steps", 2, "optimizer steps measured, after one to warm up"),
        ("requests", 20, f"of one query; a tenth as many of {REQUEST_PASSAGES} passages"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} ({default})")
    parsed = parser.parse_args(arguments)
    if unknown := set(parsed.only.split(",")) - set(PARTS):
        parser.error(f"--only {unknown.pop()}: the parts are {', '.join(PARTS)}")
    names = [field.name for field in fields(Settings)]
    if low := [name for name in names if getattr(parsed, name) < (name != "seed")]:
        parser.error(f"--{low[0]} must be at least 1")
    return parsed, Settings(**{name: getattr(parsed, name) for name in names})


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print what came out."""
    parsed, settings = parse_arguments(arguments)
    os.environ.update(worker_environment(os.environ) | _ON_THE_CPU)
    pin(settings.threads)
    began, load_before = perf_counter(), os.getloadavg()[0]
    needed = max(settings.passages, REQUEST_PASSAGES, _PASSAGES_A_ROW * settings.rows)
    texts = make_texts(needed, settings.seed)
    rows = [row for part in parsed.only.split(",") for row in PARTS[part](texts, settings)]
    machine = describe_machine() | {
        "load average before": round(load_before, 2),
        "after": round(os.getloadavg()[0], 2),
        "seconds": round(perf_counter() - began),
    }
    if parsed.json:
        document = {
            "machine": machine,
            "settings": asdict(settings),
            "rows": [asdict(row) | {"ratio": row.ratio} for row in rows],
        }
        print(json.dumps(document, indent=2))
    else:
        print(as_markdown(rows, machine, settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
