"""The command `embedsmith`: what can be typed, and which module does it."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from argparse import (
    SUPPRESS,
    Action,
    ArgumentParser,
    Namespace,
    RawDescriptionHelpFormatter,
    _MutuallyExclusiveGroup,
    _SubParsersAction,
)
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.errors import Failure, as_failure
from tui.output import Output, make_output

STAGES = ("corpus", "sdg", "prep", "finetune", "eval", "export", "deploy", "verify")
"""The stages in order; a test holds it against `pipeline.stage`."""

REVIEW_ORDERS = ("queue", "document", "score", "flags")
"""The orders of reading; a test holds them against `pipeline.review.queue`."""

_HELP = {
    "corpus": "read the documents and cut them into passages",
    "sdg": "write questions about the passages and score them",
    "prep": "mine hard negatives and write the training files",
    "finetune": "train the model",
    "eval": "measure base, fine-tuned and BM25",
    "export": "write ONNX and prove that it is the same model",
    "deploy": "start a service that answers /v1/embeddings",
    "verify": "measure again through the service",
}

_EPILOGUE = """\
exit codes: 0 done, 1 a stage or verification failed, 2 wrong usage, 3 refused by the gate,
4 bad input, 5 bad recipe, 6 in use, 7 endpoint, 8 disk or permission, 9 a part is missing,
10 verification inconclusive, 11 nobody agreed that documents leave, 130 interrupted
"""

_COMMANDS = {
    "open": "tui.commands.wizard:wizard_command",
    "check": "tui.commands.check:check_command",
    "doctor": "tui.commands.doctor:doctor_command",
    "rehearse": "tui.commands.chain:rehearse_command",
    "run": "tui.commands.chain:run_command",
    "trial": "tui.commands.trial:trial_command",
    "review": "tui.commands.review:review_command",
    "runs": "tui.commands.runs:runs_command",
    "show": "tui.commands.runs:show_command",
    "stop": "tui.commands.runs:stop_command",
    "prune": "tui.commands.runs:prune_command",
} | dict.fromkeys(STAGES, "tui.commands.chain:stage_command")

EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    parser = make_parser()
    parsed = parser.parse_args(_filter_joined(sys.argv[1:] if arguments is None else arguments))
    if parsed.home:
        os.environ["EMBEDSMITH_HOME"] = str(Path(parsed.home).expanduser().resolve())
    # A line that drops ends the view, not the work.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    output = make_output(parsed.json)
    try:
        return _command(parsed.command or "open")(parsed, output)
    except (Failure, OSError, RuntimeError, UnicodeError) as error:
        failure = as_failure(error)
        output.failure(failure)
        return failure.exit_code
    except KeyboardInterrupt:
        output.say()
        output.say("Left. A stage that was running goes on; the same command attaches to it,")
        output.say("`embedsmith stop RUN` ends it.")
        return EXIT_INTERRUPTED


def _filter_joined(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--filter -flag:any` as one, which argparse takes for an option else."""
    joined: list[str] = []
    for argument in arguments:
        negated = argument.startswith("-") and not argument.startswith("--")
        if joined and joined[-1] == "--filter" and negated:
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _command(name: str) -> Callable[[Namespace, Output], int]:
    module, _, function = _COMMANDS[name].partition(":")
    command: Callable[[Namespace, Output], int] = getattr(importlib.import_module(module), function)
    return command


