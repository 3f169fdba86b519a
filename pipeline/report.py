"""The report of a run: what was made, what was measured, where everything lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.deploy.served import ServedRow, served_rows
from pipeline.deploy.services import list_services
from pipeline.eval.records import EvalResult, eval_row, read_eval
from pipeline.eval.tables import ordered_sets, to_markdown
from pipeline.files import write_text
from pipeline.profiles import find_profile
from pipeline.recipe import Recipe
from pipeline.review.kept import load_kept
from pipeline.run import Result, Run
from pipeline.stage import STAGES


@dataclass(frozen=True)
class Report:
    """What a run holds now.

    Attributes:
        text: Markdown that reads well in a terminal.
        fields: the same as a JSON object.
        verdict: verification's `PASS`, `FAIL`, `INCONCLUSIVE`, or empty before it ran.
    """

    text: str
    fields: Mapping[str, Any]
    verdict: str


def build_report(run: Run, variant: str, measured: Mapping[str, Any] | None = None) -> Report:
    """Tell what the current results of a run say; stages that were not made are left out.

    Args:
        run: the run.
        variant: the variant's name, or empty.
        measured: a verification to tell of instead of the current one.
    """
    recipe = run.recipe(variant)
    profile = find_profile(recipe.profile)
    results = {
        stage.name: result
        for stage in STAGES
        if (result := run.current(stage.name, variant)) is not None
    }
    metrics = read_eval(results["eval"].folder) if "eval" in results else EvalResult(())
    verification = dict(results["verify"].summary) if "verify" in results else {}
    verification = dict(measured or verification)
    services = [service for service in list_services(run) if service.alive()]
    blocks = [
        _title(run, variant, profile.rehearsal),
        _made(run, recipe, results),
        to_markdown(ordered_sets(metrics)),
        _verification(verification),
        _notes(results),
        _places(run, results, [f"{s.name}: {s.url}/v1/embeddings" for s in services]),
    ]
    fields = {
        "run": run.name,
        "variant": variant,
        "profile": recipe.profile,
        "rehearsal": profile.rehearsal,
        "stages": {name: dict(result.summary) for name, result in results.items()},
        "eval": {row["name"]: row for row in eval_row(metrics)["sets"]},
        "verdict": verification.get("verdict", ""),
        "services": {service.name: service.url for service in services},
        "folder": str(run.path),
    }
    text = "\n\n".join(block for block in blocks if block)
    return Report(text, fields, str(verification.get("verdict", "")))


def write_report(run: Run, report: Report) -> None:
    """Keep the report in the run folder."""
    write_text(run.report_path, report.text + "\n")


def _title(run: Run, variant: str, rehearsal: bool) -> str:
    name = f"{run.name}, variant {variant}" if variant else run.name
    if not rehearsal:
        return f"# Report of {name}"
    return (
        f"# Rehearsal report of {name}\n\n"
        "This is a rehearsal: a small model on a CPU, and unless an endpoint wrote them,\n"
        "questions cut mechanically from the text, whose words BM25 finds by their spelling. It\n"
        "shows that the chain works here; its numbers say nothing about what a real model gains\n"
        "on your documents."
    )


def _made(run: Run, recipe: Recipe, results: Mapping[str, Result]) -> str:
    lines = []
    for name, describe in (
        ("corpus", _corpus_line),
        ("sdg", _sdg_line),
        ("prep", _prep_line),
        ("finetune", _finetune_line),
        ("export", _export_line),
    ):
        if result := results.get(name):
            lines.append(f"{name:<9} {describe(result.summary)}")
            if name == "sdg":
                kept = len(load_kept(run, result.folder, recipe.sdg.threshold))
                lines[-1] += f"; {kept} kept (threshold {recipe.sdg.threshold:g} and decisions)"
    return "\n".join(["## What was made", "", *lines]) if lines else ""


def _corpus_line(summary: Mapping[str, Any]) -> str:
    roles = summary["roles"]
    outside = summary.get("outside_slice", 0)
    return (
        f"{summary['documents']} documents ({roles['train']} train, {roles['dev']} dev, "
        f"{roles['test']} test), {summary['passages']} passages; {summary['skipped']} skipped, "
        f"{summary['duplicates']} duplicates"
        + (f", {outside} outside the slice" if outside else "")
    )


def _sdg_line(summary: Mapping[str, Any]) -> str:
    return (
        f"{summary['asked']} questions asked for, {summary['written']} written by "
        f"{summary['writer']}, {summary['unblocked']} passed the checks"
    )


def _prep_line(summary: Mapping[str, Any]) -> str:
    return (
        f"{summary['examples']} training examples with {summary['negatives_per_query']:.1f} hard "
        f"negatives each, {summary['dev_queries']} dev and {summary['test_queries']} test queries"
    )


def _finetune_line(summary: Mapping[str, Any]) -> str:
    line = (
        f"{summary['steps']} steps of {summary['batch_size']} in {summary['seconds']:.0f} s "
        f"({summary['samples_per_second']:.1f} examples/s), best at step {summary['best_step']}"
    )
    if summary["dev_ndcg_at_10"] is None:
        return line
    return (
        f"{line}; dev nDCG@10 {summary['dev_ndcg_at_10_base']:.3f} -> "
        f"{summary['dev_ndcg_at_10']:.3f}"
    )


def _export_line(summary: Mapping[str, Any]) -> str:
    return str(summary.get("headline", ""))


def _verification(summary: Mapping[str, Any]) -> str:
    if not summary:
        return ""
    blocks = [f"## The endpoint {summary['url']}: {summary['headline']}"]
    rows = served_rows(summary)
    for each in summary["sets"]:
        blocks.append(_served(each, [row for row in rows if row.set == each["name"]]))
    return "\n\n".join(blocks)


def _served(each: Mapping[str, Any], rows: Sequence[ServedRow]) -> str:
    """One eval set through the endpoint: metrics, drift, flipped queries."""
    lines = [
        f"{each['name']}, {each['queries']} queries; one query is {each['resolution']:.4f}",
        "",
        "| metric | measured | served | difference | tolerance | |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.title} | {row.measured:.4f} | {row.served:.4f} | {row.difference:+.4f} | "
        f"{row.tolerance:g} | {row.verdict} |"
        for row in rows
    ]
    drift = "; ".join(
        f"{what} cosine mean {cosines['mean']:.6f}, least {cosines['min']:.6f}"
        for what, cosines in each["drift"].items()
    )
    flipped = ", ".join(each["flipped"]) or "none"
    return "\n".join([*lines, "", f"Vector drift: {drift}.", f"Flipped queries: {flipped}."])


def _notes(results: Mapping[str, Result]) -> str:
    notes = [
        f"- {name}: {sentence}"
        for name, result in results.items()
        for kind in ("notes", "warnings")
        for sentence in result.summary.get(kind, ())
    ]
    return "\n".join(["## Notes", "", *notes]) if notes else ""


def _places(run: Run, results: Mapping[str, Result], services: Sequence[str]) -> str:
    def inside(path: Path) -> str:
        return path.relative_to(run.path).as_posix()

    lines = [f"run       {run.path}"]
    if model := results.get("finetune"):
        lines.append(f"model     {inside(model.folder / 'model')}")
    for name in ("export", "eval"):
        if result := results.get(name):
            lines.append(f"{name:<9} {inside(result.folder)}")
    lines += [f"service   {service}" for service in services]
    lines.append(f"report    {inside(run.report_path)}")
    return "\n".join(["## Where everything lies", "", *lines])
