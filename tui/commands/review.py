"""`review`: list samples, and accept, reject or edit them from the command line."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import BadInput, BadRecipe
from pipeline.review.agreement import suggest_threshold
from pipeline.review.decisions import REASONS, Action, DecisionEvent
from pipeline.review.draw import AuditDraw
from pipeline.review.edit_text import current_words
from pipeline.review.filters import bulk_targets, parse_filter, select
from pipeline.review.index import Entry, SampleIndex, keeps_entry, load_index, read_sample
from pipeline.review.log import DecisionReader, append_decision
from pipeline.review.passages import PassageIndex
from pipeline.review.progress import review_progress
from pipeline.review.queue import build_order
from pipeline.review.standing import Standing
from pipeline.review.tally import BIN, Tally, bin_of
from pipeline.run import Run, changed_recipe, find_run, home
from pipeline.sdg.records import SAMPLES
from tui.output import Output

_BAR = 40
"""Characters of the histogram's longest bar."""


def review_command(arguments: Namespace, output: Output) -> int:
    """`embedsmith review RUN [SAMPLE...]`: decide, then show where things stand."""
    _check_filter(arguments)
    view = _open(arguments)
    action = _action(arguments, view)
    if action:
        if arguments.dry_run:
            view.standing.apply(DecisionEvent(0, 0.0, action))
            output.say("This is a dry run: nothing was decided.")
        else:
            append_decision(view.run.decisions_path, action)
            for event in view.log.read().events:
                view.standing.apply(event)
    if arguments.filter is not None:
        _say_matches(arguments, action, view, output)
    if arguments.histogram:
        _histogram(view, output)
    if arguments.audit:
        _audit(view, output)
    if not (action or arguments.action or arguments.histogram or arguments.audit):
        _list(arguments, view, output)
    _summary(view, output)
    return 0


@dataclass(frozen=True)
class _View:
    """What the command works on; `chosen` are the entries that match the filter."""

    run: Run
    path: Path
    index: SampleIndex
    chosen: Sequence[Entry]
    log: DecisionReader
    standing: Standing
    first: float
    seed: int

    @property
    def threshold(self) -> float:
        return self.first if self.standing.threshold is None else self.standing.threshold

    def audit(self) -> tuple[str, ...]:
        draw = AuditDraw(self.seed)
        draw.add(self.index.entries)
        return draw.draw(self.threshold, self.standing.decisions)


def _open(arguments: Namespace) -> _View:
    wanted = parse_filter(arguments.filter or "")
    run = find_run(home(), arguments.run)
    result = run.current("sdg", arguments.variant)
    if result is None:
        raise BadInput(
            f"{run.name} has no samples yet.",
            safe="Nothing was changed.",
            next_step=f"Write them with `embedsmith run {run.name} --to sdg`.",
        )
    recipe = run.recipe(arguments.variant)
    # A variant's corpus may be the run's own. Of one that was pruned no passage is found.
    corpus = run.made_from(result, "corpus") or result
    passages = PassageIndex(corpus.folder).read_all()
    index = load_index(result.folder, passages)
    log, standing = DecisionReader(run.decisions_path), Standing()
    for event in log.read().events:
        standing.apply(event)
    threshold = recipe.sdg.threshold if standing.threshold is None else standing.threshold
    chosen = select(wanted, index.entries, standing.decisions, standing.skipped, threshold)
    return _View(
        run=run,
        path=result.folder / SAMPLES,
        index=index,
        chosen=chosen,
        log=log,
        standing=standing,
        first=recipe.sdg.threshold,
        seed=recipe.seed,
    )


def _check_filter(arguments: Namespace) -> None:
    """A filter chooses what is listed, drawn, accepted or rejected, and nothing else."""
    if arguments.filter is None:
        return
    decides = arguments.action not in (None, "accept", "reject")
    moves = arguments.threshold is not None or arguments.edit is not None
    if arguments.samples or decides or moves or arguments.audit:
        raise BadInput(
            "--filter goes with a list, --histogram, --accept or --reject, and without SAMPLE.",
            safe="Nothing was decided.",
            next_step="Leave --filter out, or the other option.",
        )


def _one(index: SampleIndex, name: str) -> Entry:
    entry = index.get(name)
    if entry is not None:
        return entry
    raise BadInput(
        f"There is no sample {name!r} in this run.",
        safe="Nothing was changed.",
        next_step="`embedsmith review RUN` lists all of them.",
    )


def _action(arguments: Namespace, view: _View) -> Action | None:
    names = tuple(_one(view.index, name).id for name in arguments.samples)
    try:
        if arguments.threshold is not None:
            _require_score(view.run, arguments.threshold)
            return Action("threshold", value=arguments.threshold)
        if arguments.edit is not None:
            return Action("edit", names, question=arguments.edit, source="edit")
        if arguments.filter is not None and arguments.action:
            decisions, reason = view.standing.decisions, arguments.reason
            names = bulk_targets(arguments.action, view.chosen, decisions, reason)
            # Checked even where nothing is left to decide, so that a bad reason is seen.
            action = Action(arguments.action, names or ("",), reason=reason, source="bulk")
            return action if names else None
        if arguments.action:
            # Named one by one, so they were read one by one.
            return Action(arguments.action, names, reason=arguments.reason)
    except ValueError as error:
        raise BadInput(
            f"{error}.",
            safe="Nothing was decided.",
            next_step=f"Reasons are {', '.join(REASONS)}; --edit takes exactly one SAMPLE.",
        ) from error
    return None


