from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import pipeline.cache
import pipeline.cache_index
from pipeline.cache import EmbeddingCache, encode_cached, text_key
from pipeline.cache_files import beyond, read_spaces, remove_spare
from pipeline.encoder import Encoder, load_encoder
from pipeline.errors import Cancelled
from pipeline.settings import EncoderSettings

SETTINGS = EncoderSettings(query_tokens=64, passage_tokens=64)
TEXTS = [f"w{n} w{n * 7 % 200} w{n * 3 % 200}" for n in range(30)]


@pytest.fixture(scope="module")
def encoder(llama_folder, llama_profile):
    return load_encoder(llama_folder, llama_profile, SETTINGS, "cpu")


@pytest.fixture
def ask(encoder, tmp_path):
    """Encodes through one cache; returns vectors and how many texts were misses."""

    def run(texts, kind="passage", digest="base", with_encoder=encoder):
        misses = [0]
        vectors = encode_cached(
            with_encoder, texts, kind, digest, tmp_path, lambda _, n: misses.__setitem__(0, n)
        )
        return vectors, misses[0]

    return run


def segments(folder):
    return sorted(folder.rglob("*.npy"))


def test_a_hit_is_bit_equal_to_a_miss_and_encodes_nothing(ask, encoder):
    missed, misses = ask(TEXTS)
    hit, none = ask(TEXTS)
    assert (misses, none) == (30, 0)
    assert np.array_equal(hit, missed)
    assert np.array_equal(hit, encoder.encode(TEXTS, "passage"))
    assert hit.dtype == np.float32


def test_a_vector_does_not_depend_on_what_was_cached_before(ask, encoder):
    ask(TEXTS[::3])
    mixed, misses = ask(TEXTS)
    assert misses == 20
    assert np.array_equal(mixed, encoder.encode(TEXTS, "passage"))


def test_repeated_texts_are_encoded_once_and_come_back_in_order(ask, encoder):
    texts = ["w1 w2", "w3", "w1 w2", "w3", "w3"]
    vectors, misses = ask(texts)
    assert misses == 2
    assert np.array_equal(vectors, encoder.encode(texts, "passage"))


def test_no_texts_give_no_vectors(ask):
    vectors, misses = ask([])
    assert vectors.shape == (0, 64)
    assert misses == 0


def test_other_weights_never_hit(ask):
    ask(TEXTS, digest="base")
    assert ask(TEXTS, digest="tuned")[1] == 30


@pytest.mark.parametrize(
    "change", [{"passage_tokens": 4}, {"dimension": 16}], ids=["limit", "dimension"]
)
def test_another_rule_for_the_same_text_never_hits(ask, encoder, change):
    ask(TEXTS)
    other = Encoder(
        encoder.model,
        encoder.tokenizer,
        encoder.profile,
        replace(SETTINGS, **change),
        encoder.device,
    )
    vectors, misses = ask(TEXTS, with_encoder=other)
    assert misses == 30
    assert np.array_equal(vectors, other.encode(TEXTS, "passage"))


def test_another_prefix_never_hits(ask, encoder):
    ask(TEXTS, kind="passage")
    vectors, misses = ask(TEXTS, kind="query")
    assert misses == 30
    assert np.array_equal(vectors, encoder.encode(TEXTS, "query"))


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty"])
def test_a_damaged_segment_is_ignored_and_made_again(ask, encoder, tmp_path, damage):
    ask(TEXTS)
    (segment,) = segments(tmp_path)
    content = bytearray(segment.read_bytes())
    content[-5] ^= 1
    segment.write_bytes({"torn": content[:-99], "flipped": content, "empty": b""}[damage])
    vectors, misses = ask(TEXTS)
    assert misses == 30
    assert np.array_equal(vectors, encoder.encode(TEXTS, "passage"))
    assert ask(TEXTS)[1] == 0


def test_what_was_finished_before_an_interruption_is_kept(ask, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline.cache, "SEGMENT_TEXTS", 10)

    def stop(done, total):
        if done == 25:
            raise Cancelled

    with pytest.raises(Cancelled):
        encode_cached(encoder, TEXTS, "passage", "base", tmp_path, stop)
    assert len(segments(tmp_path)) == 2
    vectors, misses = ask(TEXTS)
    assert misses == 10
    assert np.array_equal(vectors, encoder.encode(TEXTS, "passage"))


