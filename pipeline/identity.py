"""What a result is made from: the settings and inputs that its fingerprint is a hash of.

`NOT_IDENTITY` is the one table of settings that are left out, `CAME_LATER` that of those that
don't count while they change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.files import digest_file, digest_folder, digest_value
from pipeline.profiles import Profile, find_profile
from pipeline.recipe import Recipe, flatten
from pipeline.run import Run
from pipeline.sdg.rounds import last_round
from pipeline.settings import BASE_TEACHER, PYTHON_PROBE
from pipeline.stage import Stage
from pipeline.weights import folder_digest, weights_digest

NOT_IDENTITY: Mapping[str, str] = {
    "corpus.source": "what the files hold counts, not where they lie",
    "sdg.base_url": "the same model behind another address gives the same questions",
    "sdg.successor": "a proposal, until it is chosen as the model",
    "sdg.key_variable": "a key identifies who pays",
    "sdg.threshold": "applied by review; the kept set is prep's input",
    "sdg.concurrency": "speed",
    "sdg.requests_per_minute": "speed",
    "sdg.timeout_seconds": "speed",
    "sdg.price_in": "what it costs changes no question",
    "sdg.price_out": "what it costs changes no question",
    "encoder.batch_size": "speed and memory",
    "finetune.micro_batch_size": "memory; a smaller one goes on from the same checkpoint",
    "finetune.gradient_checkpointing": "memory and speed; the gradients are the same",
    "finetune.checkpoint_steps": "how much a crash costs",
    "finetune.warmup.checkpoint_steps": "how much a crash costs",
    "finetune.tasks.retrieval": "what the files hold counts, not where they lie",
    "finetune.tasks.sts": "what the files hold counts, not where they lie",
    "finetune.tasks.classification": "what the files hold counts, not where they lie",
    "deploy.host": "an endpoint is probed",
    "deploy.port": "an endpoint is probed",
    "deploy.health_timeout_seconds": "an endpoint is probed",
}
"""Settings that no fingerprint holds, and why."""

CAME_LATER: Mapping[str, Any] = {
    "corpus.include": (),
    "corpus.exclude": (),
    "corpus.encoding": "cp1252",
    "corpus.file_megabytes_max": 20,
    "corpus.pdf_pages_max": 2000,
    "corpus.text_field": "",
    "sdg.audience": "",
    "sdg.language": "",
    "sdg.examples": (),
    "sdg.cross_document_share": 0.3,
    "sdg.styles": ("question", "keyword", "symptom", "terse"),
    "sdg.weight_answerable": 3.0,
    "sdg.weight_supported": 3.0,
    "sdg.weight_standalone": 2.0,
    "sdg.weight_specific": 2.0,
    "sdg.weight_natural": 1.0,
    "sdg.rank_with": "base",
    "sdg.rounds": 1,
    "sdg.target": 0,
    "sdg.calls_max": 0,
    "sdg.attempts": 2,
    "sdg.avoid": (),
    "prep.rule": "percentage",
    "prep.positive_margin": 0.05,
    "prep.score_max": 0.7,
    "prep.skip": 10,
    "prep.sample_from": 0,
    "prep.exclude": "text",
    "prep.duplicate_similarity": 0.0,
    "prep.teacher": "",
    "prep.reranker": "",
    "finetune.liger": False,
    "finetune.compile": False,
    "finetune.patience": 0,
    "finetune.probe": "",
    "finetune.probe_tolerance": 0.02,
    "finetune.interpolate": False,
    "finetune.refresh_negatives": False,
    "encoder.instruction": "",
    "finetune.positives": "one",
    "finetune.contrastive_weight": 1.0,
    "finetune.matryoshka": False,
    "finetune.matryoshka_dimensions": (),
    "finetune.false_negatives.teacher": "",
    "finetune.false_negatives.margin": 0.05,
    "finetune.triplet.weight": 0.0,
    "finetune.triplet.margin": 0.1,
    "finetune.distillation.weight": 0.0,
    "finetune.distillation.teacher": "",
    "finetune.distillation.loss": "cosine",
    "finetune.distillation.teacher_temperature": 1.0,
    "finetune.lora.rank": 0,
    "finetune.lora.alpha": 32.0,
    "finetune.lora.dropout": 0.0,
    "finetune.lora.modules": (),
    "finetune.tasks.retrieval_weight": 0.25,
    "finetune.tasks.sts_weight": 0.25,
    "finetune.tasks.classification_weight": 0.25,
    "finetune.warmup.objective": "none",
    "finetune.warmup.epochs": 1,
    "finetune.warmup.learning_rate": 3e-5,
    "finetune.warmup.batch_size": 16,
}
"""Settings that came when results existed already, each with the value that changes nothing: with
it a setting is left out of the identity, so an upgrade makes no finished stage stale."""


@dataclass(frozen=True)
class Identity:
    """What a result is made from, in the open; its hash is the fingerprint."""

    stage: str
    version: int
    settings: Mapping[str, Any]
    inputs: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits."""
        return digest_value(
            {
                "stage": self.stage,
                "version": self.version,
                "settings": self.settings,
                "inputs": self.inputs,
            }
        )[:16]


