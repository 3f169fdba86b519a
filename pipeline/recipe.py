"""The recipe: every number that a user may change, with its default, in TOML.

The defaults are those of NVIDIA's published embedding recipe unless a comment says otherwise.
A profile may carry its own defaults (see `profiles.toml`); `recipe.toml` overrides those, a
variant overrides `recipe.toml`, and `--set` writes into `recipe.toml`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import tomli_w

from pipeline.errors import BadRecipe
from pipeline.files import write_text

FORMAT = 1
"""Version of `recipe.toml`; a newer one is refused, never guessed at."""


@dataclass(frozen=True)
class CorpusSettings:
    """Documents to passages."""

    source: str = ""
    """A folder of documents, a BEIR folder, NVIDIA SDG output, or `pydoc`."""
    documents: int = 0
    """The pilot slice: so many documents, chosen by `seed`; 0 takes all."""
    tokenizer: str = "nvidia/llama-nemotron-embed-1b-v2"
    """The profile whose tokenizer measures passages; part of the corpus's identity."""
    passage_tokens: int = 300
    """Where a passage is full and the next block starts another one."""
    passage_tokens_max: int = 480
    """No passage is longer: room for prefix and special tokens below 512."""
    document_characters_min: int = 50
    """Shorter documents are skipped."""
    near_duplicate_containment: float = 0.8
    """Share of one document's word 5-grams in another that puts both into one group."""


@dataclass(frozen=True)
class SdgSettings:
    """Passages to judged questions."""

    writer: str = "endpoint"
    """`endpoint` asks an LLM; `offline` writes without one (rehearsals)."""
    base_url: str = "https://integrate.api.nvidia.com/v1"
    model: str = "nvidia/nemotron-3-nano-30b-a3b"
    successor: str = "nvidia/nemotron-3.5-lightning-30b-a3b"
    """Proposed where the endpoint no longer serves `model`."""
    judge_model: str = ""
    """Empty: the writing model judges too."""
    key_variable: str = "NVIDIA_API_KEY"
    """The environment variable that holds the key; never the key itself."""
    questions_per_document: int = 7
    """For a document of `document_passages` passages; scaled by length."""
    document_passages: int = 10
    """The length, in passages, at which a document gets `questions_per_document`. Ours."""
    complexity_min: int = 2
    complexity_max: int = 5
    hops_min: int = 1
    hops_max: int = 3
    threshold: float = 7.0
    """The first quality threshold, of 10; moving it later is a decision."""
    duplicate_similarity: float = 0.9
    """Questions at least so alike are one."""
    temperature: float = 0.6
    top_p: float = 0.95
    audience: str = ""
    """Who asks, for the writing prompt. Ours, as the two that follow."""
    language: str = ""
    """Of questions and answers; empty: each document's own."""
    examples: tuple[str, ...] = ()
    """Real queries of the audience, as examples of style."""
    concurrency: int = 4
    timeout_seconds: float = 120.0


@dataclass(frozen=True)
class EncoderSettings:
    """How texts become vectors: one rule for mining, training, evaluation and serving."""

    query_tokens: int = 512
    passage_tokens: int = 512
    batch_size: int = 32
    """Texts a forward pass outside of training. Ours."""
    dimension: int = 0
    """Keep so many leading dimensions (Matryoshka); 0 keeps all."""


@dataclass(frozen=True)
class PrepSettings:
    """Kept samples to training data."""

    hard_negatives: int = 5
    """Negatives mined a query."""
    positive_percentage: float = 0.95
    """A candidate above this share of the lowest positive's score is no negative."""
    search_depth: int = 100
    """Candidates looked at for each query before they are filtered. Ours."""


@dataclass(frozen=True)
class FinetuneSettings:
    """Training data to model."""

    epochs: int = 3
    learning_rate: float = 1e-5
    warmup_steps: int = 5
    """Never more than a tenth of all steps."""
    schedule: str = "cosine"
    """`cosine` or `linear`."""
    batch_size: int = 128
    auto_scale: bool = True
    """Under `AUTO_SCALE_BELOW` examples, scale batch and intervals down."""
    micro_batch_size: int = 8
    """Texts a forward pass; changes memory and speed, never the loss. Ours."""
    hard_negatives: int = 4
    """Used a query, of those mined."""
    in_batch_negatives: bool = True
    """Other queries' passages count as negatives, known positives masked. Ours: the
    published recipe has none."""
    temperature: float = 0.02
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    checkpoint_steps: int = 100
    validation_steps: int = 100


