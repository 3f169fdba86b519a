"""What the Train step shows around its charts, as rows. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.recipe import Recipe
from pipeline.schedule import Schedule
from pipeline.usage import GpuUsage
from tui.choices import Choice
from tui.glyphs import Glyphs
from tui.kept_counts import KeptCounts
from tui.keys import key_of
from tui.progress import View, duration
from tui.rows import Row, Span, Tone, fit, pad, pad_left, row, wrap, wrapped
from tui.settings import setting_choice
from tui.steps import StageState
from tui.training import Remaining, TrainingView
from tui.working import progress_rows

MINING = ("passages encoded", "queries encoded", "queries mined")
"""What `prep` says it is at, in order."""
FIELD = 26
"""Columns of one number with its label."""
_LABEL = 13
_GIGA = 1e9
_PART = "loss_"
"""What the names of a loss's parts begin with in the journal."""


def setting_choices(
    recipe: Recipe, usual: Recipe, schedule: Schedule | None, examples: int
) -> list[Choice]:
    """The settings that matter for a training, with what they resolve to here.

    Args:
        recipe: the settings as they are.
        usual: the base model's own.
        schedule: the training's lengths; None while the examples aren't counted.
        examples: training questions.
    """
    hints = _hints(recipe, schedule, examples)

    def one(name: str, label: str, about: str) -> Choice:
        return setting_choice(recipe, usual, name, label, about, hints.get(name, ""))

    return [
        one(
            "finetune.epochs",
            "epochs",
            "How often training goes through all questions. More learn a small set by heart.",
        ),
        one(
            "finetune.learning_rate",
            "learning rate",
            "The highest one, after the warm-up. Too high and the model forgets what it knew.",
        ),
        one(
            "finetune.batch_size",
            "batch",
            "Questions an optimizer step. Under 2,000 questions it is scaled down by itself, "
            "as long as finetune.auto_scale is on.",
        ),
        one(
            "prep.hard_negatives",
            "negatives mined",
            "For each question, passages that the base model ranks high although they don't "
            "answer it.",
        ),
        one(
            "finetune.hard_negatives",
            "negatives used",
            "How many of the mined ones a question is trained against.",
        ),
        one(
            "finetune.micro_batch_size",
            "texts at once",
            "A forward pass takes as many tokens as so many of the longest texts have. Fewer "
            "take less memory and more time; the model is the same. 0: what memory holds.",
        ),
        one(
            "finetune.validation_steps",
            "validate every",
            "Steps between two measurements on the dev questions, which choose the best weights.",
        ),
    ]


def _hints(recipe: Recipe, schedule: Schedule | None, examples: int) -> dict[str, str]:
    """What settings come to here, by name, where that is not what they say."""
    asked = recipe.finetune
    hints = {"finetune.hard_negatives": f"of {recipe.prep.hard_negatives} mined"}
    if not asked.micro_batch_size:
        hints["finetune.micro_batch_size"] = "what memory holds"
    if schedule and schedule.batch_size != asked.batch_size:
        scaled = f"here {schedule.batch_size}, scaled to {examples:,} questions"
        hints["finetune.batch_size"] = scaled
    if schedule and schedule.validation_steps != asked.validation_steps:
        hints["finetune.validation_steps"] = f"here every {schedule.validation_steps}"
    return hints


