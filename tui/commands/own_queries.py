"""`--queries FILE`: the user's own queries go into the run, and what follows from them."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict, replace
from pathlib import Path

from pipeline.errors import NoConsent
from pipeline.queries import (
    QueryLog,
    chosen_examples,
    read_log,
    read_queries,
    write_queries,
)
from pipeline.query_set import make_query_set, set_name
from pipeline.recipe import Recipe
from pipeline.run import Run, cache_home, change_recipe, changed_recipe
from pipeline.sdg.estimate import in_words
from pipeline.sdg.spending import spent
from pipeline.sdg.writer import OFFLINE
from pipeline.status import job_statuses
from tui.commands.consent import asked, corpus_of, estimate_of
from tui.commands.finding import overrides_of
from tui.output import Output


class OwnQueries:
    """The queries of one call; nothing where it has none."""

    def __init__(self, arguments: Namespace, output: Output) -> None:
        """Read the file.

        Raises:
            BadInput: it holds no queries.
        """
        given = getattr(arguments, "queries", None)
        self._path = Path(given).expanduser() if given else None
        self._log: QueryLog | None = read_log(self._path) if self._path else None
        self._output = output
        if self._log:
            _say(self._path, self._log, output)

    def preview(self, run: Run) -> None:
        """Say what keeping them would change; nothing is written."""
        if self._log and self._log.queries != read_queries(run):
            self._output.say("queries: they would be kept in the run, and sdg would run again.")

    def agree(self, run: Run, arguments: Namespace) -> None:
        """Have a yes to what keeping them makes an endpoint be paid for again.

        Example queries are part of every writing call, so other ones make every reply that was
        paid one to another question.

        Args:
            run: the run; nothing of it is changed.
            arguments: `--yes` agrees, as it does to what leaves; else a person at a terminal is
                asked.

        Raises:
            NoConsent: nobody agreed.
        """
        if not self._log:
            return
        variant = arguments.variant
        recipe = changed_recipe(run, overrides_of(arguments), "--set", variant)
        examples = self._examples(run, recipe)
        calls = sum(row.calls for row in spent(run.calls_path))
        if recipe.sdg.writer == OFFLINE or not calls or examples == recipe.sdg.examples:
            return
        self._output.say(
            "Before anything is changed: these queries become examples in every writing call. What "
            f"the {calls:,} calls of {run.name} answered stays on the disk, but the questions are "
            "written and paid for anew."
        )
        if corpus := corpus_of(run, variant):
            what = estimate_of(corpus, replace(recipe.sdg, examples=examples))
            self._output.say(f"It would take: {in_words(what)}")
            self._output.record("estimate", asdict(what))
        if arguments.yes or (not arguments.json and asked()):
            return
        raise NoConsent(
            "Nobody has agreed yet that the questions are written and paid for anew.",
            safe="Nothing was changed: the run has its queries, its examples and its questions.",
            next_step="Run the same command with --yes to agree, or leave out --queries.",
        )

    def _examples(self, run: Run, recipe: Recipe) -> tuple[str, ...]:
        """The style examples that the recipe would have with these queries."""
        assert self._log is not None, "a call with queries"
        before = read_queries(run)
        return chosen_examples(recipe.sdg.examples, before, self._log.queries, recipe.seed)

    def keep(self, run: Run, variant: str) -> None:
        """Write them into the run, and some of them into the recipe as examples of style."""
        if not self._log:
            return
        recipe = run.recipe(variant)
        examples = self._examples(run, recipe)
        if examples != recipe.sdg.examples:
            change_recipe(run, {"sdg.examples": list(examples)}, "--queries", variant)
            sent = "" if recipe.sdg.writer == OFFLINE else "; every writing call sends them along"
            self._output.say(
                f"queries: {len(examples)} of them are examples of style from now on "
                f"(sdg.examples){sent}."
            )
        # Behind the recipe: what stands in it is known as ours by these.
        write_queries(run, self._log.queries)

    def measure(self, run: Run, variant: str) -> None:
        """Make those with relevant documents an eval set, once there is a corpus."""
        if not self._path or not self._log or not any(q.documents for q in self._log.queries):
            return
        corpus = job_statuses(run, variant, "corpus", cache_home(), {})[-1]
        if corpus.state == "done" and corpus.result:
            name = set_name(self._path)
            matched = make_query_set(run, corpus.result.folder, name)
            self._output.say(f"eval set {name}: {matched.words}.")
            record = {
                "name": name,
                "queries": len(matched.content.queries),
                "lost": matched.lost,
                "unknown": list(matched.unknown),
            }
            self._output.record("eval_set", record)
            self._log = None


def _say(path: Path | None, log: QueryLog, output: Output) -> None:
    asked = sum(query.count for query in log.queries)
    labelled = sum(bool(query.documents) for query in log.queries)
    with_documents = f", {labelled:,} of them with relevant documents" if labelled else ""
    output.say(f"queries: {len(log.queries):,} different ones of {asked:,}{with_documents}.")
    for reason, count in sorted(log.left_out.items()):
        output.say(f"queries: {count:,} left out, {reason} (first: {log.first[reason]}).")
    counts = {"queries": len(log.queries), "asked": asked, "labelled": labelled}
    output.record("queries", {"path": str(path), **counts, "left_out": dict(log.left_out)})
