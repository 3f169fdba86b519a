from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.bidirectional import is_bidirectional
from pipeline.encoder import load_encoder, one_behind, pool, without_graph
from pipeline.errors import BadInput, BadRecipe, StageFailure
from pipeline.profiles import find_profile, known_profiles, weights_folder
from pipeline.settings import EncoderSettings

SETTINGS = EncoderSettings(query_tokens=64, passage_tokens=64, batch_size=4)
TEXTS = [
    "How do I open a file?",
    "a",
    "The garbage collector frees objects that form cycles. " * 60,
    "",
    "os.path.join joins one or more path segments intelligently.",
]
WORDS = ["w1 w2 w3", "w4", " ".join(f"w{n}" for n in range(50)), "w9 w8 w7 w6 w5"]


@pytest.fixture(scope="module")
def llama(llama_folder, llama_profile):
    return load_encoder(llama_folder, llama_profile, SETTINGS, "cpu")


@pytest.fixture
def broken(llama_folder, tmp_path):
    return shutil.copytree(llama_folder, tmp_path / "broken")


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def sentence_transformer(folder):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


def test_minilm_encodes_as_sentence_transformers_does(minilm):
    theirs = sentence_transformer(weights_folder(minilm.profile)).encode(TEXTS)
    assert np.abs(minilm.encode(TEXTS, "passage") - theirs).max() < 1e-5


def test_a_saved_minilm_loads_in_sentence_transformers_and_here(minilm, tmp_path):
    minilm.save(tmp_path / "model", "# A card\n")
    ours = minilm.encode(TEXTS, "passage")
    loaded = sentence_transformer(tmp_path / "model")
    assert np.abs(loaded.encode_document(TEXTS) - ours).max() < 1e-5
    assert loaded.max_seq_length == 256
    again = load_encoder(tmp_path / "model", minilm.profile, minilm.settings, "cpu")
    assert np.array_equal(again.encode(TEXTS, "passage"), ours)
    found = find_profile(str(tmp_path / "model"))
    assert (found.pooling, found.normalize, found.tokens_max) == ("mean", True, 256)
    assert (tmp_path / "model" / "README.md").read_text() == "# A card\n"


def test_saving_twice_writes_the_same_bytes_whatever_was_encoded_between(minilm, tmp_path):
    minilm.save(tmp_path / "a", "card")
    minilm.encode(["short"], "query")
    minilm.save(tmp_path / "b", "card")
    names = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*"))
    assert names == sorted(p.relative_to(tmp_path / "b") for p in (tmp_path / "b").rglob("*"))
    for name in names:
        if (tmp_path / "a" / name).is_file():
            content = (tmp_path / "a" / name).read_bytes()
            assert content == (tmp_path / "b" / name).read_bytes(), name
            assert str(tmp_path).encode() not in content


def test_saving_replaces_a_model_but_never_another_folder(llama, tmp_path):
    llama.save(tmp_path / "model", "first")
    (tmp_path / "model" / "stale.txt").write_text("left over")
    llama.save(tmp_path / "model", "second")
    assert not (tmp_path / "model" / "stale.txt").exists()
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "journal.jsonl").write_text("{}\n")
    (tmp_path / "file").write_text("mine")
    for taken in ("result", "file"):
        with pytest.raises(StageFailure, match="something else") as caught:
            llama.save(tmp_path / taken, "card")
        assert str(tmp_path / taken) in caught.value.happened
        assert caught.value.next_step.startswith("Move it")
    assert (tmp_path / "result" / "journal.jsonl").exists()
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    llama.save(tmp_path / "empty", "card")
    assert (tmp_path / "empty" / "modules.json").is_file()


def test_an_end_while_the_old_model_is_removed_leaves_one_that_can_be_replaced(
    llama, tmp_path, monkeypatch
):
    llama.save(tmp_path / "model", "first")
    remove = shutil.rmtree

    def killed(folder, **options):
        if (folder / "modules.json").is_file():
            (folder / "modules.json").unlink()
            raise KeyboardInterrupt
        remove(folder, **options)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            llama.save(tmp_path / "model", "second")
    assert (tmp_path / "model" / "README.md").read_text() == "second"
    llama.save(tmp_path / "model", "third")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert sentence_transformer(tmp_path / "model").max_seq_length == 64


