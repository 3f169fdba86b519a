"""The report of a corpus before anything is spent: what was used, why not, what stands in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice

from pipeline.corpus.records import (
    FINDINGS,
    REPORT,
    FileReport,
    FindingsCounts,
    count_findings,
    read_findings,
    read_report,
)
from pipeline.errors import EndpointFailure
from pipeline.run import Result
from pipeline.sdg.consent import in_words, leaving
from pipeline.settings import SdgSettings
from tui.output import Output

FILES_SHOWN = 10
REASONS_SHOWN = 8
_PATH_WIDTH = 44


def say_corpus(corpus: Result, settings: SdgSettings, output: Output) -> None:
    """Show a corpus: totals, the first files, findings, and what would leave for where.

    Args:
        corpus: the result of the stage.
        settings: they say whom the questions are asked of.
        output: a person gets a table's head; under `--json` every file and finding is a line.

    Raises:
        BadInput: the corpus cannot be read.
    """
    report = list(read_report(corpus.folder))
    output.say()
    for line in totals_lines(report):
        output.say(line)
    output.say(f"{'file':<{_PATH_WIDTH}} {'kind':<9} {'characters':>10} {'passages':>8}  status")
    for entry in report[:FILES_SHOWN]:
        output.say(file_line(entry))
    more = f"{len(report) - FILES_SHOWN:,} more" if len(report) > FILES_SHOWN else "The table"
    output.say(f"{more}: {corpus.folder / REPORT}")
    for entry in report:
        output.record("file", asdict(entry))
    _say_findings(corpus, output)
    _say_leaving(corpus, settings, output)


def totals_lines(report: Sequence[FileReport]) -> list[str]:
    """How many files of each status and kind, and how many for each reason."""
    kinds = Counter((entry.status, entry.kind) for entry in report)
    statuses = Counter(entry.status for entry in report)
    lines = [
        f"{status:<9} {count:>7,}: "
        + ", ".join(f"{kinds[key]:,} {key[1]}" for key in sorted(kinds) if key[0] == status)
        for status, count in sorted(statuses.items(), reverse=True)
    ]
    reasons = Counter(reason_of(entry) for entry in report if entry.status == "skipped")
    shown = sorted(reasons.items(), key=lambda one: (-one[1], one[0]))
    lines += [f"  {count:>7,} skipped: {reason}" for reason, count in shown[:REASONS_SHOWN]]
    if len(shown) > REASONS_SHOWN:
        lines.append(f"  and for {len(shown) - REASONS_SHOWN} other reasons")
    return lines


def reason_of(entry: FileReport) -> str:
    """The reason without what differs from file to file: a number of characters at its head."""
    head = f"{entry.characters} characters; "
    return entry.reason.removeprefix(head) or "no reason is known"


def file_line(entry: FileReport) -> str:
    """A file in a line of the table."""
    path = entry.path
    if len(path) > _PATH_WIDTH:
        path = "…" + path[1 - _PATH_WIDTH :]
    reason = f": {entry.reason}" if entry.reason else ""
    size = f"{entry.characters:>10,} {entry.passages:>8,}"
    return f"{path:<{_PATH_WIDTH}} {entry.kind:<9} {size}  {entry.status}{reason}"


def findings_words(counts: FindingsCounts) -> str:
    """What was found, in one clause."""
    return (
        f"{counts.secrets:,} suspected secrets and {counts.personal:,} pieces of personal data in "
        f"{counts.documents:,} documents"
    )


def _say_findings(corpus: Result, output: Output) -> None:
    if not (corpus.folder / FINDINGS).is_file():
        # A corpus of an earlier version was never looked through.
        return
    counts = count_findings(read_findings(corpus.folder))
    output.record("findings", asdict(counts))
    if not counts.documents:
        output.say("No suspected secrets or personal data were found.")
        return
    output.say(f"Look before you send: {findings_words(counts)}.")
    kinds = Counter(finding.kind for finding in read_findings(corpus.folder))
    for kind, count in sorted(kinds.items(), key=lambda one: (-one[1], one[0])):
        output.say(f"  {count:>7,} {kind}")
    secrets = (one for one in read_findings(corpus.folder) if one.group == "secret")
    for finding in islice(secrets, FILES_SHOWN):
        where = f"{finding.path}, line {finding.line}"
        output.say(f"  {where}: {finding.kind}, {finding.excerpt}")
    output.say(f"All of them: {corpus.folder / FINDINGS}")
    for finding in read_findings(corpus.folder):
        output.record("finding", asdict(finding))


def _say_leaving(corpus: Result, settings: SdgSettings, output: Output) -> None:
    try:
        what = leaving(corpus.folder, settings)
    except EndpointFailure as failure:
        # The corpus is fine; `sdg` refuses the address itself.
        output.say(f"What would leave is not known: {failure.happened}")
        return
    if what is None:
        output.say("Writing questions would send nothing anywhere.")
        return
    output.say(f"Writing questions: {in_words(what)}; nothing is sent before you agree.")
    output.record("leaving", asdict(what))
