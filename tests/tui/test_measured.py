"""`show RUN` with one thing alone: the table, the misses, a snippet."""

import csv
import io
import json

import pytest
from measured import ranked_set, write_evaluation

from pipeline.deploy.records import ServiceRecord, write_service
from pipeline.files import write_json
from pipeline.profiles import REHEARSAL_PROFILE, find_profile
from pipeline.report import build_report
from pipeline.run import FORMAT, create_run, home
from tui.cli import main

PLACES = {"q-good": (4, 1, 1), "q-lost": (1, None, 2), "q-never": (None, None, None)}


@pytest.fixture
def run():
    """A run that was measured, and has a service that is not there any more."""
    run = create_run(home() / "one", find_profile(REHEARSAL_PROFILE), {}, "test")
    folder = run.result_folder("eval", "f0")
    own = ranked_set({f"{query}-own": ranks for query, ranks in PLACES.items()})
    write_evaluation(folder, {"synthetic": ranked_set(PLACES), "mine": own})
    done = {"format": FORMAT, "digest": "d", "summary": {}, "origin": "made", "partial": False}
    write_json(folder / "done.json", {**done, "finished": 0.0, "seconds": 0.0})
    run.set_current("eval", "", "f0")
    url = "http://127.0.0.1:8123"
    record = ServiceRecord("local", "local", url, "m", "d", "i", "h", 1, "", "log", 0.0)
    write_service(run.service_path("local"), record)
    return run


def shown(capsys, *arguments, code=0):
    assert main(["show", "one", *arguments]) == code
    said = capsys.readouterr()
    return said.err if code else said.out


def test_the_table_alone_is_printed_in_the_form_that_was_asked_for(run, capsys):
    text = shown(capsys, "--metrics", "markdown")
    assert text.startswith("## Metrics on mine")
    assert text.index("## Metrics on synthetic") > 0
    rows = list(csv.DictReader(io.StringIO(shown(capsys, "--metrics", "csv"))))
    assert {row["set"] for row in rows} == {"mine", "synthetic"}
    assert float(rows[0]["finetuned"]) == pytest.approx(1 / 3)
    document = json.loads(shown(capsys, "--metrics", "json"))
    assert [each["name"] for each in document["sets"]] == ["mine", "synthetic"]
    lines = [json.loads(line) for line in shown(capsys, "--metrics", "csv", "--json").splitlines()]
    assert [(line["type"], line["name"]) for line in lines] == [
        ("metrics", "mine"),
        ("metrics", "synthetic"),
    ]


def test_the_misses_of_the_leading_set_or_of_another(run, capsys):
    text = shown(capsys, "--misses")
    assert text.startswith("mine: 2 of 3 queries have no relevant passage in the first 10; for 1")
    assert text.index("q-lost-own  What is q-lost-own?") < text.index("q-never-own")
    assert "  rank: base 1, fine-tuned not found, BM25 2" in text
    assert "  wanted p-q-lost-own: About p-q-lost-own." in text
    assert "  1. 1.0000 p-other-00: About p-other-00." in text
    few = shown(capsys, "--misses", "--eval-set", "synthetic", "--k", "3", "--limit", "1")
    assert "synthetic: 2 of 3" in few
    assert "1 that the base misses are found now" in few
    assert "1 more; --limit N shows more of them." in few
    assert "q-never" not in few
    *misses, last = map(json.loads, shown(capsys, "--misses", "--json").splitlines())
    assert [miss["query"] for miss in misses] == ["q-lost-own", "q-never-own"]
    assert (last["type"], last["misses"], last["wins"]) == ("misses", 2, 0)


def test_the_report_holds_the_same_tables_and_sentences(run, capsys):
    tables = shown(capsys, "--metrics", "markdown").strip()
    assert tables in build_report(run, "").text
    assert "Too few queries for a verdict, 50 are the least: nDCG@10" in tables


@pytest.mark.parametrize("name", ["curl", "python", "reindex"])
def test_a_snippet_is_printed_for_the_service(run, capsys, name):
    text = shown(capsys, "--snippet", name)
    assert ("384" if name == "reindex" else "http://127.0.0.1:8123/v1") in text


def test_what_is_not_there_is_said_with_the_way_to_it(run, capsys):
    said = shown(capsys, "--misses", "--eval-set", "nothing", code=4)
    assert "mine" in said
    run.service_path("local").unlink()
    assert "embedsmith deploy one" in shown(capsys, "--snippet", "curl", code=4)
    (run.path / "eval" / "current.json").unlink()
    assert "--to eval" in shown(capsys, "--metrics", "csv", code=4)


@pytest.mark.parametrize("arguments", [("--metrics", "xml"), ("--misses", "--recipe")])
def test_wrong_usage_ends_with_2(run, capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(["show", "one", *arguments])
    assert caught.value.code == 2


def test_a_rehearsals_machine_needs_no_gpu(capsys):
    assert main(["check", "--profile", REHEARSAL_PROFILE]) == 0
    assert "weights: all-MiniLM-L6-v2 (rehearsal): 92 MB" in capsys.readouterr().out
