"""What training makes smaller: pure functions of similarities and index matrices."""

from __future__ import annotations

import torch
from torch.nn import functional


def info_nce(
    similarity: torch.Tensor,
    positive: torch.Tensor,
    allowed: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """InfoNCE: how unlikely a softmax over the allowed passages makes each query's positive.

    mean over i of -log( exp(s[i, p(i)] / t) / sum over allowed j of exp(s[i, j] / t) ), equation
    4 of van den Oord et al., "Representation Learning with Contrastive Predictive Coding"
    (2018), with cosine similarities and a temperature as in the published recipe.

    A passage that is not allowed has no influence on the loss and gets no gradient from that
    query. A query with no other allowed passage adds 0.

    Args:
        similarity: (queries, passages), cosines.
        positive: (queries,) column of each query's positive.
        allowed: (queries, passages) booleans; true for the positive.
        temperature: what similarities are divided by, above 0.

    Returns:
        A scalar.
    """
    logits = (similarity.float() / temperature).masked_fill(~allowed, float("-inf"))
    return functional.cross_entropy(logits, positive)
