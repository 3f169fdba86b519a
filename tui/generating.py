"""What the Generate step reads of a run: what would leave, what it takes, and what was tried.

Nothing here knows Textual. Corpus, samples and other runs' recipes are read, so it is called in a
thread.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.corpus.records import (
    FindingsCounts,
    findings_counts,
    read_documents,
    read_imported,
    read_passages,
)
from pipeline.errors import Failure, as_failure
from pipeline.files import read_json, read_jsonl
from pipeline.profiles import REHEARSAL_PROFILE
from pipeline.run import Result, Run, cache_home, list_runs
from pipeline.sdg.address import address_of
from pipeline.sdg.batches import asked_documents
from pipeline.sdg.consent import Leaving, consented_at, leaving
from pipeline.sdg.estimate import Estimate, estimate
from pipeline.sdg.records import ARRIVING, FUNNEL, SAMPLES, Sample, passes, to_sample
from pipeline.sdg.trial import Trial, TrialDocument, list_trials
from pipeline.sdg.writer import OFFLINE
from pipeline.settings import SdgSettings
from tui.watch import Snapshot

LOCAL_URL = "http://127.0.0.1:8000/v1"
"""Where vLLM, NIM and most local servers listen unless they are told."""
LOCAL_KEY_VARIABLE = "LOCAL_API_KEY"
"""Another variable than NVIDIA's, so that its key isn't sent to a server that is not NVIDIA's."""
_TAIL_BYTES = 8192


@dataclass(frozen=True)
class Try:
    """A finished trial with its samples.

    Attributes:
        fingerprint: of the trial.
        guidance: in one line; empty for none.
        model: the writing model, or `offline`.
        documents: those that it asked about.
        samples: by document id.
    """

    fingerprint: str
    guidance: str
    model: str
    documents: tuple[TrialDocument, ...]
    samples: Mapping[str, Sequence[Sample]]


@dataclass(frozen=True)
class Loss:
    """A question that came to nothing.

    Attributes:
        assignment: which one.
        reason: why.
        call: the raw reply in the call journal; empty without one.
        parked: whether more `sdg.attempts` would ask for it again.
    """

    assignment: str
    reason: str
    call: str
    parked: bool = False


@dataclass(frozen=True)
class Summary:
    """What a finished `sdg` result came to.

    Attributes:
        counts: asked, written, scored and unblocked, by name.
        kept: at the recipe's threshold, before anybody decided.
        roles: samples by role.
        flags: samples by flag.
        lost: questions that came to nothing, by reason.
        details: the worker's summary: writer, judge, tokens, warnings.
        repeated: questions that came twice.
        empty: paths of documents that were asked about and of which nothing is kept.
        losses: the lost questions one by one.
    """

    counts: Mapping[str, int]
    kept: int
    roles: Mapping[str, int]
    flags: Mapping[str, int]
    lost: Mapping[str, int]
    details: Mapping[str, Any]
    repeated: int = 0
    empty: Sequence[str] = ()
    losses: Sequence[Loss] = ()

    @property
    def parked(self) -> int:
        """Lost questions that may be asked for again."""
        return sum(loss.parked for loss in self.losses)


@dataclass(frozen=True)
class Setup:
    """What there is to know before and after the questions are written.

    Attributes:
        corpus: whether there is a corpus.
        imported: whether the questions came with the source.
        leaving: what would be sent; None where nothing leaves.
        agreed: when that was agreed to, in seconds since the epoch; None: it wasn't.
        estimate: what it would take; None without a corpus or an address.
        problem: why something of this can't be known; empty for nothing.
        now: the try to show: that of these settings, else the newest.
        current: whether `now` was made with the settings as they are.
        before: the one before about the same documents; None without one.
        summary: of the finished result; None without one.
        findings: suspected secrets and personal data; None without a corpus.
    """

    corpus: bool = False
    imported: bool = False
    leaving: Leaving | None = None
    agreed: float | None = None
    estimate: Estimate | None = None
    problem: str = ""
    now: Try | None = None
    current: bool = False
    before: Try | None = None
    summary: Summary | None = None
    findings: FindingsCounts | None = None