def _require_score(run: Run, threshold: float) -> None:
    """Hold a threshold against the recipe's range; nothing is written into the recipe.

    Raises:
        BadInput: it is outside of it.
    """
    try:
        changed_recipe(run, {"sdg.threshold": threshold}, "--threshold")
    except BadRecipe as error:
        raise BadInput(
            error.happened,
            safe="Nothing was decided.",
            next_step="Scores are of 10: name one of them, such as --threshold 7.",
        ) from error


def _say_matches(arguments: Namespace, action: Action | None, view: _View, output: Output) -> None:
    matched, total = len(view.chosen), len(view.index)
    said = f"{matched} of {total} samples match"
    fields = {"filter": arguments.filter, "matched": matched, "samples": total}
    if arguments.action:
        count = len(action.samples) if action else 0
        would = "would be" if arguments.dry_run else "were"
        said += f"; {count} {would} {arguments.action}ed"
        said += " as one action, which --undo takes back" if count else ""
        fields |= {"action": arguments.action, "changed": count, "dry_run": arguments.dry_run}
    output.say(f"{said}.")
    output.record("filter", fields)


def _list(arguments: Namespace, view: _View, output: Output) -> None:
    names: Sequence[str] = arguments.samples
    if not names:
        names = build_order(arguments.order, view.chosen, view.threshold, view.audit())
    for name in names:
        _show(_one(view.index, name), view, output)


def _show(entry: Entry, view: _View, output: Output) -> None:
    sample = read_sample(view.path, entry)
    decision = view.standing.decisions.get(entry.id)
    words = current_words(sample, decision)
    kept = keeps_entry(entry, decision, view.threshold)
    score = "no score" if sample.score is None else f"{sample.score:.1f}"
    by_hand = f", {decision.verdict}ed by hand" if decision else ""
    by_hand = ", skipped" if entry.id in view.standing.skipped else by_hand
    output.say(f"{sample.id}  {score}  {'kept' if kept else 'dropped'}{by_hand}  {sample.role}")
    output.say(f"  Q {words.question}")
    output.say(f"  A {words.answer}")
    for quote in sample.quotes:
        output.say(f'  > "{quote.text}"  {quote.passage} {quote.start}-{quote.end}')
    for flag in sample.flags:
        output.say(f"  ! {flag.name}: {flag.reason}")
    output.say()
    output.record(
        "sample",
        {
            "id": sample.id,
            "question": words.question,
            "answer": words.answer,
            "score": sample.score,
            "kept": kept,
            "decision": decision.verdict if decision else None,
            "role": sample.role,
            "flags": [flag.name for flag in sample.flags],
        },
    )


def _histogram(view: _View, output: Output) -> None:
    tally = Tally()
    tally.add(view.chosen, view.standing.decisions)
    histogram = tally.histogram()
    most = max(1, *(bar.count for bar in histogram.bins))
    for place, bar in enumerate(histogram.bins):
        drawn = "#" * round(_BAR * bar.count / most)
        here = "  < threshold" if place == bin_of(view.threshold) else ""
        hand = f"  (+{bar.accepted} -{bar.rejected})" if bar.accepted or bar.rejected else ""
        output.say(f"{bar.low:4.1f}-{bar.low + BIN:<4.1f}  {bar.count:>6}  {drawn}{hand}{here}")
    output.say(f"no score   {histogram.unscored:>6}")
    output.record("histogram", asdict(histogram))


def _audit(view: _View, output: Output) -> None:
    standing = view.standing
    test = [entry for entry in view.index.entries if entry.role == "test"]
    progress = review_progress(
        build_order("queue", test, view.threshold),
        view.audit(),
        standing.decisions,
        standing.skipped,
    )
    decided = (entry for entry in view.index.entries if entry.id in standing.decisions)
    suggestion = suggest_threshold(decided, standing.decisions, view.threshold)
    said = progress.sentence
    if not progress.enough and progress.audit_read:
        said += f"; {progress.precision_sentence}"
    output.say(f"{said}.")
    if suggestion:
        output.say(f"{suggestion.sentence}.")
    interval = progress.precision
    output.record(
        "audit",
        {
            **asdict(progress),
            "enough": progress.enough,
            "precision_low": interval.low,
            "precision_high": interval.high,
            "suggested_threshold": suggestion.threshold if suggestion else None,
        },
    )


def _summary(view: _View, output: Output) -> None:
    tally, decisions = Tally(), view.standing.decisions
    tally.add(view.index.entries, decisions)
    counts = tally.counts(view.threshold)
    output.say(
        f"{counts.kept} of {counts.total} samples kept, {len(decisions)} decided by hand, "
        f"threshold {view.threshold:g}."
    )
    output.record(
        "review",
        {
            "samples": counts.total,
            "kept": counts.kept,
            "decided": len(decisions),
            "threshold": view.threshold,
        },
    )
