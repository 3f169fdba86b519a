"""Before and beside `sdg`: the recorded yes, the estimate, and the trial, at the command line."""

import json
import os
import pty
import select
import subprocess
import time

import pytest
from commandline import COMMAND, Cli
from documents import WORDS
from endpoint import MODEL, ScriptedEndpoint

RUN = "rehearsal-documents"
NO_CONSENT = 11


@pytest.fixture
def cli(tmp_path):
    return Cli(tmp_path / "home")


@pytest.fixture
def documents(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(5):
        words = " ".join(f"word{number}x{n}" for n in range(40))
        (folder / f"{number}.md").write_text(f"# Part {number}\n\n{words}. {WORDS}")
    return folder


@pytest.fixture
def endpoint():
    with ScriptedEndpoint() as server:
        yield server


def asking(endpoint):
    settings = ("sdg.writer=endpoint", f"sdg.base_url={endpoint.base_url}", f"sdg.model={MODEL}")
    settings += ("sdg.rank_with=bm25",)
    return [word for setting in settings for word in ("--set", setting)]


def of_kind(done, kind):
    return [line for line in done.lines if line["type"] == kind]


def test_without_a_yes_it_is_said_what_would_leave_and_no_worker_starts(cli, documents, endpoint):
    done = cli("rehearse", documents, "--to", "sdg", *asking(endpoint), code=NO_CONSENT)
    host = endpoint.base_url.split("/")[2]
    assert f"of 5 documents (5 passages) go to {host} on this machine" in done.out
    assert "--yes" in done.err
    assert endpoint.requests == []
    run = cli.run_folder(RUN)
    assert not (run / "sdg").exists()
    assert (run / "corpus").is_dir(), "what came before is done"


def test_a_yes_is_shown_recorded_and_asked_for_once(cli, documents, endpoint):
    cli("rehearse", documents, "--to", "corpus")
    done = cli("sdg", RUN, "--yes", *asking(endpoint))
    assert "Before the first call: up to" in done.out
    (line,) = (cli.run_folder(RUN) / "sdg" / "consents.jsonl").read_text().splitlines()
    assert json.loads(line)["host"] == endpoint.base_url.split("/")[2]
    paid = len(endpoint.chats())
    assert paid > 0
    again = cli("sdg", RUN, "--set", "sdg.temperature=0.2")
    assert "Before the first call" not in again.out
    assert len(endpoint.chats()) > paid


def test_programs_are_told_what_would_leave_and_never_asked(cli, documents, endpoint):
    cli("rehearse", documents, "--to", "corpus")
    done = cli("sdg", RUN, "--json", *asking(endpoint), code=NO_CONSENT)
    (leaving,) = of_kind(done, "leaving")
    assert (leaving["documents"], leaving["loopback"]) == (5, True)
    assert of_kind(done, "failure")[0]["exit_code"] == NO_CONSENT


@pytest.mark.parametrize(("key", "code"), [("y", 0), ("n", NO_CONSENT), ("", NO_CONSENT)])
def test_a_person_at_a_terminal_is_asked(cli, documents, endpoint, key, code):
    cli("rehearse", documents, "--to", "corpus")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "sdg", RUN, *asking(endpoint)],
        env=cli.environment | {"TERM": "xterm"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    seen, until = b"", time.monotonic() + 30
    while b"[y/N]" not in seen:
        assert time.monotonic() < until, seen
        if select.select([master], [], [], 0.2)[0]:
            seen += os.read(master, 4096)
    assert endpoint.requests == []
    os.write(master, key.encode() + b"\n")
    while process.poll() is None:
        assert time.monotonic() < until, seen
        if select.select([master], [], [], 0.1)[0]:
            try:
                seen += os.read(master, 4096)
            except OSError:
                break
    assert process.wait(10) == code, seen
    assert bool(endpoint.chats()) is (code == 0)
    os.close(master)


def test_the_estimate_is_shown_after_the_corpus_and_by_a_dry_run(cli, documents, endpoint):
    cli("rehearse", documents, "--to", "corpus")
    assert "written offline: no call" in cli("corpus", RUN).out
    (found,) = of_kind(cli("sdg", RUN, "--dry-run", "--json", *asking(endpoint)), "estimate")
    assert endpoint.requests == []
    cli("sdg", RUN, "--yes", *asking(endpoint))
    assert found["calls"] == len(endpoint.chats())
    assert found["questions"] == cli.done(RUN, "sdg")["summary"]["asked"]
    assert found["minutes"] >= 0


def test_a_trial_shows_old_and_new_questions_about_the_same_documents(cli, documents, endpoint):
    cli("rehearse", documents, "--to", "corpus")
    first = cli("trial", RUN, "--yes", "--documents", "2", "--json", *asking(endpoint))
    assert {row["which"] for row in of_kind(first, "trial_sample")} == {"now"}
    paid = len(endpoint.chats())
    guided = ("trial", RUN, "--documents", "2", "--set", "sdg.audience=people on call")
    second = cli(*guided, "--json")
    now, before = of_kind(second, "trial")
    assert (now["audience"], before["audience"]) == ("people on call", "")
    assert now["documents"] == before["documents"]
    assert len(now["documents"]) == 2
    rows = of_kind(second, "trial_sample")
    assert {row["which"] for row in rows} == {"now", "before"}
    assert {row["document"] for row in rows} == set(now["documents"])
    assert len(endpoint.chats()) > paid
    paid = len(endpoint.chats())
    shown = cli(*guided).out
    assert len(endpoint.chats()) == paid, "a trial that was made is only shown"
    assert "guidance: audience: people on call" in shown
    assert "before  guidance: none" in shown


def test_a_trial_offline_needs_no_yes_and_the_corpus_first(cli, documents):
    cli("rehearse", documents, "--to", "corpus")
    assert "now " in cli("trial", RUN).out
    for path in cli.run_folder(RUN).glob("corpus/*/done.json"):
        path.unlink()
    assert "comes first" in cli("trial", RUN, code=4).err


def test_a_trial_is_planned_without_changing_anything(cli, documents):
    cli("rehearse", documents, "--to", "corpus")
    recipe = cli.run_folder(RUN) / "recipe.toml"
    before = recipe.read_text()
    assert "new" in cli("trial", RUN, "--dry-run", "--set", "sdg.audience=x").out
    assert recipe.read_text() == before
    assert not (cli.run_folder(RUN) / "trial").exists()


def test_an_address_that_is_none_spoils_no_corpus(cli, documents):
    cli("rehearse", documents, "--to", "corpus")
    bad = ("--set", "sdg.writer=endpoint", "--set", "sdg.base_url=nowhere")
    assert "no estimate" in cli("corpus", RUN, *bad).out
    assert "sdg.base_url" in cli("sdg", RUN, "--yes", code=7).err
