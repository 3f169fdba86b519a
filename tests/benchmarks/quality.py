"""Does a setting retrieve better? Systems side by side on human questions with human labels.

    python tests/benchmarks/quality.py SET [SET ...] --output FOLDER
        [--systems base,bm25,ours,published,sentence-transformers,sentence-transformers-one]
        [--seeds 0,1,2] [--epochs 1] [--queries N] [--threads 1] [--json]
        [--recipe-set finetune.temperature=0.05 ... --name warm]

A SET is a folder in BEIR form with a `test` split; `doc` in a passage's metadata names its
document. all-MiniLM-L6-v2 learns from the questions about some documents and is asked the
questions about the others, over all passages. A seed decides both the split and the training.

Systems:
- `base` doesn't learn, `bm25` doesn't embed.
- `ours` is the pipeline's `prep` and `finetune` with the rehearsal's defaults.
- `--recipe-set` with `--name` is ours with other settings, under that name.
- `published` is ours with the published recipe's settings: no in-batch negatives, 1e-5, 1+4.
- `sentence-transformers` is its trainer, its MultipleNegativesRankingLoss and its
  `mine_hard_negatives`, all by default, over every pair of a question and a positive;
  `sentence-transformers-one` learns from one positive of each question, as ours does in an epoch.

How it is kept fair:
- All get the same labels and epochs. Ours takes some of the training questions to choose its best
  weights; the systems that don't choose learn from those too.
- All are asked in the same way: the weights are loaded by one encoder, whoever trained them.
- Intervals are of the paired bootstrap over documents, not over questions, since questions about
  one document stand or fall together; a question's value is its mean over the seeds that hold it
  out. A mean weighs questions, not documents.

A cell of the table is one system with one seed on one set, and a file below FOLDER: it is never
measured again, and a killed run goes on with the same command. The table has all cells of these
sets, epochs and queries that are there. When the code changes, take another folder. A cell is
minutes to hours of a CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import Any

from labelled import LabelledSet, read_labelled
from measure import Side, pin
from tasks import SYSTEMS, Task, recipe_of

from pipeline.beir import Metrics
from pipeline.eval.records import Difference
from pipeline.eval.statistics import paired_differences, verdict_of
from pipeline.files import read_json, write_json
from pipeline.launch import worker_environment
from pipeline.measures import metric_title
from pipeline.recipe import Overrides, parse_setting


@dataclass(frozen=True)
class Cell:
    """One system with one seed on one set, measured.

    Attributes:
        system: its name.
        seed: of split and training.
        digest: of the set.
        overrides: settings of a variant.
        metrics: of each held-out question.
        homes: the document of each held-out question.
        examples: rows trained on, an epoch.
        wall: seconds of mining and training.
        cpu: the same, of all threads.
        settings: what the system was told.
    """

    system: str
    seed: int
    digest: str
    overrides: Overrides
    metrics: Mapping[str, Metrics]
    homes: Mapping[str, str]
    examples: int
    wall: float
    cpu: float
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One system on one set.

    Attributes:
        system: its name.
        seeds: that it was measured with.
        means: of every metric, over the held-out questions.
        questions: held out, by any of the seeds.
        examples: rows trained on, an epoch; mean over the seeds.
        cpu: seconds of mining and training; mean over the seeds.
    """

    system: str
    seeds: tuple[int, ...]
    means: Metrics
    questions: int
    examples: float
    cpu: float


@dataclass(frozen=True)
class Comparison:
    """Two systems on the questions that the same seeds hold out.

    Attributes:
        system: the one.
        other: what is subtracted.
        seeds: that both were measured with.
        documents: that the questions are about.
        differences: of every metric, with its interval.
        verdicts: the same in words.
    """

    system: str
    other: str
    seeds: tuple[int, ...]
    documents: int
    differences: Mapping[str, Difference]
    verdicts: Mapping[str, str]


def cell_path(output: Path, name: str, questions: int, epochs: int, system: str, seed: int) -> Path:
    """Where a cell is, or will be."""
    amount = f"{questions or 'all'}-queries-{epochs}-epochs"
    return output / name / amount / system / f"seed-{seed}.json"


