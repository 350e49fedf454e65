"""This engine against the raw driver with the same SQL: `python -m tests.prisma_inprocess.bench`.

The two take turns, so that a noisy machine disturbs both alike; medians are printed. Both return what a program works
with: this engine typed models, the raw driver its rows.
"""

# ruff: noqa: T201 (a script talks to its user)

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import functools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiosqlite
import asyncpg

from tests.prisma_inprocess.workbench import Rich, rich_databases

Call = Callable[[int], Awaitable[Any]]
COLUMNS: Final = "run_id, seq, step_name, output"
THOUSAND: Final = "INSERT INTO steps (run_id, seq, step_name) VALUES " + ", ".join(
    f"(${n * 3 + 1}, ${n * 3 + 2}, ${n * 3 + 3})" for n in range(1000)
)
GOALS: Final = {"postgresql": 1.3, "sqlite": 1.8}
GOALS_FOR_ROWS: Final = {
    ("create_many of 1000", "postgresql"): 2.0,
    ("create_many of 1000", "sqlite"): 2.5,
    ("include of 10 x 10", "postgresql"): 2.0,
    ("include of 10 x 10", "sqlite"): 2.0,
}


class RawDriver:
    """The database's own driver, with one way to call it for both databases."""

    def __init__(self, rich: Rich) -> None:
        self._rich = rich

    async def open(self) -> None:
        if self._rich.provider == "postgresql":
            self._pool = await asyncpg.create_pool(self._rich.url, min_size=5, max_size=5, reset=_no_reset)
            return
        self._file = await aiosqlite.connect(self._rich.url.removeprefix("file:"), isolation_level=None)
        for pragma in ("journal_mode = WAL", "foreign_keys = ON", "synchronous = FULL"):
            await self._file.execute(f"PRAGMA {pragma}")

    async def close(self) -> None:
        await (self._pool.close() if self._rich.provider == "postgresql" else self._file.close())

    async def fetch(self, sql: str, *arguments: Any) -> Any:
        if self._rich.provider == "postgresql":
            return await self._pool.fetch(sql, *arguments)
        return await self._file.execute_fetchall(_questions(sql), arguments)

    async def transaction(self, *statements: tuple[Any, ...]) -> None:
        if self._rich.provider == "postgresql":
            async with self._pool.acquire() as connection, connection.transaction():
                for sql, *arguments in statements:
                    await connection.fetch(sql, *arguments)
            return
        await self._file.execute("BEGIN IMMEDIATE")
        for sql, *arguments in statements:
            await self._file.execute_fetchall(_questions(sql), arguments)
        await self._file.execute("COMMIT")


async def _no_reset(_: Any) -> None:
    """asyncpg's own pool spends one more round trip on each release; without it the comparison is the harder one."""


@functools.cache
def _questions(sql: str) -> str:
    return re.sub(r"\$\d+", "?", sql)


