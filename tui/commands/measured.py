"""`show RUN` with `--metrics`, `--misses` or `--snippet`: one thing that a run has, and no more."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from pipeline.deploy.services import Service, list_services
from pipeline.deploy.snippet import key_variable_of, snippets
from pipeline.errors import BadInput
from pipeline.eval.misses import Miss, Misses, load_misses
from pipeline.eval.records import System, read_eval
from pipeline.eval.tables import ordered_sets, table_row, to_csv, to_json, to_markdown
from pipeline.profiles import find_profile
from pipeline.run import Run
from pipeline.status import service_name
from tui.output import Output

_FORMS = {"markdown": to_markdown, "csv": to_csv, "json": to_json}
_SHOWN_CHARACTERS = 200
_SYSTEM_TITLES: dict[System, str] = {"base": "base", "finetuned": "fine-tuned", "bm25": "BM25"}


def show_metrics(run: Run, variant: str, form: str, output: Output) -> None:
    """Print every set's table, the user's own sets first.

    Raises:
        BadInput: nothing was measured yet.
    """
    sets = ordered_sets(read_eval(_eval_folder(run, variant)))
    output.say(_FORMS[form](sets))
    for each in sets:
        output.record("metrics", table_row(each))


def show_misses(run: Run, variant: str, eval_set: str, k: int, limit: int, output: Output) -> None:
    """Print the queries that the fine-tuned model misses, the most harmful first.

    Args:
        run: the run.
        variant: the variant's name, or empty.
        eval_set: the set's name; empty for the one that leads.
        k: the rank that counts.
        limit: at most so many.
        output: where it goes.

    Raises:
        BadInput: nothing was measured yet, or there is no set of that name.
    """
    folder = _eval_folder(run, variant)
    name = eval_set or ordered_sets(read_eval(folder))[0].name
    found = load_misses(folder, name, k)
    output.say(misses_headline(found))
    for miss in found.misses[:limit]:
        output.say()
        for line in _miss_lines(miss):
            output.say(line)
        output.record("miss", asdict(miss))
    if len(found.misses) > limit:
        output.say()
        output.say(f"{len(found.misses) - limit} more; --limit N shows more of them.")
    output.record(
        "misses",
        {"set": name, "k": k, "queries": found.queries}
        | {"misses": len(found.misses), "wins": len(found.wins)},
    )


def show_snippet(run: Run, variant: str, name: str, output: Output) -> None:
    """Print how the variant's service is called.

    Raises:
        BadInput: the run has no service.
    """
    service = _service(run, variant)
    recipe = run.recipe(variant)
    dimension = recipe.encoder.dimension or find_profile(recipe.profile).dimension
    key_variable = key_variable_of(service.record, os.environ)
    text = snippets(service.record, dimension=dimension, key_variable=key_variable)[name]
    output.say(text)
    output.record("snippet", {"name": name, "service": service.name, "text": text})


def misses_headline(found: Misses) -> str:
    """How many a set misses, lost and won, in one line."""
    worse = sum(miss.worse for miss in found.misses)
    return (
        f"{found.set}: {len(found.misses)} of {found.queries} queries have no relevant passage in "
        f"the first {found.k}; for {worse} of them the base did better. {len(found.wins)} that the "
        "base misses are found now."
    )


def _miss_lines(miss: Miss) -> list[str]:
    ranks = ", ".join(
        f"{title} {miss.ranks[system] or 'not found'}" for system, title in _SYSTEM_TITLES.items()
    )
    return [
        f"{miss.query}  {_short(miss.text)}",
        f"  rank: {ranks}",
        *(f"  wanted {each.id}: {_short(each.text)}" for each in miss.relevant),
        *(f"  {w.rank}. {w.score:.4f} {w.id}: {_short(w.text)}" for w in miss.winners),
    ]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[: _SHOWN_CHARACTERS - 3] + "..."


def _eval_folder(run: Run, variant: str) -> Path:
    result = run.current("eval", variant)
    if result is None:
        raise BadInput(
            f"Nothing of {run.name} was measured yet.",
            safe="Nothing was changed.",
            next_step=f"Measure it: `embedsmith run {run.name} --to eval`.",
        )
    return result.folder


def _service(run: Run, variant: str) -> Service:
    services = {service.name: service for service in list_services(run)}
    name = service_name(variant, run.recipe(variant))
    if name not in services:
        raise BadInput(
            f"The run {run.name} has no service {name!r}.",
            safe="Nothing was changed.",
            next_step=f"Start it: `embedsmith deploy {run.name}`.",
        )
    return services[name]