@dataclass(frozen=True)
class EvalSettings:
    """What is measured, and at which ranks."""

    k: tuple[int, ...] = (1, 5, 10, 100)


@dataclass(frozen=True)
class ExportSettings:
    """Model to ONNX."""

    opset: int = 17
    dtypes: tuple[str, ...] = ("fp32",)
    """`fp32`, `fp16` or both; the first is served."""
    tensorrt: bool = False
    tensorrt_batch: tuple[int, ...] = (1, 16, 64)
    """Minimum, optimum and maximum of the TensorRT profile."""
    tensorrt_sequence: tuple[int, ...] = (3, 128, 256)
    """Minimum, optimum and maximum; the maximum is widened to what was trained."""


@dataclass(frozen=True)
class DeploySettings:
    """Artifact to service."""

    target: str = "local"
    """`local` or `nim`."""
    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free port."""
    health_timeout_seconds: float = 600.0


@dataclass(frozen=True)
class VerifySettings:
    """How far a served metric may lie from the measured one."""

    low_k: int = 5
    """Below this k `tolerance_low_k` holds, from it on `tolerance`."""
    tolerance_low_k: float = 0.03
    tolerance: float = 0.01


@dataclass(frozen=True)
class Recipe:
    """All settings of a run."""

    profile: str = "nvidia/llama-nemotron-embed-1b-v2"
    """A profile's id, or the path of a sentence-transformers folder."""
    seed: int = 42
    corpus: CorpusSettings = field(default_factory=CorpusSettings)
    sdg: SdgSettings = field(default_factory=SdgSettings)
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    prep: PrepSettings = field(default_factory=PrepSettings)
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)
    eval: EvalSettings = field(default_factory=EvalSettings)
    export: ExportSettings = field(default_factory=ExportSettings)
    deploy: DeploySettings = field(default_factory=DeploySettings)
    verify: VerifySettings = field(default_factory=VerifySettings)


Overrides = Mapping[str, Any]
"""Settings by dotted name, such as `{"sdg.threshold": 7.5}`."""


def default_settings() -> dict[str, Any]:
    """Every setting by dotted name with its published default."""
    return flatten(Recipe())


def flatten(recipe: Recipe) -> dict[str, Any]:
    """A recipe as settings by dotted name."""
    flat: dict[str, Any] = {}
    for section in dataclasses.fields(Recipe):
        value = getattr(recipe, section.name)
        if dataclasses.is_dataclass(value):
            for entry in dataclasses.fields(value):
                flat[f"{section.name}.{entry.name}"] = getattr(value, entry.name)
        else:
            flat[section.name] = value
    return flat


def apply(recipe: Recipe, overrides: Overrides, where: str) -> Recipe:
    """A recipe with some settings changed.

    Args:
        recipe: the recipe to start from.
        overrides: settings by dotted name.
        where: the file or option that they come from, for the message.

    Raises:
        BadRecipe: an unknown name (the nearest match is named), a wrong type, or a value
            outside its range.
    """
    known = flatten(recipe)
    sections: dict[str, dict[str, Any]] = {}
    for name, value in overrides.items():
        if name not in known:
            raise _unknown(name, known, where)
        section, _, entry = name.rpartition(".")
        sections.setdefault(section, {})[entry] = _typed(name, value, where)
    changed: dict[str, Any] = sections.pop("", {})
    for section, entries in sections.items():
        changed[section] = dataclasses.replace(getattr(recipe, section), **entries)
    result = dataclasses.replace(recipe, **changed)
    _check_ranges(result, where)
    return result


