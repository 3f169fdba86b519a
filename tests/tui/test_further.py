"""Another go at what a result lacks, at the command line: who is asked again, and what it takes."""

import json

import pytest
from commandline import Cli
from endpoint import MODEL, Answer, ScriptedEndpoint

from pipeline.review.decisions import Action
from pipeline.review.log import append_decision
from pipeline.run import Run
from pipeline.sdg.records import read_samples

RUN = "rehearsal-documents"
BAD_INPUT, BAD_RECIPE = 4, 5


@pytest.fixture
def cli(tmp_path):
    return Cli(tmp_path / "home")


@pytest.fixture
def endpoint():
    with ScriptedEndpoint() as server:
        yield server


@pytest.fixture
def asked(cli, tmp_path, endpoint):
    """A run whose first document got an invented question, and its second an unreadable reply."""
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(5):
        words = " ".join(f"word{number}x{n}" for n in range(60))
        (folder / f"{number}.md").write_text(f"# Part {number}\n\nAbout part {number}: {words}.")
    invented = {
        "slot": 0,
        "question": "What is invented?",
        "answer": "All.",
        "evidence": [{"chunk": "c1", "quote": "words that stand nowhere at all"}],
    }
    endpoint.script(Answer(content=json.dumps({"pairs": [invented]})), Answer(content="no JSON"))
    settings = {
        "sdg.writer": "endpoint",
        "sdg.base_url": endpoint.base_url,
        "sdg.model": MODEL,
        "sdg.rank_with": "bm25",
        "sdg.concurrency": 1,
        "sdg.attempts": 1,
        "sdg.price_in": 10_000,
        # One question a document, from plain evidence: which it is doesn't matter here.
        "sdg.threshold": 0,
    }
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    done = cli("rehearse", folder, "--to", "sdg", "--yes", *words)
    return Run(cli.run_folder(RUN)), done


def of_kind(done, kind):
    return [line for line in done.lines if line["type"] == kind]


def test_before_the_yes_stand_findings_and_cost_and_behind_it_the_funnel(asked, cli, endpoint):
    _, done = asked
    before, _, after = done.out.partition("Agreed")
    assert "No suspected secrets or personal data" in before
    assert "It would take: About 5 questions in 10 calls" in before
    assert "a cost of" in before
    assert "questions 5 asked, 4 answered, 4 written, 3 checked" in after
    assert "empty     2 of 5 documents" in after
    assert "1 ungrounded" in after
    assert f"spent     generate  {MODEL}: 5 calls, 500 tokens sent" in after
    assert "--top-up" in after
    assert "--retry-parked" in after
    paid = sum(r.path.endswith("completions") for r in endpoint.requests)
    shown = cli("show", RUN, "--json")
    (cost,) = [line["cost"] for line in of_kind(shown, "spent")]
    assert cost == pytest.approx(paid * 100 * 10_000 / 1e6)
    assert len(of_kind(shown, "document_funnel")) == 5


def test_only_what_is_parked_is_asked_for_again(asked, cli, endpoint):
    before = len(endpoint.chats())
    done = cli("sdg", RUN, "--retry-parked")
    assert "1 parked questions are asked for again" in done.out
    assert [r.purpose for r in endpoint.chats()[before:]] == ["generate", "judge"]
    again = cli("sdg", RUN, "--retry-parked")
    assert "no question is parked" in again.out
    assert len(endpoint.chats()) == before + 2


def test_a_top_up_names_its_documents_and_calls_and_tells_what_was_rejected(asked, cli, endpoint):
    run, _ = asked
    samples = [s for s in read_samples(run.current("sdg").folder) if s.role != "test"]
    kept = next(s for s in samples if not any(f.blocking for f in s.flags))
    reject = Action("reject", (kept.id,), reason="generic")
    run.decisions_path.parent.mkdir(parents=True)
    append_decision(run.decisions_path, reject)
    before = len(endpoint.chats())
    command = ("sdg", RUN, "--top-up", "--feedback", "--json")
    planned = cli(*command, "--dry-run")
    (row,) = of_kind(planned, "top_up")
    assert (row["round"], row["questions"], row["calls"], len(row["documents"])) == (2, 2, 4, 2)
    assert run.recipe().sdg.rounds == 1, "a dry run changes nothing"
    assert len(endpoint.chats()) == before
    cli(*command)
    fresh = endpoint.chats()[before:]
    assert len(fresh) == 4
    told = [r.body["messages"][1]["content"] for r in fresh if r.purpose == "generate"]
    assert all(f"{kept.question} (too generic)" in each for each in told)
    assert run.recipe().sdg.rounds == 2
    assert run.recipe().sdg.avoid == (f"2: {kept.question} (too generic)",)
    done = cli("sdg", RUN, "--top-up")
    assert "nothing to top up" in done.out
    assert len(endpoint.chats()) == before + 4


def test_what_cannot_be_topped_up_is_said(asked, cli, endpoint):
    before = len(endpoint.chats())
    assert "goes with --top-up" in cli("sdg", RUN, "--feedback", code=BAD_RECIPE).err
    done = cli("sdg", RUN, "--target", "2")
    assert len(endpoint.chats()) == before, "what is there is enough"
    assert "the target of 2 is" in done.out
    assert "--target N" in cli("sdg", RUN, "--top-up", code=BAD_RECIPE).err


def test_there_has_to_be_something_to_top_up(cli, tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "0.md").write_text("# One\n\n" + "Some words of a document. " * 20)
    cli("rehearse", folder, "--to", "corpus")
    assert "has no questions yet" in cli("sdg", RUN, "--top-up", code=BAD_INPUT).err


def test_help_says_what_the_options_do(cli):
    said = " ".join(cli("sdg", "--help").out.split())
    assert "about the documents that came out empty or short alone" in said
    assert "ask until N questions pass" in said
    assert "--retry-parked" in said
