"""`python -m prisma_inprocess generate --schema schema.prisma`"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from prisma_inprocess.cli_generator import is_invoked_by_prisma, serve
from prisma_inprocess.date_format import DateFormat
from prisma_inprocess.errors import PrismaInProcessError
from prisma_inprocess.generator import generate


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    if arguments is None and len(sys.argv) == 1 and is_invoked_by_prisma():
        serve()
        return 0
    options = _parser().parse_args(arguments)
    started = time.monotonic()
    try:
        if options.command == "convert-dates":
            _convert_dates(options.url, options.client, options.to)
            return 0
        for schema in options.schema or [Path("schema.prisma")]:
            generated = generate(schema, wasm_dir=options.wasm_dir, warm_up=not options.no_warm_up)
            seconds = time.monotonic() - started
            print(f"Generated a client for {generated.provider} in {generated.output} ({seconds:.1f} s)")
    except PrismaInProcessError as error:
        print(f"prisma_inprocess: {error}", file=sys.stderr)
        return 1
    return 0


def _convert_dates(url: str, client: Path, to: DateFormat) -> None:
    # Imported here: it loads SQLite, which a project on PostgreSQL may lack.
    from prisma_inprocess.convert_dates import client_columns, convert_dates

    done = convert_dates(url, client_columns(client), to)
    for column, count in done.values.items():
        print(f"{column}: {count} values converted")
    print(f"All DateTime values of {done.path} are {to}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m prisma_inprocess", description="Prisma Client Python without a native engine."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
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
    command = commands.add_parser("convert-dates", help="give all DateTime values of a SQLite file one format")
    command.add_argument("--url", required=True, help="connection URL of the file, such as file:./dev.db")
    command.add_argument("--client", type=Path, required=True, help="folder of the generated client")
    command.add_argument(
        "--to",
        type=DateFormat,
        choices=list(DateFormat),
        default=DateFormat.ISO,
        help="iso8601 (text, the default) or unixepoch-ms (integers, as Prisma's native engine writes)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
