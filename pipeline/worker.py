"""The process that executes one stage of the run in its working directory.

Started as `python -P -m pipeline.worker --stage NAME` by `pipeline.launch`. It takes its
locks, checks the gate, pins the GPU, runs the stage, and says in the journal how it ended.
A hang-up means nothing to it; SIGTERM means: checkpoint, then leave.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.context import Context, Outcome
from pipeline.errors import (
    BadInput,
    Busy,
    Cancelled,
    Failure,
    Interruption,
    Terminated,
    as_failure,
)
from pipeline.files import (
    canonical_json,
    digest_file,
    digest_folder,
    digest_value,
    sweep,
    write_json,
)
from pipeline.gate import Nvml, open_nvml, pin, read_machine, require_gpu
from pipeline.journal import JournalWriter
from pipeline.launch import log_path, open_log, worker_command
from pipeline.locks import Lock, gpu_lock
from pipeline.profiles import Profile, find_profile
from pipeline.recipe import Recipe
from pipeline.requests import Requests
from pipeline.run import FORMAT, Result, Run, cache_home
from pipeline.secrets import redact
from pipeline.stage import (
    JOB_NAMES,
    STAGE_NAMES,
    Identity,
    Stage,
    Status,
    adopt,
    folder_of,
    job_statuses,
)

HEARTBEAT_SECONDS = 5.0
"""How often a worker shows that it is alive."""

INTERRUPTED_EXIT = 130
"""The exit code after a cancel or SIGTERM."""

_VERSIONED = ("torch", "transformers", "faiss", "onnx", "onnxruntime", "openai")


class JournalEvents:
    """A stage's events, written into its journal."""

    def __init__(self, journal: JournalWriter) -> None:
        self._journal = journal
        self._last_progress = 0.0

    def progress(self, done: int, total: int, what: str) -> None:
        """Write at most ten a second, and always the last one."""
        now = time.monotonic()
        if 0 < total <= done or now - self._last_progress >= 0.1:
            self._last_progress = now
            self._journal.write("progress", done=done, total=total, what=what)

    def metric(self, **values: float | int | str) -> None:
        """Write numbers of one moment."""
        self._journal.write("metric", **values)

    def log(self, message: str, *, level: str = "info") -> None:
        """Write one line for a person."""
        self._journal.write("log", message=redact(message, os.environ), level=level)

    def artifact(self, path: str, what: str) -> None:
        """Say that a file is finished."""
        self._journal.write("artifact", path=path, what=what)

    def resumed(self, **where: float | int | str) -> None:
        """Say where work goes on."""
        self._journal.write("resumed", **where)


@dataclass(frozen=True)
class Job:
    """One stage of one run, with everything that its worker needs to know.

    Attributes:
        run: the run folder.
        variant: the variant's name, or empty.
        status: the stage and what its result will be made from.
        recipe: the settings, variant applied, as they were when the job was planned.
        inputs: the results of the stages that it needs.
        options: what this call asked for beyond the recipe.
    """

    run: Run
    variant: str
    status: Status
    recipe: Recipe
    inputs: Mapping[str, Result]
    options: Mapping[str, str]

    @property
    def stage(self) -> Stage:
        """The stage."""
        return self.status.stage

    @property
    def folder(self) -> Path:
        """Where the result, its journal and its lock lie."""
        return folder_of(self.run, self.variant, self.status)


def plan_job(run: Run, variant: str, stage: str, options: Mapping[str, str], cache: Path) -> Job:
    """What a worker for `stage` would do now.

    Raises:
        BadInput: an earlier stage has to run first.
    """
    recipe = run.recipe(variant)
    statuses = job_statuses(run, variant, stage, cache, options, recipe)
    status = statuses[-1]
    if status.identity is None and status.state not in ("done", "running") and stage != "deploy":
        raise _not_yet(stage, status.reason)
    if stage == "deploy" and status.reason.endswith("comes first"):
        raise _not_yet(stage, status.reason)
    results = {earlier.stage.name: earlier.result for earlier in statuses}
    inputs = {name: result for name in status.stage.needs if (result := results[name])}
    return Job(run, variant, status, recipe, inputs, options)


def _not_yet(stage: str, reason: str) -> BadInput:
    return BadInput(
        f"{stage} can't start: {reason}.",
        safe="What was made so far is kept.",
        next_step="Run the whole chain with `embedsmith run`, or the missing stage by its name.",
    )


@dataclass(frozen=True)
class Ended:
    """How a job ended.

    Attributes:
        code: the exit code.
        leave_asked: whether somebody asked for the end meanwhile, in time or too late.
    """

    code: int
    leave_asked: bool = False


def execute(job: Job, cache: Path, nvml: Nvml | None = None) -> int:
    """Run one stage to an ending; returns the exit code. See `carry_out`."""
    return carry_out(job, cache, nvml).code


