"""The command line: `python -m fastapi_durable schema`.

Each subcommand is a pair of functions: one describes its arguments, one does the work and returns the exit code.
The work imports what it needs itself, so that a command is quick and a broken application does not break the others.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from fastapi_durable.schema import PROVIDERS, PrismaSyntaxError, missing_from, read_schema, snippet


class _Work(Protocol):
    def __call__(self, arguments: argparse.Namespace) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code: 0 for success, 1 for a finding, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="fastapi-durable", description="Durable workflows for FastAPI, on Prisma.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _describe_schema(commands)
    arguments = parser.parse_args(argv)
    work: _Work = arguments.work
    return work(arguments)


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


if __name__ == "__main__":
    sys.exit(main())
