"""The yes before documents leave for an endpoint, and what writing questions would take."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from dataclasses import asdict

from pipeline.corpus.records import read_documents, read_imported, read_passages
from pipeline.errors import EndpointFailure
from pipeline.recipe import SdgSettings
from pipeline.run import Result, Run, cache_home
from pipeline.sdg import consent
from pipeline.sdg.consent import Leaving, has_consent, record_consent, require_consent
from pipeline.sdg.estimate import estimate, in_words
from pipeline.stage import job_statuses
from tui.output import Output


def agree(run: Run, leaving: Leaving | None, arguments: Namespace, output: Output) -> None:
    """Show what would leave for where, and have a yes to it on record before a worker starts.

    Args:
        run: the run.
        leaving: what would leave; None for nothing.
        arguments: `--yes` agrees; else a person at a terminal is asked.
        output: where it is shown.

    Raises:
        NoConsent: nobody agreed.
    """
    if leaving is None or has_consent(run, leaving):
        return
    sentence = consent.in_words(leaving)
    output.say(f"Before the first call: {sentence}.")
    output.record("leaving", leaving.fields)
    if arguments.yes or (not arguments.json and _asked()):
        record_consent(run, leaving, time.time)
        output.say(
            f"Agreed, and written down; it holds for these documents (digest {leaving.digest}) "
            "at this address, whatever else the recipe says."
        )
    require_consent(run, leaving)


def _asked() -> bool:
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
    imported = any(True for _ in read_imported(corpus.folder))
    documents, passages = read_documents(corpus.folder), read_passages(corpus.folder)
    try:
        found = estimate(documents, passages, settings, imported=imported)
    except EndpointFailure as failure:
        # The corpus is fine; `sdg` refuses the address itself.
        output.say(f"sdg: no estimate. {failure.happened}")
        return
    output.say(f"sdg: {in_words(found)}")
    output.record("estimate", asdict(found))
