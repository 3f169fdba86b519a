"""Another go at what a result lacks: what it asks, what it takes, which settings begin it.

The command and the wizard both decide by this. Each go raises a setting of the recipe, no more
than once for one result: asked for again, it goes on with the attempt that it began.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.corpus.records import read_documents, read_passages
from pipeline.errors import BadInput, BadRecipe
from pipeline.files import read_json
from pipeline.identity import CAME_LATER
from pipeline.review.decisions import REASONS, fold
from pipeline.review.log import read_decisions
from pipeline.run import Result, Run
from pipeline.sdg.batches import CALLS_PER_BATCH, batch_sizes
from pipeline.sdg.estimate import Estimate, estimate
from pipeline.sdg.feedback import Rejected, avoid_entries
from pipeline.sdg.funnel import DocumentFunnel, Funnel, read_funnel
from pipeline.sdg.records import read_samples
from pipeline.sdg.rounds import wanted_of
from pipeline.sdg.writer import OFFLINE
from pipeline.settings import SdgSettings

SHOWN = 10
"""So many documents are named."""
_UNTOUCHED = "Nothing was changed and nothing was asked."


@dataclass(frozen=True)
class Standing:
    """What another go starts from.

    Attributes:
        run: the run.
        result: its questions.
        funnel: what became of them.
        settings: the recipe's.
    """

    run: Run
    result: Result
    funnel: Funnel
    settings: SdgSettings

    @property
    def kept(self) -> int:
        """Questions that pass."""
        return self.funnel.steps["kept"]


@dataclass(frozen=True)
class TopUp:
    """One round more, about the documents that came out empty or short.

    Attributes:
        round: its number.
        documents: those that it asks about, as they stand.
        wanted: questions by document id.
        calls: to the endpoint; 0 for the offline writer.
        told: rejected questions that its writer is told to avoid.
        settings: what it changes in the recipe, by dotted name.
    """

    round: int
    documents: tuple[DocumentFunnel, ...]
    wanted: Mapping[str, int]
    calls: int
    told: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def questions(self) -> int:
        """How many it asks."""
        return sum(self.wanted.values())

    @property
    def sentence(self) -> str:
        """What it asks, and in how many calls."""
        calls = f"about {self.calls:,} calls" if self.calls else "no call"
        return (
            f"round {self.round} asks {self.questions:,} questions about {len(self.documents):,} "
            f"documents that came out empty or short, {calls}"
        )

    @property
    def lines(self) -> list[str]:
        """The first documents: what they kept, and how many questions more they get."""
        shown = [
            f"{document.path}: {document.steps['kept']} of {document.planned} kept, "
            f"{self.wanted[document.id]} more"
            for document in self.documents[:SHOWN]
        ]
        more = len(self.documents) - SHOWN
        return [*shown, *([f"and {more:,} more"] if more > 0 else ())]


def standing_of(run: Run, variant: str, settings: SdgSettings) -> Standing:
    """What a run's questions came to.

    Args:
        run: the run.
        variant: the variant's name, or empty.
        settings: the recipe's, with what is about to change in it.

    Raises:
        BadInput: there is no result to start from, or none that can be.
    """
    result = run.current("sdg", variant)
    if result is None:
        raise BadInput(
            f"{run.name} has no questions yet.",
            safe=_UNTOUCHED,
            next_step=f"Run `embedsmith sdg {run.name}` first.",
        )
    if result.origin == "imported":
        raise BadInput(
            f"The questions of {run.name} came with the source; nobody was asked for them.",
            safe=_UNTOUCHED,
            next_step="Review them as they are.",
        )
    funnel = read_funnel(result.folder, settings.threshold)
    if funnel is None:
        raise BadInput(
            "The questions were written by an earlier version, which didn't count by document.",
            safe=_UNTOUCHED,
            next_step=f"Run `embedsmith sdg {run.name} --set sdg.rounds=2`: it counts anew.",
        )
    return Standing(run, result, funnel, settings)


def top_up(standing: Standing, feedback: bool) -> TopUp | None:
    """One round more; None where every document kept enough.

    Args:
        standing: what it starts from.
        feedback: whether its writer is told what people rejected.

    Raises:
        BadRecipe: the recipe has a target.
    """
    settings, funnel = standing.settings, standing.funnel
    if settings.target:
        raise BadRecipe(
            f"The recipe has a target of {settings.target} questions, and asks until it is there.",
            safe=_UNTOUCHED,
            next_step="Raise it with --target N, or give it up with --set sdg.target=0.",
        )
    wanted = wanted_of(funnel.planned, funnel.kept)
    if not wanted:
        return None
    turn = max(settings.rounds, int(_made(standing.result, "sdg.rounds")) + 1)
    calls = CALLS_PER_BATCH * sum(len(batch_sizes(count)) for count in wanted.values())
    found = TopUp(
        round=turn,
        documents=tuple(each for each in funnel.documents if each.id in wanted),
        wanted=wanted,
        calls=0 if settings.writer == OFFLINE else calls,
        settings={"sdg.rounds": turn},
    )
    if not feedback:
        return found
    avoid = _avoid(standing, turn)
    own = [entry for entry in avoid if entry.startswith(f"{turn}:")]
    return replace(
        found,
        told=tuple(entry.partition(":")[2].strip() for entry in own),
        settings={**found.settings, "sdg.avoid": list(avoid)},
    )


def top_up_estimate(corpus: Result, settings: SdgSettings, wanted: Mapping[str, int]) -> Estimate:
    """What a round about some documents would take.

    Args:
        corpus: the corpus.
        settings: the recipe's.
        wanted: questions by document id.

    Raises:
        BadInput: the corpus cannot be read.
        EndpointFailure: `sdg.base_url` is no address.
    """
    documents = [each for each in read_documents(corpus.folder) if each.id in wanted]
    return estimate(documents, read_passages(corpus.folder), settings, wanted=wanted)


def target_estimate(corpus: Result, standing: Standing, target: int) -> Estimate | None:
    """What is still to be asked until so many questions pass, by the yield so far.

    None where enough pass already. It is an estimate of an estimate: what was asked so far is paid
    and left out, and the next questions may pass more or less often.

    Raises:
        BadInput: the corpus cannot be read.
        EndpointFailure: `sdg.base_url` is no address.
    """
    missing = target - standing.kept
    if missing <= 0:
        return None
    share = standing.kept / max(standing.funnel.steps["asked"], 1)
    # A yield of nothing says nothing: then each missing question counts once.
    questions = math.ceil(missing / share) if share else missing
    # A whole pass, without bounds, and as much of it or as often as that.
    free = replace(standing.settings, target=0, calls_max=0)
    whole = estimate(read_documents(corpus.folder), read_passages(corpus.folder), free)
    factor = questions / max(whole.questions, 1)
    return Estimate(
        questions=questions,
        calls=math.ceil(whole.calls * factor),
        tokens_in=round(whole.tokens_in * factor),
        tokens_out=round(whole.tokens_out * factor),
        minutes=round(whole.minutes * factor, 1),
        cost=None if whole.cost is None else whole.cost * factor,
    )


def retry_settings(standing: Standing) -> Mapping[str, int]:
    """What asking again for parked questions changes in the recipe; nothing without any."""
    if not standing.funnel.parked:
        return {}
    made = int(_made(standing.result, "sdg.attempts"))
    return {"sdg.attempts": max(standing.settings.attempts, made + 1)}


def _made(result: Result, name: str) -> Any:
    """A setting that a result was made with."""
    settings = read_json(result.folder / "done.json")["identity"]["settings"]
    return settings.get(name, CAME_LATER[name])


def _avoid(standing: Standing, turn: int) -> tuple[str, ...]:
    """`sdg.avoid` with what people rejected, unless that round has its entries already."""
    settings = standing.settings
    if any(entry.startswith(f"{turn}:") for entry in settings.avoid):
        return settings.avoid
    return (*settings.avoid, *avoid_entries(_rejected(standing), turn, settings.avoid))


def _rejected(standing: Standing) -> Iterator[Rejected]:
    """The questions of a result that stand rejected, the newest first."""
    events = read_decisions(standing.run.decisions_path)
    decisions = fold(events).decisions
    samples = {sample.id: sample for sample in read_samples(standing.result.folder)}
    seen: set[str] = set()
    for event in reversed(events):
        for name in event.action.samples:
            decision = decisions.get(name)
            if name in samples and name not in seen and decision and decision.verdict == "reject":
                seen.add(name)
                yield Rejected(samples[name], REASONS.get(decision.reason, ""))
