"""`--queries`: what a file of one's own queries does to a run."""

import json

import pytest
from commandline import Cli
from documents import write_documents
from endpoint import MODEL, ScriptedEndpoint

from pipeline.eval.sets import user_sets
from pipeline.queries import read_queries
from pipeline.run import Run

NO_CONSENT = 11


@pytest.fixture
def cli(tmp_path):
    return Cli(tmp_path / "home")


def test_queries_become_examples_and_an_eval_set_and_make_sdg_anew(cli, tmp_path):
    folder = write_documents(tmp_path / "docs")
    name = sorted(path.name for path in folder.rglob("*.md"))[0]
    log = tmp_path / "Real log.csv"
    log.write_text(f"query,document\nhow is it done,{name}\nwhat is it,gone.md\nwhy not,\n123,\n")
    said = cli("rehearse", folder, "--to", "sdg", "--queries", log).out
    assert "queries: 3 different ones of 3, 2 of them with relevant documents." in said
    assert "queries: 1 left out, without a letter (first: Real log.csv, line 5)." in said
    assert "eval set real-log: 1 queries" in said
    assert "gone.md" in said

    run = Run(cli.run_folder("rehearsal-docs"))
    assert [query.text for query in read_queries(run)] == [
        "how is it done",
        "what is it",
        "why not",
    ]
    assert run.recipe().sdg.examples == ("why not",)
    (one,) = user_sets(run)
    assert (one.name, list(one.content.queries.values())) == ("real-log", ["how is it done"])

    assert "nothing to do" in cli("sdg", run.name).out
    assert "nothing to do" in cli("sdg", run.name, "--queries", log).out
    log.write_text("why not\nhow so\n")
    assert "sdg would run again" in cli("sdg", run.name, "--queries", log, "--dry-run").out
    plan = cli("sdg", run.name, "--queries", log, "--dry-run", "--json").lines
    assert next(row for row in plan if row["type"] == "queries")["queries"] == 2
    assert len(read_queries(run)) == 3
    assert "nothing to do" not in cli("sdg", run.name, "--queries", log).out
    assert set(run.recipe().sdg.examples) == {"why not", "how so"}


def test_queries_that_an_endpoint_is_paid_for_again_need_a_yes(cli, tmp_path):
    folder = write_documents(tmp_path / "docs")
    log = tmp_path / "log.txt"
    log.write_text("why not\nhow so\n")
    with ScriptedEndpoint() as endpoint:
        settings = {
            "sdg.writer": "endpoint",
            "sdg.base_url": endpoint.base_url,
            "sdg.model": MODEL,
            "sdg.rank_with": "bm25",
        }
        words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        cli("rehearse", folder, "--to", "sdg", "--yes", *words)
        run, paid = Run(cli.run_folder("rehearsal-docs")), len(endpoint.chats())
        recipe = run.recipe_path.read_bytes()
        for command in ("corpus", "sdg"):
            refused = cli(command, run.name, "--queries", log, code=NO_CONSENT)
            assert f"{paid} calls" in refused.out
            assert "paid for anew" in refused.err
            assert "It would take: About" in refused.out
            assert not run.queries_path.exists()
            assert run.recipe_path.read_bytes() == recipe
        assert len(endpoint.chats()) == paid
        cli("sdg", run.name, "--queries", log, "--yes")
        assert len(endpoint.chats()) > paid
        assert set(run.recipe().sdg.examples) == {"why not", "how so"}
        # Nothing is to be paid for what is there already, so nobody is asked.
        assert "nothing to do" in cli("sdg", run.name, "--queries", log).out


def test_a_file_without_queries_changes_nothing(cli, tmp_path):
    folder = write_documents(tmp_path / "docs")
    cli("rehearse", folder, "--to", "corpus")
    log = tmp_path / "log.txt"
    log.write_text("1\n2\n")
    failed = cli("sdg", "rehearsal-docs", "--queries", log, "--json", code=4)
    assert "holds no query" in json.dumps(failed.lines)
    assert not Run(cli.run_folder("rehearsal-docs")).queries_path.exists()


def test_ready_passages_and_a_dataset_are_sources_of_a_command(cli, tmp_path):
    rows = "".join(
        json.dumps({"text": f"Passage {n} about part {n * 7}.", "url": f"https://x.example/{n}"})
        + "\n"
        for n in range(12)
    )
    other = tmp_path / "chunks.jsonl"
    other.write_text(rows.replace('"text"', '"inhalt"'))
    failed = cli("rehearse", other, "--to", "corpus", code=4)
    assert "name yours with corpus.text_field" in failed.err + failed.out
    cli("rehearse", other, "--to", "corpus", "--set", "corpus.text_field=inhalt")
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "train.jsonl").write_text(rows)
    cli("rehearse", f"hf://{saved}", "--to", "corpus")
    counts = {
        name: (cli.done(name, "corpus")["summary"]["source"])
        for name in ("rehearsal-chunks", "rehearsal-saved")
    }
    assert counts == {"rehearsal-chunks": "ready", "rehearsal-saved": "hf"}
    failed = cli("rehearse", "hf://acme/none", "--to", "corpus", code=4)
    assert "HF_HUB_OFFLINE is set" in failed.err + failed.out