def parse_setting(text: str) -> tuple[str, Any]:
    """Read one `--set` argument, `name=value`, the value as TOML or as a bare word.

    Raises:
        BadRecipe: there is no `=`.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise BadRecipe(
            f"--set {text!r} is not of the form name=value.",
            safe="Nothing was changed.",
            next_step="Write for example --set sdg.threshold=7.5",
        )
    try:
        return name.strip(), tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value


def read_overrides(path: Path) -> dict[str, Any]:
    """The settings that a recipe or variant file holds, by dotted name, unchecked.

    Raises:
        BadRecipe: the file is missing, no TOML, or of a later format.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRecipe(
            f"The recipe {path} cannot be read: {error}.",
            safe="Nothing was changed.",
            next_step="Mend the file; `embedsmith show RUN --recipe` prints what is understood.",
        ) from error
    if document.pop("format", FORMAT) != FORMAT:
        raise BadRecipe(
            f"The recipe {path} has a format that this version doesn't know.",
            safe="Nothing was changed.",
            next_step="Use the embedsmith version that wrote it, or a later one.",
        )
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{entry}": inner for entry, inner in value.items()}
        else:
            flat[key] = value
    return flat


def write_overrides(path: Path, overrides: Overrides) -> None:
    """Write settings as a recipe or variant file, durably."""
    document: dict[str, Any] = {"format": FORMAT}
    for name in sorted(overrides, key=lambda name: ("." in name, name)):
        section, _, entry = name.rpartition(".")
        target = document.setdefault(section, {}) if section else document
        value = overrides[name]
        target[entry] = list(value) if isinstance(value, tuple) else value
    write_text(path, tomli_w.dumps(document))


AUTO_SCALE_BELOW = 2000
"""Training examples under which batch and intervals scale down."""


@dataclass(frozen=True)
class Schedule:
    """The lengths of one training.

    Attributes:
        batch_size: examples an optimizer step; the last one of an epoch may be smaller.
        steps_per_epoch: optimizer steps an epoch.
        total_steps: optimizer steps in all.
        warmup_steps: steps until the learning rate reaches its peak.
        checkpoint_steps: steps between two checkpoints.
        validation_steps: steps between two validations.
    """

    batch_size: int
    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    checkpoint_steps: int
    validation_steps: int


