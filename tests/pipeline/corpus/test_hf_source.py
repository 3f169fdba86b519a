from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from dataset_hub import DatasetHub

from pipeline.corpus.hf_address import Dataset, parse_address
from pipeline.corpus.hf_source import load_dataset_rows
from pipeline.corpus.records import read_documents, read_passages
from pipeline.corpus.source import open_source
from pipeline.errors import BadInput, Cancelled
from pipeline.launch import worker_environment
from pipeline.run import datasets_cache

TOKEN = "hf_NeverWrittenDown42"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def rows(*texts, document="doc"):
    lines = (json.dumps({"text": text, "source": document}) for text in texts)
    return "\n".join(lines).encode()


def texts(source):
    loaded = load_dataset_rows(source, "", datasets_cache(), lambda *_: None)
    return [entry.text[start:end] for entry in loaded.entries for start, end in entry.slices]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_DATASETS_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    with DatasetHub().serving() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


def go_offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("hf://a/b", Dataset("a/b")),
        ("hf://datasets/a/b", Dataset("a/b")),
        ("hf://a/b/en@v1.0:train", Dataset("a/b", "en", "v1.0", "train")),
        ("hf://a/b@refs/pr/1:test[:10%]", Dataset("a/b", "", "refs/pr/1", "test[:10%]")),
        (f"hf://a/b@{COMMIT}", Dataset("a/b", "", COMMIT, commit=COMMIT)),
        ("hf:///there/is:test", Dataset(split="test", folder=Path("/there/is"))),
        ("hf:///there/is", Dataset(folder=Path("/there/is"))),
    ],
)
def test_an_address_is_taken_apart(address, expected):
    assert parse_address(address) == expected


@pytest.mark.parametrize(
    "address", ["hf://", "hf://a", "hf://a/b/c/d", "hf://a/../b", "hf://a/b@", "hf://a/b@../x"]
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(BadInput, match="no address"):
        parse_address(address)


def test_the_hub_is_asked_once_and_the_rows_are_read_again_offline(hub, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.token = TOKEN
    first = hub.push("acme/docs", {"train.jsonl": rows("one", "two"), "test.jsonl": rows("three")})
    source = open_source("hf://acme/docs")
    assert source.dataset.commit == first
    assert texts(source) == ["one", "two", "three"]
    asked = len(hub.requests)

    second = hub.push("acme/docs", {"train.jsonl": rows("changed")})
    again = open_source("hf://acme/docs")
    assert again.digest() == source.digest()
    go_offline(monkeypatch)
    assert texts(again) == ["one", "two", "three"]
    assert len(hub.requests) == asked

    other = open_source(f"hf://acme/docs@{second}")
    assert other.digest() != source.digest()
    assert open_source("hf://acme/docs:train").digest() != source.digest()
    with pytest.raises(BadInput, match="not on this machine"):
        texts(other)
    written = [path for path in tmp_path.parent.rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in path.read_bytes() for path in written)


def test_the_configuration_and_the_split_are_honoured(hub):
    card = b"---\nconfigs:\n- config_name: en\n  data_files: en.jsonl\n"
    card += b"- config_name: de\n  data_files: de.jsonl\n---\n"
    files = {"README.md": card, "en.jsonl": rows("english"), "de.jsonl": rows("deutsch", "zwei")}
    hub.push("acme/docs", files)
    assert texts(open_source("hf://acme/docs/de:train[:1]")) == ["deutsch"]
    with pytest.raises(BadInput, match="Config name is missing"):
        texts(open_source("hf://acme/docs"))


def test_what_the_hub_cannot_give_is_told(hub, monkeypatch):
    with pytest.raises(BadInput, match=r"no dataset hf://acme/none"):
        open_source("hf://acme/none")
    hub.token = "another"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(BadInput, match="private or gated") as caught:
        open_source("hf://acme/none")
    assert TOKEN not in caught.value.happened + caught.value.next_step
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BadInput, match="didn't say"):
        open_source("hf://acme/none")
    go_offline(monkeypatch)
    with pytest.raises(BadInput, match="HF_HUB_OFFLINE is set"):
        open_source("hf://acme/none")


def test_offline_the_commit_is_found_in_the_cache_of_hugging_face(hub, monkeypatch, tmp_path):
    refs = tmp_path / "huggingface" / "hub" / "datasets--acme--docs" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(COMMIT)
    go_offline(monkeypatch)
    assert open_source("hf://acme/docs").dataset.commit == COMMIT


def test_a_folder_of_files_and_a_saved_dataset_are_read(workshop, tmp_path):
    from datasets import Dataset, DatasetDict

    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "train.jsonl").write_bytes(rows("one", "two"))
    train, test = (Dataset.from_list([{"content": text, "n": 1}]) for text in ("three", "four"))
    DatasetDict(train=train, test=test).save_to_disk(tmp_path / "saved")
    assert texts(open_source(f"hf://{tmp_path / 'saved'}")) == ["three", "four"]
    with pytest.raises(BadInput, match="no split 'dev'") as caught:
        texts(open_source(f"hf://{tmp_path / 'saved'}:dev"))
    assert "train, test" in caught.value.next_step

    source = f"hf://{folder}"
    before = open_source(source).digest()
    _, result = workshop.make(source)
    assert {passage.text for passage in read_passages(result)} == {"one", "two"}
    assert [document.path for document in read_documents(result)] == ["doc"]
    (folder / "train.jsonl").write_bytes(rows("else"))
    assert open_source(source).digest() != before
    with pytest.raises(BadInput, match="no folder"):
        open_source(f"hf://{tmp_path / 'gone'}")


def test_a_stage_that_is_cancelled_ends_the_reading_process(hub, monkeypatch):
    hub.push("acme/docs", {"train.jsonl": rows("one")})
    source = open_source("hf://acme/docs")
    started = []
    begin = subprocess.Popen.__init__

    def note(self, *arguments, **options):
        started.append(self)
        begin(self, *arguments, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", note)

    def step(*_):
        raise Cancelled

    began = time.monotonic()
    with pytest.raises(Cancelled):
        load_dataset_rows(source, "", datasets_cache(), step)
    assert time.monotonic() - began < 5
    assert started[0].returncode is not None
    assert not list(datasets_cache().glob("*.jsonl"))


def test_a_worker_is_offline_and_remembers_what_its_user_wants(monkeypatch):
    from pipeline.corpus.hf_source import _environment

    worker = worker_environment({"PATH": "/bin"})
    assert worker["HF_HUB_OFFLINE"] == "1"
    assert _environment(worker, local=False)["HF_HUB_OFFLINE"] == ""
    assert _environment(worker, local=True)["HF_HUB_OFFLINE"] == "1"
    forbidden = worker_environment({"HF_HUB_OFFLINE": "1"})
    assert _environment(forbidden, local=False)["HF_HUB_OFFLINE"] == "1"
