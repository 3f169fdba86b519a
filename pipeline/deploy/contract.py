"""Whether an endpoint keeps the protocol's promises, asked with a handful of texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.deploy.client import EndpointClient
from pipeline.deploy.protocol import cut, needs_kind
from pipeline.deploy.tolerance import Vectors, cosine_rows
from pipeline.export.records import Manifest

NORM_TOLERANCE = 1e-3

_SAME_COSINE = 0.9999
"""Two answers for one text; a GPU may round otherwise in another batch."""


_ROUNDING = 1e-6


@dataclass(frozen=True)
class Check:
    """One promise: whether it is kept, and what was found."""

    name: str
    passed: bool
    found: str


def check_contract(
    client: EndpointClient,
    manifest: Manifest,
    texts: Sequence[str],
    queries: Vectors,
    passages: Vectors,
) -> tuple[Check, ...]:
    """Check an endpoint.

    Args:
        client: the endpoint.
        manifest: of the model that it should serve.
        texts: what `queries` and `passages` were made from, in base64 batches.
        queries: served vectors.
        passages: served vectors.

    Raises:
        EndpointFailure: it refuses one of the requests.
    """
    both = np.concatenate([queries, passages])
    checks = []
    if manifest.normalize:
        off = float(np.abs(np.linalg.norm(both, axis=1) - 1).max())
        checks.append(Check("length 1", off <= NORM_TOLERANCE, f"at most {off:.1e} off"))
    floats = client.embed(texts[:1], "passage", encoding_format="float")
    checks.append(_same("base64 and float", floats, passages[:1]))
    checks.append(_same("alone and in a batch", client.embed(texts[-1:], "query"), queries[-1:]))
    if needs_kind(manifest):
        nearest = float(cosine_rows(queries, passages).min())
        passed = nearest < 1 - _ROUNDING
        checks.append(Check("query and passage differ", passed, f"cosine {nearest:.4f}"))
    if len(manifest.matryoshka) > 1:
        smallest = manifest.matryoshka[0]
        asked = client.embed(texts[:1], "passage", dimensions=smallest)
        ours = cut(passages[:1], smallest, manifest.normalize)
        checks.append(_same(f"dimensions={smallest}", asked, ours))
    return tuple(checks)


def _same(name: str, found: Vectors, expected: Vectors) -> Check:
    if found.shape != expected.shape:
        return Check(name, False, f"{found.shape[1]} numbers, not {expected.shape[1]}")
    cosine = float(cosine_rows(found, expected).min())
    return Check(name, cosine >= _SAME_COSINE, f"cosine {cosine:.6f}")
