"""The files of an encoder: weights and tokenizer read, a sentence-transformers folder written."""

from __future__ import annotations

import os
import pickle
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    LlamaConfig,
    Ministral3Config,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from pipeline.bidirectional import require_bidirectional
from pipeline.errors import BadInput, StageFailure, brief
from pipeline.files import read_json, sync_folder, write_json, write_text
from pipeline.memory import is_out_of_memory
from pipeline.profiles import Profile
from pipeline.tensor_files import os_errors

_NATIVE: dict[str, tuple[type[PretrainedConfig], frozenset[str]]] = {
    "llama_bidirectional": (LlamaConfig, frozenset({"llama", "llama_bidirec"})),
    "ministral3_bidirectional": (Ministral3Config, frozenset({"ministral3"})),
}
"""The stock class of each bidirectional architecture, and the model types it reads."""

_NOT_CONFIGURATION = frozenset({"model_type", "architectures", "auto_map", "dtype", "torch_dtype"})
"""Entries of a published config.json that our own class and precision replace."""

UNREADABLE = (OSError, ValueError, RuntimeError, SafetensorError, pickle.UnpicklingError)
"""What transformers raises for missing, damaged or unfitting files."""


def load_model(folder: Path, profile: Profile) -> PreTrainedModel:
    """The transformer in float32 on the CPU, every weight from the files.

    Raises:
        BadInput: the folder has no usable configuration or weights, or its model is no encoder.
    """
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    config = _load_config(folder, profile)
    try:
        model, report = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, with their names
        )
    except UNREADABLE as error:
        raise _damaged(folder, f"The weights in {folder} cannot be read: {brief(error)}") from error
    if mismatched := sorted(report["mismatched_keys"]):
        name, found, wanted = mismatched[0]
        raise _damaged(
            folder,
            f"The weights in {folder} cannot be read: {name} has the shape {tuple(found)}, and "
            f"config.json asks for {tuple(wanted)}.",
        )
    missing = sorted(report["missing_keys"])
    if made_up := [key for key in missing if "pooler." not in key]:
        raise _damaged(
            folder, f"The weights in {folder} lack {len(made_up)} tensors, such as {made_up[0]}."
        )
    for key in missing:  # an unused head: anything but zeros would differ from load to load
        torch.nn.init.zeros_(model.get_parameter(key))
    assert isinstance(model, PreTrainedModel)
    _require_token_states(folder, model)
    return model


def embedding_table(model: PreTrainedModel) -> torch.Tensor:
    """The token embeddings, (vocabulary, width)."""
    table = model.get_input_embeddings().weight
    assert isinstance(table, torch.Tensor)
    return table


