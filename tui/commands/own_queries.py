"""`--queries FILE`: the user's own queries go into the run, and what follows from them."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from pipeline.queries import (
    QueryLog,
    chosen_examples,
    read_log,
    read_queries,
    write_queries,
)
from pipeline.query_set import make_query_set, set_name
from pipeline.run import Run, cache_home, change_recipe
from pipeline.sdg.writer import OFFLINE
from pipeline.stage import job_statuses
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

    def keep(self, run: Run, variant: str) -> None:
        """Write them into the run, and some of them into the recipe as examples of style."""
        if not self._log:
            return
        recipe = run.recipe(variant)
        before, queries = read_queries(run), self._log.queries
        examples = chosen_examples(recipe.sdg.examples, before, queries, recipe.seed)
        if examples != recipe.sdg.examples:
            change_recipe(run, {"sdg.examples": list(examples)}, "--queries", variant)
            sent = "" if recipe.sdg.writer == OFFLINE else "; every writing call sends them along"
            self._output.say(
                f"queries: {len(examples)} of them are examples of style from now on "
                f"(sdg.examples){sent}."
            )
        # Behind the recipe: what stands in it is known as ours by these.
        write_queries(run, queries)

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
