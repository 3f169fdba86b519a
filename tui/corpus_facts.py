"""What the Corpus step reads of a run: its table, its eval sets, and what lies ahead."""

from __future__ import annotations

from itertools import islice

from pipeline.corpus.records import (
    Finding,
    read_documents,
    read_findings,
    read_imported,
    read_passages,
    read_report,
)
from pipeline.errors import Failure, as_failure
from pipeline.run import Result, Run
from pipeline.settings import SdgSettings
from tui.corpus_rows import Table, sets_words, table_of

FINDINGS_SHOWN = 1000
"""A list that is longer is no list to read; the report's command has them all."""


def read_table(result: Result) -> tuple[Table, bool]:
    """The documents of a corpus, and whether questions with scores came along."""
    scored = any(sample.score is not None for sample in read_imported(result.folder))
    return table_of(read_report(result.folder)), scored


def read_finding_list(result: Result) -> tuple[Finding, ...]:
    """Suspected secrets and personal data; the first `FINDINGS_SHOWN` of them."""
    return tuple(islice(read_findings(result.folder), FINDINGS_SHOWN))


def read_sets(run: Run) -> str:
    """The user's own eval sets in a line, or what is wrong with them."""
    from pipeline.eval.sets import user_sets

    try:
        return sets_words([(each.name, len(each.content.queries)) for each in user_sets(run)])
    except (Failure, OSError) as error:
        return as_failure(error).happened


def read_estimate(result: Result, settings: SdgSettings) -> str:
    """What writing the questions would take, in a line, or why that can't be said."""
    from pipeline.sdg.estimate import estimate, in_words

    documents, passages = read_documents(result.folder), read_passages(result.folder)
    imported = bool(result.summary["imported_samples"])
    try:
        return in_words(estimate(documents, passages, settings, imported=imported))
    except Failure as failure:
        return failure.happened