def make_parser() -> ArgumentParser:
    """The whole command line."""
    common = ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="speak JSON lines")
    common.add_argument("--home", metavar="FOLDER", default=SUPPRESS, help="where runs lie")
    parser = ArgumentParser(
        prog="embedsmith",
        description="Turn a folder of documents into an embedding model that retrieves them "
        "better, measured and served.",
        epilog=_EPILOGUE,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    parser.add_argument("--home", metavar="FOLDER", help="where runs lie")
    _add_window(parser)
    parser.set_defaults(json=False, run="", variant="")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def add(name: str, text: str, *parents: ArgumentParser) -> ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[common, *parents])

    window = add("open", "open the wizard, as embedsmith without a command does", _variant())
    window.add_argument("run", metavar="RUN", nargs="?", default="")
    _add_window(window)
    check = add("check", "show every GPU and check, with verdict and remedy")
    check.add_argument("--profile", default="", metavar="NAME", help="check for this base model")
    doctor = add("doctor", "look at terminal, machine and installation, each with its remedy")
    doctor.add_argument("--copy", action="store_true", help="copy the report, too")
    _add_chain(add)
    _add_stages(add)
    _add_trial(add)
    _add_review(add)
    add("runs", "list the runs")
    _add_show(add)
    stop = add("stop", "end a running stage or a service")
    stop.add_argument("run", metavar="RUN")
    stop.add_argument("service", metavar="SERVICE", nargs="?", help="a service, by name")
    how = stop.add_mutually_exclusive_group()
    for request, text in (
        ("pause", "wait until --resume"),
        ("resume", "go on after --pause"),
        ("finish", "end training now and keep the best"),
    ):
        how.add_argument(
            f"--{request}", dest="request", action="store_const", const=request, help=text
        )
    prune = add("prune", "show what can be made again, and remove it with --yes")
    prune.add_argument("run", metavar="RUN", nargs="?")
    prune.add_argument("--yes", action="store_true", help="remove it")
    prune.add_argument(
        "--vectors", type=int, metavar="GB", help="cached vectors to keep; what was used last stays"
    )
    _check_unused(commands)
    return parser


class _Version(Action):
    """Looks the version up only where it is asked for: that takes as long as the parser."""

    def __call__(self, parser: ArgumentParser, *_: object, **__: object) -> None:
        from importlib.metadata import version

        print(version("embedsmith"))
        parser.exit()


def _check_unused(commands: _SubParsersAction[ArgumentParser]) -> None:
    assert set(commands.choices) == set(_COMMANDS), "every command has a parser and a function"


def _add_window(parser: ArgumentParser) -> None:
    """What the wizard may be told; a subcommand leaves what was said before it."""
    top = parser.prog == "embedsmith"
    for option, text in (
        ("--ascii", "draw with ASCII signs alone"),
        ("--no-mouse", "leave the mouse to the terminal"),
    ):
        parser.add_argument(
            option, action="store_true", default=False if top else SUPPRESS, help=text
        )
    parser.add_argument(
        "--theme", metavar="NAME", default="" if top else SUPPRESS, help="colours, by name"
    )


def _variant() -> ArgumentParser:
    parent = ArgumentParser(add_help=False)
    parent.add_argument("--variant", default="", metavar="NAME", help="work on a variant")
    return parent


def _settings() -> ArgumentParser:
    parent = ArgumentParser(add_help=False, parents=[_variant()])
    parent.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a setting, such as finetune.epochs=2",
    )
    parent.add_argument("--dry-run", action="store_true", help="say what would be done")
    return parent


def _add_yes(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--yes",
        action="store_true",
        help="agree that documents leave for the endpoint, and to paying anew for --queries",
    )


def _add_target(parser: ArgumentParser | _MutuallyExclusiveGroup) -> None:
    parser.add_argument(
        "--target",
        dest="wanted",
        type=_positive,
        default=0,
        metavar="N",
        help="ask until N questions pass, or sdg.calls_max is reached",
    )


def _add_further(parser: ArgumentParser) -> None:
    """Another go at what a result lacks; what was paid stays paid."""
    more = parser.add_mutually_exclusive_group()
    more.add_argument(
        "--top-up",
        action="store_true",
        help="one round more, about the documents that came out empty or short alone",
    )
    _add_target(more)
    parser.add_argument(
        "--feedback",
        action="store_true",
        help="with --top-up: tell the writer what people rejected, and why; never a test question",
    )
    parser.add_argument(
        "--retry-parked",
        action="store_true",
        help="ask once more for questions whose replies were damaged, for those alone",
    )


def _add_queries(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--queries", metavar="FILE", help="queries of your own: a log, CSV or JSON lines"
    )


