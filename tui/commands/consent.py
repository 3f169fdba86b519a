"""The yes before documents leave for an endpoint, and what writing questions would take."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from dataclasses import asdict

from pipeline.corpus.records import (
    FINDINGS,
    Document,
    Passage,
    findings_counts,
    read_documents,
    read_imported,
    read_passages,
)
from pipeline.errors import EndpointFailure
from pipeline.run import Result, Run, cache_home
from pipeline.sdg import consent
from pipeline.sdg.consent import Leaving, has_consent, record_consent, require_consent
from pipeline.sdg.estimate import Estimate, estimate, in_words
from pipeline.settings import SdgSettings
from pipeline.status import job_statuses
from tui.commands.corpus_report import findings_words
from tui.output import Output


def agree(
    run: Run,
    leaving: Leaving | None,
    corpus: Result,
    estimated: Callable[[], Estimate],
    arguments: Namespace,
    output: Output,
) -> None:
    """Show what would leave for where, and have a yes to it on record before a worker starts.

    Args:
        run: the run.
        leaving: what would leave; None for nothing.
        corpus: what it is of.
        estimated: what the asking would take; only called where somebody has to agree.
        arguments: `--yes` agrees; else a person at a terminal is asked.
        output: where it is shown.

    Raises:
        NoConsent: nobody agreed.
    """
    if leaving is None or has_consent(run, leaving):
        return
    sentence = consent.in_words(leaving)
    output.say(f"Before the first call: {sentence}.")
    _say_findings(corpus, output)
    what = estimated()
    output.say(f"It would take: {in_words(what)}")
    output.record("leaving", leaving.fields)
    output.record("estimate", asdict(what))
    if arguments.yes or (not arguments.json and asked()):
        record_consent(run, leaving, time.time)
        output.say(
            f"Agreed, and written down; it holds for these documents (digest {leaving.digest}) "
            "at this address, whatever else the recipe says."
        )
    require_consent(run, leaving)


def _say_findings(corpus: Result, output: Output) -> None:
    """What is suspected in the documents; nothing for a corpus that was never looked through."""
    if not (corpus.folder / FINDINGS).is_file():
        return
    counts = findings_counts(corpus.folder)
    output.record("findings", asdict(counts))
    if counts.documents:
        output.say(f"Look before you send: {findings_words(counts)}; {corpus.folder / FINDINGS}")
    else:
        output.say("No suspected secrets or personal data were found in them.")


def asked() -> bool:
    """Whether a person at a terminal says yes; nobody is asked anywhere else."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return input("Go on? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def corpus_of(run: Run, variant: str) -> Result | None:
    """The corpus that the recipe means now, whichever variant it was made for."""
    return job_statuses(run, variant, "corpus", cache_home(), {})[-1].result


def say_estimate(corpus: Result, settings: SdgSettings, output: Output) -> None:
    """Say what writing the questions about a corpus would take.

    Raises:
        BadInput: the corpus cannot be read.
    """
    try:
        found = estimate_of(corpus, settings)
    except EndpointFailure as failure:
        # The corpus is fine; `sdg` refuses the address itself.
        output.say(f"sdg: no estimate. {failure.happened}")
        return
    output.say(f"sdg: {in_words(found)}")
    output.record("estimate", asdict(found))


def estimate_of(
    corpus: Result,
    settings: SdgSettings,
    documents: Iterable[Document] | None = None,
    passages: Iterable[Passage] | None = None,
) -> Estimate:
    """What writing the questions about a corpus, or about some of its documents, would take.

    Raises:
        BadInput: the corpus cannot be read.
        EndpointFailure: `sdg.base_url` is no address.
    """
    return estimate(
        read_documents(corpus.folder) if documents is None else documents,
        read_passages(corpus.folder) if passages is None else passages,
        settings,
        imported=any(True for _ in read_imported(corpus.folder)),
    )
