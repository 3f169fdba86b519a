"""The Deploy step in rows: where to, what stands there, and what was measured through it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.deploy.nim_plan import nim_form
from pipeline.deploy.records import ServiceRecord
from pipeline.deploy.served import ServedRow, served_rows
from pipeline.deploy.services import KEY_VARIABLE, is_loopback
from pipeline.errors import Failure
from pipeline.profiles import Profile
from pipeline.settings import DeploySettings
from tui.choices import Choice
from tui.glyphs import Glyphs
from tui.rows import Row, Span, Tone, row, table, wrap
from tui.steps import StageState

TARGETS: Mapping[str, str] = {"local": "local server", "nim": "NIM in docker"}

TABS = ("verification", "curl", "python", "reindex")
TAB_TITLES: Mapping[str, str] = {
    "verification": "verification",
    "curl": "curl",
    "python": "Python",
    "reindex": "re-index",
}

_MEANINGS: Mapping[str, tuple[str, Tone]] = {
    "PASS": ("the endpoint gives what was measured: every metric is within its tolerance", "good"),
    "FAIL": (
        "the endpoint doesn't give what was measured: don't use it before the cause is found",
        "bad",
    ),
    "INCONCLUSIVE": ("too few queries for the metrics to tell", "warn"),
}

_DIFFERENCE_COLUMNS = 72
"""Below this width the table leaves the difference out: the verdict has to be seen."""


@dataclass(frozen=True)
class Probe:
    """A service of the run as it was found a moment ago.

    Attributes:
        record: what was started.
        here: whether it was started on this machine.
        running: whether its process is there.
        answers: whether it says that it is ready.
        since: when it was started, for people.
    """

    record: ServiceRecord
    here: bool
    running: bool
    answers: bool
    since: str


def nim_refusal(profile: Profile) -> str:
    """Why no NIM can serve this profile; empty where one can."""
    if not profile.nim_image:
        return f"there is no NIM for {profile.title}"
    try:
        nim_form(profile.nim_image)
    except Failure as failure:
        return failure.happened.rstrip(".")
    return ""


def target_hint(target: str, profile: Profile) -> str:
    """What a target needs, in a few words."""
    if target == "nim":
        return f"{profile.nim_image.rpartition('/')[2]}; needs docker, a GPU, an NGC key"
    return "ONNX Runtime on this machine; needs nothing more"


def deploy_choices(settings: DeploySettings, profile: Profile, key_set: bool) -> list[Choice]:
    """What can be chosen before a service is started.

    Args:
        settings: of the recipe.
        profile: the base model.
        key_set: whether the variable with the clients' key holds something.
    """
    refusal = nim_refusal(profile)
    nim = settings.target == "nim"
    if nim and not refusal:
        loads = nim_form(profile.nim_image).kind
        about = f"NVIDIA's container loads the {loads} files. It asks nobody for a key."
    elif refusal:
        about = f"The local server speaks /v1/embeddings; {refusal}."
    else:
        about = "The local server speaks /v1/embeddings, as a NIM does, on GPU or CPU."
    target = Choice(
        "deploy.target",
        "target",
        TARGETS[settings.target],
        refusal if nim and refusal else target_hint(settings.target, profile),
        f"{about} It outlives this window.",
        "bad" if nim and refusal else "strong",
    )
    port = Choice(
        "deploy.port",
        "port",
        str(settings.port) if settings.port else "any free one",
        "0 takes a free one",
        "A service that answers elsewhere is started anew.",
    )
    return [target, _host_choice(settings, nim, key_set), port]


def _host_choice(settings: DeploySettings, nim: bool, key_set: bool) -> Choice:
    tone: Tone = "strong"
    if is_loopback(settings.host):
        hint = "this machine alone"
    elif nim:
        hint, tone = "a NIM asks nobody for a key: set it to 127.0.0.1", "bad"
    elif key_set:
        hint = f"others reach it, with the key in {KEY_VARIABLE}"
    else:
        hint, tone = f"others reach it: {KEY_VARIABLE} has to hold a key first", "bad"
    about = (
        "Another host counts from the next start: stop the service, then start it. Beyond this "
        f"machine clients have to show the key in {KEY_VARIABLE}."
    )
    return Choice("deploy.host", "host", settings.host, hint, about, tone)


def service_rows(
    probe: Probe, export: str, rehearsal: bool, glyphs: Glyphs, width: int
) -> list[Row]:
    """One service: its URL, whether it answers, its model, since when, and what it serves.

    Args:
        probe: how it was found.
        export: digest of the current export; empty while there is none.
        rehearsal: whether this run is one.
        glyphs: the signs.
        width: columns.
    """
    record = probe.record
    glyph, word, tone = _health(probe, glyphs)
    where = f"process {record.pid}" if record.pid else f"container {record.container[:12]}"
    rows = [
        row((f" {glyph} {word}  ", tone), (record.url, "strong"), ("/v1/embeddings", "muted")),
        row(
            f"   as {record.model}",
            (f"  {TARGETS[record.target]}, {where}, since {probe.since}", "muted"),
        ),
    ]
    if not probe.here:
        rows.append(row((f"   It was started on {record.host}: stop it there.", "warn")))
    elif not probe.running:
        rows.append(row(("   Its process has ended. enter starts it again.", "bad")))
    elif export and record.export != export:
        rows.append(
            row((f"   {glyphs.stale} It serves an older export: enter replaces it.", "warn"))
        )
    note = ["A rehearsal's model, not for use."] if rehearsal else []
    note += ["It goes on when this window closes."] if probe.answers else []
    tone = "warn" if rehearsal else "muted"
    return [*rows, *(row(("   " + line, tone)) for line in wrap(" ".join(note), width - 4) if line)]


def standing(
    stages: Mapping[str, StageState], missing: str, started: bool, target: str, failed: str
) -> tuple[str, Tone]:
    """What there is to know and to do beyond the service itself, and its tone.

    Args:
        stages: where the stages stand.
        missing: the title of the step that comes first; empty for none.
        started: whether the service that the recipe means was started, answering or not.
        target: what would be started, in words.
        failed: why the last start failed; empty where it didn't.
    """
    deploy, verify = stages.get("deploy"), stages.get("verify")
    measured = "eval" in stages and stages["eval"].state == "done"
    if missing or deploy is None or verify is None:
        return f"{missing} comes first: enter goes there.", "warn"
    if deploy.state == "done" and verify.state == "done":
        return "", "text"
    if deploy.state == "done" and measured:
        return f"Not verified: {verify.reason}. enter measures through it.", "warn"
    if deploy.state == "done":
        return "Nothing to verify against: Metrics comes first, enter goes there.", "warn"
    if started:
        # That it is gone or serves an older export stands with the service itself.
        said = deploy.reason.endswith(("no longer answers", "serves an older export"))
        return ("", "text") if said else (f"{deploy.reason}: enter starts it anew.", "warn")
    if failed:
        return f"The last start failed: {failed} enter tries again.", "bad"
    then = " and measures through it" if measured else "; Metrics comes first to verify it"
    return f"enter starts the {target}{then}. The service outlives this window.", "text"


def _health(probe: Probe, glyphs: Glyphs) -> tuple[str, str, Tone]:
    if probe.answers:
        return glyphs.passed, "answers", "good"
    if not probe.here:
        return glyphs.warned, "elsewhere", "warn"
    if probe.running:
        return glyphs.warned, "doesn't answer yet", "warn"
    return glyphs.refused, "gone", "bad"


def tab_row(current: str, tabs: Sequence[str]) -> Row:
    """What the pane below shows, among what it could show."""
    spans = [Span(f" {TAB_TITLES[tab]} ", "accent" if tab == current else "muted") for tab in tabs]
    return row(*spans)


def verification_rows(
    summary: Mapping[str, Any], older: str, glyphs: Glyphs, width: int
) -> list[Row]:
    """What was measured through the endpoint, against what evaluation had measured.

    Args:
        summary: of a `verify` result; empty before there is one.
        older: why this is not a measurement of what stands now; empty for a current one.
        glyphs: the signs.
        width: columns.
    """
    if not summary:
        return [row((" Nothing was measured through the endpoint yet.", "muted"))]
    rows = [row((" " + line, "warn")) for line in wrap(older, width - 2)] if older else []
    rows += _verdict_rows(summary, glyphs, width)
    measured = served_rows(summary)
    for each in summary["sets"]:
        of_set = [one for one in measured if one.set == each["name"]]
        rows += [(), *_set_rows(each, of_set, width)]
    return rows


def _verdict_rows(summary: Mapping[str, Any], glyphs: Glyphs, width: int) -> list[Row]:
    verdict = str(summary["verdict"])
    meaning, tone = _MEANINGS[verdict]
    glyph = {"PASS": glyphs.passed, "FAIL": glyphs.refused}.get(verdict, glyphs.warned)
    head = f" {glyph} {verdict}: "
    rows = [
        row((head if number == 0 else "   ", tone), (line, tone))
        for number, line in enumerate(wrap(meaning, width - len(head) - 1))
    ]
    for reason in summary["reasons"]:
        rows += [row("   ", line) for line in wrap(str(reason), width - 4)]
    identity, contract = summary["identity"], summary["contract"]
    passed = sum(bool(check["passed"]) for check in contract)
    facts = (
        f"identity: least cosine to the fine-tuned model {identity['cosine']:.6f}; "
        f"contract: {passed} of {len(contract)} checks pass"
    )
    return [*rows, *(row(("   " + line, "muted")) for line in wrap(facts, width - 4))]


def _set_rows(each: Mapping[str, Any], measured: Sequence[ServedRow], width: int) -> list[Row]:
    wide = width >= _DIFFERENCE_COLUMNS
    header = ["metric", "measured", "served", "difference", "tolerance", ""]
    lines = [_metric_line(one) for one in measured]
    if not wide:
        header.pop(3)
        for line in lines:
            line.pop(3)
    numbers = range(1, len(header) - 1)
    title = f" {each['name']}, {each['queries']} queries; one query is {each['resolution']:.4f}"
    rows = [row((title, "strong"))]
    rows += [row(" ", *cells) for cells in table(header, lines, right=numbers)]
    drift = "; ".join(
        f"{what} cosine mean {cosines['mean']:.6f}, least {cosines['min']:.6f}"
        for what, cosines in each["drift"].items()
    )
    flipped = ", ".join(each["flipped"]) or "none"
    for text in (f"vector drift: {drift}", f"flipped queries: {flipped}"):
        rows += [row((" " + line, "muted")) for line in wrap(text, width - 2)]
    return rows


def _metric_line(one: ServedRow) -> list[str | Span]:
    tone: Tone = {"within": "good", "outside": "bad"}.get(one.verdict, "warn")  # type: ignore[assignment]
    return [
        one.title,
        f"{one.measured:.4f}",
        f"{one.served:.4f}",
        f"{one.difference:+.4f}",
        f"{one.tolerance:g}",
        Span(one.verdict, tone),
    ]


def snippet_rows(text: str, width: int, *, prose: bool) -> list[Row]:
    """A snippet as it is copied; long lines go on below, prose breaks at its spaces.

    Args:
        text: the snippet.
        width: columns.
        prose: whether it is text for people.
    """
    room = max(width - 2, 10)
    rows: list[Row] = []
    for line in text.splitlines():
        parts = wrap(line, room) if prose else _folded(line, room)
        rows += [row(" ", part) for part in parts]
    return rows


def _folded(line: str, width: int) -> list[str]:
    return [line[start : start + width] for start in range(0, len(line), width)] or [""]