def fill(labelled: LabelledSet, task: Task, output: Path) -> bool:
    """Measure a cell, unless it is there; returns whether it was measured.

    Raises:
        SystemExit: what is there was measured on another set, or with other settings.
    """
    path = cell_path(output, labelled.name, task.questions, task.epochs, task.system, task.seed)
    if path.is_file():
        _require_same(read_cell(path), labelled, task, path)
        return False
    folder = path.with_suffix(".work")
    folder.mkdir(parents=True, exist_ok=True)
    # A process of its own: no cell depends on those before it.
    with Side("judged") as side:
        measured = side("measure", labelled, task, folder, output / "cache")
    cell = {
        "system": task.system,
        "seed": task.seed,
        "digest": labelled.digest,
        "overrides": dict(task.overrides),
        "homes": {question: labelled.home(question) for question in measured.metrics},
        **asdict(measured),
    }
    write_json(path, cell)
    shutil.rmtree(folder)
    return True


def read_cell(path: Path) -> Cell:
    """A measured cell."""
    return Cell(**read_json(path))


def _require_same(cell: Cell, labelled: LabelledSet, task: Task, path: Path) -> None:
    if cell.digest != labelled.digest:
        sys.exit(f"{path} was measured on another set of this name; take another --output")
    told = json.loads(json.dumps(dict(task.overrides)))
    if cell.overrides != told:
        sys.exit(f"{path} was measured with {cell.overrides}; take another --name")


def read_cells(output: Path, name: str, questions: int, epochs: int) -> dict[str, list[Cell]]:
    """All measured cells of one set, by system: those known in their order, then variants."""
    folder = cell_path(output, name, questions, epochs, "", 0).parent
    cells: dict[str, list[Cell]] = {}
    for path in sorted(folder.glob("*/seed-*.json")):
        cell = read_cell(path)
        cells.setdefault(cell.system, []).append(cell)
    order = sorted(cells, key=lambda system: ([*SYSTEMS, system].index(system), system))
    return {system: sorted(cells[system], key=lambda cell: cell.seed) for system in order}


def row_of(cells: Sequence[Cell]) -> Row:
    """A system's line."""
    values = _by_question(cells)
    names = next(iter(values.values()))
    return Row(
        cells[0].system,
        tuple(cell.seed for cell in cells),
        {name: mean(row[name] for row in values.values()) for name in names},
        len(values),
        mean(cell.examples for cell in cells),
        mean(cell.cpu for cell in cells),
    )


def compare(ours: Sequence[Cell], theirs: Sequence[Cell]) -> Comparison | None:
    """Two systems by the seeds that both have; None where they share none."""
    seeds = sorted({cell.seed for cell in ours} & {cell.seed for cell in theirs})
    if not seeds:
        return None
    first, second = ([cell for cell in side if cell.seed in seeds] for side in (ours, theirs))
    homes = {key: home for cell in first for key, home in cell.homes.items()}
    sides = [_by_home(_by_question(cells), homes) for cells in (first, second)]
    differences = paired_differences(*sides)
    verdicts = {name: verdict_of(each, len(sides[0])) for name, each in differences.items()}
    return Comparison(
        ours[0].system, theirs[0].system, tuple(seeds), len(sides[0]), differences, verdicts
    )


def _by_question(cells: Iterable[Cell]) -> dict[str, Metrics]:
    """Every question's mean over the seeds that hold it out."""
    rows: dict[str, list[Metrics]] = {}
    for cell in cells:
        for question, metrics in cell.metrics.items():
            rows.setdefault(question, []).append(metrics)
    return {
        question: {name: mean(each[name] for each in found) for name in found[0]}
        for question, found in rows.items()
    }


def _by_home(values: Mapping[str, Metrics], homes: Mapping[str, str]) -> list[Metrics]:
    """Sums by document, scaled so that their mean is the mean over the questions."""
    grouped: dict[str, list[Metrics]] = {}
    for question in sorted(values):
        grouped.setdefault(homes[question], []).append(values[question])
    usual = len(values) / len(grouped)
    return [
        {name: sum(row[name] for row in rows) / usual for name in rows[0]}
        for _, rows in sorted(grouped.items())
    ]


def compare_all(cells: Mapping[str, Sequence[Cell]]) -> list[Comparison]:
    """Every system with every one that is listed before it."""
    pairs = ((later, earlier) for earlier, later in combinations(cells.values(), 2))
    found = (compare(later, earlier) for later, earlier in pairs)
    return [comparison for comparison in found if comparison is not None]