def test_a_published_bidirectional_llama_loads_without_its_remote_code(llama, llama_folder):
    assert type(llama.model).__name__ == "LlamaModel"
    assert llama.model.config.is_causal is False
    assert llama.model.config.rope_parameters["rope_theta"] == 500000.0
    assert llama.model.config.rope_parameters["rope_type"] == "llama3"
    assert llama.model.dtype == torch.float32
    assert not (llama_folder / "ran").exists()


def test_the_first_token_of_a_loaded_llama_sees_the_last(llama):
    assert is_bidirectional(llama.model, llama.tokenizer)
    llama.model.config.is_causal = True
    try:
        assert not is_bidirectional(llama.model, llama.tokenizer)
    finally:
        llama.model.config.is_causal = False


def test_padding_does_not_change_a_vector(llama, minilm):
    for encoder, texts in ((llama, WORDS), (minilm, TEXTS[:3])):
        with torch.inference_mode():
            ids = encoder.tokenize(texts, "passage")
            together = encoder.forward(ids)
            alone = torch.cat([encoder.forward([one]) for one in ids])
        assert (together - alone).abs().max() < 1e-5


def test_a_saved_llama_is_a_plain_bidirectional_llama_for_every_reader(llama, tmp_path):
    llama.save(tmp_path / "model", "card")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (config["model_type"], config["is_causal"]) == ("llama", False)
    assert "auto_map" not in config
    tokenizer = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    loaded = sentence_transformer(tmp_path / "model")
    passages, queries = llama.encode(WORDS, "passage"), llama.encode(WORDS, "query")
    assert np.abs(loaded.encode_document(WORDS) - passages).max() < 1e-5
    assert np.abs(loaded.encode_query(WORDS) - queries).max() < 1e-5
    assert np.abs(passages - queries).max() > 1e-3
    again = load_encoder(tmp_path / "model", llama.profile, SETTINGS, "cpu")
    assert np.array_equal(again.encode(WORDS, "query"), queries)
    as_folder = find_profile(str(tmp_path / "model"))
    assert as_folder.query_prefix == "query: "
    third = load_encoder(tmp_path / "model", as_folder, SETTINGS, "cpu")
    assert np.abs(third.encode(WORDS, "query") - queries).max() < 1e-6


def test_a_cut_model_gives_shorter_unit_vectors_and_says_so_in_its_folder(
    llama_folder, llama_profile, llama, tmp_path
):
    cut = load_encoder(llama_folder, llama_profile, replace(SETTINGS, dimension=16), "cpu")
    vectors = cut.encode(WORDS, "query")
    leading = llama.encode(WORDS, "query")[:, :16]
    leading /= np.linalg.norm(leading, axis=1, keepdims=True)
    assert vectors.shape == (4, 16)
    assert np.abs(vectors - leading).max() < 1e-6
    cut.save(tmp_path / "model", "card")
    loaded = sentence_transformer(tmp_path / "model")
    theirs = loaded.encode_query(WORDS, normalize_embeddings=True)
    assert np.abs(theirs - vectors).max() < 1e-5


