"""The base models that embedsmith knows, read from `profiles.toml`."""

from __future__ import annotations

import difflib
import importlib.util
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pipeline.errors import BadInput, BadRecipe, MissingPart
from pipeline.files import read_json
from pipeline.recipe import Recipe, apply

REHEARSAL_PROFILE = "sentence-transformers/all-MiniLM-L6-v2"
"""The one profile that needs no GPU, and the one that a rehearsal uses."""

_POOLING = "1_Pooling/config.json"
_SENTENCE_CONFIG = "sentence_bert_config.json"
_TOKENIZER = "tokenizer.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_MODEL_CONFIG = "config_sentence_transformers.json"


@dataclass(frozen=True)
class Profile:
    """A base model: what it is, how a text becomes a vector, how it deploys.

    Attributes:
        id: its name on the hub, or the path of a folder.
        title: its name on screens.
        revision: what was pinned.
        architecture: `llama_bidirectional`, `ministral3_bidirectional` or
            `sentence_transformers` (a folder that says itself how it pools).
        pooling: `mean`, `cls` or `last`.
        normalize: whether vectors are scaled to length 1; their dot products are cosines then.
        query_prefix: put before every query, character for character.
        passage_prefix: put before every passage.
        dimension: numbers a vector has.
        matryoshka: the leading dimensions that it was trained to be cut to.
        tokens_max: the longest text that it reads.
        licence: what its makers allow.
        gated: whether the gate must open; only the rehearsal's is not.
        commercial: whether the licence allows commercial use.
        instruction: the task that `query_prefix` tells the model, word for word a part of it;
            empty where the model takes none. `encoder.instruction` replaces it.
        full_tuning_gigabytes: GPU memory, in GB of 1e9, below which only adapters can be
            trained; 0 where the gate's own limit is enough.
        package: the Python package that carries the weights; empty for the hub or a folder.
        nim_image: the container that serves it; empty when there is none.
        recipe: its own defaults, by dotted name.
    """

    id: str
    title: str
    revision: str
    architecture: str
    pooling: str
    normalize: bool
    query_prefix: str
    passage_prefix: str
    dimension: int
    matryoshka: tuple[int, ...]
    tokens_max: int
    licence: str
    gated: bool = True
    commercial: bool = True
    instruction: str = ""
    full_tuning_gigabytes: int = 0
    package: str = ""
    nim_image: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rehearsal(self) -> bool:
        """Whether a run on this profile is a rehearsal."""
        return self.id == REHEARSAL_PROFILE


@cache
def known_profiles() -> Mapping[str, Profile]:
    """The profiles of `profiles.toml`, by id."""
    document = tomllib.loads((files("pipeline") / "profiles.toml").read_text(encoding="utf-8"))
    profiles = (
        Profile(**{**entry, "matryoshka": tuple(entry["matryoshka"])})
        for entry in document["profile"]
    )
    return {profile.id: profile for profile in profiles}


def find_profile(name: str) -> Profile:
    """The profile that a recipe names: a known id, or a sentence-transformers folder.

    Raises:
        BadRecipe: neither; the nearest known id is named.
        BadInput: the folder is no sentence-transformers model.
    """
    known = known_profiles()
    if name in known:
        return known[name]
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _folder_profile(folder.resolve())
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
    guess = f"Did you mean {nearest[0]}? " if nearest else ""
    raise BadRecipe(
        f"There is no profile {name!r}, and no folder of that name.",
        safe="Nothing was changed.",
        next_step=f"{guess}Known are {', '.join(known)}, and any sentence-transformers folder.",
    )


def profile_of(recipe: Recipe) -> Profile:
    """The profile that a recipe names, with the recipe's own instruction in its query prefix.

    Raises:
        BadRecipe: an unknown profile, or an instruction for a model that takes none.
        BadInput: as `find_profile`.
    """
    profile, asked = find_profile(recipe.profile), recipe.encoder.instruction
    if not asked:
        return profile
    if not profile.instruction:
        takers = [known.id for known in known_profiles().values() if known.instruction]
        raise BadRecipe(
            f"encoder.instruction is set, but {profile.id} takes no instruction.",
            safe="Nothing was changed.",
            next_step=f"Set encoder.instruction to nothing, or choose {' or '.join(takers)}.",
        )
    prefix = profile.query_prefix.replace(profile.instruction, asked)
    return replace(profile, query_prefix=prefix, instruction=asked)


def base_recipe(profile: Profile) -> Recipe:
    """The recipe that a run on `profile` starts from."""
    overrides = {"profile": profile.id, **profile.recipe}
    return apply(Recipe(), overrides, f"profile {profile.id}")


