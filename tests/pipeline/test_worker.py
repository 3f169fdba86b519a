"""The worker: gate, locks, endings, and what a user is told."""

import errno
import json
import os
import subprocess
import sys
import time

import pytest
from documents import WORDS, write_documents
from fake_nvml import FakeNvml, h200, t4

from pipeline import attempt
from pipeline.attempt import INTERRUPTED_EXIT, carry_out, execute
from pipeline.chain import held_chains
from pipeline.errors import Busy, SystemRefusal, as_failure
from pipeline.job import plan_job
from pipeline.journal import read_journal
from pipeline.launch import LocalLauncher, log_path
from pipeline.locks import Lock, holder_of, is_held
from pipeline.profiles import REHEARSAL_PROFILE, find_profile, weights_folder
from pipeline.requests import ask
from pipeline.run import cache_home, change_recipe, create_run
from pipeline.sdg.trial import list_trials
from pipeline.status import folder_of, status_of_run, trial_status
from pipeline.worker import main


@pytest.fixture
def documents(tmp_path):
    return write_documents(tmp_path / "documents")


@pytest.fixture
def run(tmp_path, documents):
    profile = find_profile(REHEARSAL_PROFILE)
    return create_run(tmp_path / "run", profile, {"corpus.source": str(documents)}, "test")


@pytest.fixture
def gated_run(tmp_path, documents):
    """The rehearsal's weights as a folder: a profile like any other, so it is gated."""
    profile = find_profile(str(weights_folder(find_profile(REHEARSAL_PROFILE))))
    overrides = {"corpus.source": str(documents), "corpus.tokenizer": REHEARSAL_PROFILE}
    return create_run(tmp_path / "gated", profile, overrides, "test")


def job_of(run, stage="corpus"):
    return plan_job(run, "", stage, {}, cache_home())


def test_a_stage_ends_in_a_result_that_says_what_it_was_made_from(run):
    job = job_of(run)
    assert execute(job, cache_home()) == 0
    done = json.loads((job.folder / "done.json").read_text())
    assert done["rehearsal"] is True
    assert done["identity"]["settings"]["corpus.passage_tokens"] == 160
    assert set(done["outputs"]) >= {"documents.jsonl", "passages.jsonl"}
    assert run.current("corpus").fingerprint == job.folder.name
    kinds = [event.type for event in read_journal(job.folder / "journal.jsonl")]
    assert (kinds[0], kinds[-1]) == ("started", "finished")
    assert [e.type for e in read_journal(run.events_path)] == ["started", "finished"]


def test_a_finished_result_is_never_made_again(run):
    job = job_of(run)
    execute(job, cache_home())
    before = (job.folder / "done.json").stat().st_mtime_ns
    assert execute(job_of(run), cache_home()) == 0
    assert (job.folder / "done.json").stat().st_mtime_ns == before


def test_a_gated_profile_is_refused_without_a_gpu_that_passes(gated_run):
    job = job_of(gated_run)
    assert execute(job, cache_home(), FakeNvml(t4())) == 3
    (failed,) = [e for e in read_journal(job.folder / "journal.jsonl") if e.type == "failed"]
    assert failed.data["exit_code"] == 3
    assert "embedsmith rehearse" in failed.data["next"]
    assert not (job.folder / "done.json").exists()