def setup_mark(snapshot: Snapshot) -> tuple[object, ...]:
    """Another one means that `read_setup` may read otherwise."""
    run = snapshot.run
    corpus, sdg = (snapshot.results.get(name) for name in ("corpus", "sdg"))
    consents = run.consents_path
    return (
        run,
        snapshot.recipe,
        corpus and corpus.folder,
        sdg and sdg.folder,
        consents.stat().st_size if consents.is_file() else 0,
        tuple(sorted(run.path.glob("trial/*/done.json"))),
    )


def read_setup(snapshot: Snapshot) -> Setup:
    """Read what the step shows; what can't be read becomes `problem`."""
    corpus, sdg = (snapshot.results.get(name) for name in ("corpus", "sdg"))
    settings = snapshot.recipe.sdg
    found: dict[str, Any] = {"corpus": corpus is not None}
    try:
        if sdg:
            found["summary"] = _summary(sdg, corpus, settings.threshold)
        found |= _tries(snapshot)
        if corpus:
            found["findings"] = findings_counts(corpus.folder)
            found["imported"] = any(True for _ in read_imported(corpus.folder))
            found |= _leaving(snapshot.run, corpus, settings)
            found["estimate"] = estimate(
                read_documents(corpus.folder),
                read_passages(corpus.folder),
                settings,
                imported=found["imported"],
            )
    except (Failure, OSError, ValueError, KeyError, TypeError) as error:
        found["problem"] = as_failure(error).happened
    return Setup(**found)


def _leaving(run: Run, corpus: Result, settings: SdgSettings) -> dict[str, Any]:
    wanted = leaving(corpus.folder, settings)
    return {"leaving": wanted, "agreed": consented_at(run, wanted) if wanted else None}


def _tries(snapshot: Snapshot) -> dict[str, Any]:
    from pipeline.status import trial_status

    trials = list_trials(snapshot.run)
    if not trials:
        return {}
    status = trial_status(snapshot.run, snapshot.variant, cache_home(), recipe=snapshot.recipe)
    wanted = status.identity.fingerprint if status.identity else ""
    now = next((trial for trial in trials if trial.fingerprint == wanted), trials[0])
    documents = {document.id for document in now.documents()}
    before = next(
        (
            trial
            for trial in trials
            if trial.fingerprint != now.fingerprint
            and documents & {document.id for document in trial.documents()}
        ),
        None,
    )
    return {
        "now": _try(now),
        "current": now.fingerprint == wanted,
        "before": _try(before) if before else None,
    }


def _try(trial: Trial) -> Try:
    offline = trial.settings.get("sdg.writer") == OFFLINE
    model = OFFLINE if offline else str(trial.settings.get("sdg.model", ""))
    return Try(
        trial.fingerprint,
        trial.guidance.words,
        model,
        trial.documents(),
        trial.by_document(),
    )


def _summary(result: Result, corpus: Result | None, threshold: float) -> Summary:
    funnel = read_json(result.folder / FUNNEL)
    kept, roles, evidence = 0, Counter[str](), set[str]()
    for row in read_jsonl(result.folder / SAMPLES):
        if passes(row["score"], any(flag["blocking"] for flag in row["flags"]), threshold):
            kept += 1
            evidence.update(row["passages"])
        roles[row["role"]] += 1
    lost = funnel.get("lost", ())
    return Summary(
        counts={name: funnel[name] for name in ("asked", "written", "scored", "unblocked")},
        kept=kept,
        roles=dict(roles),
        flags=funnel.get("flags", {}),
        lost=dict(Counter(str(each["reason"]) for each in lost).most_common()),
        details=result.summary,
        repeated=funnel.get("repeated", 0),
        empty=_empty(corpus, evidence) if corpus and funnel["asked"] else (),
        losses=tuple(
            Loss(
                str(each["assignment"]),
                str(each["reason"]),
                str(each["call"]),
                # A result of an earlier version doesn't say.
                bool(each.get("parked")),
            )
            for each in lost
        ),
    )