def test_progress_counts_all_misses_over_segments(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline.cache, "SEGMENT_TEXTS", 10)
    seen = []
    encode_cached(
        encoder, TEXTS, "passage", "base", tmp_path, lambda done, n: seen.append((done, n))
    )
    assert seen == [(done, 30) for done in range(1, 31)]


def test_writers_at_the_same_time_lose_nothing(tmp_path):
    rows = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    keys = [text_key(str(number)) for number in range(40)]

    def write(start):
        cache = EmbeddingCache(tmp_path, 8)
        for row in range(start, start + 10):
            cache.add({keys[row]: rows[row], keys[0]: rows[0]})

    with ThreadPoolExecutor(4) as workers:
        list(workers.map(write, range(0, 40, 10)))
    found = EmbeddingCache(tmp_path, 8).find(keys)
    assert all(np.array_equal(found[key], row) for key, row in zip(keys, rows, strict=True))


def test_a_text_with_a_lone_surrogate_has_a_key():
    assert len(text_key("\ud800")) == 32


def test_a_warm_cache_reads_no_segment_whole(ask, tmp_path, monkeypatch):
    ask(TEXTS)
    monkeypatch.setattr(pipeline.cache_index, "digest_file", lambda path: pytest.fail("was read"))
    assert ask(TEXTS)[1] == 0
    assert ask([*TEXTS[5:9], *TEXTS[:2]])[1] == 0


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty", "gone", "foreign"])
def test_a_damaged_index_is_made_again(ask, encoder, tmp_path, damage):
    ask(TEXTS)
    (index,) = tmp_path.rglob("index")
    content = bytearray(index.read_bytes())
    content[-5] ^= 1
    if damage == "gone":
        index.unlink()
    else:
        index.write_bytes(
            {"torn": content[:-99], "flipped": content, "empty": b"", "foreign": b"[1]\n"}[damage]
        )
    vectors, misses = ask(TEXTS)
    assert misses == 0
    assert np.array_equal(vectors, encoder.encode(TEXTS, "passage"))


def test_segments_that_come_and_go_are_noticed(tmp_path):
    rows = np.arange(24, dtype=np.float32).reshape(3, 8)
    keys = [text_key(str(number)) for number in range(3)]
    cache = EmbeddingCache(tmp_path, 8)
    cache.add({keys[0]: rows[0], keys[1]: rows[1]})
    (first,) = segments(tmp_path)
    assert set(cache.find(keys)) == {*keys[:2]}
    cache.add({keys[1]: rows[1], keys[2]: rows[2]})
    assert set(cache.find(keys)) == {*keys}
    first.unlink()
    found = cache.find(keys)
    assert set(found) == {*keys[1:]}
    assert np.array_equal(found[keys[1]], rows[1])


def test_repeated_keys_fill_all_their_rows(tmp_path):
    cache = EmbeddingCache(tmp_path, 2)
    cache.add({text_key("a"): np.array([1, 2], np.float32)})
    vectors = np.zeros((4, 2), dtype=np.float32)
    keys = [text_key(text) for text in ("a", "b", "a", "c")]
    assert cache.fill(keys, vectors).tolist() == [0, 2]
    assert vectors.tolist() == [[1, 2], [0, 0], [1, 2], [0, 0]]


def test_more_vectors_than_memory_should_hold_lie_in_a_file_that_goes_with_the_process(
    ask, encoder, tmp_path, monkeypatch
):
    monkeypatch.setattr(pipeline.cache, "RESIDENT_BYTES", 0)
    for _ in range(2):
        vectors, _ = ask(TEXTS)
        assert isinstance(vectors, np.memmap)
        assert np.array_equal(vectors, encoder.encode(TEXTS, "passage"))
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".npy", ""}
    assert len(list(tmp_path.rglob("index"))) == 1


def test_a_space_of_another_dimension_is_not_read(tmp_path):
    EmbeddingCache(tmp_path, 2).add({text_key("a"): np.zeros(2, np.float32)})
    assert EmbeddingCache(tmp_path, 3).find([text_key("a")]) == {}


def test_what_was_pruned_is_encoded_again(ask, encoder, tmp_path):
    ask(TEXTS)
    assert sum(remove_spare(spare) for spare in beyond(read_spaces(tmp_path), 0)) > 0
    assert segments(tmp_path) == []
    vectors, misses = ask(TEXTS)
    assert misses == 30
    assert np.array_equal(vectors, encoder.encode(TEXTS, "passage"))