class Bench:
    """The compared calls for one database."""

    def __init__(self, rich: Rich, db: Any, raw: RawDriver) -> None:
        self._rich, self._db, self._raw = rich, db, raw
        fields = rich.models.User.model_fields.items()
        columns = [name for name, _ in fields if name not in ("boss", "reports", "posts", "profile")]
        self._user_columns = ", ".join(f'"{name}"' for name in columns)

    def pairs(self) -> dict[str, tuple[Call, Call, int]]:
        """Name, this engine's call, the raw driver's call, how many rows one call is about."""
        return {
            "find_unique": (self._find_unique, self._raw_find_unique, 1),
            "find_many of 50": (self._find_many, self._raw_find_many, 50),
            "include of 10 x 10": (self._include, self._raw_include, 110),
            "create": (self._create, self._raw_create, 1),
            "upsert": (self._upsert, self._raw_upsert, 1),
            "update_many": (self._update_many, self._raw_update_many, 1),
            "create_many of 1000": (self._create_many, self._raw_create_many, 1000),
            "tx of 3": (self._tx, self._raw_tx, 1),
        }

    async def prepare(self) -> None:
        rows = [{"runId": "many", "seq": n, "name": f"s{n}", "output": self._rich.json({"o": n})} for n in range(50)]
        await self._db.step.create_many(data=rows)
        for run in ("up", "raw"):
            await self._db.step.create(data={"runId": run, "seq": 1, "name": "n"})
        for number in range(10):
            posts = {"create": [{"title": str(title)} for title in range(10)]}
            data = {"email": f"u{number}", "settings": self._rich.json({"s": number}), "posts": posts}
            await self._db.user.create(data=data)

    async def _find_unique(self, _: int) -> Any:
        return await self._db.step.find_unique(where={"runId_seq": {"runId": "many", "seq": 7}})

    async def _raw_find_unique(self, _: int) -> Any:
        sql = f"SELECT {COLUMNS} FROM steps WHERE (run_id = $1 AND seq = $2 AND 1=1) LIMIT $3 OFFSET $4"
        return await self._raw.fetch(sql, "many", 7, 1, 0)

    async def _find_many(self, _: int) -> Any:
        return await self._db.step.find_many(where={"runId": "many"}, order={"seq": "asc"})

    async def _raw_find_many(self, _: int) -> Any:
        sql = f"SELECT {COLUMNS} FROM steps WHERE run_id = $1 ORDER BY seq ASC LIMIT ALL OFFSET $2"
        if self._rich.provider == "sqlite":
            sql = sql.replace("LIMIT ALL", "LIMIT -1")
        return await self._raw.fetch(sql, "many", 0)

    async def _include(self, _: int) -> Any:
        return await self._db.user.find_many(include={"posts": True})

    async def _raw_include(self, _: int) -> Any:
        users = await self._raw.fetch(f'SELECT {self._user_columns} FROM "User" WHERE 1=1')
        ids = [user[0] for user in users]
        slots = ", ".join(f"${number + 1}" for number in range(len(ids)))
        sql = f'SELECT id, title, views, score, "userId" FROM "Post" WHERE "userId" IN ({slots})'
        return users, await self._raw.fetch(sql, *ids)

    async def _create(self, number: int) -> Any:
        output = self._rich.json({"o": 1})
        return await self._db.step.create(data={"runId": "c", "seq": number, "name": str(number), "output": output})

    async def _raw_create(self, number: int) -> Any:
        sql = f"INSERT INTO steps ({COLUMNS}) VALUES ($1, $2, $3, $4) RETURNING {COLUMNS}"
        return await self._raw.fetch(sql, "rc", number, str(number), '{"o": 1}')

    async def _upsert(self, number: int) -> Any:
        key = {"runId": "up", "seq": 1}
        data = {"create": {**key, "name": str(number)}, "update": {"name": str(number)}}
        return await self._db.step.upsert(where={"runId_seq": key}, data=data)

    async def _raw_upsert(self, number: int) -> Any:
        sql = (
            "INSERT INTO steps (run_id, seq, step_name) VALUES ($1, $2, $3) ON CONFLICT (run_id, seq) "
            f"DO UPDATE SET step_name = $4 WHERE (steps.run_id = $5 AND steps.seq = $6) RETURNING {COLUMNS}"
        )
        return await self._raw.fetch(sql, "raw", 1, str(number), str(number), "raw", 1)

    async def _update_many(self, number: int) -> Any:
        return await self._db.step.update_many(where={"runId": "up", "seq": 1}, data={"name": str(number)})

    async def _raw_update_many(self, number: int) -> Any:
        sql = "UPDATE steps SET step_name = $1 WHERE (run_id = $2 AND seq = $3)"
        return await self._raw.fetch(sql, str(number), "raw", 1)

    async def _create_many(self, number: int) -> Any:
        rows = [{"runId": f"m{number}", "seq": n, "name": str(n)} for n in range(1000)]
        return await self._db.step.create_many(data=rows)

    async def _raw_create_many(self, number: int) -> Any:
        arguments = [value for n in range(1000) for value in (f"rm{number}", n, str(n))]
        return await self._raw.transaction((THOUSAND, *arguments))

    async def _tx(self, number: int) -> Any:
        async with self._db.tx(timeout=dt.timedelta(seconds=30)) as tx:
            await tx.step.find_unique(where={"runId_seq": {"runId": "many", "seq": 7}})
            await tx.step.create(data={"runId": "t", "seq": number, "name": str(number)})
            await tx.step.update_many(where={"runId": "up", "seq": 1}, data={"name": str(number)})

    async def _raw_tx(self, number: int) -> Any:
        await self._raw.transaction(
            (f"SELECT {COLUMNS} FROM steps WHERE (run_id = $1 AND seq = $2) LIMIT $3 OFFSET $4", "many", 7, 1, 0),
            (
                f"INSERT INTO steps (run_id, seq, step_name) VALUES ($1, $2, $3) RETURNING {COLUMNS}",
                "rt",
                number,
                str(number),
            ),
            ("UPDATE steps SET step_name = $1 WHERE (run_id = $2 AND seq = $3)", str(number), "raw", 1),
        )


