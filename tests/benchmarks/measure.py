"""Measuring: how much, in which process, and what it costs."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from pipeline.profiles import REHEARSAL_PROFILE, base_recipe, find_profile
from pipeline.recipe import Recipe

P = ParamSpec("P")
T = TypeVar("T")

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
        requests: of one query each, and a tenth as many of `REQUEST_PASSAGES` passages.
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
        """The rehearsal's recipe, trained for one epoch at a rate that both sides can follow."""
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
    """

    def __init__(self) -> None:
        context = get_context("spawn")
        self._process = ProcessPoolExecutor(1, mp_context=context, initializer=_speak_on_stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.shutdown()

    def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work` there."""
        return self._process.submit(work, *args, **kwargs).result()


def peak_megabytes() -> float:
    """The most memory that this process has held so far, imports and model included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_A_UNIT / 1e6


def _speak_on_stderr() -> None:
    """What a library prints must not get into the table."""
    os.dup2(2, 1)