def as_markdown(name: str, cells: Mapping[str, Sequence[Cell]]) -> str:
    """The tables of one set."""
    rows = [row_of(each) for each in cells.values()]
    names = list(rows[0].means)
    titles = " | ".join(map(metric_title, names))
    lines = [
        f"## {name}",
        "",
        f"| system | {titles} | seeds | questions | rows an epoch | CPU min |",
        f"|---|{'---:|' * len(names)}---|---:|---:|---:|",
    ]
    for row in rows:
        values = " | ".join(f"{100 * row.means[each]:.2f}" for each in names)
        seeds = ", ".join(map(str, row.seeds))
        lines.append(
            f"| {row.system} | {values} | {seeds} | {row.questions} | {row.examples:.0f} "
            f"| {row.cpu / 60:.1f} |"
        )
    lines += [
        "",
        f"| difference | {titles} | seeds | documents |",
        f"|---|{'---|' * len(names)}---|---:|",
    ]
    for each in compare_all(cells):
        cell = " | ".join(_interval(each, metric) for metric in names)
        seeds = ", ".join(map(str, each.seeds))
        lines.append(f"| {each.system} − {each.other} | {cell} | {seeds} | {each.documents} |")
    return "\n".join(lines)


def _interval(comparison: Comparison, metric: str) -> str:
    difference, verdict = comparison.differences[metric], comparison.verdicts[metric]
    value, low, high = (100 * x for x in (difference.mean, difference.low, difference.high))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}] {verdict}"


def as_document(cells: Mapping[str, Sequence[Cell]]) -> dict[str, Any]:
    """The same, for programs; without the single questions."""
    return {
        "systems": [
            asdict(row_of(each)) | {"settings": dict(each[0].settings)} for each in cells.values()
        ],
        "differences": [asdict(each) for each in compare_all(cells)],
    }


def _tasks(parsed: argparse.Namespace) -> Iterator[Task]:
    overrides = dict(map(parse_setting, parsed.recipe_set))
    systems = [*parsed.systems.split(","), *([parsed.name] if parsed.name else [])]
    for seed in map(int, parsed.seeds.split(",")):
        for system in filter(None, systems):
            told = overrides if system == parsed.name else {}
            task = Task(system, seed, parsed.epochs, parsed.queries, told, parsed.threads)
            recipe_of(task)
            yield task


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sets", nargs="+", type=Path, metavar="SET", help="folders in BEIR form")
    parser.add_argument("--output", type=Path, required=True, help="where the cells are kept")
    parser.add_argument("--systems", default="base,bm25,ours,published,sentence-transformers-one")
    parser.add_argument("--seeds", default="0,1,2", help="of split and training")
    parser.add_argument("--epochs", type=int, default=1, help="of every system")
    parser.add_argument("--queries", type=int, default=0, help="to learn from at most; 0: all")
    parser.add_argument("--threads", type=int, default=1, help="and cores")
    parser.add_argument("--recipe-set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--name", default="", help="of ours with these settings")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parsed = parser.parse_args(arguments)
    if unknown := set(filter(None, parsed.systems.split(","))) - set(SYSTEMS):
        parser.error(f"--systems {sorted(unknown)[0]}: there are {', '.join(SYSTEMS)}")
    if bool(parsed.name) != bool(parsed.recipe_set) or parsed.name in SYSTEMS:
        parser.error("--recipe-set needs a --name of its own, and --name a --recipe-set")
    if parsed.epochs < 1 or parsed.queries < 0 or parsed.threads < 1:
        parser.error("--epochs and --threads must be at least 1, --queries at least 0")
    return parsed


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing, and print the tables."""
    parsed = parse_arguments(arguments)
    os.environ.update(worker_environment(os.environ) | {"CUDA_VISIBLE_DEVICES": ""})
    pin(parsed.threads)
    tasks = list(_tasks(parsed))
    tables, documents = [], {}
    for folder in parsed.sets:
        labelled = read_labelled(folder)
        for task in tasks:
            fresh = fill(labelled, task, parsed.output)
            state = "measured" if fresh else "was there"
            print(f"{labelled.name}, {task.system}, seed {task.seed}: {state}", file=sys.stderr)
        cells = read_cells(parsed.output, labelled.name, parsed.queries, parsed.epochs)
        tables.append(as_markdown(labelled.name, cells))
        documents[labelled.name] = as_document(cells)
    print(json.dumps(documents, indent=2) if parsed.json else "\n\n".join(tables))
    return 0


if __name__ == "__main__":
    sys.exit(main())