@dataclass
class Times:
    """What the calls of one side took, in nanoseconds."""

    wall: list[int] = field(default_factory=list)
    cpu: list[int] = field(default_factory=list)


async def measure(ours: Call, raw: Call, rounds: int) -> tuple[Times, Times]:
    """The times of both, taken in turns."""
    sides = Times(), Times()
    for number in range(rounds + 20):
        for times, call in zip(sides, (ours, raw), strict=True):
            wall, cpu = time.perf_counter_ns(), time.process_time_ns()
            await call(number)
            if number >= 20:  # the first ones compile plans and prepare statements
                times.cpu.append(time.process_time_ns() - cpu)
                times.wall.append(time.perf_counter_ns() - wall)
    return sides


@contextmanager
def one_processor() -> Iterator[None]:
    """Keep the threads of this process on one processor, where the system can.

    A call on SQLite wakes a thread and is woken by it. That takes twice as long between two processors, and the system
    may place the threads of the two sides differently. On one processor the raw driver gains most, so the comparison is
    the harder one.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


async def bench(rich: Rich, rounds: int, chosen: Sequence[str]) -> None:
    """Measure one database and print its table: all calls, or those whose names begin with one of the chosen words.

    The ratio is that of the times on the clock, `CPU` that of the processor's time in this process.
    """
    raw = RawDriver(rich)
    await raw.open()
    async with rich.client() as db:
        calls = Bench(rich, db, raw)
        await calls.prepare()
        print(f"\n{rich.provider:12} {'':22} {'raw us':>10} {'here us':>10} {'ratio':>7} {'CPU':>7}   goal")
        for name, (ours, theirs, rows) in calls.pairs().items():
            if chosen and not name.startswith(tuple(chosen)):
                continue
            here, driver = await measure(ours, theirs, max(10, rounds // (10 if rows > 100 else 1)))
            goal = GOALS[rich.provider] if rows == 1 else GOALS_FOR_ROWS.get((name, rich.provider), "")
            times = [statistics.median(side) / 1000 for side in (driver.wall, here.wall, driver.cpu, here.cpu)]
            ratios = f"{times[1] / times[0]:7.2f} {times[3] / times[2]:7.2f}"
            print(f"{'':12} {name:22} {times[0]:10.0f} {times[1]:10.0f} {ratios}   {goal}", flush=True)
    await raw.close()


_FIRST_QUERY: Final = """
import sys, time
started = time.perf_counter()
sys.path.insert(0, sys.argv[1])
import asyncio
from {package} import Prisma
imported = time.perf_counter()

async def main():
    async with Prisma(datasource={{"url": sys.argv[2]}}, use_dotenv=False) as client:
        connected = time.perf_counter()
        await client.step.find_first(where={{"runId": "many"}})
        done = time.perf_counter()
        await client.step.find_first(where={{"runId": "up"}})
        import resource
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        times = (imported - started, connected - imported, done - connected)
        text = "import {{:.0f}} ms, connect {{:.0f}} ms, first query {{:.0f}} ms, memory {{:.0f}} MB"
        print(text.format(*(t * 1000 for t in times), memory))

asyncio.run(main())
"""


def first_query(rich: Rich) -> None:
    """A fresh process: how long until its first row, and how large it is."""
    root = str(Path(rich.package.__file__ or "").parents[3])
    script = _FIRST_QUERY.format(package=rich.package.__name__)
    command = [sys.executable, "-c", script, root, rich.url]
    runs = [
        subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ)).stdout
        for _ in range(3)
    ]
    print(f"{rich.provider:12} fresh process: {runs[-1].strip()}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME", help="the beginnings of the calls to measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, rich_databases(Path(folder)) as databases:
        for rich in databases:
            with one_processor():
                asyncio.run(bench(rich, options.rounds, options.only))
        if options.only:
            return 0
        print()
        for rich in databases:
            first_query(rich)
    return 0


if __name__ == "__main__":
    sys.exit(main())