def load_tokenizer(
    folder: Path, profile: Profile, model: PreTrainedModel
) -> PreTrainedTokenizerFast:
    """The tokenizer, with a padding token.

    Raises:
        BadInput: it is missing or damaged, or knows more tokens than the model.
    """
    try:
        if profile.architecture in _NATIVE:
            # As the file says: the class that fits the model type could rebuild it otherwise.
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        else:
            tokenizer = AutoTokenizer.from_pretrained(
                folder, config=model.config, local_files_only=True, trust_remote_code=False
            )
    except (*UNREADABLE, KeyError, TypeError) as error:
        raise _damaged(
            folder, f"The tokenizer in {folder} cannot be read: {brief(error)}"
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise _damaged(folder, f"The tokenizer in {folder} has no fast form (tokenizer.json).")
    names = sorted(type(tokenizer).vocab_files_names.values())
    if not any((folder / name).is_file() for name in names):
        # transformers makes one up, to which every word is unknown.
        raise _damaged(folder, f"There is no tokenizer in {folder} ({' or '.join(names)}).")
    if said := misfit(tokenizer, model):
        raise _damaged(folder, f"The tokenizer in {folder} {said}.")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise _damaged(folder, f"The tokenizer in {folder} names no padding or end token.")
    return tokenizer


def misfit(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> str:
    """What a tokenizer knows that its model has no row for, in words; empty where it fits."""
    rows = len(embedding_table(model))
    if len(tokenizer) > rows:
        return f"knows {len(tokenizer)} tokens, the model only {rows}"
    # Fewer tokens than rows, but numbered with gaps, reach beyond the table all the same.
    word, highest = max(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    if highest < rows:
        return ""
    return f"numbers {word!r} {highest}, but the model's embedding table ends at {rows - 1}"


def save_folder(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    profile: Profile,
    tokens: int,
    cut: int,
    card: str,
) -> None:
    """Write a sentence-transformers folder beside its place, sync it, and put it there.

    Args:
        folder: a new folder, or one that this function wrote before.
        model: the transformer.
        tokenizer: its tokenizer.
        profile: prefixes, pooling and normalisation.
        tokens: the longest text.
        cut: leading dimensions kept, or 0 for all.
        card: the model card.

    Raises:
        OSError: the disk is full; `folder` is untouched.
        StageFailure: as `require_replaceable`, or what was written reads from left to right only;
            `folder` is untouched.
    """
    require_replaceable(folder)
    beside = folder.parent / f".{folder.name}.part"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    with os_errors():
        model.save_pretrained(beside)
        _save_tokenizer(beside, tokenizer, tokens)
    require_bidirectional(beside, profile, tokenizer)
    _save_modules(beside, profile, tokens, cut)
    write_text(beside / "README.md", card)
    for path in beside.rglob("*"):
        if path.is_file():
            path.chmod(0o644)  # safetensors writes for its owner alone
        _sync(path)
    sync_folder(beside)
    _put_in_place(beside, folder)


def require_replaceable(folder: Path) -> None:
    """Refuse to put a model where something lies that no `save_folder` wrote.

    Raises:
        StageFailure: `folder` is a file, or holds something else than a saved model.
    """
    if not folder.exists() or (folder / "modules.json").is_file():
        return
    if folder.is_dir() and not any(folder.iterdir()):
        return
    raise StageFailure(
        f"The model can't be put at {folder}: something else than a saved model lies there.",
        safe="It was left as it is, and what was trained is kept up to its last checkpoint.",
        next_step="Move it to another place and run the same command again.",
    )


def _put_in_place(beside: Path, folder: Path) -> None:
    """Let a finished folder take the place of another one, and remove that."""
    before = folder.parent / f".{folder.name}.old.part"
    shutil.rmtree(before, ignore_errors=True)
    if folder.exists():
        # Removed in its place it could be left half of a model, which is nobody's to replace.
        folder.rename(before)
    beside.rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(before, ignore_errors=True)


def _require_token_states(folder: Path, model: PreTrainedModel) -> None:
    """Refuse what gives no state a token for token ids alone, as T5 and CLIP do, or no numbers."""
    model.train(False)
    try:
        with torch.inference_mode():
            states = model(input_ids=torch.tensor([[0, 1]])).last_hidden_state
        if states.shape == (1, 2, model.config.hidden_size):
            if states.isfinite().all():
                return
            raise _damaged(folder, f"The weights in {folder} hold numbers that are not finite.")
        why = f"its states have the shape {tuple(states.shape)}"
    except (*UNREADABLE, TypeError, AttributeError, IndexError, KeyError) as error:
        if is_out_of_memory(error):
            raise
        why = brief(error).rstrip(".")
    raise BadInput(
        f"The model in {folder} ({model.config.model_type}) gives no state for each token: {why}.",
        safe="Nothing was changed.",
        next_step="Choose an encoder, such as those that the profiles name.",
    )


def _load_config(folder: Path, profile: Profile) -> PretrainedConfig:
    path = folder / "config.json"
    if not path.is_file():
        raise _damaged(folder, f"{folder} has no config.json.")
    document = read_json(path)
    model_type = str(document.get("model_type", "")) if isinstance(document, dict) else ""
    native = _NATIVE.get(profile.architecture)
    try:
        if native is None:
            return AutoConfig.from_pretrained(  # type: ignore[no-any-return]
                folder, local_files_only=True, trust_remote_code=False
            )
        kind, model_types = native
        if model_type in model_types:
            kept = {k: v for k, v in document.items() if k not in _NOT_CONFIGURATION}
            return kind.from_dict(kept | {"is_causal": False, "use_cache": False})
    except (*UNREADABLE, KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, f"{path} cannot be used: {brief(error)}") from error
    raise _damaged(
        folder,
        f"{path} has the model type {model_type!r}; {profile.architecture} reads "
        f"{' and '.join(sorted(model_types))}.",
    )


def _save_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerFast, tokens: int) -> None:
    # What the last call cut and padded would otherwise be part of the file.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    document: dict[str, Any] = read_json(path)
    for local in ("name_or_path", "is_local", "local_files_only"):
        document.pop(local, None)
    if document.get("tokenizer_class") == "TokenizersBackend":
        # Its name since transformers 5; the older one is understood everywhere.
        document["tokenizer_class"] = "PreTrainedTokenizerFast"
    write_json(path, document | {"model_max_length": tokens})


def _save_modules(folder: Path, profile: Profile, tokens: int, cut: int) -> None:
    kinds = ["Transformer", "Pooling", *(["Normalize"] if profile.normalize else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    write_json(
        folder / "modules.json",
        [
            # The type names of sentence-transformers before 6, which every version reads.
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (kind, path) in enumerate(zip(kinds, paths, strict=False))
        ],
    )
    modes = {"cls": "cls_token", "mean": "mean_tokens", "last": "lasttoken"}
    write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": profile.dimension}
        | {f"pooling_mode_{mode}": name == profile.pooling for name, mode in modes.items()},
    )
    write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": tokens, "do_lower_case": False}
    )
    prompts = {
        "query": profile.query_prefix,
        "document": profile.passage_prefix,
        "passage": profile.passage_prefix,
    }
    write_json(
        folder / "config_sentence_transformers.json",
        {
            "model_type": "SentenceTransformer",
            "__version__": {
                name.replace("torch", "pytorch").replace("-", "_"): version(name)
                for name in ("sentence-transformers", "transformers", "torch")
            },
            "prompts": prompts,
            "default_prompt_name": None,
            "similarity_fn_name": "cosine" if profile.normalize else "dot",
        }
        | ({"truncate_dim": cut} if cut else {}),
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damaged(folder: Path, happened: str) -> BadInput:
    return BadInput(
        happened,
        safe="Nothing was changed.",
        next_step=f"Get the model in {folder.name} again, or choose another one.",
    )