def test_a_small_ministral_loads_bidirectional(llama_folder, tmp_path):
    from transformers import Ministral3Config, Ministral3Model

    torch.manual_seed(1)
    config = Ministral3Config(
        vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=512,
    )  # fmt: skip
    folder = tmp_path / "ministral"
    Ministral3Model(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(llama_folder / name, folder / name)
    profile = replace(known_profiles()["nvidia/Nemotron-3-Embed-1B-BF16"], dimension=64)
    encoder = load_encoder(folder, profile, SETTINGS, "cpu")
    assert is_bidirectional(encoder.model, encoder.tokenizer)
    encoder.save(tmp_path / "saved", "card")
    theirs = sentence_transformer(tmp_path / "saved").encode_query(WORDS)
    assert np.abs(theirs - encoder.encode(WORDS, "query")).max() < 1e-5


def test_the_limits_count_prefix_and_special_tokens(llama):
    short = replace(SETTINGS, query_tokens=5, passage_tokens=500)
    encoder = type(llama)(llama.model, llama.tokenizer, llama.profile, short, llama.device)
    assert encoder.tokenize(["w1 w2 w3 w4 w5"], "query") == [[0, 3, 5, 7, 8]]
    assert encoder.tokenize(["w1"], "passage") == [[0, 4, 5, 7]]
    assert len(encoder.tokenize(["w1 " * 400], "passage")[0]) == 128  # the profile's own limit
    assert encoder.tokenize([], "query") == []


def test_half_a_surrogate_pair_stops_nobody(llama):
    texts = ["w1 \ud800", "w1 \ufffd", "\ud83d\ude00 w2", "\U0001f600 w2"]
    vectors = llama.encode(texts, "passage")
    assert np.array_equal(vectors[0], vectors[1])
    assert np.array_equal(vectors[2], vectors[3])


def test_encode_reports_batches_restores_the_mode_and_keeps_the_order(llama):
    llama.model.train(True)
    seen = []
    vectors = llama.encode(WORDS, "query", lambda done, total: seen.append((done, total)))
    assert llama.model.training
    llama.model.train(False)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for word, vector in zip(WORDS, vectors, strict=True):
        assert np.array_equal(llama.encode([word], "query")[0], vector)
    assert llama.encode([], "query").shape == (0, 64)
    assert llama.forward([]).shape == (0, 64)


def test_texts_are_tokenised_some_at_a_time_and_that_changes_no_bit(minilm, monkeypatch):
    texts = [*TEXTS, "Lists are sequences.", "b", *TEXTS[::-1]]
    whole = minilm.encode(texts, "passage")
    tokenised, seen = [], []
    tokenize = minilm.tokenize

    def recorded(some, kind):
        tokenised.append(len(some))
        return tokenize(some, kind)

    def report(done, total):
        seen.append((done, total))
        assert sum(tokenised) < done + 5, "who asks to stop is heard before the rest is tokenised"

    monkeypatch.setattr("pipeline.encoder.TEXTS_AT_ONCE", 5)
    monkeypatch.setattr(minilm, "tokenize", recorded)
    assert np.array_equal(minilm.encode(texts, "passage", report), whole)
    assert tokenised == [5, 5, 2]
    assert seen == [(done, 12) for done in range(1, 13)]


def test_the_number_of_threads_changes_no_bit_and_is_left_as_it_was(minilm):
    texts = [*TEXTS, "The same text twice", "The same text twice"]
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(minilm.encode(texts, "passage"))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    assert np.array_equal(found[0][-1], found[0][-2])


def test_a_callback_that_raises_stops_and_restores_the_mode(llama):
    def stop(done, total):
        raise KeyboardInterrupt

    llama.model.train(True)
    with pytest.raises(KeyboardInterrupt):
        llama.encode(WORDS, "query", stop)
    assert llama.model.training
    llama.model.train(False)


def test_vectors_carry_gradients_when_training(llama):
    llama.forward(llama.tokenize(WORDS, "query")).sum().backward()
    assert llama.model.get_input_embeddings().weight.grad.abs().sum() > 0
    llama.model.zero_grad()


def test_pooling_reads_only_real_tokens():
    hidden = torch.arange(12.0).reshape(2, 3, 2)
    lengths = torch.tensor([2, 3])
    assert pool(hidden, lengths, "cls").tolist() == [[0, 1], [6, 7]]
    assert pool(hidden, lengths, "last").tolist() == [[2, 3], [10, 11]]
    assert pool(hidden, lengths, "mean").tolist() == [[1, 2], [8, 9]]


def test_a_causal_decoder_in_a_sentence_transformers_folder_is_refused(llama, tmp_path):
    llama.save(tmp_path / "model", "card")
    edit_config(tmp_path / "model", is_causal=True)
    profile = find_profile(str(tmp_path / "model"))
    with pytest.raises(BadInput, match="left to right"):
        load_encoder(tmp_path / "model", profile, SETTINGS, "cpu")
    # One that pools its last token is made that way.
    last = replace(profile, pooling="last")
    assert load_encoder(tmp_path / "model", last, SETTINGS, "cpu").dimension == 64


def a_copy_with(model, llama_folder, folder):
    """A folder of any model with the tokenizer of the small Llama."""
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(llama_folder / name, folder / name)
    return folder


@pytest.mark.parametrize("kind", ["t5", "clip"])
def test_a_model_that_is_no_encoder_of_token_ids_is_refused(
    kind, minilm, llama_folder, tmp_path, monkeypatch
):
    from transformers import CLIPConfig, CLIPModel, T5Config, T5Model

    shape = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    model = (
        T5Model(T5Config(vocab_size=300, d_model=64, d_kv=16, d_ff=48, num_layers=1, num_heads=4))
        if kind == "t5"
        else CLIPModel(CLIPConfig(
            text_config={**shape, "vocab_size": 300, "intermediate_size": 48},
            vision_config={**shape, "image_size": 32, "intermediate_size": 48},
        ))
    )  # fmt: skip
    folder = a_copy_with(model, llama_folder, tmp_path / kind)
    with pytest.raises(BadInput, match=rf"\({kind}\) gives no state for each token: ") as caught:
        load_encoder(folder, replace(minilm.profile, dimension=64), SETTINGS, "cpu")
    assert str(caught.value.happened).endswith(".")


def test_a_model_that_computes_in_float32_alone_is_saved(minilm, llama_folder, tmp_path):
    from transformers import XLNetConfig, XLNetModel

    torch.manual_seed(6)
    model = XLNetModel(XLNetConfig(vocab_size=300, d_model=64, n_layer=2, n_head=4, d_inner=48))
    folder = a_copy_with(model, llama_folder, tmp_path / "xlnet")
    profile = replace(minilm.profile, dimension=64)
    encoder = load_encoder(folder, profile, SETTINGS, "cpu")
    encoder.save(tmp_path / "saved", "card")
    again = load_encoder(tmp_path / "saved", profile, SETTINGS, "cpu")
    assert np.array_equal(again.encode(WORDS, "query"), encoder.encode(WORDS, "query"))


def test_truncated_weights_are_refused(broken, llama_profile):
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(BadInput, match=r"weights in .* cannot be read"):
        load_encoder(broken, llama_profile, SETTINGS, "cpu")


def test_missing_weights_are_refused(broken, llama_profile):
    (broken / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"weights in .* cannot be read"):
        load_encoder(broken, llama_profile, SETTINGS, "cpu")


def test_weights_are_never_made_up(broken, llama_profile):
    from safetensors.torch import load_file, save_file

    weights = load_file(broken / "model.safetensors")
    del weights["layers.1.mlp.up_proj.weight"]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"lack 1 tensors, such as layers\.1\.mlp\.up_proj"):
        load_encoder(broken, llama_profile, SETTINGS, "cpu")


