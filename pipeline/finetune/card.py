"""The model card: what a fine-tuned model is, so that its folder can travel alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

from pipeline.files import canonical_json
from pipeline.finetune.forgetting import Forgetting
from pipeline.finetune.interpolation import Point
from pipeline.finetune.stopping import Comparison
from pipeline.profiles import Profile, known_profiles
from pipeline.settings import EncoderSettings, FinetuneSettings

_NOT_IN_CARD = frozenset(
    {"micro_batch_size", "gradient_checkpointing", "checkpoint_steps", "probe"}
)
"""Settings that change no number of the model, and one that may be a path of this machine."""

_TASKS = "finetune.tasks."
"""Its texts are names of files; where these lie is no part of a result's identity."""


@dataclass(frozen=True)
class Facts:
    """What was trained on and what came out; no times, no paths.

    Attributes:
        examples: training questions.
        passages: unique passages among their positives and negatives.
        steps: optimizer steps that the weights have seen.
        batch_size: questions a step.
        dev_queries: held-out questions that chose the weights; 0 for none.
        base_score: the base's dev nDCG@10, or None.
        score: these weights' dev nDCG@10, or None.
        pooled: whether dev nDCG@10 was measured on a pool of candidates.
        gain: these weights against the base on the dev questions, or None.
        forgetting: a general probe before and after, or None.
        points: the weights tried between base and tuned; empty without a sweep.
        kept: the one that these weights are, or None.
        stopped: whether early stopping ended the training.
        cuts: widths at which vectors were trained (Matryoshka); none for whole vectors only.
    """

    examples: int
    passages: int
    steps: int
    batch_size: int
    dev_queries: int
    base_score: float | None
    score: float | None
    pooled: bool
    gain: Comparison | None = None
    forgetting: Forgetting | None = None
    points: tuple[Point, ...] = ()
    kept: Point | None = None
    stopped: bool = False
    cuts: tuple[int, ...] = ()


def model_card(
    profile: Profile, encoder: EncoderSettings, settings: FinetuneSettings, facts: Facts
) -> str:
    """The README.md of a model's folder, in Markdown with the hub's metadata."""
    base = profile.id if profile.id in known_profiles() else profile.title
    name = f"{base.rpartition('/')[2]}, fine-tuned with embedsmith"
    return "\n".join(
        [
            *_metadata(profile, base),
            f"# {'Rehearsal: ' if profile.rehearsal else ''}{name}",
            "",
            *_rehearsal_notice(profile),
            f"- Base model: {base}, revision {profile.revision}",
            f"- Licence of the base model: {profile.licence}",
            f"- Vectors: {encoder.dimension or profile.dimension} numbers, {profile.pooling} "
            f"pooling, {'normalised' if profile.normalize else 'not normalised'}",
            f"- Query prefix: {canonical_json(profile.query_prefix)}; passage prefix: "
            f"{canonical_json(profile.passage_prefix)}",
            "",
            *_training(facts, encoder, settings),
            *_quality(facts),
            *_interpolated(facts),
            *_forgotten(facts),
            *_usage(),
        ]
    )


def _metadata(profile: Profile, base: str) -> list[str]:
    tags = ["sentence-transformers", "feature-extraction", "embedsmith"]
    if profile.rehearsal:
        tags.append("rehearsal")
    # JSON strings are YAML strings, whatever they hold.
    known = [f"base_model: {canonical_json(base)}"] if base in known_profiles() else []
    return [
        "---",
        "library_name: sentence-transformers",
        "pipeline_tag: sentence-similarity",
        *known,
        "license: other",
        f"license_name: {canonical_json(profile.licence)}",
        f"tags: {canonical_json(tags)}",
        "---",
        "",
    ]


def _rehearsal_notice(profile: Profile) -> list[str]:
    if not profile.rehearsal:
        return []
    return [
        "> **This is a rehearsal.** It was made by the whole chain on a small model, to try it "
        "out. It is not meant for production.",
        "",
    ]


def _training(facts: Facts, encoder: EncoderSettings, settings: FinetuneSettings) -> list[str]:
    rows = [
        ("training questions", facts.examples),
        ("passages", facts.passages),
        ("optimizer steps", facts.steps),
        ("questions a step", facts.batch_size),
        ("encoder.query_tokens", encoder.query_tokens),
        ("encoder.passage_tokens", encoder.passage_tokens),
        *_setting_rows(asdict(settings), asdict(FinetuneSettings()), "finetune."),
    ]
    return [
        "## Training",
        "",
        *(f"- {technique}" for technique in techniques(settings, facts)),
        "",
        *_table(("", "value"), rows),
        "",
    ]


def _setting_rows(
    settings: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, object]]:
    """Every setting by dotted name; a table of a technique only where it says something else."""
    for name, value in settings.items():
        if name in _NOT_IN_CARD:
            continue
        if not isinstance(value, dict):
            yield prefix + name, _without_folders(value, of_file=prefix == _TASKS)
        elif any(value[entry] != defaults[name][entry] for entry in {*value} - _NOT_IN_CARD):
            yield from _setting_rows(value, defaults[name], f"{prefix}{name}.")


