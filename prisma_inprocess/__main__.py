"""`python -m prisma_inprocess generate | migrate | db | validate | format`"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from prisma_inprocess.cli_generator import is_invoked_by_prisma, serve
from prisma_inprocess.date_format import DateFormat
from prisma_inprocess.errors import PrismaInProcessError
from prisma_inprocess.generator import generate
from prisma_inprocess.migrate.terminal.commands import add_commands
from prisma_inprocess.wasm.files import SCHEMA_ENGINE, find
from prisma_inprocess.wasm.module_cache import load_module, new_engine


def main(arguments: Sequence[str] | None = None, *, prog: str = "prisma-inprocess") -> int:
    """Run the command line. Returns the exit status.

    Args:
        arguments: The words of the command line. None: those of the process.
        prog: Name of the command in messages.
    """
    if arguments is None and len(sys.argv) == 1 and is_invoked_by_prisma():
        serve()
        return 0
    options = command_line(prog).parse_args(arguments)
    work: Callable[[argparse.Namespace], int] = options.work
    return work(options)


def _generate(options: argparse.Namespace) -> int:
    started = time.monotonic()
    try:
        schemas = options.schema or [Path("schema.prisma")]
        for schema in schemas:
            generated = generate(schema, wasm_dir=options.wasm_dir, warm_up=not options.no_warm_up)
            seconds = time.monotonic() - started
            print(f"Generated a client for {generated.provider} in {generated.output} ({seconds:.1f} s)")
        if options.warm_up_migrations:
            load_module(
                new_engine(), find(SCHEMA_ENGINE, wasm_dir=options.wasm_dir, near=[schemas[0].resolve().parent])
            )
    except PrismaInProcessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _convert_dates(options: argparse.Namespace) -> int:
    # Imported here, because it loads SQLite, which a project on PostgreSQL may lack.
    from prisma_inprocess.convert_dates import client_columns, convert_dates

    try:
        done = convert_dates(options.url, client_columns(options.client), options.to)
    except PrismaInProcessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for column, count in done.values.items():
        print(f"{column}: {count} values converted")
    print(f"All DateTime values of {done.path} are {options.to}")
    return 0


def command_line(prog: str) -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog=prog, description="Prisma Client Python and Prisma Migrate, without Node.js.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("generate", help="write the client package of a schema into its generator's `output`")
    command.add_argument(
        "--schema", type=Path, action="append", help="schema file (default: schema.prisma); may be repeated"
    )
    command.add_argument(
        "--wasm-dir", type=Path, help="the node_modules folder with Prisma's wasm packages (default: the nearest one)"
    )
    command.add_argument(
        "--no-warm-up", action="store_true", help="do not compile the query compiler now; the first process will"
    )
    command.add_argument(
        "--warm-up-migrations",
        action="store_true",
        help="compile the engine of `migrate` as well, for an image that cannot be written to later",
    )
    command.set_defaults(work=_generate)
    command = commands.add_parser("convert-dates", help="convert all DateTime values of a SQLite file to one format")
    command.add_argument("--url", required=True, help="connection URL of the file, such as file:./dev.db")
    command.add_argument("--client", type=Path, required=True, help="folder of the generated client")
    command.add_argument(
        "--to",
        type=DateFormat,
        choices=list(DateFormat),
        default=DateFormat.ISO,
        help="iso8601 (text, the default) or unixepoch-ms (integers, as Prisma's native engine writes)",
    )
    command.set_defaults(work=_convert_dates)
    add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
