"""One attempt at a job: locks, gate, GPU, the stage itself, and in the journal how it ended."""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.base_checks import require_tuning_memory
from pipeline.context import Context, Outcome
from pipeline.errors import Busy, Cancelled, Failure, Interruption, as_failure
from pipeline.files import (
    canonical_json,
    digest_file,
    digest_folder,
    digest_value,
    sweep,
    write_json,
)
from pipeline.gate import pin, read_machine, require_gpu
from pipeline.gpus import Nvml, open_nvml
from pipeline.identity import Identity
from pipeline.job import Job, plan_job
from pipeline.journal import JournalWriter
from pipeline.locks import Lock, gpu_lock
from pipeline.profiles import Profile, find_profile, profile_of
from pipeline.recipe import Recipe
from pipeline.requests import REQUESTS_NAME, Requests
from pipeline.run import FORMAT, Run
from pipeline.secrets import redact
from pipeline.status import adopt

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


def carry_out(job: Job, cache: Path, nvml: Nvml | None = None, chain: Path | None = None) -> Ended:
    """Run one stage to an ending. Its locks and heartbeat are gone when this returns.

    Args:
        job: what to do.
        cache: the machine's cache folder.
        nvml: the driver's library; None opens the real one.
        chain: the folder of the chain that the stage is done in; requests to it count, too.

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
            _take_up(job, cache)
            return Ended(0)
        held.enter_context(_heartbeat(lock))
        journal = JournalWriter(job.folder / "journal.jsonl")
        held.callback(journal.close)
        requests = Requests(job.folder / REQUESTS_NAME, journal, chain and chain / REQUESTS_NAME)
        sweep(job.folder)
        signal.signal(signal.SIGTERM, lambda *_: requests.terminate())
        code = _attempt(job, cache, journal, requests, nvml, held)
        return Ended(code, requests.leave_asked)


def _take_up(job: Job, cache: Path) -> None:
    """Make what another worker finished the current result, if the recipe still means it."""
    now = plan_job(job.run, job.variant, job.stage.name, job.options, cache).status
    if _is_own(job, now.identity):
        adopt(job.run, job.variant, now)


def _is_own(job: Job, now: Identity | None) -> bool:
    """Whether the job's result is what the run itself means now.

    A recipe that moved on meanwhile means another result; a probe of some other endpoint says
    nothing of this run's own.
    """
    return now is not None and job.status.identity == now and "url" not in job.options


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
    profile = profile_of(recipe)
    where = {"pid": os.getpid(), "host": socket.gethostname(), "rehearsal": profile.rehearsal}
    try:
        journal.write("started", **about, **where)
        _note(job.run, "started", about)
        device = _admit(profile, job, journal, held, nvml)
        context = _context(job, recipe, profile, cache, device, journal, requests)
        outcome = importlib.import_module(job.stage.entry).execute(context)
        now = _require_unchanged(job, cache)
        _finish(job, outcome, started)
        if now and _is_own(job, now):
            job.run.set_current(job.stage.name, job.variant, now.fingerprint)
    except Interruption as error:
        kind = "cancelled" if isinstance(error, Cancelled) else "terminated"
        return _end(job, journal, about, kind, INTERRUPTED_EXIT, {"safe": "What was done is kept."})
    except Exception as error:
        sys.stderr.write(_clean("".join(traceback.format_exception(error)), recipe))
        failure = as_failure(error)
        return _end(job, journal, about, "failed", failure.exit_code, sentences(failure, recipe))
    seconds = round(time.time() - started, 3)
    summary = json.loads(_clean(json.dumps(dict(outcome.summary)), recipe))
    said = {"summary": summary, "seconds": seconds, "partial": outcome.partial}
    return _end(job, journal, about, "finished", 0, said)


def _admit(
    profile: Profile, job: Job, journal: JournalWriter, held: ExitStack, nvml: Nvml | None
) -> str:
    """Check the gate and pin the GPU that passed; returns the device."""
    if not profile.gated:
        # A rehearsal runs on the CPU, wherever it is.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return "cpu"
    gpu = require_gpu(read_machine(nvml or open_nvml(), os.environ))
    if job.stage.name == "finetune":
        require_tuning_memory(profile, job.recipe, gpu)
    if job.stage.accelerated:
        held.enter_context(gpu_lock(gpu.uuid))
    os.environ.update(pin(gpu))
    journal.write("log", message=f"GPU {gpu.name} ({gpu.uuid})", level="info", gpu=gpu.uuid)
    return "cuda" if job.stage.accelerated else "cpu"


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


def sentences(failure: Failure, recipe: Recipe | None = None) -> dict[str, Any]:
    """What a journal or a log says of a failure, secrets taken out."""
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
