"""The server's tokenizer gives the encoder's token ids, and cuts only where it may."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.deploy.tokens import ServerTokenizer, TooLong
from pipeline.export.canaries import TEXTS
from pipeline.export.records import read_manifest


@pytest.fixture(scope="module")
def of_minilm(minilm_export):
    return ServerTokenizer(minilm_export, read_manifest(minilm_export))


@pytest.fixture(scope="module")
def of_llama(llama_export):
    return ServerTokenizer(llama_export, read_manifest(llama_export))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=2000), max_size=3))
def test_any_text_gets_the_encoders_tokens(of_minilm, minilm, texts):
    found = of_minilm.tokenize(texts, "passage", "END")
    assert found.ids == minilm.tokenize(texts, "passage")


def test_canaries_and_long_texts_get_the_encoders_tokens(
    of_minilm, minilm, of_llama, llama_encoder
):
    texts = [*TEXTS, "a long text about tokens " * 200, "w1 " * 500]
    for ours, theirs in ((of_minilm, minilm), (of_llama, llama_encoder)):
        for kind in ("query", "passage"):
            found = ours.tokenize(texts, kind, "END")
            assert found.ids == theirs.tokenize(texts, kind)
            assert found.total == sum(map(len, found.ids))
    assert found.truncated >= 1


def test_a_long_text_is_named_when_it_may_not_be_cut(of_llama):
    with pytest.raises(TooLong) as caught:
        of_llama.tokenize(["w1", "w1 " * 500], "query", "NONE")
    assert (caught.value.index, caught.value.tokens, caught.value.limit) == (1, 503, 128)


def test_cutting_at_the_start_keeps_the_prefix_and_the_end(of_llama):
    text = " ".join(f"w{n}" for n in range(200))
    (ids,) = of_llama.tokenize([text], "query", "START").ids
    assert len(ids) == 128
    assert ids[:3] == [0, 3, 5]  # <s> query :
    assert ids[3:] == [n + 6 for n in range(75, 200)]
    (end,) = of_llama.tokenize([text], "query", "END").ids
    assert end[:3] == [0, 3, 5]
    assert end[3:] == [n + 6 for n in range(125)]
