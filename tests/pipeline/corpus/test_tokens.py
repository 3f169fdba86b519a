from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from pipeline.corpus.tokens import profile_counter
from pipeline.profiles import REHEARSAL_PROFILE, find_profile, weights_folder

tricky = st.one_of(
    st.text(max_size=80),
    st.lists(
        st.sampled_from(
            ["[SEP]", "[MASK]", " ", "\n", "\t", "\u00a0", "\u3000", "\u0301", "é", "ΟΔΟΣ", "漢字",
             "don't", "a-b", "\u200d", "👩\u200d🔬", "x" * 120, "\x1c", "\x85", "\ufffd"]
        ),
        max_size=12,
    ).map("".join),
)  # fmt: skip


@pytest.fixture(scope="module")
def plain():
    """The tokenizer itself."""
    path = weights_folder(find_profile(REHEARSAL_PROFILE)) / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@settings(max_examples=300, deadline=None)
@given(st.lists(tricky, max_size=6))
def test_counting_word_by_word_gives_what_the_tokenizer_gives(minilm, plain, texts):
    expected = [len(plain.encode(text, add_special_tokens=False).ids) for text in texts]
    assert minilm.count(texts) == expected


def test_counts_stay_right_when_the_remembered_words_are_forgotten(monkeypatch):
    monkeypatch.setattr("pipeline.corpus.tokens._WORDS_MAX", 5)
    counter = profile_counter(REHEARSAL_PROFILE)
    texts = ["one two three four", "five six unbelievable", "one two", ""]
    counted = [counter.count([text])[0] for text in texts]
    assert counted == counter.count(texts) == profile_counter(REHEARSAL_PROFILE).count(texts)


def test_blanks_are_counted_where_they_are_tokens(byte_bpe):
    assert byte_bpe.count(["a\n\nb"])[0] > sum(byte_bpe.count(["a", "b"]))
