"""Measuring: how much, in which process, and what it costs."""

from __future__ import annotations

import importlib
import os
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any, Self

import numpy as np
import psutil  # type: ignore[import-untyped]
from numpy.typing import NDArray

from pipeline.profiles import REHEARSAL_PROFILE, base_recipe, find_profile
from pipeline.recipe import Recipe

REQUEST_PASSAGES = 32
"""In one request, as an indexer sends them."""

WARM_UP_TEXTS = ("warm",) * 8

_BYTES_A_UNIT = 1 if sys.platform == "darwin" else 1024
"""Of `ru_maxrss`, which is bytes on macOS and KiB on Linux."""


@dataclass(frozen=True)
class Settings:
    """How much is measured; both sides get the same.

    Attributes:
        seed: of texts, dropout and order.
        threads: that a side computes on.
        rounds: how often the sides take turns.
        passages: searched when mining.
        questions: that negatives are mined for.
        batch: training rows an optimizer step.
        steps: optimizer steps measured, after one to warm up.
        requests: of one query each; a tenth as many hold `REQUEST_PASSAGES` passages.
    """

    seed: int
    threads: int
    rounds: int
    passages: int
    questions: int
    batch: int
    steps: int
    requests: int

    @property
    def rows(self) -> int:
        """Training rows, those of the warm-up included."""
        return self.batch * (self.steps + 1)

    def recipe(self) -> Recipe:
        """The rehearsal's recipe, trained for one epoch; its rate falls from the first step."""
        recipe = base_recipe(find_profile(REHEARSAL_PROFILE))
        finetune = replace(
            recipe.finetune,
            epochs=1,
            batch_size=self.batch,
            auto_scale=False,
            schedule="linear",
            warmup_steps=0,
        )
        return replace(recipe, seed=self.seed, finetune=finetune)


@dataclass(frozen=True)
class Cost:
    """What something took: seconds on the wall, and seconds of all threads of its process."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Training:
    """A measured training.

    Attributes:
        losses: of every step.
        costs: of every step.
        order: the numbers of the rows, in the order in which they were trained on.
        floor: rows a CPU second if nothing but the needed matrix products took time, at the
            measured rate of a large one; 0 where it isn't known.
    """

    losses: tuple[float, ...]
    costs: tuple[Cost, ...]
    order: tuple[int, ...]
    floor: float = 0.0


@dataclass(frozen=True)
class Exported:
    """A written graph.

    Attributes:
        cost: of the stage.
        difference: largest, of a number of a vector, to the encoder.
        cosine: smallest, to the encoder.
    """

    cost: Cost
    difference: float
    cosine: float


@dataclass(frozen=True)
class Answers:
    """What one side answered to a number of requests.

    Attributes:
        seconds: of each request, on the wall.
        cpu: of all of them.
        vectors: of the last one, (texts, dimension) float32.
    """

    seconds: list[float]
    cpu: float
    vectors: NDArray[np.float32]


@dataclass(frozen=True)
class Service:
    """A server that answers.

    Attributes:
        url: without `/v1`.
        model: what it calls its model.
        pid: its process.
        seconds: from its start until it was ready.
    """

    url: str
    model: str
    pid: int
    seconds: float


class Stopwatch:
    """The cost since it was made, or since the last lap."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def lap(self) -> Cost:
        """The cost since the last lap."""
        wall, cpu = self._wall, self._cpu
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return Cost(self._wall - wall, self._cpu - cpu)


class Side:
    """A process of its own, so that imports, threads and memory of two sides don't mix.

    It stays until the end, so that calls to both sides can take turns.

    Args:
        module: whose functions are called there; it isn't imported here.
    """

    def __init__(self, module: str) -> None:
        context = get_context("spawn")
        self._module = module
        self._process = ProcessPoolExecutor(1, mp_context=context, initializer=_speak_on_stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.shutdown()

    def __call__(self, function: str, *arguments: Any) -> Any:
        """Call a function there."""
        return self._process.submit(_call, self._module, function, arguments).result()

    def start(self, settings: Settings) -> float:
        """Import the module, load and warm up; the seconds that it took there."""
        return self._process.submit(_start, self._module, settings).result()

    def peak_megabytes(self) -> float:
        """The most memory that it has held so far, imports and model included."""
        return self._process.submit(_peak_megabytes).result()

    def resident_megabytes(self) -> float:
        """The memory that it holds now."""
        return resident_megabytes(self._process.submit(os.getpid).result())


def resident_megabytes(pid: int) -> float:
    """The memory that a process holds now."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


def cpu_seconds(pid: int) -> float:
    """What all threads of a process have computed so far, in steps of a hundredth."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _start(module: str, settings: Settings) -> float:
    watch = Stopwatch()
    _call(module, "start", (settings,))
    return watch.lap().wall


def _call(module: str, function: str, arguments: Sequence[Any]) -> Any:
    return getattr(importlib.import_module(module), function)(*arguments)


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_A_UNIT / 1e6


def without_dropout(model: Any) -> None:
    """Let a torch model compute in training as it does outside of it."""
    for module in model.modules():
        if type(module).__name__ == "Dropout":
            module.p = 0.0


def pin(threads: int) -> None:
    """Let this process and its children have so many cores, and compute on as many threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ["OMP_NUM_THREADS"] = str(threads)


def _speak_on_stderr() -> None:
    """What a library prints must not get into the table."""
    os.dup2(2, 1)
