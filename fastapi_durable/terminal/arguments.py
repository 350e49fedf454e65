"""The arguments of the commands that use a console."""

import argparse
import json
from typing import Any

from fastapi_durable.model.records import Json, RunStatus
from fastapi_durable.web.bodies import attribute_filter


def describe_runs(parser: argparse.ArgumentParser) -> None:
    """Add `list`, `show`, `cancel`, `pause`, `resume`, `retry`, `signal` and `tail`."""
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")

    listing = _action(actions, "list", "list the newest runs")
    listing.add_argument("--status", action="append", choices=list(RunStatus), help="may be repeated")
    listing.add_argument("--workflow")
    listing.add_argument("--tag")
    listing.add_argument("--attr", action="append", type=_attribute, default=[], metavar="KEY:OP:VALUE")
    listing.add_argument("--namespace")
    listing.add_argument("--origin", help="the application that started the runs")
    listing.add_argument("--limit", type=_limit, default=50, help="1 to 1000 (default: 50)")

    show = _action(actions, "show", "show one run with its steps", "run_id")
    cancel = _action(actions, "cancel", "cancel a run and its children", "run_id")
    cancel.add_argument("--compensate", action="store_true", help="undo its finished steps first")
    pause = _action(actions, "pause", "hold a run; one that is being driven stops at its next call", "run_id")
    resume = _action(actions, "resume", "let a paused run continue", "run_id")
    retry = _action(actions, "retry", "continue a failed, dead or blocked run", "run_id")
    signal = _action(actions, "signal", "send a signal; the payload is JSON (default: null)", "token", "payload?")
    tail = _action(actions, "tail", "print what happens to a run until it ends, or to all until Ctrl-C", "run_id?")
    for each in (show, cancel, pause, resume, retry, signal, tail):
        each.set_defaults(limit=None)


def describe_workers(parser: argparse.ArgumentParser) -> None:
    """The command `workers` has no actions."""
    _add_common(parser, ())
    parser.set_defaults(action="workers")


def describe_queues(parser: argparse.ArgumentParser) -> None:
    """The command `queues` has no actions."""
    _add_common(parser, ())
    parser.set_defaults(action="queues")


def describe_schedules(parser: argparse.ArgumentParser) -> None:
    """Add `list`, `pause`, `resume` and `trigger`."""
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    _action(actions, "list", "list the schedules with their state")
    _action(actions, "pause", "pause a schedule: its windows start no runs", "key")
    _action(actions, "resume", "resume a schedule, from its next window on", "key")
    _action(actions, "trigger", "start a run of a schedule now", "key")


def read_words(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Assign the words of the command line to their names. The module comes first, unless `--url` replaces it."""
    names = [] if arguments.url is not None else ["target"]
    names += arguments.names
    words = list(arguments.words)
    required = [name for name in names if not name.endswith("?")]
    if not len(required) <= len(words) <= len(names):
        wanted = " ".join(name.rstrip("?").upper() if name != "target" else "MODULE:ATTRIBUTE" for name in names)
        parser.error(f"this takes {wanted or 'no words'}{' (or --url URL)' if 'target' in names else ''}")
    words += [None] * (len(names) - len(words))
    arguments.target = None
    for name, word in zip(names, words, strict=True):
        setattr(arguments, name.rstrip("?"), word)
    if "payload?" in names:
        try:
            arguments.payload = _json(arguments.payload)
        except ValueError as error:
            parser.error(f"the payload is not JSON: {error}")


def _action(actions: Any, name: str, help: str, *words: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
    _add_common(parser, words)
    return parser


def _add_common(parser: argparse.ArgumentParser, words: tuple[str, ...]) -> None:
    shown = " ".join(f"[{word[:-1].upper()}]" if word.endswith("?") else word.upper() for word in words)
    parser.add_argument(
        "words",
        nargs="*",
        metavar=f"MODULE:ATTRIBUTE {shown}".strip(),
        help="the DurableModule, for example example_app.durable:durable (left out with --url)",
    )
    parser.add_argument(
        "--url", help="address of a running console, such as https://shop.example/durable, instead of a module"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document a line, for scripts")
    parser.add_argument("--traceback", action="store_true", help="print the whole traceback of an error")
    parser.set_defaults(names=words, command=parser)


def _attribute(text: str) -> str:
    try:
        attribute_filter(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _limit(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError("a number from 1 to 1000")
    return int(text)


def _json(text: str | None) -> Json:
    return None if text is None else json.loads(text)
