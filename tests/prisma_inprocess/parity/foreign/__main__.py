"""Random operations on schemas that are not ours, here and through Prisma's official runtime.

`python -m tests.prisma_inprocess.parity.foreign` makes the same operations for the same seed. It compares each one's
request, plan and outcome, and at the end every row of every table.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path

from prisma_inprocess.datasource import strip_urls
from tests.prisma_inprocess.parity.capture import capture
from tests.prisma_inprocess.parity.foreign.databases import Pair, databases, rows
from tests.prisma_inprocess.parity.foreign.known import explain
from tests.prisma_inprocess.parity.foreign.operations import RandomOperations
from tests.prisma_inprocess.parity.official import is_installed, read_dmmf, replay
from tests.prisma_inprocess.parity.report import Report
from tests.prisma_inprocess.workbench import PROVIDERS


def compare(pair: Pair, folder: Path, *, number: int, seed: int, most: int) -> bool:
    """Run the operations of one seed on one provider. Return whether no difference is left unexplained."""
    provider = pair.here.provider
    dmmf = read_dmmf(strip_urls(pair.schema)[0])
    records = asyncio.run(capture(pair.here, RandomOperations(pair.here, dmmf, seed).take(number)))
    answers = replay(pair.official, pair.schema, records, folder, timeout=1800)
    report = Report(most=most, explain=explain)
    for record, answer in zip(records, answers, strict=True):
        for line in report.compare(record, answer):
            print(line)
    here, there = rows(pair.here), rows(pair.official)
    different = [table for table in here if here[table] != there[table]]
    for table in different:
        print(f"  DIFFERENT rows: {table}")
        print(f"    here:     {sorted(set(here[table]) - set(there[table]))[:3]}")
        print(f"    official: {sorted(set(there[table]) - set(here[table]))[:3]}")
    tables = f"tables {len(here) - len(different)} of {len(here)}, rows {sum(map(len, here.values()))}"
    print(f"{provider}, seed {seed}: {report.summary()}, {tables}")
    codes = Counter(record["error"]["code"] for record in records if record["error"] is not None)
    failed = ", ".join(f"{count} with {code}" for code, count in codes.most_common())
    print(f"{provider}, seed {seed}: {codes.total()} fail ({failed})")
    for name, count in sorted(report.explained.items()):
        print(f"{provider}, seed {seed}: {count} differ as documented: {name}")
    print(f"{provider}, seed {seed}: {report.operations} random operations, {report.all_equal} equal", flush=True)
    return report.is_good and not different


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", type=int, default=2000, metavar="N", help="operations for each database")
    parser.add_argument("--seed", type=int, default=1, help="what the randomness starts from")
    parser.add_argument("--database", choices=PROVIDERS, help="only this one")
    parser.add_argument("--verbose", action="store_true", help="show differences at length")
    options = parser.parse_args()
    if not is_installed():
        return 2
    most = 10_000 if options.verbose else 700
    is_good = True
    with tempfile.TemporaryDirectory() as folder, databases(Path(folder)) as pairs:
        for pair in pairs:
            if options.database in (None, pair.here.provider):
                is_good &= compare(pair, Path(folder), number=options.random, seed=options.seed, most=most)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
