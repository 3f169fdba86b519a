"""What the Generate step shows of its settings and of what leaves this machine, as rows. Pure."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from pipeline.corpus.records import FindingsCounts
from pipeline.sdg.consent import Leaving
from pipeline.sdg.estimate import Estimate
from pipeline.sdg.writer import OFFLINE
from pipeline.settings import SdgSettings
from tui.generating import Setup
from tui.glyphs import Glyphs
from tui.keys import key_of
from tui.rows import Row, Tone, aligned, cut, pad, row, width_of, wrap

_LABEL = 24
_REHEARSAL = "Rehearsal: no LLM writes these questions; they are for practice."


@dataclass(frozen=True)
class Setting:
    """One line of the settings.

    Attributes:
        name: in the recipe, dotted.
        label: what it is called here.
        about: what it does, in a line.
        empty: what an empty value means.
    """

    name: str
    label: str
    about: str
    empty: str = ""


SETTINGS: tuple[Setting, ...] = (
    Setting("sdg.base_url", "endpoint", "an OpenAI-compatible address; it usually ends in /v1"),
    Setting("sdg.model", "model", "writes the questions"),
    Setting("sdg.judge_model", "judge", "scores them, at the same endpoint", "the writing model"),
    Setting("sdg.key_variable", "key's variable", "the key's name in the environment, not the key"),
    Setting("sdg.audience", "audience", "who searches, in your words; it guides the wording", "-"),
    Setting("sdg.language", "language", "of questions and answers", "each document's own"),
    Setting("sdg.examples", "example queries", "real queries, with ; between them", "-"),
    Setting(
        "sdg.questions_per_document",
        "questions a document",
        "for one of ten passages; longer documents get more, shorter ones fewer",
    ),
    Setting("sdg.complexity_min", "complexity from", "1 (read off) to 5 (worked out)"),
    Setting("sdg.complexity_max", "complexity to", "1 (read off) to 5 (worked out)"),
    Setting("sdg.hops_min", "hops from", "passages that a question needs at least, 1 to 3"),
    Setting("sdg.hops_max", "hops to", "passages that a question needs at most, 1 to 3"),
    Setting("sdg.threshold", "quality threshold", "of 10; Review moves it with live counts"),
    Setting("sdg.temperature", "temperature", "of the writing model; the judge's is 0"),
    Setting("sdg.styles", "styles", "ways of asking, dealt out by code", "-"),
    Setting(
        "sdg.cross_document_share",
        "across documents",
        "share of the multi-hop questions that rest on two documents, 0 to 1",
    ),
    Setting("sdg.concurrency", "calls at once", "fewer where rate and latency need no more"),
    Setting("sdg.requests_per_minute", "calls a minute", "to begin with; 0: what the host allows"),
    Setting("sdg.calls_max", "calls at most", "for one result; 0: as many as it takes"),
    Setting("sdg.attempts", "tries a damaged reply", "then its questions are parked"),
    Setting("sdg.price_in", "price in", "for a million tokens sent, in any currency; 0: unknown"),
    Setting("sdg.price_out", "price out", "for a million tokens received; 0: unknown"),
)
"""The settings in the order in which they are shown."""

_OFFLINE = ("sdg.questions_per_document", "sdg.hops_min", "sdg.hops_max", "sdg.threshold")
_COMMAS = ("sdg.styles",)
"""Lists that are typed with commas; the others with `;`."""
_IMPORTED = ("sdg.threshold",)


def said(text: str, width: int, tone: Tone = "text", *, indent: int = 1) -> list[Row]:
    """A sentence as rows, one blank before each."""
    lines = wrap(text, max(width - indent - 1, 16))
    return [row(" " * indent, (line, tone)) for line in lines]


def shown_settings(settings: SdgSettings, imported: bool) -> tuple[Setting, ...]:
    """The settings that change anything here."""
    names = _IMPORTED if imported else _OFFLINE if settings.writer == OFFLINE else None
    return SETTINGS if names is None else tuple(s for s in SETTINGS if s.name in names)


def value_words(value: Any, setting: Setting) -> str:
    """A setting's value for people; lists as they are typed."""
    joint = ", " if setting.name in _COMMAS else "; "
    text = joint.join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text or setting.empty


def setting_row(setting: Setting, value: Any, default: Any, width: int) -> Row:
    """One setting with its value, and whether that is another than the default."""
    mark = "" if value == default else "  changed"
    room = max(width - _LABEL - len(mark) - 1, 8)
    tone: Tone = "muted" if value in ("", ()) else "strong" if mark else "text"
    shown = cut(value_words(value, setting), room)
    return row(f" {pad(setting.label, _LABEL - 1)}", (shown, tone), (mark, "muted"))


def detail_rows(setting: Setting, default: Any, stale: str, width: int) -> list[Row]:
    """What a change of the setting under the cursor makes stale, what it does, and its default."""
    rows = said(stale, width, "warn") if stale else []
    usual = value_words(default, setting)
    return rows + said(f"{setting.about} ({setting.name}, default {usual})", width, "muted")


def leaving_rows(
    setup: Setup, settings: SdgSettings, key: str, rehearsal: bool, glyphs: Glyphs, width: int
) -> list[Row]:
    """What leaves this machine and for where, whether that was agreed to, and the key.

    Args:
        setup: what was read.
        settings: the recipe's.
        key: where the key comes from, in words.
        rehearsal: whether this is one.
        glyphs: the signs.
        width: columns.
    """
    if setup.imported:
        return said("Nothing leaves this machine: the questions came with the source.", width)
    if settings.writer == OFFLINE:
        text = "Nothing leaves this machine: a program cuts questions out of the passages."
        return said(text, width) + (said(_REHEARSAL, width, "warn") if rehearsal else [])
    what = setup.leaving
    if what is None:
        return []
    head = "To a server on this machine" if what.loopback else "Leaves this machine"
    where = "this machine" if what.loopback else "outside"
    return [
        *said(f"{head}: {_amount(what)}", width, "strong"),
        *said(f"for {what.host} ({where}); {_models(settings)}", width),
        *findings_rows(setup.findings, glyphs, width),
        *consent_rows(setup, settings, key, glyphs, width),
    ]