def carry_out(job: Job, cache: Path, nvml: Nvml | None = None) -> Ended:
    """Run one stage to an ending. Locks and heartbeat are gone when this returns.

    Args:
        job: what to do.
        cache: the machine's cache folder.
        nvml: the driver's library; None opens the real one.

    Raises:
        Busy: another worker holds the result.
    """
    if job.status.state == "done":
        adopt(job.run, job.variant, job.status)
        return Ended(0)
    with ExitStack() as held:
        lock = held.enter_context(Lock(job.folder / "lock", f"The {job.stage.name} result"))
        # Between planning and locking another worker may have finished it.
        if (job.folder / "done.json").is_file():
            return Ended(0)
        held.enter_context(_heartbeat(lock))
        journal = JournalWriter(job.folder / "journal.jsonl")
        held.callback(journal.close)
        requests = Requests(job.folder / "requests.jsonl", journal)
        sweep(job.folder)
        signal.signal(signal.SIGTERM, lambda *_: requests.terminate())
        code = _attempt(job, cache, journal, requests, nvml, held)
        return Ended(code, requests.leave_asked)


def _attempt(
    job: Job,
    cache: Path,
    journal: JournalWriter,
    requests: Requests,
    nvml: Nvml | None,
    held: ExitStack,
) -> int:
    started = time.time()
    about = {"stage": job.stage.name, "variant": job.variant, "result": job.folder.name}
    recipe = job.recipe
    profile = find_profile(recipe.profile)
    where = {"pid": os.getpid(), "host": socket.gethostname(), "rehearsal": profile.rehearsal}
    try:
        journal.write("started", **about, **where)
        _note(job.run, "started", about)
        device = _admit(profile, job.stage, journal, held, nvml)
        context = _context(job, recipe, profile, cache, device, journal, requests)
        outcome = importlib.import_module(job.stage.entry).execute(context)
        now = _require_unchanged(job, cache)
        _finish(job, outcome, started)
        # A recipe that moved on meanwhile means another result by now; a probe of some other
        # endpoint says nothing of this run's own.
        if now and job.status.identity == now and "url" not in job.options:
            job.run.set_current(job.stage.name, job.variant, now.fingerprint)
    except Interruption as error:
        kind = "cancelled" if isinstance(error, Cancelled) else "terminated"
        return _end(job, journal, about, kind, INTERRUPTED_EXIT, {"safe": "What was done is kept."})
    except Exception as error:
        sys.stderr.write(_clean("".join(traceback.format_exception(error)), recipe))
        failure = as_failure(error)
        return _end(job, journal, about, "failed", failure.exit_code, _sentences(failure, recipe))
    seconds = round(time.time() - started, 3)
    summary = json.loads(_clean(json.dumps(dict(outcome.summary)), recipe))
    said = {"summary": summary, "seconds": seconds, "partial": outcome.partial}
    return _end(job, journal, about, "finished", 0, said)


def _admit(
    profile: Profile, stage: Stage, journal: JournalWriter, held: ExitStack, nvml: Nvml | None
) -> str:
    """Check the gate and pin the GPU that passed; returns the device."""
    if not profile.gated:
        # A rehearsal runs on the CPU, wherever it is.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return "cpu"
    gpu = require_gpu(read_machine(nvml or open_nvml(), os.environ))
    if stage.accelerated:
        held.enter_context(gpu_lock(gpu.uuid))
    os.environ.update(pin(gpu))
    journal.write("log", message=f"GPU {gpu.name} ({gpu.uuid})", level="info", gpu=gpu.uuid)
    return "cuda" if stage.accelerated else "cpu"


def _context(
    job: Job,
    recipe: Recipe,
    profile: Profile,
    cache: Path,
    device: str,
    journal: JournalWriter,
    requests: Requests,
) -> Context:
    return Context(
        run=job.run,
        recipe=recipe,
        profile=profile,
        variant=job.variant,
        folder=job.folder,
        inputs=job.inputs,
        events=JournalEvents(journal),
        control=requests,
        device=device,
        cache=cache,
        options=job.options,
    )


def _finish(job: Job, outcome: Outcome, started: float) -> None:
    """Write `done.json`, the last file of a result."""
    identity = job.status.identity
    if identity is None:
        return
    outputs: dict[str, str] = {}
    for name in outcome.outputs:
        path = job.folder / name
        if path.is_dir():
            inner = digest_folder(path)
            outputs |= {f"{name}/{entry}": digest for entry, digest in inner.items()}
        else:
            outputs[name] = digest_file(path)
    write_json(
        job.folder / "done.json",
        {
            "format": FORMAT,
            "stage": identity.stage,
            "identity": {
                "version": identity.version,
                "settings": dict(identity.settings),
                "inputs": dict(identity.inputs),
            },
            "outputs": outputs,
            "digest": digest_value(outputs),
            "origin": "imported" if outcome.imported else "made",
            "partial": outcome.partial,
            "rehearsal": find_profile(job.recipe.profile).rehearsal,
            "summary": dict(outcome.summary),
            "started": round(started, 3),
            "finished": round(time.time(), 3),
            "seconds": round(time.time() - started, 3),
            "versions": _versions(),
        },
    )


