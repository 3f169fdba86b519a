"""The recipe: every number that a user may change, with its default, in TOML.

The defaults are those of NVIDIA's published embedding recipe unless a comment says otherwise.
A profile may carry its own defaults (see `profiles.toml`); `recipe.toml` overrides those, a
variant overrides `recipe.toml`, and `--set` writes into `recipe.toml`.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import tomli_w

from pipeline.errors import BadRecipe
from pipeline.files import write_text
from pipeline.setting_rules import check_ranges, typed_value
from pipeline.settings import (
    CorpusSettings,
    DeploySettings,
    EncoderSettings,
    EvalSettings,
    ExportSettings,
    FinetuneSettings,
    PrepSettings,
    SdgSettings,
    VerifySettings,
)

FORMAT = 1
"""Version of `recipe.toml`; a newer one is refused, never guessed at."""


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
    return dict(_flat(recipe, ""))


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
    typed: dict[str, Any] = {}
    for name, value in overrides.items():
        if name not in known:
            raise _unknown(name, known, where)
        typed[name] = typed_value(name, value, _types()[name], where)
    result: Recipe = _changed(recipe, typed)
    check_ranges(flatten(result), where)
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
    return _dotted(document, "")


def write_overrides(path: Path, overrides: Overrides) -> None:
    """Write settings as a recipe or variant file, durably."""
    document: dict[str, Any] = {"format": FORMAT}
    for name in sorted(overrides, key=lambda name: ("." in name, name)):
        *tables, entry = name.split(".")
        target = document
        for table in tables:
            target = target.setdefault(table, {})
        value = overrides[name]
        target[entry] = list(value) if isinstance(value, tuple) else value
    write_text(path, tomli_w.dumps(document))


def _flat(table: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for entry in dataclasses.fields(table):
        value = getattr(table, entry.name)
        if dataclasses.is_dataclass(value):
            yield from _flat(value, f"{prefix}{entry.name}.")
        else:
            yield prefix + entry.name, value


def _changed(table: Any, values: Mapping[str, Any]) -> Any:
    """A table of settings with some of them, by dotted name, replaced."""
    changed: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        first, _, rest = name.partition(".")
        if rest:
            inner.setdefault(first, {})[rest] = value
        else:
            changed[first] = value
    for first, rests in inner.items():
        changed[first] = _changed(getattr(table, first), rests)
    return dataclasses.replace(table, **changed)


def _dotted(document: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            flat |= _dotted(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _unknown(name: str, known: Mapping[str, Any], where: str) -> BadRecipe:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"Did you mean {nearest[0]}?" if nearest else "`embedsmith show RUN --recipe` lists all."
    return BadRecipe(
        f"{where}: there is no setting {name}.", safe="Nothing was changed.", next_step=hint
    )


@cache
def _types() -> Mapping[str, Any]:
    """Every setting's type, by dotted name; found when the first one is changed."""
    return dict(_typed(Recipe, ""))


def _typed(table: type, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, kind in get_type_hints(table).items():
        if dataclasses.is_dataclass(kind):
            assert isinstance(kind, type)
            yield from _typed(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, kind
