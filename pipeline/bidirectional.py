"""Whether every token of a text sees every other one: looked at, never believed."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerFast

from pipeline.errors import StageFailure
from pipeline.files import read_json
from pipeline.profiles import Profile

_PROBE_TOKENS = 8
_PROBE_MOVES = 1e-6


def is_bidirectional(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether the first token's state moves when the last token changes.

    Config flags can be ignored by an attention implementation; what comes out can't lie.
    """
    table = model.get_input_embeddings().weight
    assert isinstance(table, torch.Tensor)
    special = set(tokenizer.all_special_ids)
    usable = [row for row in range(len(table)) if row not in special]
    start, last = usable[: _PROBE_TOKENS - 1], usable[-1]
    # Tokens that no training text held may share one vector: take one that differs.
    other = next((row for row in usable if not torch.equal(table[row], table[last])), last)
    device = table.device
    with torch.inference_mode():
        states = [
            model(input_ids=torch.tensor([[*start, end]], device=device)).last_hidden_state[0, 0]
            for end in (last, other)
        ]
    return float((states[0] - states[1]).abs().max()) > _PROBE_MOVES


def may_be_causal(profile: Profile) -> bool:
    """Whether a model may read from left to right.

    One that pools its last token does by design (Qwen3-Embedding, for one).
    """
    return profile.architecture == "sentence_transformers" and profile.pooling == "last"


def require_bidirectional(
    folder: Path, profile: Profile, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Load a saved model as every reader does, by its files alone, and look at it.

    A decoder whose config.json lost `is_causal: false` would load, serve, and be bad.

    Args:
        folder: what was saved, before it gets its name.
        profile: the base model.
        tokenizer: its tokenizer.

    Raises:
        StageFailure: it reads text from left to right only.
    """
    if may_be_causal(profile):
        return
    said = read_json(folder / "config.json").get("is_causal")
    # Encoders have no such flag; a decoder without it is read as causal.
    decoder = profile.architecture != "sentence_transformers"
    if said is not True and not (decoder and said is not False):
        try:
            seen = is_bidirectional(_reload(folder, torch.bfloat16), tokenizer)
        except RuntimeError:  # XLNet, for one, mixes it with float32
            seen = is_bidirectional(_reload(folder, torch.float32), tokenizer)
        if seen:
            return
    raise StageFailure(
        f"The saved model of {profile.id} reads text from left to right only (is_causal is "
        f"{said} in its config.json).",
        safe="The training is kept in its checkpoint; no model was replaced.",
        next_step="Install the versions that constraints.txt names, and run the same command "
        "again.",
    )


def _reload(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    model = AutoModel.from_pretrained(
        folder, dtype=dtype, local_files_only=True, trust_remote_code=False
    )
    assert isinstance(model, PreTrainedModel)
    model.train(False)
    return model