def weights_folder(profile: Profile) -> Path:
    """Where the weights of a profile lie on this machine.

    Raises:
        MissingPart: they are not here; the message says how to get them.
    """
    if profile.package:
        spec = importlib.util.find_spec(profile.package)
        if spec is None or spec.origin is None:
            raise MissingPart(
                f"The package {profile.package} is not installed, and it carries the weights.",
                safe="The run is as it was.",
                next_step="Install embedsmith again: its requirements name the package.",
            )
        return Path(spec.origin).parent / "model"
    if profile.id not in known_profiles():
        return Path(profile.id)
    folder = _hub_snapshot(profile)
    if folder is None:
        raise MissingPart(
            f"The weights of {profile.id} are not on this machine.",
            safe="The run is as it was.",
            next_step=f"Run `hf download {profile.id}` ({profile.licence}), then try again.",
        )
    return folder


def _hub_snapshot(profile: Profile) -> Path | None:
    """The downloaded snapshot, looked up as files so that no hub code is imported."""
    from huggingface_hub.constants import HF_HUB_CACHE

    cached = Path(HF_HUB_CACHE) / f"models--{profile.id.replace('/', '--')}"
    reference = cached / "refs" / profile.revision
    commit = reference.read_text().strip() if reference.is_file() else profile.revision
    snapshot = cached / "snapshots" / commit
    return snapshot if (snapshot / "config.json").is_file() else None


_DOT_RECIPE = {"finetune.temperature": 1.0}
"""Dot products are no cosines from -1 to 1, which the usual temperature is made for: "dot product
(and then set scale to 1)", MultipleNegativesRankingLoss of sentence-transformers."""


def _folder_profile(folder: Path) -> Profile:
    kinds = _module_kinds(folder)
    if kinds[:2] != ["Transformer", "Pooling"] or set(kinds[2:]) - {"Normalize"}:
        raise _not_understood(
            f"{folder} has the modules {', '.join(kinds)}; only Transformer, Pooling and "
            "Normalize are understood",
            "Choose a model without further modules.",
        )
    pooling = _read_object(folder, _POOLING)
    config = _read_object(folder, "config.json")
    prompts = _prompts(folder)
    if pooling.get("include_prompt") is False and any(prompts.values()):
        raise _not_understood(
            f"{folder} leaves its prompts out of the pooling (include_prompt in {_POOLING})",
            "Choose a model that pools over its prompts too.",
        )
    _require_case(folder)
    normalize = _similarity(folder) == "cosine" or "Normalize" in kinds
    width = pooling.get("embedding_dimension") or pooling.get("word_embedding_dimension")
    return Profile(
        id=str(folder),
        title=folder.name,
        revision="folder",
        architecture="sentence_transformers",
        pooling=_pooling_mode(pooling, folder),
        normalize=normalize,
        query_prefix=prompts["query"],
        passage_prefix=prompts["passage"] or prompts["document"],
        dimension=_whole_number(folder, _POOLING, "dimension", width),
        matryoshka=(),
        tokens_max=_tokens_max(folder, config),
        licence="the model's own",
        recipe={} if normalize else _DOT_RECIPE,
    )


def _module_kinds(folder: Path) -> list[str]:
    """The classes of a sentence-transformers model's modules, in order."""
    modules = _read(folder, "modules.json")
    if not isinstance(modules, list) or not all(
        isinstance(module, dict) and "type" in module for module in modules
    ):
        raise _unusable(folder, "its modules.json lists no modules")
    return [str(module["type"]).rpartition(".")[2] for module in modules]


def _prompts(folder: Path) -> dict[str, str]:
    """The prefixes that a model takes, empty where it has none."""
    named = _read_if_there(folder, _MODEL_CONFIG).get("prompts") or {}
    if not isinstance(named, dict):
        raise _unusable(folder, f"the prompts in {_MODEL_CONFIG} have no names")
    prompts = {kind: named.get(kind) or "" for kind in ("query", "passage", "document")}
    if not all(isinstance(prompt, str) for prompt in prompts.values()):
        raise _unusable(folder, f"the prompts in {_MODEL_CONFIG} are no texts")
    return prompts


def _read(folder: Path, name: str) -> Any:
    if not (folder / name).is_file():
        raise _unusable(folder, f"it has no {name}")
    try:
        return read_json(folder / name)
    except BadInput as error:
        raise _unusable(folder, f"{name} can't be read ({error.happened})") from error


def _read_object(folder: Path, name: str) -> Mapping[str, Any]:
    document = _read(folder, name)
    if not isinstance(document, dict):
        raise _unusable(folder, f"{name} holds no JSON object")
    return document


