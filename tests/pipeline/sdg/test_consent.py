"""Consent: what leaves is shown as it is, a yes is kept for good, and no call goes without one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pipeline.errors import EndpointFailure, NoConsent
from pipeline.run import Run
from pipeline.sdg.consent import (
    Leaving,
    has_consent,
    in_words,
    leaving,
    leaving_of,
    record_consent,
    require_consent,
)
from pipeline.sdg.records import SAMPLES
from pipeline.sdg.stage import execute
from pipeline.sdg.trial import choose
from pipeline.settings import SdgSettings

TEN = frozenset(f"doc-{n}" for n in range(10))
WHAT = Leaving("llm.example.com", "https://llm.example.com/v1", TEN, 100, 50_000, False)


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run")


def agree(run, what=WHAT):
    record_consent(run, what, lambda: 12.3456)


def test_what_leaves_is_counted_from_the_documents_that_are_asked_about(library):
    documents, passages = library
    what = leaving_of(documents, passages, SdgSettings())
    assert (what.documents, what.passages) == (len(documents), len(passages))
    assert what.characters == sum(len(passage.text) for passage in passages)
    assert (what.host, what.loopback) == ("integrate.api.nvidia.com", False)
    twins = [replace(document, group="one") for document in documents]
    assert leaving_of(twins, passages, SdgSettings()).documents == 1


@pytest.mark.parametrize(
    ("url", "host", "base", "loopback"),
    [
        ("http://127.0.0.1:8000/v1", "127.0.0.1:8000", "http://127.0.0.1:8000/v1", True),
        (
            "https://LLM.example.com/v1?key=k",
            "llm.example.com",
            "https://llm.example.com/v1",
            False,
        ),
        ("https://me:pw@x.com/v1", "x.com", "https://x.com/v1", False),
        ("http://[::1]:8000/v1", "[::1]:8000", "http://[::1]:8000/v1", True),
    ],
)
def test_a_host_is_named_with_its_port_and_without_credentials(url, host, base, loopback, library):
    what = leaving_of(*library, replace(SdgSettings(), base_url=url))
    assert (what.host, what.base_url, what.loopback) == (host, base, loopback)


def test_an_address_that_is_none_is_said(library):
    with pytest.raises(EndpointFailure, match="base_url"):
        leaving_of(*library, replace(SdgSettings(), base_url="llm.example.com"))


def test_nothing_leaves_for_the_offline_writer(bench):
    assert leaving(bench.corpus.folder, replace(SdgSettings(), writer="offline")) is None


@pytest.mark.parametrize(
    ("changes", "covered"),
    [
        ({}, True),
        ({"ids": frozenset(("doc-1", "doc-7")), "passages": 20, "characters": 9_000}, True),
        ({"passages": 200, "characters": 60_000}, True),
        ({"along": ("the audience",)}, True),
        ({"base_url": "https://llm.example.com/other"}, True),
        ({"base_url": "http://llm.example.com/v1"}, False),
        ({"host": "llm.example.com:8443"}, False),
        ({"ids": TEN | {"doc-10"}}, False),
        ({"ids": TEN - {"doc-3"} | {"doc-3-edited"}}, False),
        ({"ids": frozenset(("elsewhere",)), "passages": 1, "characters": 9}, False),
    ],
)
def test_a_yes_covers_the_documents_it_named_at_the_address_it_named(run, changes, covered):
    assert not has_consent(run, WHAT)
    agree(run)
    assert has_consent(run, replace(WHAT, **changes)) is covered


def test_two_small_yes_make_no_large_one(run):
    agree(run, replace(WHAT, ids=TEN - {"doc-0"}))
    agree(run, replace(WHAT, ids=frozenset(("doc-0",))))
    assert not has_consent(run, WHAT)


def test_an_edited_document_needs_another_yes_and_a_trial_of_the_same_ones_none(run, library):
    documents, passages = library
    agree(run, leaving_of(documents, passages, SdgSettings()))
    for other in (42, 43):
        tried = [document for document, _ in choose(documents, passages, other, 2)]
        assert has_consent(run, leaving_of(tried, passages, SdgSettings()))
    edited = [replace(documents[0], id="doc-of-another-text"), *documents[1:]]
    moved = [replace(p, document=edited[0].id) for p in passages if p.document == documents[0].id]
    assert not has_consent(run, leaving_of(edited, moved, SdgSettings()))


def test_other_documents_of_a_trial_need_another_yes(run, library):
    documents, passages = library
    first, second, *_ = documents
    agree(run, leaving_of([first], passages, SdgSettings()))
    assert has_consent(run, leaving_of([first], passages, SdgSettings()))
    assert not has_consent(run, leaving_of([second], passages, SdgSettings()))


def test_guidance_that_goes_along_is_named(library):
    plain = leaving_of(*library, SdgSettings())
    assert "goes" not in in_words(plain)
    guided = replace(
        SdgSettings(),
        audience="nurses",
        examples=("ward round", "night shift"),
        rounds=2,
        avoid=("2: What is this?", "3: Never asked?"),
    )
    said = in_words(leaving_of(*library, guided))
    assert said.endswith("the audience, 2 example queries and 1 rejected question")
    assert "language" not in said
    assert "nurses" not in said
    assert "rejected" not in in_words(leaving_of(*library, replace(guided, rounds=1)))


def test_an_unencrypted_way_is_named(library):
    settings = replace(SdgSettings(), base_url="http://llm.example.com/v1")
    assert "unencrypted" in in_words(leaving_of(*library, settings))
    assert "unencrypted" not in in_words(WHAT)


def test_the_digest_stands_for_the_documents_and_nothing_else():
    assert WHAT.digest == replace(WHAT, passages=1, along=("the language",)).digest
    assert WHAT.digest != replace(WHAT, ids=TEN | {"doc-10"}).digest


def test_a_yes_is_one_line_with_everything_it_was_given_to(run):
    agree(run)
    agree(run)
    lines = run.consents_path.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "v": 2,
            "time": 12.346,
            "host": "llm.example.com",
            "base_url": "https://llm.example.com/v1",
            "documents": 10,
            "digest": WHAT.digest,
            "passages": 100,
            "characters": 50_000,
            "loopback": False,
            "along": [],
            "ids": sorted(TEN),
        }
    ] * 2


@pytest.mark.parametrize("torn", [b'{"v":1,"host":"llm.exam', b"[]\n", b"null\n", b"\xff\xfe\n"])
def test_a_damaged_line_is_no_yes_and_spoils_none(run, torn):
    run.consents_path.parent.mkdir(parents=True)
    run.consents_path.write_bytes(torn)
    assert not has_consent(run, WHAT)
    agree(run)
    assert has_consent(run, WHAT)


@pytest.mark.parametrize("version", [1, 3])
def test_a_line_of_another_format_is_no_yes(run, version):
    agree(run)
    line = json.loads(run.consents_path.read_text()) | {"v": version}
    run.consents_path.write_text(json.dumps(line) + "\n")
    assert not has_consent(run, WHAT)
    agree(run)
    assert has_consent(run, WHAT)


def test_a_yes_of_the_first_format_named_no_documents_and_is_asked_for_again(run):
    run.consents_path.parent.mkdir(parents=True)
    first = {
        "v": 1,
        "time": 1.0,
        "host": WHAT.host,
        "base_url": WHAT.base_url,
        "documents": 10,
        "passages": 100,
        "characters": 50_000,
    }
    run.consents_path.write_text(json.dumps(first) + "\n")
    with pytest.raises(NoConsent):
        require_consent(run, WHAT)


def test_the_refusal_names_host_amount_and_the_way_to_agree(run):
    with pytest.raises(NoConsent) as caught:
        require_consent(run, WHAT)
    assert "llm.example.com" in caught.value.happened
    assert "50,000 characters of 10 documents" in caught.value.happened
    assert "--yes" in caught.value.next_step
    assert "this machine" in in_words(replace(WHAT, loopback=True))


def test_a_stage_without_a_yes_asks_nothing_not_even_this_machine(asking, endpoint):
    context = replace(asking, agreed=False).context()
    with pytest.raises(NoConsent):
        execute(context)
    assert endpoint.requests == []
    assert not (context.folder / SAMPLES).exists()