def before_rows(
    counts: KeptCounts | None, schedule: Schedule | None, recipe: Recipe, width: int
) -> list[Row]:
    """What will be trained: the kept questions by role, and the lengths that follow.

    Args:
        counts: what review has come to; None while it is being counted.
        schedule: the training's lengths, None without training questions.
        recipe: the settings.
        width: columns.
    """
    if counts is None:
        return [row((" counting the kept questions ...", "muted"))]
    kept = {role: counts.roles.get(role, 0) for role in ("train", "dev", "test")}
    spans = [Span(" Kept: ", "muted")]
    for role, count in kept.items():
        spans += [Span(f"{count:,}", "strong"), Span(f" {role}  ")]
    of = f"of {counts.samples:,} questions; {counts.decided:,} decided, threshold "
    spans.append(Span(of + f"{counts.threshold:g}", "muted"))
    rows = wrapped(spans, width - 1)
    if not kept["train"]:
        text = "No training question is kept: lower the threshold or accept some in Review."
        return [*rows, *_lines(text, width, "bad")]
    if schedule:
        epochs = recipe.finetune.epochs
        lengths = f" {schedule.total_steps:,} steps"
        rest = (
            f": {epochs} epoch{'s' if epochs != 1 else ''} of {schedule.steps_per_epoch:,}, batch "
            f"{schedule.batch_size}, validated every {schedule.validation_steps:,}"
        )
        rows += wrapped([Span(lengths, "strong"), Span(rest)], width - 1)
    if not kept["dev"]:
        text = "No dev question is kept: the last weights are taken, not the best."
        rows += _lines(text, width, "warn")
    return rows


def plan_rows(rehearsal: bool, width: int) -> list[Row]:
    """What enter leads to."""
    text = (
        "enter mines hard negatives, trains and measures, one after the other, in one worker; it "
        "goes on when this window closes."
    )
    rows = _lines(text, width, "muted")
    if rehearsal:
        rows += _lines("Rehearsal: a small model on the CPU, for practice.", width, "warn")
    return rows


def mining_rows(view: View, paused: bool, glyphs: Glyphs, width: int) -> list[Row]:
    """What `prep` does: its parts, and how far the one at hand is."""
    at = MINING.index(view.what) if view.what in MINING else -1
    spans: list[Span] = [Span(" ")]
    for number, what in enumerate(MINING):
        glyph, word, tone = _part(number, at, glyphs)
        spans += [Span(f"{glyph} ", tone), Span(what, tone), Span(f" {word}   ", "muted")]
    return [
        row((" Mining hard negatives", "strong")),
        *wrapped(spans, width - 1),
        (),
        *progress_rows(view, paused, glyphs, width),
    ]


def _part(number: int, at: int, glyphs: Glyphs) -> tuple[str, str, Tone]:
    if number < at:
        return glyphs.done, "(done)", "good"
    return (glyphs.running, "(now)", "accent") if number == at else (glyphs.waiting, "", "muted")


def training_row(view: TrainingView, glyphs: Glyphs, width: int) -> Row:
    """One row: what goes on now, and a bar."""
    beginning = "loading the model" if view.base is None else "the first step"
    doing = view.doing or ("" if view.step else beginning)
    word: tuple[str, Tone] = (f" {glyphs.running} training", "accent")
    if view.paused:
        word = (f" {glyphs.waiting} paused: {key_of('train.pause')} goes on", "warn")
    left = (Span(*word), Span(f"   {doing}" if doing and not view.paused else "", "muted"))
    room = 20 if width >= 70 else 10
    done = room * view.step // view.total if view.total else 0
    percent = f"{100 * view.step // view.total:3d}% " if view.total else ""
    bar = (Span(glyphs.full * done, "accent"), Span(glyphs.empty * (room - done), "muted"))
    right = (*bar, Span(" " + percent))
    return (*fit(left, width - room - len(percent) - 1), *right)


