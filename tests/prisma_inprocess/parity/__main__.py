"""The same operations here and through Prisma's official JavaScript runtime: `python -m tests.prisma_inprocess.parity`.

For each operation it compares the parameterised request, the query plan, the outcome (result or error code), and at the
end every row of every table. Needs Node, and `npm ci` in this folder.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any, Final

from tests.prisma_inprocess.parity.capture import capture
from tests.prisma_inprocess.parity.official import is_installed, replay
from tests.prisma_inprocess.parity.operations import Operations
from tests.prisma_inprocess.parity.report import Report
from tests.prisma_inprocess.workbench import SCHEMAS, Rich, create_sqlite_file, generate_rich_packages
from tests.support.postgres import postgres_server

TABLES: Final = ("User", "Profile", "Post", "Tag", "_PostToTag", "steps")


async def rows_of(rich: Rich) -> dict[str, list[str]]:
    """Every row of every table, in an order of its own."""
    async with rich.client() as db:
        found = {}
        for table in TABLES:
            rows = await db.query_raw(f'SELECT * FROM "{table}"')
            for row in rows:
                row.pop("updated", None)
            found[table] = sorted(json.dumps(row, sort_keys=True, default=str) for row in rows)
        return found


def compare(rich: Rich, official: Rich, folder: Path, *, verbose: bool) -> bool:
    """Run everything on one provider. Returns whether all is equal."""
    records = asyncio.run(capture(rich, Operations(rich).all()))
    schema = (SCHEMAS / f"rich.{rich.provider}.prisma").read_text()
    answers = replay(official, schema, records, folder)
    report = Report(most=5000 if verbose else 700)
    for record, answer in zip(records, answers, strict=True):
        for line in report.compare(record, answer):
            print(line)
    here, there = asyncio.run(rows_of(rich)), asyncio.run(rows_of(official))
    tables = sum(here[table] == there[table] for table in TABLES)
    for table in TABLES:
        if here[table] != there[table]:
            print(f"  DIFFERENT rows: {table}")
            print(f"    here:     {sorted(set(here[table]) - set(there[table]))[:3]}")
            print(f"    official: {sorted(set(there[table]) - set(here[table]))[:3]}")
    print(f"{rich.provider}: {report.summary()}, tables {tables} of {len(TABLES)}")
    print(f"{rich.provider}: {report.operations} operations, {report.all_equal} equal", flush=True)
    return report.is_good and tables == len(TABLES)


@contextlib.contextmanager
def databases(root: Path) -> Any:
    """For each provider, a client with a database for this engine and one for the official runtime."""
    packages = generate_rich_packages(root)
    create_sqlite_file(root / "here.db")
    create_sqlite_file(root / "official.db")
    with postgres_server() as server:
        names = [f"parity_{uuid.uuid4().hex[:12]}" for _ in range(2)]
        urls = [server.create_database(name) for name in names]
        try:
            for name in names:
                server.sql((SCHEMAS / "rich.postgresql.sql").read_text(), name)
            yield [
                [Rich("sqlite", packages["sqlite"], f"file:{root}/{name}.db") for name in ("here", "official")],
                [Rich("postgresql", packages["postgresql"], url) for url in urls],
            ]
        finally:
            for name in names:
                server.drop_database(name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verbose", action="store_true", help="show differences at length")
    options = parser.parse_args()
    if not is_installed():
        return 2
    equal = True
    with tempfile.TemporaryDirectory() as folder, databases(Path(folder)) as pairs:
        for here, official in pairs:
            equal = compare(here, official, Path(folder), verbose=options.verbose) and equal
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
