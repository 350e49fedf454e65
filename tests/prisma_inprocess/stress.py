"""Mixed transactions with random cancellation, against both databases: `python -m tests.prisma_inprocess.stress`.

Every transaction counts itself up in one row and leaves one row of its own. Afterwards the books must balance: what a
caller was told had happened is there, what was refused or rolled back is not, what was cancelled is there whole or not
at all. `lost` counts what does not balance, `leaked` the connections that the pool can no longer hand out, `open` the
transactions that the database still holds open.
"""

# ruff: noqa: T201 (a script talks to its user)

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from tests.prisma_inprocess.workbench import Rich, rich_databases

LONG: Final = dt.timedelta(seconds=60)
LIMIT: Final = 5
COUNTER: Final = {"runId_name": {"runId": "counter", "name": "counter"}}
APPLICATION: Final = "prisma_inprocess_stress"


class RolledBack(Exception):
    """The transaction ends itself."""


class Stress:
    """One run against one database.

    Args:
        rich: Client and database.
        transactions: How many transactions are made.
        workers: How many callers make them at once.
        seed: Where the random choices start.
    """

    def __init__(self, rich: Rich, transactions: int, workers: int, seed: int) -> None:
        self._rich = rich
        self._chance = random.Random(seed)
        self._numbers = iter(range(transactions))
        self._workers = workers
        self._kinds: list[Callable[[int], Awaitable[None]]] = [
            self._commit,
            self._commit,
            self._roll_back,
            self._expire,
            self._batch,
            self._planned,
        ]
        self.outcomes: Counter[str] = Counter()
        self._done: set[int] = set()
        self._undone: set[int] = set()

    async def run(self) -> tuple[int, int, int]:
        """Make the transactions and check the books. Returns what was lost, leaked and left open."""
        async with self._rich.client(self._options(LIMIT)) as self._db:
            await self._db.step.create(data={"runId": "counter", "seq": 0, "name": "counter"})
            await asyncio.gather(*(self._work() for _ in range(self._workers)))
            return await self._lost(), await self._leaked(), await self._open()

    def _options(self, limit: int) -> str:
        options = f"connection_limit={limit}&pool_timeout=60"
        return f"{options}&application_name={APPLICATION}" if self._rich.provider == "postgresql" else options

    async def _work(self) -> None:
        for number in self._numbers:
            task = asyncio.ensure_future(self._chance.choice(self._kinds)(number))
            if self._chance.random() < 0.4:
                await asyncio.sleep(self._chance.random() * 0.03)
                task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                self.outcomes["cancelled"] += 1
            except RolledBack:
                self.outcomes["rolled back"] += 1
                self._undone.add(number)
            except self._rich.errors.TransactionError:
                self.outcomes["expired"] += 1
                self._undone.add(number)
            else:
                self.outcomes["done"] += 1
                self._done.add(number)

    async def _write(self, tx: Any, number: int) -> None:
        await tx.step.update(where=COUNTER, data={"seq": {"increment": 1}})
        await tx.step.create(data={"runId": "row", "seq": number, "name": str(number)})

    async def _commit(self, number: int) -> None:
        async with self._db.tx(max_wait=LONG, timeout=LONG) as tx:
            await self._write(tx, number)

    async def _roll_back(self, number: int) -> None:
        async with self._db.tx(max_wait=LONG, timeout=LONG) as tx:
            await self._write(tx, number)
            raise RolledBack

    async def _expire(self, number: int) -> None:
        async with self._db.tx(max_wait=LONG, timeout=dt.timedelta(milliseconds=5)) as tx:
            await self._write(tx, number)
            await asyncio.sleep(0.01)

    async def _batch(self, number: int) -> None:
        async with self._db.batch_() as batch:
            batch.step.update(where=COUNTER, data={"seq": {"increment": 1}})
            batch.step.create({"runId": "row", "seq": number, "name": str(number)})

    async def _planned(self, number: int) -> None:
        """A transaction of the plan's own: a row with a relation; it counts itself up by a raw statement first."""
        one, two = self._rich.parameter(1), self._rich.parameter(2)
        sql = (
            "WITH counted AS (UPDATE steps SET seq = seq + 1 WHERE run_id = 'counter' RETURNING 1) "
            f"INSERT INTO steps (run_id, seq, step_name) SELECT 'row', {one}, {two} FROM counted"
        )
        if self._rich.provider == "postgresql":
            await self._db.execute_raw(sql, number, str(number))
        else:  # SQLite knows no writing WITH
            await self._commit(number)

    async def _lost(self) -> int:
        rows = {row.seq for row in await self._db.step.find_many(where={"runId": "row"})}
        counted: int = (await self._db.step.find_unique_or_raise(where=COUNTER)).seq
        return len(self._done - rows) + len(self._undone & rows) + abs(counted - len(rows))

    async def _leaked(self) -> int:
        """Take every connection at once: those that cannot be had within two seconds are leaked."""
        wanted = LIMIT if self._rich.provider == "postgresql" else 1
        managers = [self._db.tx(max_wait=dt.timedelta(seconds=2), timeout=LONG) for _ in range(wanted)]
        started = await asyncio.gather(*(manager.start() for manager in managers), return_exceptions=True)
        for manager, transaction in zip(managers, started, strict=True):
            if not isinstance(transaction, BaseException):
                await manager.rollback()
        return sum(isinstance(transaction, BaseException) for transaction in started)

    async def _open(self) -> int:
        """Transactions that the database holds open. A second client must be able to write at once."""
        if self._rich.provider == "sqlite":
            async with self._rich.client(self._options(1) + "&socket_timeout=1") as other:
                try:
                    await other.step.delete_many(where={"runId": "nothing"})
                except self._rich.errors.DataError:
                    return 1
                return 0
        rows = await self._db.query_raw(
            "SELECT count(*) AS n FROM pg_stat_activity "
            "WHERE application_name = $1 AND state LIKE 'idle in transaction%'",
            APPLICATION,
        )
        return int(rows[0]["n"])


async def stress(databases: list[Rich], transactions: int, workers: int, seed: int) -> int:
    """Run against each database in turn. Returns the sum of everything that is wrong."""
    wrong = 0
    for rich in databases:
        run = Stress(rich, transactions, workers, seed)
        started = time.monotonic()
        lost, leaked, opened = await run.run()
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(run.outcomes.items()))
        print(f"{rich.provider}: {transactions} transactions in {time.monotonic() - started:.0f} s ({outcomes})")
        print(f"{rich.provider}: lost {lost}, leaked {leaked}, open {opened}", flush=True)
        wrong += lost + leaked + opened
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transactions", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as folder, rich_databases(Path(folder)) as databases:
        wrong = asyncio.run(stress(databases, options.transactions, options.workers, options.seed))
    print("lost 0, leaked 0, open 0" if wrong == 0 else f"WRONG: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
