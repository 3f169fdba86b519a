"""On a machine with a GPU: what it computes is what a CPU computes.

    EMBEDSMITH_TEST_ON_GPU=1 python -m pytest tests/pipeline/test_gpu_agrees.py

All other tests are of a CPU, and hide the GPU unless this is set.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.encoder import load_encoder
from pipeline.finetune.gradients import Budget, backward
from pipeline.llama_layers import FusedNorm
from pipeline.mining.search import ExactSearch
from pipeline.settings import EncoderSettings

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU, or EMBEDSMITH_TEST_ON_GPU is not set"
)

SETTINGS = EncoderSettings(query_tokens=64, passage_tokens=64, batch_size=3)
TEXTS = [" ".join(f"w{n * k % 200}" for n in range(1, 2 + k * 5 % 31)) for k in range(1, 21)]


@pytest.fixture(scope="module")
def both(llama_folder, llama_profile):
    """The same small Llama on the CPU and on the GPU."""
    return [load_encoder(llama_folder, llama_profile, SETTINGS, name) for name in ("cpu", "cuda")]


@pytest.mark.parametrize("resident", [True, False])
def test_a_gpu_finds_the_hits_of_a_cpu_bit_for_bit(monkeypatch, resident):
    random = np.random.default_rng(2)
    pool = random.normal(size=(70_000, 96)).astype(np.float32)
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    pool[400:470] = pool[7]
    queries = pool[7:300:3] + np.float32(0.02) * random.normal(size=(98, 96)).astype(np.float32)
    if not resident:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (pool.nbytes, pool.nbytes))
    expected = ExactSearch(pool).search(queries, 60)
    found = ExactSearch(pool, "cuda").search(queries, 60)
    for one, other in zip(expected, found, strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        assert one.scores.tolist() == other.scores.tolist()


def test_a_gpu_packs_and_encodes_as_a_cpu_does(both):
    on_cpu, on_gpu = both
    with on_gpu.precision():
        assert on_gpu.packs
    assert any(isinstance(module, FusedNorm) for module in on_gpu.model.modules())
    expected, found = (encoder.encode(TEXTS, "passage") for encoder in both)
    assert float((expected * found).sum(axis=1).min()) > 0.999
    assert np.allclose(on_gpu.encode(TEXTS, "passage"), found, atol=1e-5)
    assert not any(isinstance(module, FusedNorm) for module in on_cpu.model.modules())


@pytest.mark.parametrize("kept_tokens", [0, 200, 10_000])
def test_gradients_of_a_gpu_are_those_of_a_cpu(both, kept_tokens):
    gradients = []
    for encoder in both:
        encoder.model.zero_grad()

        def forward(texts, encoder=encoder):
            with encoder.precision():
                return encoder.forward(texts)

        def loss_of(vectors):
            wanted = torch.arange(10, device=vectors.device)
            return torch.nn.functional.cross_entropy(vectors[:10] @ vectors[10:].T / 0.1, wanted)

        texts = encoder.tokenize(TEXTS, "passage")
        backward(forward, texts, loss_of, Budget(150, kept_tokens), encoder.model)
        found = [weight.grad.flatten().cpu() for weight in encoder.model.parameters()]
        gradients.append(torch.cat(found))
    assert float(torch.cosine_similarity(*gradients, dim=0)) > 0.99
