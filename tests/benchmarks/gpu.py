"""The engine on a GPU: what the figures promise, measured in one call of ten minutes.

    python tests/benchmarks/gpu.py [--cpu] [--only rate,ours,...] [--seconds 560] [--output FILE]

The model has the shape of Llama-3.2-1B and random weights, the texts random words: 30 tokens a
query and five passages of 300, of mixed lengths. Neither network nor downloads are needed; where
the project is not installed, `PYTHONPATH=.` in its root does. With `--cpu` a tiny model takes the
same path in a minute; those figures mean nothing.

Sections, each in a process of its own with time of its own; one that fails is said so, and the
others go on:
- `prepare` writes the model; `rate` is the matrix rate, what MFU is a share of.
- `ours` is the pipeline's engine with the default profile's settings, which let it choose how many
  tokens go through the model at once; `ours-fused` has Liger's kernels (`finetune.liger`) where
  they are installed, `ours-compiled` torch's compiler (`finetune.compile`).
- `published` is the published recipe's way in plain transformers: micro-batches of four queries,
  passages padded to 512, queries and passages in forwards of their own, no in-batch negatives;
  `published-trimmed` pads only to the longest of a micro-batch.
- `merged`, `cached` and `flash` are sentence-transformers' trainer: all columns in one padded
  forward, the cached loss with a token budget, and FlashAttention 2 where it is installed. The
  fastest of them is its best.
- `parity`: packed forward passes against padded ones.
- `search`: 15,000 queries in a million passages.

How it is kept fair: every side trains on the same texts, 128 rows an optimizer step, in bfloat16
products; tokens are those of the texts, each counted once and without padding, whatever a side
computes; the rate is of the median step, after two that aren't counted. MFU counts the products
that one forward and one backward pass need, and none that is done twice.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from workload import SHAPES, Shape, floors, make_workload

from pipeline.files import read_json, write_json
from pipeline.launch import worker_environment


@dataclass(frozen=True)
class Section:
    """One measurement.

    Attributes:
        function: `module.function`, called with a `Bench`.
        measured: seconds that it measures.
        limit: seconds after which it is ended, loading included.
    """

    function: str
    measured: float
    limit: float


SECTIONS: Mapping[str, Section] = {
    "prepare": Section("accelerated.prepare", 0, 90),
    "rate": Section("accelerated.measure_rate", 3, 45),
    "ours": Section("accelerated.train", 25, 110),
    "published": Section("accelerated_peers.train_published", 15, 80),
    "cached": Section("accelerated_peers.train_cached", 15, 90),
    "merged": Section("accelerated_peers.train_merged", 15, 90),
    "parity": Section("accelerated.compare_forwards", 0, 60),
    "search": Section("accelerated.search", 0, 120),
    "ours-fused": Section("accelerated.train_fused", 10, 60),
    "ours-compiled": Section("accelerated.train_compiled", 10, 150),
    "published-trimmed": Section("accelerated_peers.train_published_trimmed", 10, 60),
    "flash": Section("accelerated_peers.train_flash", 15, 90),
}
"""In the order in which they are run: the most wanted first."""

PEERS = ("cached", "merged", "flash")
TINY_SECONDS = 0.3


@dataclass(frozen=True)
class Measured:
    """What became of a section.

    Attributes:
        seconds: that it took.
        figures: by name; empty where it failed.
        error: why it failed, or empty.
    """

    seconds: float
    figures: Mapping[str, float] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Goal:
    """A figure that was promised.

    Attributes:
        what: in words, with its unit.
        value: what was measured, or None.
        least: the least that it may be, or None.
        most: the most that it may be, or None.
    """

    what: str
    value: float | None
    least: float | None = None
    most: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the promise is kept; None where nothing was measured."""
        if self.value is None:
            return None
        return (self.least is None or self.value >= self.least) and (
            self.most is None or self.value <= self.most
        )


def run_all(
    names: Sequence[str], shape: str, seconds: float, tell: Callable[[str], None]
) -> dict[str, Measured]:
    """All sections, as long as there is time."""
    until = time.monotonic() + seconds
    found: dict[str, Measured] = {}
    with TemporaryDirectory() as temporary:
        for name in names:
            limit = min(SECTIONS[name].limit, until - time.monotonic())
            if limit < 1:
                found[name] = Measured(0.0, error="no time was left")
            else:
                found[name] = run_section(name, shape, Path(temporary), limit)
            tell(f"{name}: {found[name].error or 'done'}, {found[name].seconds:.0f} s")
    return found


def run_section(name: str, shape: str, folder: Path, limit: float) -> Measured:
    """Run a section in a process of its own, and end it when its time is over."""
    process = _processes(shape).Process(target=_section, args=(name, shape, folder))
    began = time.monotonic()
    process.start()
    process.join(limit)
    late = process.is_alive()
    process.kill()
    process.join()
    seconds = time.monotonic() - began
    if late:
        return Measured(seconds, error=f"not done in {limit:.0f} s")
    if process.exitcode:
        # The last line of a traceback says what happened.
        log = folder / f"{name}.log"
        said = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
        return Measured(seconds, error=said[-1] if said else f"exit code {process.exitcode}")
    return Measured(seconds, read_json(folder / f"{name}.json"))


