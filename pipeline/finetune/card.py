"""The model card: what a fine-tuned model is, so that its folder can travel alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from pipeline.files import canonical_json
from pipeline.profiles import Profile, known_profiles
from pipeline.recipe import EncoderSettings, FinetuneSettings

_NOT_IN_CARD = frozenset({"micro_batch_size", "checkpoint_steps"})
"""Settings that change no number of the model."""


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
    """

    examples: int
    passages: int
    steps: int
    batch_size: int
    dev_queries: int
    base_score: float | None
    score: float | None
    pooled: bool


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
        *(
            (f"finetune.{name}", value)
            for name, value in asdict(settings).items()
            if name not in _NOT_IN_CARD
        ),
    ]
    return [
        "## Training",
        "",
        "InfoNCE over one positive, mined hard negatives and, where set, the other passages of "
        "the batch; known positives and identical texts masked.",
        "",
        *_table(("", "value"), rows),
        "",
    ]


def _quality(facts: Facts) -> list[str]:
    heading = ["## Dev set", ""]
    if facts.base_score is None or facts.score is None:
        return [*heading, "There were no dev questions: these are the last weights.", ""]
    where = "a pool of candidates" if facts.pooled else "all passages"
    return [
        *heading,
        f"{facts.dev_queries} held-out questions over {where}. They chose the checkpoint, so "
        "the test set's figures are the ones to quote.",
        "",
        *_table(
            ("model", "nDCG@10"),
            [("base", f"{facts.base_score:.4f}"), ("fine-tuned", f"{facts.score:.4f}")],
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
