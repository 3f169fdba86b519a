"""A worker between two stages: `stop`, `prune`, a second `run` and the wizard see it."""

import signal
import threading
import time

import pytest
from documents import write_documents
from piloted import drive, screen_text, until

from pipeline.attempt import execute
from pipeline.chain import held_chains, joined
from pipeline.job import plan_job
from pipeline.locks import Lock
from pipeline.profiles import REHEARSAL_PROFILE, find_profile
from pipeline.requests import asked_to_leave
from pipeline.run import cache_home, create_run, home
from tui.cli import main


@pytest.fixture
def run(tmp_path):
    source = write_documents(tmp_path / "documents")
    profile = find_profile(REHEARSAL_PROFILE)
    hang_up = signal.getsignal(signal.SIGHUP)
    yield create_run(home() / "pilot", profile, {"corpus.source": str(source)}, "test")
    signal.signal(signal.SIGHUP, hang_up)


def between(run, *stages, until):
    """Hold the chain as a worker between two stages does, until something is so."""
    held = joined(run, "", stages)
    chain = held.__enter__()

    def wait():
        end = time.monotonic() + 20
        while not until(chain) and time.monotonic() < end:
            time.sleep(0.02)
        held.__exit__(None, None, None)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_stop_ends_a_chain_between_two_stages(run, capsys):
    thread = between(run, "sdg", until=lambda chain: asked_to_leave(chain.folder))
    assert main(["stop", run.name]) == 0
    assert "between two stages: ended" in capsys.readouterr().out
    thread.join()
    assert main(["stop", run.name]) == 4


def test_a_pause_waits_for_the_stage_that_begins(run, capsys):
    execute(plan_job(run, "", "corpus", {}, cache_home()), cache_home())
    job = plan_job(run, "", "sdg", {}, cache_home())
    job.folder.mkdir(parents=True)
    (job.folder / "journal.jsonl").touch()
    lock = Lock(job.folder / "lock", "a test")
    done = threading.Event()
    thread = between(run, "sdg", until=lambda _: done.is_set())
    begins = threading.Timer(0.3, lock.take)
    begins.start()
    assert main(["stop", run.name, "--pause"]) == 0
    assert "sdg: asked to pause" in capsys.readouterr().out
    assert '"pause"' in (job.folder / "requests.jsonl").read_text()
    done.set()
    thread.join()
    lock.release()


def test_a_chain_that_begins_nothing_cannot_be_paused(run, capsys):
    started = time.monotonic()
    thread = between(run, "sdg", until=lambda _: time.monotonic() > started + 0.5)
    assert main(["stop", run.name, "--pause"]) == 4
    assert "has begun" in capsys.readouterr().err
    thread.join()


def test_nothing_is_pruned_while_a_chain_goes_on(run, capsys):
    with joined(run, "", ("sdg",)):
        assert main(["prune", run.name, "--yes"]) == 0
    assert "a stage is running" in capsys.readouterr().out


def test_a_second_run_begins_nothing_that_a_chain_is_about_to_begin(run, capsys):
    started = time.monotonic()
    seen = []

    def long_enough(_):
        seen.append(any(run.attempts("corpus")))
        return time.monotonic() > started + 1.5

    thread = between(run, "corpus", "sdg", until=long_enough)
    assert main(["run", run.name, "--to", "corpus"]) == 0
    thread.join()
    assert "corpus: process" in (out := capsys.readouterr().out)
    assert "corpus: done" in out
    assert not any(seen), "nobody began it meanwhile"
    assert held_chains(run) == []


def at_train(make_wizard, run, script):
    wizard = make_wizard(run=run)

    async def ready(pilot):
        await until(pilot, lambda: getattr(wizard.screen, "STEP", ""))
        wizard.open_step("train")
        await until(pilot, lambda: getattr(wizard.screen, "STEP", "") == "train")
        await until(pilot, lambda: wizard.screen.stands and wizard.starting("finetune"))
        await script(pilot, wizard)

    drive(wizard, ready)


def test_the_wizards_stop_ends_a_chain_between_two_stages(run, make_wizard):
    thread = between(run, "finetune", "eval", until=lambda chain: asked_to_leave(chain.folder))

    async def script(pilot, wizard):
        assert "Stop" in screen_text(wizard)
        await pilot.press("x")
        await until(pilot, lambda: "Asked to end before the next stage" in screen_text(wizard))
        await until(pilot, lambda: not wizard.starting("finetune"))
        assert wizard.jobs.idle
        wizard.request("cancel", "finetune")
        assert "Nothing is running here" in wizard.notice[0]

    at_train(make_wizard, run, script)
    thread.join()


def test_the_wizards_pause_waits_for_the_stage_that_begins(run, make_wizard):
    execute(plan_job(run, "", "corpus", {}, cache_home()), cache_home())
    job = plan_job(run, "", "sdg", {}, cache_home())
    job.folder.mkdir(parents=True)
    (job.folder / "journal.jsonl").touch()
    lock, done = Lock(job.folder / "lock", "a test"), threading.Event()
    thread = between(run, "sdg", "finetune", until=lambda _: done.is_set())

    async def script(pilot, wizard):
        wizard.request("pause", "sdg")
        assert "The next stage is beginning" in wizard.notice[0]
        lock.take()
        await until(pilot, lambda: "sdg: asked to pause" in screen_text(wizard))

    at_train(make_wizard, run, script)
    assert '"pause"' in (job.folder / "requests.jsonl").read_text()
    done.set()
    thread.join()
    lock.release()