def numbers(
    view: TrainingView,
    remaining: Remaining | None,
    device: Sequence[tuple[str, str]],
    now: float | None,
) -> list[tuple[str, str]]:
    """Labels with values of one width each, so that little changes between two looks.

    Args:
        view: the training.
        remaining: how long it still takes; None while that isn't known, or it has ended.
        device: what tells of GPU or CPU.
        now: the time; None when nothing goes on.
    """
    latest = view.latest
    left = [("elapsed", duration(view.elapsed(now)))]
    if now is not None:
        left = [
            ("time left", span_words(remaining) if remaining else "-"),
            ("ends at", clock_words(remaining, now) if remaining else "-"),
            *left,
        ]
    return [
        ("step", f"{view.step:,}/{view.total:,}" if view.total else "-"),
        ("epoch", _value(latest.get("epoch"), ".2f")),
        ("loss", _value(latest.get("loss"), ".4f")),
        ("mean loss", _value(view.averages[-1] if view.averages else None, ".4f")),
        *left,
        *device,
        ("tokens/s", _value(latest.get("tokens_per_second"), ",.0f")),
        ("samples/s", _value(latest.get("samples_per_second"), ",.1f")),
        ("learning rate", _value(latest.get("learning_rate"), ".2e")),
        ("gradient norm", _value(latest.get("gradient_norm"), ".3f")),
        *_told(latest),
    ]


def _told(latest: Mapping[str, float]) -> list[tuple[str, str]]:
    """What some trainings tell besides: how much of the device is used, the negatives of a question
    and what was masked of them, and the parts that the loss is a sum of. Rounded, for they change
    with every step."""
    found = []
    if (mfu := latest.get("mfu")) is not None:
        found.append(("MFU", f"{100 * mfu:.0f}%"))
    # Before what else tells of memory: at 80 columns there is room for two of these.
    found += _negatives(latest)
    if (memory := latest.get("memory_bytes")) is not None:
        found.append(("memory", f"{memory / _GIGA:.1f} GB"))
    if (masked := latest.get("masked_per_query")) is not None:
        found.append(("masked/query", f"{masked:.1f}"))
    parts = sorted(name for name in latest if name.startswith(_PART))
    return [*found, *(("loss " + name[len(_PART) :], f"{latest[name]:.3f}") for name in parts)]


def _negatives(latest: Mapping[str, float]) -> list[tuple[str, str]]:
    """Of a question: those mined for it and those of other questions; a training of an earlier
    version tells only their sum, and nothing is shown."""
    hard, both = latest.get("hard_negatives_per_query"), latest.get("negatives_per_query")
    if hard is None or both is None:
        return []
    return [("hard+in-batch", f"{hard:.1f}+{both - hard:.1f}")]


def _value(value: float | None, form: str) -> str:
    return "-" if value is None or value != value else format(value, form)


def device_numbers(usage: GpuUsage | None, rehearsal: bool) -> list[tuple[str, str]]:
    """Memory and load of the GPU, or that there is none in it."""
    if rehearsal:
        return [("device", "CPU")]
    if usage is None:
        return [("GPU memory", "-"), ("GPU load", "-")]
    used, total = usage.memory_used / _GIGA, usage.memory_total / _GIGA
    load = usage.utilisation_percent
    return [
        ("GPU memory", f"{used:.1f}/{total:.1f} GB"),
        ("GPU load", "-" if load is None else f"{load}%"),
    ]


