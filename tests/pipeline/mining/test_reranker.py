from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import BadInput, Cancelled
from pipeline.mining.reranker import load_reranker, score_cached

PAIRS = [(f"w{n} w{n * 7 % 200}", " ".join(f"w{n * k % 200}" for k in range(n % 9 + 1)))
         for n in range(1, 24)]  # fmt: skip


@pytest.fixture(scope="module")
def reranker(cross_encoder):
    return load_reranker(cross_encoder, "cpu", 8)


@pytest.fixture
def count():
    """What counts the pairs that were scored."""
    seen = []
    return seen, lambda done, total: seen.append((done, total))


def test_scores_are_those_of_sentence_transformers(reranker, cross_encoder):
    from sentence_transformers import CrossEncoder

    peer = CrossEncoder(str(cross_encoder), device="cpu", local_files_only=True)
    assert np.allclose(reranker.score(PAIRS)[:, 0], peer.predict(PAIRS), atol=1e-5)


def test_scores_spread_and_stay_between_0_and_1(reranker):
    scores = reranker.score(PAIRS)[:, 0]
    assert 0 < scores.min() < scores.max() < 1
    assert len(np.unique(scores.round(4))) > 10


def test_a_score_does_not_depend_on_what_else_is_scored_or_cached(reranker, tmp_path):
    whole = score_cached(reranker, PAIRS, "weights", tmp_path / "one")
    score_cached(reranker, PAIRS[::3], "weights", tmp_path / "two")
    assert score_cached(reranker, PAIRS, "weights", tmp_path / "two") == whole
    assert [float(reranker.score([pair])[0, 0]) for pair in PAIRS] == whole


def test_only_new_pairs_are_scored_and_repeated_ones_once(reranker, tmp_path, count):
    seen, report = count
    first = score_cached(reranker, [*PAIRS[:9], *PAIRS[:9]], "weights", tmp_path, report)
    assert seen[-1] == (9, 9)
    seen.clear()
    assert score_cached(reranker, PAIRS[:9], "weights", tmp_path, report) == first[:9]
    assert seen == []
    score_cached(reranker, [(b, a) for a, b in PAIRS[:9]], "weights", tmp_path, report)
    assert seen[-1] == (9, 9)
    score_cached(reranker, PAIRS[:9], "other weights", tmp_path, report)
    assert seen[-1] == (9, 9)


def test_half_a_surrogate_pair_is_scored(reranker):
    scores = reranker.score([("w1 \ud800", "w2 \udfff"), ("w1 \ufffd", "w2 \ufffd")])
    assert scores[0] == scores[1]


def test_the_longest_pairs_come_first(reranker, tmp_path, monkeypatch):
    lengths = []
    score = reranker.score
    monkeypatch.setattr(
        reranker,
        "score",
        lambda pairs, on_batch: (
            lengths.extend(map(len, map("".join, pairs))) or score(pairs, on_batch)
        ),
    )
    score_cached(reranker, PAIRS, "weights", tmp_path)
    assert lengths == sorted(lengths, reverse=True)


def test_scoring_stops_when_it_is_asked_to(reranker, tmp_path):
    def stop(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        score_cached(reranker, PAIRS, "weights", tmp_path, stop)


def test_texts_that_only_together_look_alike_are_two_pairs(reranker, tmp_path):
    one, other = score_cached(reranker, [("w1 w2", "w3"), ("w1", " w2w3")], "weights", tmp_path)
    assert one != other


def test_a_folder_that_is_no_cross_encoder_is_refused(make_cross_encoder, tmp_path):
    with pytest.raises(BadInput, match="3 outputs"):
        load_reranker(make_cross_encoder(tmp_path / "three", 3), "cpu", 8)
    with pytest.raises(BadInput, match="cannot be read"):
        load_reranker(tmp_path / "nothing", "cpu", 8)


def test_files_that_are_damaged_or_do_not_fit_together_are_refused(cross_encoder, tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    def copy(name):
        return Path(shutil.copytree(cross_encoder, tmp_path / name))

    torn = copy("torn") / "model.safetensors"
    torn.write_bytes(torn.read_bytes()[:-500])
    with pytest.raises(BadInput, match="cannot be read"):
        load_reranker(torn.parent, "cpu", 8)
    small = copy("small")
    config = BertConfig.from_pretrained(small)
    config.vocab_size = 100
    BertForSequenceClassification(config).save_pretrained(small)
    with pytest.raises(BadInput, match="knows 204 tokens, the model only 100"):
        load_reranker(small, "cpu", 8)
    bare = copy("bare")
    settings = json.loads((bare / "tokenizer_config.json").read_text())
    del settings["pad_token"]
    (bare / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(BadInput, match="without a padding token"):
        load_reranker(bare, "cpu", 8)


def test_a_pair_is_cut_where_the_model_has_no_more_positions(cross_encoder, tmp_path):
    from transformers import (
        T5Config,
        T5ForSequenceClassification,
        XLMRobertaConfig,
        XLMRobertaForSequenceClassification,
    )

    long = ("w1 " * 40, "w2 " * 60)
    shape = {"vocab_size": 204, "num_labels": 1, "pad_token_id": 0}
    roberta = XLMRobertaConfig(
        **shape, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=48, max_position_embeddings=66, type_vocab_size=2,
    )  # fmt: skip
    t5 = T5Config(**shape, d_model=32, d_kv=16, d_ff=48, num_layers=1, num_heads=2)
    for name, model, most in (
        ("roberta", XLMRobertaForSequenceClassification(roberta), 65),  # one is for the padding
        ("t5", T5ForSequenceClassification(t5), 512),
    ):
        folder = tmp_path / name
        shutil.copytree(cross_encoder, folder)
        model.save_pretrained(folder)
        reranker = load_reranker(folder, "cpu", 8)
        assert reranker.tokens_max == most
    roberta_scores = load_reranker(tmp_path / "roberta", "cpu", 8).score([long])
    assert np.isfinite(roberta_scores).all()


def test_remote_code_and_made_up_weights_are_refused(cross_encoder, tmp_path):
    from safetensors.torch import load_file, save_file

    headless = tmp_path / "headless"
    shutil.copytree(cross_encoder, headless)
    weights = load_file(headless / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if not k.startswith("classifier")},
        headless / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(BadInput, match=r"lacks classifier\.bias"):
        load_reranker(headless, "cpu", 8)
    remote = tmp_path / "remote"
    shutil.copytree(cross_encoder, remote)
    config = json.loads((remote / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {
            "AutoConfig": "own.Config",
            "AutoModelForSequenceClassification": "own.Model",
        },
    }
    (remote / "config.json").write_text(json.dumps(config))
    (remote / "own.py").write_text(f"open({str(remote / 'ran')!r}, 'w').close()\n")
    with pytest.raises(BadInput, match="cannot be read"):
        load_reranker(remote, "cpu", 8)
    assert not (remote / "ran").exists()