def _sentences(failure: Failure, recipe: Recipe | None = None) -> dict[str, Any]:
    return {
        "happened": _clean(failure.happened, recipe),
        "safe": failure.safe,
        "next": _clean(failure.next_step, recipe),
        "exit_code": failure.exit_code,
        "remedy": dict(failure.remedy),
    }


def _clean(text: str, recipe: Recipe | None) -> str:
    return redact(text, os.environ, (recipe.sdg.key_variable,) if recipe else ())


_CHANGE_MEANWHILE = ("source", "kept", "sets")
"""Inputs that people change while a stage reads them: documents, decisions, eval sets."""


def _require_unchanged(job: Job, cache: Path) -> Identity | None:
    """What was read has to be what the result will be known by.

    Returns:
        What a worker that started now would make.

    Raises:
        Busy: an input changed since the worker planned its work.
    """
    before = job.status.identity
    after = plan_job(job.run, job.variant, job.stage.name, job.options, cache).status.identity
    if before is None or after is None:
        return after
    for name in _CHANGE_MEANWHILE:
        if before.inputs.get(name) != after.inputs.get(name):
            raise Busy(
                f"{name} changed while {job.stage.name} was reading it.",
                safe="Everything finished before is kept; this attempt is not counted.",
                next_step="Run the same command again: it starts from what is there now.",
            )
    return after


def _versions() -> dict[str, str]:
    loaded = {name: sys.modules.get(name) for name in _VERSIONED}
    found = {name: str(getattr(m, "__version__", "")) for name, m in loaded.items() if m}
    return found | {"python": sys.version.split()[0]}


def _end(
    job: Job,
    journal: JournalWriter,
    about: Mapping[str, Any],
    kind: str,
    code: int,
    said: Mapping[str, Any],
) -> int:
    """Say in both journals how it ended. On a full disk the log alone has it."""
    try:
        journal.write(kind, **about, **said)
        _note(job.run, kind, {**about, "exit_code": code})
    except OSError as error:
        sys.stderr.write(f"the journal can't be written: {error}\n")
        sys.stderr.write(canonical_json({"type": kind, **said}) + "\n")
    return code


def _note(run: Run, kind: str, about: Mapping[str, Any]) -> None:
    """Append to the run's own journal, which several workers may write."""
    with Lock(run.path / "events.lock", "The run's journal").held(patience=10.0):
        journal = JournalWriter(run.events_path)
        journal.write(kind, **about)
        journal.close()


@contextmanager
def _heartbeat(lock: Lock) -> Iterator[None]:
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(HEARTBEAT_SECONDS):
            lock.beat()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _go_on(
    run: Run, variant: str, ended: str, then: Sequence[str], start: Mapping[str, str]
) -> None:
    """Become the worker of the next stage: the same process, as if it had just been started.

    Args:
        run: the run.
        variant: the variant's name, or empty.
        ended: the stage that ended.
        then: the stages still to come, one at least.
        start: the environment that this worker was started with.

    Raises:
        OSError: the next log can't be written.
    """
    _reap_group()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if _logs_to(log_path(run, ended)):
        with open_log(run, then[0]) as log:
            os.dup2(log.fileno(), sys.stdout.fileno())
            os.dup2(log.fileno(), sys.stderr.fileno())
    # Whatever a library left open, such as a GPU's device file, ends with this stage.
    for entry in list(Path("/proc/self/fd").iterdir()):
        if int(entry.name) > 2:
            with suppress(OSError):
                os.set_inheritable(int(entry.name), False)
    command = worker_command(then[0], variant, {}, then[1:])
    os.execve(command[0], command, dict(start))


def _logs_to(path: Path) -> bool:
    """Whether standard error goes into this file."""
    try:
        return os.path.samestat(os.fstat(sys.stderr.fileno()), path.stat())
    except OSError:
        return False


def _reap_group() -> None:
    """End whatever this worker started in its own process group."""
    if os.getpgid(0) == os.getpid():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with suppress(ProcessLookupError):
            os.killpg(0, signal.SIGTERM)


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute one stage of the run in the working directory, and those after `--then`."""
    start = dict(os.environ)
    parser = argparse.ArgumentParser(prog="pipeline.worker")
    parser.add_argument("--stage", required=True, choices=JOB_NAMES)
    parser.add_argument("--variant", default="")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--then", action="append", default=[], choices=STAGE_NAMES)
    parsed = parser.parse_args(arguments)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    options = dict(option.split("=", 1) for option in parsed.option)
    try:
        run = Run(Path.cwd())
        job = plan_job(run, parsed.variant, parsed.stage, options, cache_home())
        ended = carry_out(job, cache_home())
        if ended.code == 0 and parsed.then and not ended.leave_asked:
            _go_on(run, parsed.variant, parsed.stage, parsed.then, start)
        return ended.code
    except (Failure, OSError, RuntimeError, UnicodeError) as error:
        # No journal is held now, so the log has the last word.
        failure = as_failure(error)
        sys.stderr.write(json.dumps({"type": "failed", **_sentences(failure)}) + "\n")
        return failure.exit_code
    except Terminated:
        return INTERRUPTED_EXIT
    finally:
        _reap_group()


if __name__ == "__main__":
    sys.exit(main())
