"""The process that executes one stage of the run in its working directory.

Started as `python -P -m pipeline.worker --stage NAME` by `pipeline.launch`. It plans the job, makes
an attempt at it, and goes on with the stages after `--then`. A hang-up means nothing to it;
SIGTERM means: checkpoint, then leave.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline import chain
from pipeline.attempt import INTERRUPTED_EXIT, carry_out, sentences
from pipeline.errors import Failure, Terminated, as_failure
from pipeline.job import plan_job
from pipeline.requests import asked_to_leave
from pipeline.run import Run, cache_home
from pipeline.stage import JOB_NAMES, STAGE_NAMES


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute one stage of the run in the working directory, and those after `--then`."""
    start = dict(os.environ)
    parsed = _parser().parse_args(arguments)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return _work(parsed, start)
    except (Failure, OSError, RuntimeError, UnicodeError) as error:
        # No journal is held now, so the log has the last word.
        failure = as_failure(error)
        sys.stderr.write(json.dumps({"type": "failed", **sentences(failure)}) + "\n")
        return failure.exit_code
    except Terminated:
        return INTERRUPTED_EXIT
    finally:
        chain.reap_group()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pipeline.worker")
    parser.add_argument("--stage", required=True, choices=JOB_NAMES)
    parser.add_argument("--variant", default="")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--then", action="append", default=[], choices=STAGE_NAMES)
    parser.add_argument("--chain", type=int, metavar="DESCRIPTOR")
    return parser


def _work(parsed: argparse.Namespace, start: Mapping[str, str]) -> int:
    run, variant, stage = Run(Path.cwd()), parsed.variant, parsed.stage
    options = dict(option.split("=", 1) for option in parsed.option)
    if parsed.chain is None and not parsed.then:
        chain.wait_for_turn(run, variant, stage)
        return carry_out(plan_job(run, variant, stage, options, cache_home()), cache_home()).code
    with chain.joined(run, variant, (stage, *parsed.then), parsed.chain) as held:
        if asked_to_leave(held.folder):
            return INTERRUPTED_EXIT
        job = plan_job(run, variant, stage, options, cache_home())
        ended = carry_out(job, cache_home(), chain=held.folder)
        if ended.code == 0 and parsed.then and not ended.leave_asked:
            held.go_on(run, variant, stage, parsed.then, start)
        return ended.code


if __name__ == "__main__":
    sys.exit(main())
