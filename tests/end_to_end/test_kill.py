"""Kill -9 at a random moment of every stage, then the same command: the same result."""

import os
import random
import signal
import time
from pydoc_data.topics import topics

import pytest
from commandline import RESULTS, Cli

from pipeline.locks import holder_of, is_held

DOCUMENTS = 15
RUN = "rehearsal-topics"


@pytest.fixture(scope="module", autouse=True)
def two_threads():
    """Training computes passes side by side, and goes on bit for bit all the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "2")
        yield


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """A rehearsal over short texts, so that stages are made often: Python's own help by topic."""
    folder = tmp_path_factory.mktemp("documents") / "topics"
    folder.mkdir()
    short = [name for name, text in sorted(topics.items()) if 900 < len(text) < 3500]
    for name in short[:DOCUMENTS]:
        (folder / f"{name}.rst").write_text(topics[name])
    return ("rehearse", folder, "--set", "sdg.questions_per_document=5")


def lock_of(cli, stage):
    """The lock that a worker of the stage holds now, or None."""
    for path in (cli.run_folder(RUN) / stage).glob("*/lock"):
        if is_held(path):
            return path
    return None


def kill_worker(cli, process, stage, delay):
    """Kill the stage's worker `delay` seconds after it took its lock; False if it was quicker."""
    lock = None
    while lock is None:
        if process.poll() is not None:
            return False
        lock = lock_of(cli, stage)
        time.sleep(0.005)
    pid = holder_of(lock).pid
    time.sleep(delay)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, arguments):
    cli = Cli(tmp_path_factory.mktemp("undisturbed"))
    cli(*arguments, "--to", "export")
    return cli


def test_a_worker_killed_in_any_stage_leaves_the_same_result(undisturbed, cli, arguments):
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    killed = []
    for stage in RESULTS:
        seconds = undisturbed.done(RUN, stage)["seconds"]
        process = cli.start(*arguments, "--to", stage)
        if kill_worker(cli, process, stage, chance.uniform(0, seconds)):
            killed.append(stage)
        process.communicate(timeout=300)
        cli(*arguments, "--to", stage)
        theirs, ours = undisturbed.done(RUN, stage), cli.done(RUN, stage)
        assert ours["outputs"] == theirs["outputs"], f"{stage}, seed {seed}"
    assert killed, "no stage lived long enough to be killed"
    for stage in ("deploy", "verify"):
        process = cli.start(*arguments, "--to", stage)
        kill_worker(cli, process, stage, chance.uniform(0, 3))
        process.communicate(timeout=300)
    cli(*arguments)
    assert cli.done(RUN, "verify")["summary"]["verdict"] in ("PASS", "INCONCLUSIVE")


def test_a_killed_worker_is_recognised_and_offered_for_resume(cli, arguments):
    process = cli.start(*arguments, "--to", "corpus")
    assert kill_worker(cli, process, "corpus", 0.3)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 1
    assert "was killed" in err
    assert "Run the same command again" in err
    shown = cli("show", RUN, "--json").lines
    corpus = next(line for line in shown if line.get("stage") == "corpus")
    assert corpus["state"] == "vanished"


def test_leaving_the_command_leaves_the_worker_at_work(cli, arguments):
    process = cli.start(*arguments, "--to", "corpus")
    while lock_of(cli, "corpus") is None:
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=180)
    out = cli(*arguments, "--to", "corpus").out
    assert "corpus" in out
    assert cli.done(RUN, "corpus")["summary"]["documents"] == DOCUMENTS


def test_stop_ends_a_stage_that_then_goes_on(undisturbed):
    cli, variant = undisturbed, ("--variant", "shallow")
    again = ("run", RUN, *variant, "--set", "prep.search_depth=50", "--to", "prep")
    process = cli.start(*again)
    while lock_of(cli, "prep") is None:
        assert process.poll() is None
        time.sleep(0.005)
    out = cli("stop", RUN).out
    # On a busy machine it may load for longer than the command waits.
    assert "prep: ended" in out or "prep: still finishing its step; it ends by itself" in out
    said, _ = process.communicate(timeout=180)
    assert process.returncode == 130
    # One that doesn't look at requests in time, on a busy machine, gets a signal.
    assert "prep: cancelled" in said or "prep: terminated" in said
    shown = cli("show", RUN, *variant, "--json").lines
    assert next(s["state"] for s in shown if s.get("stage") == "prep") == "stopped"
    cli(*again)
    plan = cli("run", RUN, *variant, "--to", "prep", "--dry-run", "--json").lines
    assert {line["state"] for line in plan} == {"done"}