def schedule_for(examples: int, settings: FinetuneSettings) -> Schedule:
    """The lengths of a training over `examples` rows.

    The published rule: below 2,000 rows the batch is rows // 8, held between 16 and 64, and
    an interval that would come up less than three times becomes a third of the steps. Nothing
    has to divide anything here: the last batch of an epoch is simply smaller.
    """
    batch = settings.batch_size
    scaled = settings.auto_scale and examples < AUTO_SCALE_BELOW
    if scaled:
        batch = min(batch, max(16, min(64, examples // 8)))
    batch = max(1, min(batch, examples))
    per_epoch = -(-examples // batch)
    total = per_epoch * settings.epochs

    def interval(steps: int) -> int:
        return max(1, total // 3) if scaled and total < 3 * steps else steps

    return Schedule(
        batch_size=batch,
        steps_per_epoch=per_epoch,
        total_steps=total,
        warmup_steps=min(settings.warmup_steps, total // 10),
        checkpoint_steps=interval(settings.checkpoint_steps),
        validation_steps=interval(settings.validation_steps),
    )


_CHOICES = {
    "sdg.writer": ("endpoint", "offline"),
    "finetune.schedule": ("cosine", "linear"),
    "deploy.target": ("local", "nim"),
}
_AT_LEAST: dict[str, float] = {
    "corpus.documents": 0,
    "corpus.passage_tokens": 16,
    "corpus.passage_tokens_max": 16,
    "corpus.document_characters_min": 1,
    "sdg.questions_per_document": 1,
    "sdg.document_passages": 1,
    "sdg.complexity_min": 1,
    "sdg.hops_min": 1,
    "sdg.threshold": 0,
    "sdg.temperature": 0,
    "sdg.top_p": 0,
    "seed": 0,
    "sdg.concurrency": 1,
    "sdg.timeout_seconds": 1,
    "encoder.query_tokens": 8,
    "encoder.passage_tokens": 8,
    "encoder.batch_size": 1,
    "encoder.dimension": 0,
    "prep.hard_negatives": 0,
    "prep.search_depth": 1,
    "finetune.epochs": 1,
    "finetune.learning_rate": 0,
    "finetune.warmup_steps": 0,
    "finetune.batch_size": 2,
    "finetune.micro_batch_size": 1,
    "finetune.hard_negatives": 0,
    "finetune.temperature": 1e-4,
    "finetune.weight_decay": 0,
    "finetune.gradient_clip": 0,
    "finetune.checkpoint_steps": 1,
    "finetune.validation_steps": 1,
    "deploy.port": 0,
    "deploy.health_timeout_seconds": 1,
    "verify.tolerance": 0,
    "verify.tolerance_low_k": 0,
}
_AT_MOST: dict[str, float] = {
    "sdg.complexity_max": 5,
    "sdg.hops_max": 3,
    "sdg.threshold": 10,
    "sdg.duplicate_similarity": 1,
    "corpus.near_duplicate_containment": 1,
    "prep.positive_percentage": 1,
    "deploy.port": 65535,
}
_CHARACTERS_MAX = {"sdg.audience": 500, "sdg.language": 60, "sdg.examples": 300}
"""The longest text of what guides the writer, each example by itself. Ours: it goes into every
writing call, and real queries are shorter."""
_EXAMPLES_MAX = 20
_JOINERS = "\u200c\u200d"
"""Not printable by themselves, and part of words in Persian and Indic scripts."""
_ORDERED = (
    ("corpus.passage_tokens", "corpus.passage_tokens_max"),
    ("sdg.complexity_min", "sdg.complexity_max"),
    ("sdg.hops_min", "sdg.hops_max"),
    ("finetune.hard_negatives", "prep.hard_negatives"),
)


def _check_ranges(recipe: Recipe, where: str) -> None:
    flat = flatten(recipe)
    for name, choices in _CHOICES.items():
        if flat[name] not in choices:
            raise _refused(name, flat[name], f"one of {', '.join(choices)}", where)
    for name, low in _AT_LEAST.items():
        if flat[name] < low:
            raise _refused(name, flat[name], f"at least {low:g}", where)
    for name, high in _AT_MOST.items():
        if flat[name] > high:
            raise _refused(name, flat[name], f"at most {high:g}", where)
    for low_name, high_name in _ORDERED:
        if flat[low_name] > flat[high_name]:
            raise _refused(low_name, flat[low_name], f"at most {high_name}", where)
    _check_guidance(flat, where)
    if not recipe.eval.k or min(recipe.eval.k) < 1:
        raise _refused("eval.k", list(recipe.eval.k), "ranks from 1 on", where)
    if unknown := set(recipe.export.dtypes) - {"fp32", "fp16"} or not recipe.export.dtypes:
        raise _refused("export.dtypes", unknown, "fp32, fp16 or both", where)


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


def _unknown(name: str, known: Mapping[str, Any], where: str) -> BadRecipe:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"Did you mean {nearest[0]}?" if nearest else "`embedsmith show RUN --recipe` lists all."
    return BadRecipe(
        f"{where}: there is no setting {name}.", safe="Nothing was changed.", next_step=hint
    )


def _hints() -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for name, kind in get_type_hints(Recipe).items():
        if dataclasses.is_dataclass(kind):
            hints |= {f"{name}.{e}": k for e, k in get_type_hints(kind).items()}
        else:
            hints[name] = kind
    return hints


_TYPES = _hints()


def _typed(name: str, value: Any, where: str) -> Any:
    typed = _as_type(name, value, where)
    if name not in _CHARACTERS_MAX:
        return typed
    return tuple(filter(None, map(_clean, typed))) if isinstance(typed, tuple) else _clean(typed)


def _clean(text: str) -> str:
    """One line without control characters: it goes into prompts and onto screens."""
    return " ".join("".join(c if c.isprintable() or c in _JOINERS else " " for c in text).split())


def _as_type(name: str, value: Any, where: str) -> Any:
    wanted = _TYPES[name]
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