def _add_chain(add: Callable[..., ArgumentParser]) -> None:
    rehearse = add("rehearse", "run the whole chain on this machine's CPU", _settings())
    rehearse.add_argument("source", metavar="FOLDER", nargs="?", help="documents of your own")
    rehearse.add_argument("--documents", type=_positive, default=0, metavar="N")
    run = add("run", "run the whole chain, doing only what is stale", _settings())
    run.add_argument("source", metavar="FOLDER", help="documents, a BEIR folder, or a run's name")
    run.add_argument("--profile", default="", metavar="NAME", help="the base model, or its folder")
    run.add_argument("--from-run", metavar="RUN", help="keep its replies, decisions and folds")
    run.add_argument("--from", dest="first", choices=STAGES, metavar="STAGE")
    for parser in (rehearse, run):
        _add_yes(parser)
        _add_queries(parser)
        _add_target(parser)
        parser.add_argument("--name", default="", help="the run's name")
        parser.add_argument("--to", dest="last", choices=STAGES, metavar="STAGE")


def _add_stages(add: Callable[..., ArgumentParser]) -> None:
    for name in STAGES:
        parser = add(name, _HELP[name], _settings())
        parser.add_argument("run", metavar="RUN")
        if name in ("corpus", "sdg"):
            _add_queries(parser)
            _add_yes(parser)
        if name == "sdg":
            _add_further(parser)
        if name == "prep":
            parser.add_argument(
                "--preview",
                action="store_true",
                help="show how scores lie and what each mining rule would leave; prepares nothing",
            )
        if name == "eval":
            parser.add_argument(
                "--eval-set",
                dest="eval_sets",
                action="append",
                metavar="PATH",
                help="queries of your own, in BEIR form",
            )
        if name == "verify":
            parser.add_argument("--url", metavar="URL", help="another endpoint than the run's")


def _add_trial(add: Callable[..., ArgumentParser]) -> None:
    trial = add("trial", "write questions about a few documents and show them", _settings())
    trial.add_argument("run", metavar="RUN")
    # `--documents` of the chain is the pilot slice; this one changes no recipe.
    trial.add_argument("--documents", dest="trial_documents", type=_positive, metavar="N")
    _add_yes(trial)


def _add_review(add: Callable[..., ArgumentParser]) -> None:
    review = add("review", "list samples, and accept, reject or edit them", _variant())
    review.add_argument("run", metavar="RUN")
    review.add_argument("samples", metavar="SAMPLE", nargs="*")
    action = review.add_mutually_exclusive_group()
    for name, text in (
        ("accept", "keep these samples"),
        ("reject", "drop these samples"),
        ("clear", "take the decision on these samples back"),
        ("skip", "mark these samples as seen, without a decision"),
        ("undo", "take the last action back"),
        ("redo", "do it again"),
    ):
        action.add_argument(f"--{name}", dest="action", action="store_const", const=name, help=text)
    action.add_argument("--threshold", type=float, metavar="SCORE", help="move the threshold")
    action.add_argument("--edit", metavar="QUESTION", help="another wording for one sample")
    review.add_argument("--reason", default="", help="why, with --reject")
    review.add_argument(
        "--filter",
        metavar="QUERY",
        help="list what matches, such as 'score<6.5 -flag:any retry'; with --accept or --reject "
        "decide on all of it as one action",
    )
    review.add_argument(
        "--order", default="queue", choices=REVIEW_ORDERS, help="of the list; default: queue"
    )
    review.add_argument(
        "--audit", action="store_true", help="show how far the reading is, and what it tells"
    )
    review.add_argument("--histogram", action="store_true", help="show how the scores lie")
    review.add_argument("--dry-run", action="store_true", help="say what would be decided")


def _add_show(add: Callable[..., ArgumentParser]) -> None:
    show = add("show", "show where a run stands, and its report", _variant())
    show.add_argument("run", metavar="RUN")
    only = show.add_mutually_exclusive_group()
    only.add_argument("--recipe", action="store_true", help="print every setting instead")
    only.add_argument(
        "--metrics",
        choices=("markdown", "csv", "json"),
        help="print the table of metrics instead",
    )
    only.add_argument("--misses", action="store_true", help="print what the model misses instead")
    only.add_argument(
        "--snippet",
        choices=("curl", "python", "reindex"),
        help="print how the endpoint is called instead",
    )
    show.add_argument("--eval-set", default="", metavar="NAME", help="of this set, with --misses")
    show.add_argument("--k", type=_positive, default=10, metavar="K", help="rank, with --misses")
    show.add_argument("--limit", type=_positive, default=20, metavar="N", help="with --misses")


def _positive(text: str) -> int:
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise ValueError(text)


if __name__ == "__main__":
    sys.exit(main())