def _empty(corpus: Result, evidence: Set[str]) -> tuple[str, ...]:
    """Paths of the documents that were asked about and hold no evidence of a kept question."""
    asked = asked_documents(read_documents(corpus.folder), read_passages(corpus.folder))
    return tuple(
        document.path
        for document, passages in asked
        if evidence.isdisjoint(passage.id for passage in passages)
    )


def read_latest(folder: Path, count: int) -> list[Sample]:
    """The last questions that came, newest first, while a worker writes them."""
    try:
        with (folder / ARRIVING).open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - _TAIL_BYTES))
            content = stream.read()
    except OSError:
        return []
    # The first line may be cut, the last one is not yet whole.
    lines = content.split(b"\n")[1 if size > _TAIL_BYTES else 0 : -1]
    return (
        [to_sample(row) for row in map(_row, reversed(lines[-count:])) if row] if count > 0 else []
    )


def _row(line: bytes) -> Any:
    """A line's object; None for one that a worker left torn."""
    try:
        return json.loads(line)
    except ValueError:
        return None


@dataclass(frozen=True)
class Preset:
    """An endpoint to choose.

    Attributes:
        title: what it is.
        settings: of the recipe, by dotted name; None asks for address and model.
    """

    title: str
    settings: Mapping[str, Any] | None


def read_presets(snapshot: Snapshot, root: Path) -> list[Preset]:
    """NVIDIA's endpoint, a local one, those of other runs, and a rehearsal's offline writer."""
    usual = SdgSettings()
    presets = [
        Preset("NVIDIA", _settings(usual.base_url, usual.model, usual.key_variable)),
        Preset("a local server", None),
    ]
    seen = {(usual.base_url, usual.model)}
    for run in list_runs(root):
        try:
            sdg = run.recipe().sdg
        except (Failure, OSError):
            continue  # a run that can't be read proposes nothing
        if sdg.writer != OFFLINE and (sdg.base_url, sdg.model) not in seen:
            seen.add((sdg.base_url, sdg.model))
            presets.append(
                Preset(f"as {run.name}", _settings(sdg.base_url, sdg.model, sdg.key_variable))
            )
    if snapshot.profile.id == REHEARSAL_PROFILE:
        presets.append(Preset("no LLM: the rehearsal's offline writer", {"sdg.writer": OFFLINE}))
    return presets


def local_settings(base_url: str, model: str) -> dict[str, Any]:
    """The settings of a local server."""
    return _settings(base_url.strip(), model.strip(), LOCAL_KEY_VARIABLE)


def _settings(base_url: str, model: str, key_variable: str) -> dict[str, Any]:
    return {
        "sdg.writer": SdgSettings().writer,
        "sdg.base_url": base_url,
        "sdg.model": model,
        # A judge of another endpoint is not served here.
        "sdg.judge_model": "",
        "sdg.key_variable": key_variable,
    }


def parse_examples(text: str) -> tuple[str, ...]:
    """Example queries as they were typed: one a line, or `;` between them."""
    return tuple(part.strip() for part in text.replace("\n", ";").split(";") if part.strip())


def key_state(settings: SdgSettings, environment: Mapping[str, str], typed: bool) -> str:
    """Where the endpoint's key comes from, in words, without any of it."""
    if typed:
        return "set (typed)"
    return "set (environment)" if environment.get(settings.key_variable, "").strip() else "not set"


def needs_key(settings: SdgSettings) -> bool:
    """Whether the endpoint takes nobody without a key, as far as that can be told from here.

    Raises:
        EndpointFailure: `sdg.base_url` is no address.
    """
    return settings.writer != OFFLINE and not address_of(settings).loopback
