"""The command line: `python -m fastapi_durable init | schema | worker | check | runs | workers | queues | schedules`.

Each subcommand is a pair of functions: one describes its arguments, one does the work and returns the exit code.
The work imports what it needs itself, so that a command is quick and a broken application does not break the others.
"""

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fastapi_durable.module import DurableModule
from fastapi_durable.schema import PROVIDERS, PrismaSyntaxError, missing_from, read_schema, snippet
from fastapi_durable.terminal.printable import printable

if TYPE_CHECKING:
    from fastapi_durable.terminal.command import Act


# Commands of `prisma-inprocess`, which read their own arguments.
_OF_THE_CLIENT = {
    "generate": "write the client of a schema",
    "migrate": "apply, write and inspect migrations: deploy, status, dev, diff, resolve, reset",
    "db": "push or pull a schema without migrations",
    "validate": "check a schema",
    "format": "format a schema",
}


class _Work(Protocol):
    def __call__(self, arguments: argparse.Namespace) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code: 0 for success, 1 for a finding, 2 for wrong usage."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words and words[0] in _OF_THE_CLIENT:
        from prisma_inprocess.__main__ import main as run_client_command

        return run_client_command(words, prog="fastapi-durable")
    arguments = command_line().parse_args(words)
    work: _Work = arguments.work
    return work(arguments)


def command_line() -> argparse.ArgumentParser:
    """Return the parser of all commands; those of the client read their own arguments."""
    parser = argparse.ArgumentParser(prog="fastapi-durable", description="Durable workflows for FastAPI, on Prisma.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _describe_init(commands)
    _describe_schema(commands)
    _describe_worker(commands)
    _describe_check(commands)
    _describe_runs(commands)
    _describe_workers(commands)
    _describe_queues(commands)
    _describe_schedules(commands)
    for name, says in _OF_THE_CLIENT.items():
        commands.add_parser(name, help=says)
    return parser


def _describe_init(commands: "argparse._SubParsersAction[Any]") -> None:
    parser = commands.add_parser(
        "init",
        help="write what a project needs: schema.prisma, main.py, .env, .gitignore",
        description="Write the files that a new project needs, or what an existing project lacks. Existing "
        "content stays as it is.",
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), help="the project's folder (default: this one)")
    parser.add_argument("--database", choices=PROVIDERS, help="database of a new schema (default: sqlite)")
    parser.add_argument(
        "--with", dest="extra", choices=["docker"], help="add a Dockerfile and a compose.yaml: web, worker, PostgreSQL"
    )
    parser.set_defaults(work=_init)


def _init(arguments: argparse.Namespace) -> int:
    from fastapi_durable.terminal.project.init import InitError, prepare, report, write

    folder = arguments.folder.resolve()
    try:
        changes = prepare(folder, arguments.database, docker=arguments.extra == "docker")
        write(changes)
    except InitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(report(changes, folder))
    return 0


def _describe_schema(commands: "argparse._SubParsersAction[Any]") -> None:
    parser = commands.add_parser(
        "schema",
        help="print the durable models, or check a schema.prisma for them",
        description="Print the durable models to paste into your schema.prisma, or list what a schema lacks.",
    )
    parser.add_argument(
        "--provider", choices=PROVIDERS, help="database (default: sqlite; with --check: the schema's own)"
    )
    parser.add_argument("--check", type=Path, metavar="PATH", help="schema file, or folder of .prisma files, to check")
    parser.set_defaults(work=_schema)


def _schema(arguments: argparse.Namespace) -> int:
    if arguments.check is None:
        print(snippet(arguments.provider or "sqlite"), end="")
        return 0
    try:
        schema = read_schema(arguments.check)
    except (OSError, UnicodeDecodeError, PrismaSyntaxError) as error:
        print(f"cannot read {arguments.check}: {error}", file=sys.stderr)
        return 2
    problems = missing_from(schema, arguments.provider)
    for problem in problems:
        print(problem)
    if problems:
        return 1
    print(f"{arguments.check} has everything that fastapi_durable needs")
    return 0


def _describe_worker(commands: "argparse._SubParsersAction[Any]") -> None:
    parser = commands.add_parser(
        "worker",
        help="run a worker: drive runs in a process without a web server",
        description="Drive the runs of a DurableModule until SIGTERM or Ctrl-C. Before it stops, the worker "
        "waits until its runs reach a checkpoint. A second signal ends the process at once.",
    )
    _add_target(parser)
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="log level of the worker's messages, unless the application configures logging (default: info)",
    )
    parser.add_argument(
        "--health-port", type=int, metavar="PORT", help="port that answers GET /health/live, /health/ready and /metrics"
    )
    parser.add_argument(
        "--health-host", default="127.0.0.1", metavar="HOST", help="address of that port (default: 127.0.0.1)"
    )
    parser.set_defaults(work=_worker)