def consent_rows(
    setup: Setup, settings: SdgSettings, key: str, glyphs: Glyphs, width: int
) -> list[Row]:
    """Whether what leaves was agreed to, and when; and the key."""
    what = setup.leaving
    if what is None:
        return []
    if setup.agreed is None:
        words = f"not agreed: {key_of('generate.consent')} agrees; nothing starts without it"
        yes = row((f" {glyphs.warned} {words}", "warn"))
    else:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(setup.agreed))
        yes = row((f" {glyphs.passed} agreed for {what.host}, {when}", "good"))
    missing = key == "not set" and not what.loopback
    words = f"key {settings.key_variable}: {key}"
    words += " (none needed)" if key == "not set" and what.loopback else ""
    about = row((words, "warn" if missing else "muted"), " ")
    if width_of(yes) + width_of(about) < width:
        return [aligned(yes, about, width)]
    return [yes, row(" ", *about)]


def question_lines(setup: Setup, settings: SdgSettings) -> list[str]:
    """What is asked before the first call: exactly what a yes is about."""
    what = setup.leaving
    assert what is not None, "there is something to agree to"
    side = "a server on this machine" if what.loopback else "outside of this machine"
    return [
        f"To {what.host}, {side}: {_amount(what)}.",
        *([f"Along: {', '.join(what.along)}."] if what.along else ()),
        f"Documents: digest {what.digest}",
        f"Address: {what.base_url}",
        f"Writer: {settings.model}",
        f"Judge: {settings.judge_model or settings.model}",
        *([found] if (found := findings_words(setup.findings)) else ()),
        *([f"Estimated cost: {cost}"] if (cost := _estimated_cost(setup, settings)) else ()),
        "",
        "Your yes is written into the run folder with the documents it is about. It covers tries "
        "and repetitions at this address until a document comes or changes.",
    ]


def state_rows(state: str, reason: str, setup: Setup, width: int) -> list[Row]:
    """Where the stage stands where that isn't obvious, with the key that goes on."""
    kept = "what was answered is kept and not paid again"
    short = reason.partition(";")[0]
    words = {
        "stale": f"stale: {reason}; enter writes again, {kept}",
        "stopped": f"stopped: {short}; enter goes on, {kept}",
        "vanished": f"vanished: {short}; enter goes on, {kept}",
        "failed": f"failed: {reason} Enter tries again, {kept}.",
    }.get(state)
    rows = said(words, width, "bad" if state == "failed" else "warn") if words else []
    if not setup.corpus:
        rows += said(no_documents(), width)
    if setup.problem and setup.problem not in reason:
        rows += said(setup.problem, width, "bad")
    return rows


def no_documents() -> str:
    """Why nothing can be written, and the key that helps."""
    back = key_of("everywhere.previous_step")
    return f"There are no documents yet: {back} goes back to choose some."


def findings_words(found: FindingsCounts | None) -> str:
    """Suspected secrets and personal data in a sentence; empty where there are none."""
    if found is None or not found.documents:
        return ""
    return (
        f"Suspected in {found.documents:,} document{'s' * (found.documents != 1)}: "
        f"{found.secrets:,} secret{'s' * (found.secrets != 1)}, {found.personal:,} personal."
    )


def findings_rows(found: FindingsCounts | None, glyphs: Glyphs, width: int) -> list[Row]:
    """What should perhaps not leave, before it does."""
    if not (words := findings_words(found)):
        return []
    keys = f"{key_of('everywhere.previous_step')} and {key_of('corpus.findings')}"
    return said(f"{glyphs.warned} {words} {keys} list them.", width, "warn")


def cost_words(tokens_in: int, tokens_out: int, settings: SdgSettings) -> str:
    """What so many tokens cost by the recipe's prices; empty where none is set."""
    from pipeline.sdg.spending import Spent, cost_of, in_money

    cost = cost_of([Spent("", settings.model, 0, tokens_in, tokens_out, 0)], settings)
    return "" if cost is None else in_money(cost)


def _estimated_cost(setup: Setup, settings: SdgSettings) -> str:
    what = setup.estimate
    return cost_words(what.tokens_in, what.tokens_out, settings) if what else ""


def estimate_rows(what: Estimate, settings: SdgSettings, width: int) -> list[Row]:
    """What the writing would take, before anything is spent."""
    if not what.questions:
        return []
    text = f"about {what.questions:,} questions"
    if what.calls:
        text += (
            f", {what.calls:,} calls, {what.minutes:g} min; tokens: {what.tokens_in:,} sent, "
            f"{what.tokens_out:,} received"
        )
        if cost := cost_words(what.tokens_in, what.tokens_out, settings):
            text += f"; cost about {cost}"
    return said(text, width, "muted")


def _amount(what: Leaving) -> str:
    return (
        f"up to {what.characters:,} characters of {what.documents:,} documents "
        f"({what.passages:,} passages)"
    )


def _models(settings: SdgSettings) -> str:
    judge = settings.judge_model or settings.model
    if judge == settings.model:
        return f"writer and judge {judge}"
    return f"writer {settings.model}, judge {judge}"