def settings_of(stage: Stage, recipe: Recipe) -> dict[str, Any]:
    """The settings that identify a stage's result, by dotted name."""
    settings = {
        name: value
        for name, value in flatten(recipe).items()
        if name.partition(".")[0] in stage.sections
        and name not in NOT_IDENTITY
        and not (name in CAME_LATER and value == CAME_LATER[name])
    }
    if "sdg" in stage.sections and last_round(recipe.sdg) > 1:
        # What later rounds ask about follows from what passes.
        settings["sdg.threshold"] = recipe.sdg.threshold
    return settings


def miner_digests(recipe: Recipe, cache: Path) -> dict[str, str]:
    """The identity of what mines beside the base model; only where there is any."""
    named: dict[str, str] = {}
    if recipe.prep.teacher:
        named["teacher"] = base_digest(find_profile(recipe.prep.teacher), cache)
    if recipe.prep.reranker:
        named["reranker"] = folder_digest(Path(recipe.prep.reranker).expanduser(), cache)
    return named


def lesson_digests(recipe: Recipe, cache: Path) -> dict[str, str]:
    """The identity of those that training learns from; only where there are any.

    The base model is an input of its own.
    """
    settings = recipe.finetune
    named = {
        "false_negatives": settings.false_negatives.teacher,
        "distillation": settings.distillation.teacher if settings.distillation.weight else "",
    }
    return {
        what: _teacher_digest(name, cache)
        for what, name in named.items()
        if name not in ("", BASE_TEACHER)
    }


def _teacher_digest(name: str, cache: Path) -> str:
    """Of a folder, which may hold a cross-encoder and so is no profile, or of a known profile."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder_digest(folder, cache)
    return base_digest(find_profile(name), cache)


def task_digests(run: Run, recipe: Recipe) -> dict[str, list[str]]:
    """What the files of `finetune.tasks` hold, by kind; a missing one is said when training."""
    tasks = recipe.finetune.tasks
    named = {
        "retrieval": tasks.retrieval,
        "sts": tasks.sts,
        "classification": tasks.classification,
    }
    found = {
        kind: [run.path / Path(name).expanduser() for name in names]
        for kind, names in named.items()
        if names
    }
    return {
        kind: [digest_file(path) if path.is_file() else "" for path in paths]
        for kind, paths in found.items()
    }


def probe_digest(run: Run, recipe: Recipe) -> str:
    """What the user's own set in `finetune.probe` holds; empty for none.

    The one that ships with Python is named by the setting, and a missing one is said when training.
    """
    wanted = recipe.finetune.probe
    if wanted in ("", PYTHON_PROBE):
        return ""
    return digest_value(digest_folder(run.path / Path(wanted).expanduser()))


def base_digest(profile: Profile, cache: Path) -> str:
    """The identity of a base model: its weights and how a text becomes a vector."""
    return digest_value(
        {
            "weights": weights_digest(profile, cache),
            "pooling": profile.pooling,
            "normalize": profile.normalize,
            "query_prefix": profile.query_prefix,
            "passage_prefix": profile.passage_prefix,
        }
    )