def _worker(arguments: argparse.Namespace) -> int:
    from fastapi_durable.standalone import drive

    def set_up_logging_and_drive(module: DurableModule) -> int:
        # Does nothing if the application has set up logging while it was imported.
        logging.basicConfig(level=arguments.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        port: int | None = arguments.health_port
        with asyncio.Runner(loop_factory=_quickest_loop()) as runner:
            return runner.run(drive(module, health=None if port is None else (arguments.health_host, port)))

    return _with_module(arguments, set_up_logging_and_drive)


def _quickest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the factory of uvloop, which uvicorn uses if it is installed; None: asyncio's own."""
    try:
        new_loop: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    except ImportError:
        return None
    return new_loop


def _describe_check(commands: "argparse._SubParsersAction[Any]") -> None:
    parser = commands.add_parser(
        "check",
        help="check whether a module can start: options, dependencies, database, tables",
        description="Start a DurableModule without its worker, report what was found, and stop.",
    )
    _add_target(parser)
    parser.set_defaults(work=_check)


def _check(arguments: argparse.Namespace) -> int:
    from fastapi_durable.standalone import examine

    def print_findings(module: DurableModule) -> int:
        for line in asyncio.run(examine(module)):
            print(line)
        return 0

    return _with_module(arguments, print_findings)


def _describe_runs(commands: "argparse._SubParsersAction[Any]") -> None:
    from fastapi_durable.terminal.arguments import describe_runs

    parser = commands.add_parser(
        "runs",
        help="inspect and manage runs: list, show, cancel, retry, signal, tail",
        description="Inspect and manage the runs of a DurableModule in its store, or of a running console. "
        "No run is driven.",
    )
    describe_runs(parser)
    parser.set_defaults(work=_runs)


def _describe_workers(commands: "argparse._SubParsersAction[Any]") -> None:
    from fastapi_durable.terminal.arguments import describe_workers

    parser = commands.add_parser(
        "workers", help="list the live workers", description="List the live workers with their load."
    )
    describe_workers(parser)
    parser.set_defaults(work=_upkeep)


def _describe_queues(commands: "argparse._SubParsersAction[Any]") -> None:
    from fastapi_durable.terminal.arguments import describe_queues

    parser = commands.add_parser(
        "queues",
        help="list the queues: limits, driven runs, waiting runs",
        description="List the queues with their limits, the runs that are driven, and the runs that wait.",
    )
    describe_queues(parser)
    parser.set_defaults(work=_upkeep)


def _describe_schedules(commands: "argparse._SubParsersAction[Any]") -> None:
    from fastapi_durable.terminal.arguments import describe_schedules

    parser = commands.add_parser(
        "schedules",
        help="inspect and manage schedules: list, pause, resume, trigger",
        description="Inspect and manage the schedules of a DurableModule.",
    )
    describe_schedules(parser)
    parser.set_defaults(work=_upkeep)


def _runs(arguments: argparse.Namespace) -> int:
    from fastapi_durable.terminal.runs import act

    return _over_the_api(act, arguments)


def _upkeep(arguments: argparse.Namespace) -> int:
    from fastapi_durable.terminal.upkeep import act

    return _over_the_api(act, arguments)


def _over_the_api(act: "Act", arguments: argparse.Namespace) -> int:
    from fastapi_durable.terminal.arguments import read_words
    from fastapi_durable.terminal.command import carry_out

    read_words(arguments.command, arguments)
    if arguments.target is None:
        return _explaining(lambda: carry_out(act, None, arguments), arguments)
    return _with_module(arguments, lambda module: carry_out(act, module, arguments))


def _with_module(arguments: argparse.Namespace, work: Callable[[DurableModule], int]) -> int:
    from fastapi_durable.standalone import load_module

    return _explaining(lambda: work(load_module(arguments.target)), arguments)


def _explaining(work: Callable[[], int], arguments: argparse.Namespace) -> int:
    from fastapi_durable.standalone import TargetError, explained

    try:
        return work()
    except TargetError as error:
        print(printable(str(error)), file=sys.stderr)
        return 2
    except Exception as error:
        print(printable(explained(error, whole=arguments.traceback)), file=sys.stderr)
        return 1


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", metavar="MODULE:ATTRIBUTE", help="the DurableModule, for example example_app.durable:durable"
    )
    parser.add_argument("--traceback", action="store_true", help="print the whole traceback of an error")


if __name__ == "__main__":
    sys.exit(main())