def number_rows(shown: Sequence[tuple[str, str]], width: int, lines: int) -> list[Row]:
    """Numbers in columns: the first ones where there is no room for all.

    Args:
        shown: labels with values.
        width: columns.
        lines: rows at most.
    """
    columns = max(min(width // FIELD, -(-len(shown) // max(lines, 1))), 1)
    shown = shown[: columns * lines]
    height = -(-len(shown) // columns)
    rows: list[Row] = []
    for line in range(height):
        spans: list[Span] = []
        for label, value in shown[line::height]:
            spans.append(Span(f" {pad(label, _LABEL)}", "muted"))
            spans.append(Span(pad_left(value, FIELD - _LABEL - 1)))
        rows.append(tuple(spans))
    return rows


def span_words(remaining: Remaining) -> str:
    """A range of seconds for people, no finer than it can be known: `11-14 min`."""
    low, high = remaining.low, remaining.high
    if high < 90:
        return _range(_up(low, 5), _up(high, 5), "s")
    if high < 5400:
        return _range(_up(low / 60, 1), _up(high / 60, 1), "min")
    return _range(_up(low / 3600, 0.1), _up(high / 3600, 0.1), "h")


def _up(value: float, unit: float) -> str:
    return f"{-(-value // unit) * unit:.{0 if unit >= 1 else 1}f}"


def _range(low: str, high: str, unit: str) -> str:
    return f"{high} {unit}" if low == high else f"{low}-{high} {unit}"


def clock_words(remaining: Remaining, now: float) -> str:
    """When it ends, by the clock on the wall: `14:32-14:35`; another day is named."""
    first, last = time.localtime(now + remaining.low), time.localtime(now + remaining.high)
    day = "" if first.tm_yday == time.localtime(now).tm_yday else time.strftime("%a ", first)
    early, late = time.strftime("%H:%M", first), time.strftime("%H:%M", last)
    return day + (early if early == late else f"{early}-{late}")


def ended_rows(
    summary: Mapping[str, Any], partial: bool, prep: Mapping[str, Any], glyphs: Glyphs, width: int
) -> list[Row]:
    """What a finished training came to, its warnings, and whether it ended early.

    Args:
        summary: the finetune result's.
        partial: whether it ended before its last step.
        prep: the prep result's summary; empty where it is gone.
        glyphs: the signs.
        width: columns.
    """
    steps, planned = summary.get("steps"), summary.get("steps_planned")
    head: tuple[str, Tone] = (f" {glyphs.done} trained", "good")
    if partial:
        head = (f" {glyphs.warned} trained in part", "warn")
    parts = [f"{steps:,} of {planned:,} steps" if partial else f"{steps:,} steps"]
    if isinstance(seconds := summary.get("seconds"), (int, float)):
        parts.append(duration(seconds))
    if best := summary.get("best_step"):
        parts.append(f"the weights of step {best:,}")
    rows = wrapped([Span(*head), Span(": " + ", ".join(parts) + ".")], width - 1)
    base, score = summary.get("dev_ndcg_at_10_base"), summary.get("dev_ndcg_at_10")
    if base is not None and score is not None:
        tone: Tone = "good" if score > base else "warn"
        rows.append(
            row(
                f"   dev nDCG@10  base {base:.4f} {glyphs.arrow} ",
                (f"{score:.4f}  ({score - base:+.4f})", tone),
                (f"  on {summary.get('dev_queries', 0):,} questions", "muted"),
            )
        )
    for warning in (*prep.get("warnings", ()), *summary.get("warnings", ())):
        rows += _lines(f"{glyphs.warned} {warning}", width, "warn")
    return rows


def standing_rows(
    name: str, stage: StageState, made: bool, starts: str, glyphs: Glyphs, width: int
) -> list[Row]:
    """Where the work stands when it isn't done and nobody is at it, and the key that goes on.

    Args:
        name: the stage.
        stage: where it stands.
        made: whether an earlier result lies there.
        starts: what enter does then.
        glyphs: the signs.
        width: columns.
    """
    words: dict[str, tuple[str, str, Tone]] = {
        "stale": (glyphs.stale, "stale", "warn"),
        "stopped": (glyphs.stale, "stopped", "warn"),
        "vanished": (glyphs.failed, "vanished", "bad"),
        "failed": (glyphs.failed, "failed", "bad"),
    }
    if stage.state not in words:
        return []
    glyph, word, tone = words[stage.state]
    rows = wrapped([Span(f" {glyph} {name} {word}: ", tone), Span(stage.reason)], width - 1)
    on = {
        "stale": "enter trains again; the earlier model stays on the disk.",
        "stopped": f"enter {starts}.",
        "vanished": f"Nothing that was finished is lost: enter {starts}.",
        "failed": f"enter {starts}, {key_of('train.log')} shows the log.",
    }[stage.state]
    rows += _lines(on, width, "muted")
    if made and stage.state != "stale":
        rows += _lines("The model that was trained before stays as it is.", width, "muted")
    return rows


def _lines(text: str, width: int, tone: Tone = "text") -> list[Row]:
    return [row((" " + line, tone)) for line in wrap(text, width - 2)]
