"""What `runs` and its subcommands take."""

import argparse
import json
from collections.abc import Callable
from typing import Any

from fastapi_durable.model import AttributeFilter, Json, RunQuery, RunStatus
from fastapi_durable.web.schemas import attribute_filter

AddTarget = Callable[[argparse.ArgumentParser], None]


def describe_runs(parser: argparse.ArgumentParser, add_target: AddTarget) -> None:
    """Add `list`, `show`, `cancel`, `retry`, `signal` and `tail`."""
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")

    listing = _action(actions, "list", add_target, "the newest runs")
    listing.add_argument("--status", action="append", choices=list(RunStatus), help="may be repeated")
    listing.add_argument("--workflow")
    listing.add_argument("--tag")
    listing.add_argument("--attr", action="append", type=_attribute, default=[], metavar="KEY:OP:VALUE")
    listing.add_argument("--namespace")
    listing.add_argument("--limit", type=_limit, default=50, help="1 to 1000 (default: 50)")

    show = _action(actions, "show", add_target, "one run with its steps")
    show.add_argument("run_id")

    cancel = _action(actions, "cancel", add_target, "cancel a run and its children")
    cancel.add_argument("run_id")
    cancel.add_argument("--compensate", action="store_true", help="undo its finished steps first")

    retry = _action(actions, "retry", add_target, "let a failed, dead or blocked run go on")
    retry.add_argument("run_id")

    signal = _action(actions, "signal", add_target, "send a signal")
    signal.add_argument("token")
    signal.add_argument("payload", nargs="?", type=_json, help="JSON (default: null)")

    tail = _action(actions, "tail", add_target, "print what happens to a run until it ends, or to all until Ctrl-C")
    tail.add_argument("run_id", nargs="?")


def query_of(arguments: argparse.Namespace) -> RunQuery:
    """The query that `list` was asked for."""
    return RunQuery(
        statuses=None if arguments.status is None else frozenset(RunStatus(each) for each in arguments.status),
        workflow=arguments.workflow,
        tag=arguments.tag,
        attributes=tuple(arguments.attr),
        namespace=arguments.namespace,
        limit=arguments.limit,
    )


def _action(actions: Any, name: str, add_target: AddTarget, help: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
    add_target(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document a line, for scripts")
    return parser


def _attribute(text: str) -> AttributeFilter:
    try:
        return attribute_filter(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _limit(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError("a number from 1 to 1000")
    return int(text)


def _json(text: str) -> Json:
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