def test_weights_of_another_shape_are_refused(broken, llama_profile):
    edit_config(broken, intermediate_size=256)
    said = r"weights in .* cannot be read: layers\.0\.mlp\..* has the shape .*, .* asks for .*256"
    with pytest.raises(BadInput, match=said):
        load_encoder(broken, llama_profile, SETTINGS, "cpu")


def test_weights_that_are_no_numbers_are_refused_as_such(broken, llama_profile):
    from safetensors.torch import load_file, save_file

    weights = load_file(broken / "model.safetensors")
    weights["embed_tokens.weight"][:] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match="not finite"):
        load_encoder(broken, llama_profile, SETTINGS, "cpu")


def test_a_folder_without_a_tokenizer_gets_none_made_up(minilm, tmp_path):
    folder = shutil.copytree(weights_folder(minilm.profile), tmp_path / "wordless")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        (folder / name).unlink()
    with pytest.raises(BadInput, match=r"no tokenizer in .* \(tokenizer\.json or vocab\.txt\)"):
        load_encoder(folder, minilm.profile, SETTINGS, "cpu")


def test_an_unused_head_that_the_files_lack_is_zero_and_loads_alike(minilm, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(weights_folder(minilm.profile), tmp_path / "headless")
    weights = load_file(folder / "model.safetensors")
    headless = {key: value for key, value in weights.items() if "pooler" not in key}
    assert len(headless) < len(weights)
    save_file(headless, folder / "model.safetensors", metadata={"format": "pt"})
    encoder = load_encoder(folder, minilm.profile, minilm.settings, "cpu")
    assert encoder.model.pooler.dense.weight.abs().sum() == 0
    assert np.array_equal(encoder.encode(["x"], "query"), minilm.encode(["x"], "query"))


def test_a_tokenizer_larger_than_the_embedding_table_is_refused(broken, llama_profile):
    path = broken / "tokenizer.json"
    document = json.loads(path.read_text())
    document["model"]["vocab"] |= {f"more{n}": 280 + n for n in range(40)}
    path.write_text(json.dumps(document))
    with pytest.raises(BadInput, match="knows 320 tokens, the model only 300"):
        load_encoder(broken, llama_profile, SETTINGS, "cpu")


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_a_missing_or_broken_file_is_refused(broken, llama_profile, name):
    (broken / name).write_text("{")
    with pytest.raises(BadInput):
        load_encoder(broken, llama_profile, SETTINGS, "cpu")
    (broken / name).unlink()
    with pytest.raises(BadInput):
        load_encoder(broken, llama_profile, SETTINGS, "cpu")


def test_another_model_type_is_refused_by_name(broken, llama_profile):
    edit_config(broken, model_type="qwen3")
    with pytest.raises(BadInput, match="'qwen3'"):
        load_encoder(broken, llama_profile, SETTINGS, "cpu")


def test_a_folder_that_needs_remote_code_is_refused_and_runs_nothing(broken, llama_profile):
    profile = replace(llama_profile, architecture="sentence_transformers")
    with pytest.raises(BadInput, match=r"config\.json"):
        load_encoder(broken, profile, SETTINGS, "cpu")
    assert not (broken / "ran").exists()


def test_a_model_of_another_width_than_the_profile_says_is_refused(llama_folder, llama_profile):
    with pytest.raises(BadInput, match="64 numbers"):
        load_encoder(llama_folder, replace(llama_profile, dimension=2048), SETTINGS, "cpu")


def test_a_dimension_above_the_models_is_refused(llama_folder, llama_profile):
    with pytest.raises(BadRecipe, match=r"encoder\.dimension = 65"):
        load_encoder(llama_folder, llama_profile, replace(SETTINGS, dimension=65), "cpu")


def test_numbers_that_are_not_finite_stop_the_stage(llama_folder, llama_profile):
    encoder = load_encoder(llama_folder, llama_profile, SETTINGS, "cpu")
    with torch.no_grad():
        encoder.model.norm.weight[0] = float("nan")
    with pytest.raises(StageFailure, match="not finite"):
        encoder.encode(["w1"], "query")


def test_a_gpus_weights_are_cast_once_for_all_batches(llama, monkeypatch):
    """As on a GPU: one batch after another, multiplied in bfloat16."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counting(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.cast = 0

        def __torch_dispatch__(self, call, types, args=(), kwargs=None):
            made = call(*args, **(kwargs or {}))
            weights = isinstance(made, torch.Tensor) and made.shape == table.shape
            self.cast += weights and made.dtype == torch.bfloat16 != args[0].dtype
            return made

    table = llama.model.layers[0].mlp.gate_proj.weight

    def one_by_one(work, batches, device):
        yield from (work(batch).numpy() for batch in batches)

    monkeypatch.setattr("pipeline.encoder.side_by_side", one_by_one)
    monkeypatch.setattr(
        "pipeline.encoder.without_graph", lambda device: without_graph(torch.device("cuda"))
    )
    monkeypatch.setattr(llama, "precision", lambda: torch.autocast("cpu", dtype=torch.bfloat16))
    with Counting() as counting:
        llama.encode(WORDS, "query")
    # Gates and inputs, of every layer.
    assert counting.cast == 2 * len(llama.model.layers)


def test_a_gpus_results_are_read_after_the_next_batch_was_given():
    done = []

    def made(number):
        done.append(f"made {number}")
        return number

    for number in one_behind(map(made, range(3))):
        done.append(f"read {number}")
    assert done == ["made 0", "made 1", "read 0", "made 2", "read 1", "read 2"]
    assert list(one_behind([])) == []
