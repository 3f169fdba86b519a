"""The rules of settings: their types, ranges, choices and forms. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args, get_origin

from pipeline.errors import BadRecipe

_CHOICES = {
    "sdg.writer": ("endpoint", "offline"),
    "sdg.rank_with": ("base", "bm25"),
    "prep.rule": ("top", "shifted", "absolute", "margin", "percentage"),
    "prep.exclude": ("text", "document", "group"),
    "finetune.schedule": ("cosine", "linear"),
    "finetune.positives": ("one", "each", "supervised", "any"),
    "finetune.distillation.loss": ("cosine", "mse", "kl", "margin_mse"),
    "finetune.warmup.objective": ("none", "mlm", "tsdae", "pairs"),
    "deploy.target": ("local", "nim"),
}
AT_LEAST: dict[str, float] = {
    "corpus.documents": 0,
    "corpus.passage_tokens": 16,
    "corpus.passage_tokens_max": 16,
    "corpus.document_characters_min": 1,
    "corpus.file_megabytes_max": 1,
    "corpus.pdf_pages_max": 1,
    "sdg.questions_per_document": 1,
    "sdg.document_passages": 1,
    "sdg.complexity_min": 1,
    "sdg.hops_min": 1,
    "sdg.threshold": 0,
    "sdg.temperature": 0,
    "sdg.top_p": 0,
    "seed": 0,
    "sdg.cross_document_share": 0,
    "sdg.weight_answerable": 0,
    "sdg.weight_supported": 0,
    "sdg.weight_standalone": 0,
    "sdg.weight_specific": 0,
    "sdg.weight_natural": 0,
    "sdg.rounds": 1,
    "sdg.target": 0,
    "sdg.calls_max": 0,
    "sdg.attempts": 1,
    "sdg.requests_per_minute": 0,
    "sdg.price_in": 0,
    "sdg.price_out": 0,
    "sdg.concurrency": 1,
    "sdg.timeout_seconds": 1,
    "encoder.query_tokens": 8,
    "encoder.passage_tokens": 8,
    "encoder.batch_size": 1,
    "encoder.dimension": 0,
    "prep.hard_negatives": 0,
    "prep.search_depth": 1,
    # Below it hardly a candidate is left, and a negative share means nothing.
    "prep.positive_percentage": 0.01,
    "prep.positive_margin": 0,
    "prep.skip": 0,
    "prep.sample_from": 0,
    "prep.duplicate_similarity": 0,
    "finetune.epochs": 1,
    "finetune.learning_rate": 0,
    "finetune.warmup_steps": 0,
    "finetune.batch_size": 2,
    "finetune.micro_batch_size": 0,
    "finetune.hard_negatives": 0,
    "finetune.temperature": 1e-4,
    "finetune.weight_decay": 0,
    "finetune.gradient_clip": 0,
    "finetune.checkpoint_steps": 1,
    "finetune.validation_steps": 1,
    "finetune.patience": 0,
    "finetune.probe_tolerance": 0,
    "finetune.contrastive_weight": 0,
    "finetune.false_negatives.margin": -1,
    "finetune.triplet.weight": 0,
    "finetune.triplet.margin": 0,
    "finetune.distillation.weight": 0,
    "finetune.distillation.teacher_temperature": 1e-4,
    "finetune.lora.rank": 0,
    "finetune.lora.alpha": 1e-3,
    "finetune.lora.dropout": 0,
    "finetune.warmup.epochs": 1,
    "finetune.tasks.retrieval_weight": 0,
    "finetune.tasks.sts_weight": 0,
    "finetune.tasks.classification_weight": 0,
    "finetune.warmup.learning_rate": 0,
    "finetune.warmup.batch_size": 2,
    "finetune.warmup.checkpoint_steps": 1,
    "deploy.port": 0,
    "deploy.health_timeout_seconds": 1,
    "verify.tolerance": 0,
    "verify.tolerance_low_k": 0,
}
"""The least value of each number, by the setting's name."""
_AT_MOST: dict[str, float] = {
    "finetune.probe_tolerance": 1,
    "sdg.complexity_max": 5,
    "sdg.hops_max": 3,
    "sdg.threshold": 10,
    "sdg.duplicate_similarity": 1,
    "sdg.cross_document_share": 1,
    "sdg.concurrency": 256,
    "sdg.rounds": 20,
    "corpus.near_duplicate_containment": 1,
    "prep.positive_percentage": 1,
    "prep.duplicate_similarity": 1,
    "finetune.false_negatives.margin": 1,
    "finetune.triplet.margin": 2,
    "finetune.lora.rank": 512,
    "finetune.lora.dropout": 0.9,
    "deploy.port": 65535,
}
_STYLES = ("question", "keyword", "symptom", "terse")
"""The ways of asking that prompts have rules for."""
_WEIGHTS = (
    "sdg.weight_answerable",
    "sdg.weight_supported",
    "sdg.weight_standalone",
    "sdg.weight_specific",
    "sdg.weight_natural",
)
_LOSSES = (
    "finetune.contrastive_weight",
    "finetune.triplet.weight",
    "finetune.distillation.weight",
)
_CHARACTERS_MAX = {
    "sdg.audience": 500,
    "sdg.language": 60,
    "sdg.examples": 300,
    "sdg.avoid": 400,
    "encoder.instruction": 300,
}
"""The longest text of what guides the writer, each example by itself, or the encoder. Ours: it
goes into every writing call or query, and real queries are shorter."""
_EXAMPLES_MAX = 20
_ASCII = rb"Az \u0041 +AGE- 09 .xn--4ca.x"
_JOINERS = "\u200c\u200d"
"""Not printable by themselves, and part of words in Persian and Indic scripts."""
_ORDERED = (
    ("corpus.passage_tokens", "corpus.passage_tokens_max"),
    ("sdg.complexity_min", "sdg.complexity_max"),
    ("sdg.hops_min", "sdg.hops_max"),
    ("finetune.hard_negatives", "prep.hard_negatives"),
)