def test_a_gated_profile_runs_where_a_gpu_passes_and_is_pinned_to_it(gated_run, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    job = job_of(gated_run)
    assert execute(job, cache_home(), FakeNvml(t4(), h200(uuid="GPU-big"))) == 0
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-big"


def test_the_gate_opens_for_nothing_but_a_gpu(gated_run):
    """No variable that looks like a switch has a say, and the real driver is asked."""
    environment = os.environ | {
        "EMBEDSMITH_HOME": str(gated_run.path.parent),
        "EMBEDSMITH_GATE": "0",
        "EMBEDSMITH_SKIP_GATE": "1",
        "EMBEDSMITH_REHEARSAL": "1",
    }
    worker = LocalLauncher(environment).start(gated_run, "corpus", "", {})
    while worker.exit_code() is None:
        time.sleep(0.05)
    assert worker.exit_code() == 3


def test_a_second_worker_on_the_same_result_is_refused_and_told_who_is_there(run):
    job = job_of(run)
    lock = Lock(job.folder / "lock", "The corpus result")
    with lock, pytest.raises(Busy, match=f"process {os.getpid()}"):
        execute(job, cache_home())
    assert not (job.folder / "journal.jsonl").exists()


def test_a_full_disk_is_said_and_nothing_finished_is_lost(run, tmp_path):
    """A worker on a file system of one megabyte, in a mount namespace of its own."""
    big = tmp_path / "documents" / "big.md"
    big.write_text("# Big\n\n" + "\n\n".join(f"Part {n}. {WORDS}" * 12 for n in range(2500)))
    script = (
        f"mount -t tmpfs -o size=1m none {tmp_path}/small && cp -r {run.path}/. {tmp_path}/small "
        f"&& cd {tmp_path}/small && {sys.executable} -P -m pipeline.worker --stage corpus; "
        f'code=$?; tail -n 3 "{tmp_path}"/small/corpus/*/journal.jsonl; exit $code'
    )
    (tmp_path / "small").mkdir()
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("this machine allows no mount namespace")
    assert done.returncode == SystemRefusal.exit_code, done.stderr
    assert "The disk is full" in done.stdout + done.stderr
    assert "Free some space" in done.stdout + done.stderr


def test_every_failure_has_three_sentences():
    for error in (OSError(errno.ENOSPC, "full"), PermissionError("no"), RuntimeError("oops")):
        failure = as_failure(error)
        assert failure.happened
        assert failure.safe
        assert failure.next_step


def test_a_secret_in_an_error_never_reaches_the_journal(run, monkeypatch, documents):
    monkeypatch.setenv("NVIDIA_API_KEY", "nvapi-very-secret")
    job = job_of(run)
    (job.folder.parent / job.folder.name).mkdir(parents=True)
    (job.folder / "documents.jsonl").mkdir()  # the stage can't replace a folder by its file
    assert execute(job, cache_home()) != 0
    assert "nvapi-very-secret" not in (job.folder / "journal.jsonl").read_text()


def test_a_document_that_changes_while_it_is_read_makes_no_result(run, documents):
    job = job_of(run)
    (documents / "0.md").write_text("# Another\n\n" + WORDS * 20)
    assert execute(job, cache_home()) == Busy.exit_code
    assert not (job.folder / "done.json").exists()
    assert execute(job_of(run), cache_home()) == 0


def test_a_result_that_another_worker_finished_meanwhile_becomes_the_current_one(run):
    planned = job_of(run)
    execute(job_of(run), cache_home())
    (run.path / "corpus" / "current.json").unlink()
    assert execute(planned, cache_home()) == 0
    assert run.current("corpus").fingerprint == planned.folder.name


def test_a_result_that_the_recipe_no_longer_means_does_not_become_the_current_one(run):
    planned = job_of(run)
    execute(job_of(run), cache_home())
    change_recipe(run, {"corpus.passage_tokens": 100}, "test")
    execute(job_of(run), cache_home())
    assert execute(planned, cache_home()) == 0
    assert run.current("corpus").fingerprint != planned.folder.name


def test_the_current_result_follows_a_recipe_that_goes_back(run):
    first = job_of(run)
    execute(first, cache_home())

    change_recipe(run, {"corpus.passage_tokens": 100}, "test")
    second = job_of(run)
    execute(second, cache_home())
    assert run.current("corpus").fingerprint == second.folder.name != first.folder.name
    change_recipe(run, {"corpus.passage_tokens": 160}, "test")
    execute(job_of(run), cache_home())
    assert run.current("corpus").fingerprint == first.folder.name
    assert second.folder.is_dir(), "the other result is kept"


def test_stale_says_which_setting_changed(run):
    execute(job_of(run), cache_home())

    change_recipe(run, {"corpus.passage_tokens": 100}, "test")
    status = status_of_run(run, "", cache_home())[0]
    assert status.state == "stale"
    assert status.reason == "corpus.passage_tokens changed from 160 to 100"
    assert folder_of(run, "", status).name == status.identity.fingerprint


def test_stale_says_that_guidance_came_and_went(run):
    execute(job_of(run), cache_home())
    plain = job_of(run, "sdg")
    execute(plain, cache_home())
    change_recipe(run, {"sdg.audience": "engineers"}, "test")
    status = status_of_run(run, "", cache_home())[1]
    assert status.reason == "sdg.audience changed from nothing to engineers"
    execute(job_of(run, "sdg"), cache_home())
    change_recipe(run, {"sdg.audience": ""}, "test")
    assert job_of(run, "sdg").folder == plain.folder
    (plain.folder / "done.json").rename(plain.folder / "done.away")
    (plain.folder / "journal.jsonl").unlink()
    status = status_of_run(run, "", cache_home())[1]
    assert status.reason == "sdg.audience changed from engineers to nothing"


def test_a_trial_is_done_by_a_worker_and_is_no_link_of_the_chain(run):
    assert trial_status(run, "", cache_home()).state == "waiting"
    execute(job_of(run), cache_home())
    assert trial_status(run, "", cache_home()).state == "new"
    job = plan_job(run, "", "trial", {"documents": "2"}, cache_home())
    assert execute(job, cache_home()) == 0
    assert job.folder.parent == run.path / "trial"
    assert trial_status(run, "", cache_home(), {"documents": "2"}).state == "done"
    assert trial_status(run, "", cache_home()).state == "stale", "three documents are others"
    states = [status.state for status in status_of_run(run, "", cache_home())]
    assert states[:3] == ["done", "new", "waiting"]
    change_recipe(run, {"sdg.audience": "engineers"}, "test")
    assert trial_status(run, "", cache_home(), {"documents": "2"}).state == "stale"
    guided = plan_job(run, "", "trial", {"documents": "2"}, cache_home())
    execute(guided, cache_home())
    trials = list_trials(run)
    assert [trial.folder for trial in trials] == [guided.folder, job.folder]
    assert [trial.guidance.audience for trial in trials] == ["engineers", ""]
    now, before = trials
    assert now.documents() == before.documents()
    assert set(now.by_document()) == {document.id for document in now.documents()}
    assert sum(map(len, now.by_document().values())) == len(list(now.samples())) > 0


def waited(worker, seconds=60):
    """The exit code of a worker."""
    until = time.monotonic() + seconds
    while worker.exit_code() is None:
        assert time.monotonic() < until, worker.log.read_text()
        time.sleep(0.05)
    return worker.exit_code()


def launched(run, stage, then):
    return LocalLauncher(os.environ).start(run, stage, "", {}, then)


def stages_of(run):
    return [(e.data["stage"], e.type) for e in read_journal(run.events_path)]


def test_one_process_goes_on_with_the_next_stage_and_nothing_is_held_over(run):
    started = launched(run, "corpus", ("sdg",))
    assert waited(started) == 0
    assert stages_of(run) == [(s, t) for s in ("corpus", "sdg") for t in ("started", "finished")]
    pids = set()
    for stage in ("corpus", "sdg"):
        result = run.current(stage)
        events = read_journal(result.folder / "journal.jsonl")
        pids |= {e.data["pid"] for e in events if e.type == "started"}
        assert not is_held(result.folder / "lock")
        assert log_path(run, stage).read_text().count("--- ") == 1, "each in its own log"
    assert pids == {started.pid}
    assert not held_chains(run)


def test_a_chain_is_held_from_its_first_stage_to_its_last_between_them_too(run):
    worker = launched(run, "corpus", ("sdg",))
    until = time.monotonic() + 30
    while not held_chains(run):
        assert time.monotonic() < until, worker.log.read_text()
    gaps = 0
    while not (last := list((run.path / "sdg").glob("*/done.json"))):
        assert held_chains(run) or list((run.path / "sdg").glob("*/done.json"))
        holder = holder_of(run.chain_path("") / "lock")
        assert holder is None or holder.pid == worker.pid
        assert worker.exit_code() is None
        gaps += run.current("corpus") is not None and not any(
            is_held(folder / "lock") for name in ("corpus", "sdg") for folder in run.attempts(name)
        )
    assert waited(worker) == 0
    assert gaps, "between the stages nothing else was locked"
    assert len(last) == 1


def test_a_chain_that_was_asked_to_end_between_two_stages_begins_no_other(run, monkeypatch):
    execute(job_of(run), cache_home())
    monkeypatch.chdir(run.path)
    monkeypatch.setattr("pipeline.chain.reap_group", lambda: None)
    lock = Lock(run.chain_path("") / "lock", "a test")
    with lock:
        ask(run.chain_path(""), "cancel")
        inherited = os.dup(lock.hand_over())
        code = main(["--chain", str(inherited), "--stage", "sdg", "--then", "prep"])
        assert code == INTERRUPTED_EXIT
    assert not (run.path / "sdg").exists()
    assert waited(launched(run, "sdg", ("corpus",))) == 0, "the request was to the earlier chain"


def test_a_request_between_two_stages_reaches_the_stage_that_begins(run):
    execute(job_of(run), cache_home())
    chain = run.chain_path("")
    chain.mkdir(parents=True)
    ask(chain, "cancel")
    job = job_of(run, "sdg")
    ended = carry_out(job, cache_home(), chain=chain)
    assert (ended.code, ended.leave_asked) == (INTERRUPTED_EXIT, True)
    assert read_journal(job.folder / "journal.jsonl")[-1].type == "cancelled"


def test_a_variant_has_one_chain_at_a_time(run):
    with Lock(run.chain_path("") / "lock", "The row of stages"):
        worker = launched(run, "corpus", ("sdg",))
        assert waited(worker) == Busy.exit_code
        assert f"process {os.getpid()}" in worker.log.read_text()
    assert stages_of(run) == []


def test_a_stage_that_is_done_is_passed_over(run):
    execute(job_of(run), cache_home())
    execute(job_of(run, "sdg"), cache_home())
    before = stages_of(run)
    assert waited(launched(run, "corpus", ("sdg",))) == 0
    assert stages_of(run) == before


def test_a_failed_stage_ends_the_chain(run, documents):
    for path in documents.iterdir():
        path.write_bytes(b"\0" * 50)
    assert waited(launched(run, "corpus", ("sdg",))) == 4
    assert {stage for stage, _ in stages_of(run)} <= {"corpus"}
    assert not (run.path / "sdg").exists()


def test_a_cancelled_stage_ends_the_chain(run):
    change_recipe(run, {"sdg.questions_per_document": 10_000}, "test")
    worker = launched(run, "corpus", ("sdg", "prep"))
    until = time.monotonic() + 30
    while not (working := [f for f in run.attempts("sdg") if is_held(f / "lock")]):
        assert time.monotonic() < until, worker.log.read_text()
        time.sleep(0.01)
    assert not is_held(run.current("corpus").folder / "lock"), "the first one's lock is free"
    ask(working[0], "cancel")
    code = waited(worker)
    assert code in (0, INTERRUPTED_EXIT)
    assert not (run.path / "prep").exists(), "cancel ends the chain, in time or too late"


def test_the_next_stage_starts_as_if_it_had_been_launched(run, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.chdir(run.path)
    monkeypatch.setattr("pipeline.chain.reap_group", lambda: None)
    became = []
    monkeypatch.setattr(os, "execve", lambda *arguments: became.append(arguments))
    assert main(["--stage", "corpus", "--option", "x=y", "--then", "sdg", "--then", "prep"]) == 0
    ((program, command, environment),) = became
    assert program == sys.executable
    assert command[-3:] == ["--stage", "sdg", "--then=prep"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "", "the rehearsal's worker hid the GPUs"
    assert environment["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_a_stop_that_comes_too_late_for_a_stage_still_ends_the_chain(run, monkeypatch):
    monkeypatch.chdir(run.path)
    monkeypatch.setattr("pipeline.chain.reap_group", lambda: None)
    became = []
    monkeypatch.setattr(os, "execve", lambda *arguments: became.append(arguments))
    finish = attempt._finish

    def late(job, outcome, started):
        finish(job, outcome, started)
        ask(job.folder, "cancel")

    monkeypatch.setattr(attempt, "_finish", late)
    assert main(["--stage", "corpus", "--then", "sdg"]) == 0
    assert run.current("corpus") is not None
    assert became == []