@cache
def _processes(shape: str) -> SpawnContext | ForkServerContext:
    """On a GPU every process imports all anew, since CUDA bears no fork; on a CPU one, for all."""
    if shape != "tiny":
        return get_context("spawn")
    # The server looks for modules along PYTHONPATH alone.
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    context = get_context("forkserver")
    context.set_forkserver_preload(["accelerated_peers", "sentence_transformers", "datasets"])
    return context


def _section(name: str, shape: str, folder: Path) -> None:
    with (folder / f"{name}.log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    section = SECTIONS[name]
    bench = importlib.import_module("accelerated").Bench(
        shape=SHAPES[shape],
        device="cpu" if shape == "tiny" else "cuda",
        folder=folder / "model",
        seconds=min(section.measured, TINY_SECONDS) if shape == "tiny" else section.measured,
    )
    module, _, function = section.function.rpartition(".")
    figures = getattr(importlib.import_module(module), function)(bench)
    write_json(folder / f"{name}.json", figures)


def goals(found: Mapping[str, Measured]) -> list[Goal]:
    """The figures of the issue, as far as they were measured."""

    def figure(section: str, name: str) -> float | None:
        return found[section].figures.get(name) if section in found else None

    tokens = {name: figure(name, "tokens a second") for name in found}
    ours = tokens.get("ours")
    peers = [speed for name in PEERS if (speed := tokens.get(name)) is not None]
    return [
        Goal(
            "MFU in training",
            _ratio(figure("ours", "FLOP a second"), figure("rate", "FLOP a second")),
            0.5,
        ),
        Goal("tokens/s, ours / published", _ratio(ours, tokens.get("published")), 1.6),
        Goal(
            "tokens/s, ours / sentence-transformers' best",
            _ratio(ours, max(peers, default=None)),
            1.3,
        ),
        Goal("tokens/s, fused / not", _ratio(tokens.get("ours-fused"), ours)),
        Goal("tokens/s, compiled / not", _ratio(tokens.get("ours-compiled"), ours)),
        Goal("peak memory in training, GB", figure("ours", "memory in use, GB"), most=80.0),
        Goal("one million passages searched, s", figure("search", "search, s"), most=1.0),
        Goal("packed - padded in float32", figure("parity", "float32, packed - padded"), most=1e-5),
    ]


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours and theirs else None


def describe(shape: Shape, found: Mapping[str, Measured]) -> dict[str, Any]:
    """Everything, for programs."""
    rate = found["rate"].figures.get("FLOP a second") if "rate" in found else None
    return {
        "shape": asdict(shape),
        "means something": shape == SHAPES["1b"],
        "sections": {name: asdict(each) for name, each in found.items()},
        "floors": floors(make_workload(shape), rate) if rate else {},
        "goals": [asdict(goal) | {"met": goal.met} for goal in goals(found)],
    }


def as_table(document: Mapping[str, Any]) -> str:
    """Everything, for people."""
    lines = [f"{'section':<20}{'what':<34}{'figure':>16}"]
    for name, each in document["sections"].items():
        if each["error"]:
            lines.append(f"{name:<20}not measured: {each['error']}")
        for what, value in each["figures"].items():
            lines.append(f"{name:<20}{what:<34}{_figure(value):>16}")
    for what, value in document["floors"].items():
        lines.append(f"{'floor':<20}{what:<34}{_figure(value):>16}")
    lines += ["", f"{'goal':<54}{'measured':>16}{'wanted':>12}"]
    for goal in document["goals"]:
        wanted = [(">=", goal["least"]), ("<=", goal["most"])]
        limits = " ".join(f"{sign} {value:g}" for sign, value in wanted if value is not None)
        word = {True: "met", False: "MISSED", None: "not measured"}[goal["met"]] if limits else ""
        word = word if document["means something"] else ""
        lines.append(f"{goal['what']:<54}{_figure(goal['value']):>16}{limits:>12}  {word}")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cpu", action="store_true", help="a tiny model on the CPU")
    parser.add_argument("--only", default="", help="sections, with commas between; all")
    parser.add_argument("--seconds", type=float, default=560.0, help="for everything")
    parser.add_argument("--output", type=Path, help="a file for the same as JSON")
    parsed = parser.parse_args(arguments)
    names = parsed.only.split(",") if parsed.only else list(SECTIONS)
    if unknown := set(names) - set(SECTIONS):
        parser.error(f"--only {sorted(unknown)[0]}: the sections are {', '.join(SECTIONS)}")
    names = [name for name in SECTIONS if name in names or name == "prepare"]
    shape = "tiny" if parsed.cpu else "1b"
    os.environ.update(worker_environment(os.environ) | {"HF_HUB_OFFLINE": "1"})
    if parsed.cpu:
        # Threads that share so little work mostly wait for each other.
        os.environ.update({"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"})

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    document = describe(SHAPES[shape], run_all(names, shape, parsed.seconds, tell))
    if parsed.output:
        parsed.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(as_table(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