def check_ranges(flat: Mapping[str, Any], where: str) -> None:
    """Hold settings against their ranges.

    Args:
        flat: all settings by dotted name.
        where: the file or option that they come from, for the message.

    Raises:
        BadRecipe: one is outside of its range.
    """
    for name, choices in _CHOICES.items():
        if flat[name] not in choices:
            raise _refused(name, flat[name], f"one of {', '.join(choices)}", where)
    for name, low in AT_LEAST.items():
        if flat[name] < low:
            raise _refused(name, flat[name], f"at least {low:g}", where)
    for name, high in _AT_MOST.items():
        if flat[name] > high:
            raise _refused(name, flat[name], f"at most {high:g}", where)
    for low_name, high_name in _ORDERED:
        if flat[low_name] > flat[high_name]:
            raise _refused(low_name, flat[low_name], f"at most {high_name}", where)
    _check_guidance(flat, where)
    if set(flat["sdg.styles"]) - set(_STYLES) or not flat["sdg.styles"]:
        wanted = f"one or more of {', '.join(_STYLES)}"
        raise _refused("sdg.styles", list(flat["sdg.styles"]), wanted, where)
    if not any(flat[name] for name in _WEIGHTS):
        raise _refused("sdg.weight_answerable", 0, "above 0, or another weight", where)
    _check_losses(flat, where)
    if not holds_ascii(flat["corpus.encoding"]):
        wanted = "an encoding that Python knows and that keeps ASCII, such as cp1252 or shift_jis"
        raise _refused("corpus.encoding", flat["corpus.encoding"], wanted, where)
    if not flat["eval.k"] or min(flat["eval.k"]) < 1:
        raise _refused("eval.k", list(flat["eval.k"]), "ranks from 1 on", where)
    if set(flat["export.dtypes"]) - {"fp32", "fp16"} or not flat["export.dtypes"]:
        raise _refused("export.dtypes", list(flat["export.dtypes"]), "fp32, fp16 or both", where)