def _without_folders(value: object, *, of_file: bool = False) -> object:
    """A file or folder of this machine by its own name; everything else as it is."""
    if isinstance(value, tuple):
        return ", ".join(str(_without_folders(entry, of_file=of_file)) for entry in value)
    if isinstance(value, str) and (of_file or value.startswith(("/", "~", "."))):
        return PurePath(value).name
    return value


def techniques(settings: FinetuneSettings, facts: Facts) -> list[str]:
    """What the training did, one line each, with the names of the field."""
    tasks, distillation = settings.tasks, settings.distillation
    mined = "mined hard negatives" if settings.hard_negatives else ""
    others = "the other passages of the batch" if settings.in_batch_negatives else ""
    negatives = " and ".join(filter(None, (mined, others)))
    cuts = ", ".join(map(str, facts.cuts))
    said = {
        f"InfoNCE over {negatives}; known positives and identical texts are masked": (
            settings.contrastive_weight > 0
        ),
        f"several positives in one loss ({settings.positives})": settings.positives != "one",
        "suspected answers among the negatives masked by a teacher's scores (GISTEmbed)": bool(
            settings.false_negatives.teacher
        ),
        f"Matryoshka: trained at {cuts} dimensions, each with the same weight": bool(facts.cuts),
        "triplet loss over mined negatives": settings.triplet.weight > 0,
        f"distillation from a teacher ({distillation.loss})": distillation.weight > 0,
        "further tasks beside the run's own examples": bool(
            tasks.retrieval or tasks.sts or tasks.classification
        ),
        f"LoRA of rank {settings.lora.rank}, merged": settings.lora.rank > 0,
        f"warm-up on bare passages ({settings.warmup.objective})": (
            settings.warmup.objective != "none"
        ),
        "negatives mined anew before every epoch but the first (ANCE)": (
            settings.refresh_negatives and settings.epochs > 1
        ),
        "interpolated with the base (WiSE-FT), see below": facts.kept is not None,
        "ended by early stopping": facts.stopped,
    }
    return [technique for technique, used in said.items() if used]


def _quality(facts: Facts) -> list[str]:
    heading = ["## Dev set", ""]
    if facts.base_score is None or facts.score is None:
        return [*heading, "There were no dev questions: these are the last weights.", ""]
    where = "a pool of candidates" if facts.pooled else "all passages"
    surely = f" The gain over the base is {facts.gain.text}." if facts.gain else ""
    return [
        *heading,
        f"{facts.dev_queries} held-out questions over {where}. They chose the checkpoint, of "
        f"equals the earliest, so the test set's figures are the ones to quote.{surely}",
        "",
        *_table(
            ("model", "nDCG@10"),
            [("base", f"{facts.base_score:.4f}"), ("fine-tuned", f"{facts.score:.4f}")],
        ),
        "",
    ]


def _interpolated(facts: Facts) -> list[str]:
    if facts.kept is None:
        return []
    rows = [
        (f"| {p.alpha:g} | {p.dev:.4f} | {'-' if p.probe is None else format(p.probe, '.4f')} |")
        for p in facts.points
    ]
    return [
        "## Interpolation",
        "",
        f"The weights are {1 - facts.kept.alpha:g} of the base's and {facts.kept.alpha:g} of the "
        "tuned ones (WiSE-FT): the best dev nDCG@10 among those within the probe's tolerance, of "
        "equals the nearest to the base.",
        "",
        "| alpha | dev nDCG@10 | probe nDCG@10 |",
        "|---|---|---|",
        *rows,
        "",
    ]


def _forgotten(facts: Facts) -> list[str]:
    lost = facts.forgetting
    if lost is None:
        return []
    verdict = "**More was lost than is tolerated.** " if lost.exceeded else ""
    return [
        "## Forgetting",
        "",
        f"{verdict}A probe that nothing was trained for ({lost.probe}, {lost.change.queries} "
        f"queries); tolerated is a loss of {lost.tolerance:g}, the change is {lost.change.text}.",
        "",
        *_table(
            ("model", "nDCG@10"),
            [("base", f"{lost.before:.4f}"), ("this one", f"{lost.after:.4f}")],
        ),
        "",
    ]


def _usage() -> list[str]:
    return [
        "## Use",
        "",
        "```python",
        "from sentence_transformers import SentenceTransformer",
        "",
        'model = SentenceTransformer("this-folder")',
        'queries = model.encode_query(["a question"])',
        'passages = model.encode_document(["a passage"])',
        "print(model.similarity(queries, passages))",
        "```",
        "",
    ]


def _table(head: tuple[str, str], rows: Iterable[tuple[str, object]]) -> list[str]:
    return [
        f"| {head[0]} | {head[1]} |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
    ]