def _read_if_there(folder: Path, name: str) -> Mapping[str, Any]:
    return _read_object(folder, name) if (folder / name).is_file() else {}


def _whole_number(folder: Path, name: str, what: str, value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise _unusable(folder, f"{name} says no {what} ({value!r})") from error


def _similarity(folder: Path) -> str:
    """`cosine` or `dot`: how a model's vectors are compared; one that doesn't say so, by cosine.

    A Normalize module is not needed for cosines: sentence-transformers then scales where it
    compares. Here vectors are compared by dot product everywhere, so they are scaled themselves.
    """
    named = _read_if_there(folder, _MODEL_CONFIG).get("similarity_fn_name") or "cosine"
    if named not in ("cosine", "dot"):
        raise _not_understood(
            f"{folder} compares vectors by {named!r} (similarity_fn_name in {_MODEL_CONFIG}); "
            "cosine and dot are understood",
            "Choose a model with one of these similarities.",
        )
    return str(named)


def _require_case(folder: Path) -> None:
    """Refuse a model whose texts sentence-transformers lowercases, and its tokenizer doesn't."""
    if not _read_if_there(folder, _SENTENCE_CONFIG).get("do_lower_case"):
        return
    # transformers rebuilds the normalizer of a BERT as its configuration says.
    kept = _read_if_there(folder, _TOKENIZER_CONFIG).get("do_lower_case") is False
    if kept or not _lowercases(_read_if_there(folder, _TOKENIZER).get("normalizer")):
        raise _not_understood(
            f"{folder} has its texts lowercased before its tokenizer reads them (do_lower_case in "
            f"{_SENTENCE_CONFIG}), which other readers of its files don't do",
            "Choose a model whose tokenizer lowercases by itself.",
        )


def _lowercases(normalizer: Any) -> bool:
    """Whether a normalizer of a tokenizer.json lowercases: itself, or as one of a sequence."""
    if not isinstance(normalizer, dict):
        return False
    if normalizer.get("type") == "BertNormalizer":
        return normalizer.get("lowercase") is True
    parts = normalizer.get("normalizers")
    among = any(map(_lowercases, parts)) if isinstance(parts, list) else False
    return among or normalizer.get("type") == "Lowercase"


def _not_understood(happened: str, next_step: str) -> BadInput:
    """Of a sound model that asks for what isn't done here."""
    return BadInput(f"{happened}.", safe="Nothing was changed.", next_step=next_step)


def _unusable(folder: Path, why: str) -> BadInput:
    return BadInput(
        f"{folder} is no usable sentence-transformers model: {why}.",
        safe="Nothing was changed.",
        next_step="Give the folder that SentenceTransformer.save_pretrained wrote.",
    )


def _pooling_mode(pooling: Mapping[str, Any], folder: Path) -> str:
    if named := pooling.get("pooling_mode"):
        chosen = {str(named)}
    else:
        flags = {
            "pooling_mode_mean_tokens": "mean",
            "pooling_mode_cls_token": "cls",
            "pooling_mode_lasttoken": "last",
        }
        chosen = {
            flags.get(str(key), str(key))
            for key, value in pooling.items()
            if key.startswith("pooling_mode_") and value is True
        }
    only = chosen.pop() if len(chosen) == 1 else ""
    only = "last" if only == "lasttoken" else only
    if only in ("mean", "cls", "last"):
        return only
    raise _not_understood(
        f"{folder} pools in a way that is not understood; mean, cls and last are",
        "Choose a model with one of these poolings.",
    )


_POSITIONS_AFTER_PADDING = frozenset(
    {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer"}
)


def _tokens_max(folder: Path, config: Mapping[str, Any]) -> int:
    def number(name: str, what: str, value: Any) -> int:
        return _whole_number(folder, name, what, value)

    most = "max_position_embeddings"
    positions = number("config.json", most, config.get(most) or 512)
    if str(config.get("model_type")) in _POSITIONS_AFTER_PADDING:
        # They count from the padding token's number on: 514 positions are 512 tokens.
        padding = config.get("pad_token_id")
        positions -= 1 + (1 if padding is None else number("config.json", "pad_token_id", padding))
    limits = [positions]
    if limit := _read_if_there(folder, _SENTENCE_CONFIG).get("max_seq_length"):
        limits.append(number(_SENTENCE_CONFIG, "max_seq_length", limit))
    limit = _read_if_there(folder, _TOKENIZER_CONFIG).get("model_max_length")
    if isinstance(limit, int) and limit < 1_000_000:
        limits.append(limit)
    return min(limits)