def holds_ascii(encoding: str) -> bool:
    """Whether Python knows an encoding, and ASCII reads the same in it.

    That leaves out UTF-16 (its files have a mark, or NUL bytes like a binary) and the codecs that
    are no encodings of files, such as `unicode_escape` and `idna`.
    """
    try:
        return _ASCII.decode(encoding) == _ASCII.decode()
    except (LookupError, UnicodeError, ValueError):
        return False


def _check_losses(flat: Mapping[str, Any], where: str) -> None:
    if not any(flat[name] for name in _LOSSES):
        raise _refused("finetune.contrastive_weight", 0, "above 0, or another loss's", where)
    if flat["finetune.distillation.weight"] and not flat["finetune.distillation.teacher"]:
        wanted = "base, a profile or a folder, where finetune.distillation.weight is above 0"
        raise _refused("finetune.distillation.teacher", "", wanted, where)
    if any(width < 1 for width in flat["finetune.matryoshka_dimensions"]):
        given = list(flat["finetune.matryoshka_dimensions"])
        raise _refused("finetune.matryoshka_dimensions", given, "dimensions from 1 on", where)


def _check_guidance(flat: Mapping[str, Any], where: str) -> None:
    for name, most in _CHARACTERS_MAX.items():
        texts = flat[name] if isinstance(flat[name], tuple) else (flat[name],)
        if (longest := max(map(len, texts), default=0)) > most:
            given = f"{longest} characters long"
            raise _refused(name, given, f"at most {most} characters", where)
    if (count := len(flat["sdg.examples"])) > _EXAMPLES_MAX:
        given = f"{count} queries"
        raise _refused("sdg.examples", given, f"at most {_EXAMPLES_MAX} of them", where)


def _refused(name: str, value: object, wanted: str, where: str) -> BadRecipe:
    return BadRecipe(
        f"{where}: {name} = {value!r}, but it must be {wanted}.",
        safe="Nothing was changed.",
        next_step=f"Correct {name} and run the same command again.",
    )


def typed_value(name: str, value: Any, wanted: Any, where: str) -> Any:
    """A value in its setting's type; texts that guide the writer as one clean line each.

    Args:
        name: the setting's dotted name.
        value: as TOML or a command line gave it.
        wanted: the setting's type.
        where: the file or option that it comes from, for the message.

    Raises:
        BadRecipe: it has another type, or a form that its setting can't take.
    """
    typed = _as_type(name, value, wanted, where)
    if name not in _CHARACTERS_MAX:
        return typed
    return tuple(filter(None, map(_clean, typed))) if isinstance(typed, tuple) else _clean(typed)


def _clean(text: str) -> str:
    """One line without control characters: it goes into prompts and onto screens."""
    return " ".join("".join(c if c.isprintable() or c in _JOINERS else " " for c in text).split())


def _as_type(name: str, value: Any, wanted: Any, where: str) -> Any:
    if get_origin(wanted) is tuple:
        values = value if isinstance(value, (list, tuple)) else [value]
        inner = get_args(wanted)[0]
        return tuple(_scalar(name, entry, inner, where) for entry in values)
    return _scalar(name, value, wanted, where)


def _scalar(name: str, value: Any, wanted: type, where: str) -> Any:
    given: Any = value
    if wanted is float and type(value) is int:
        return float(value)
    if wanted is str and type(value) in (int, float):
        return str(value)
    if type(value) is not wanted:
        raise _refused(name, value, f"of type {wanted.__name__}", where)
    if wanted is float and not math.isfinite(given):
        raise _refused(name, value, "a finite number", where)
    if name.endswith("_url") and "@" in given.partition("//")[2].partition("/")[0]:
        raise _refused(name, "...", "without user name and password; keys go by variable", where)
    if name.endswith("key_variable") and not (given.isascii() and given.isidentifier()):
        # It may be the key itself, which no message repeats and no file keeps.
        raise _refused(name, "...", "the name of an environment variable, not the key", where)
    return value
