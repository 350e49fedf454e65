"""What the databases themselves can do: one-row commits through asyncpg and sqlite3, with nothing around them."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

from benchmarks.work import Meter, main

_TABLE = "CREATE TABLE IF NOT EXISTS benchmark_rows (id integer PRIMARY KEY, value text)"


class PostgresLimits:
    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def commits_alone(self, operations: int) -> dict[str, float]:
        return await self._commit(operations, 1)

    async def commits_together(self, operations: int) -> dict[str, float]:
        return await self._commit(operations, 16)

    async def _commit(self, operations: int, callers: int) -> dict[str, float]:
        async def call() -> None:
            for _ in range(operations // callers):
                await self._pool.execute("INSERT INTO benchmark_commits (value) VALUES ($1)", "x" * 100)

        await self._pool.execute("CREATE TABLE IF NOT EXISTS benchmark_commits (id serial PRIMARY KEY, value text)")
        meter = Meter()
        await asyncio.gather(*(call() for _ in range(callers)))
        return meter.read(operations // callers * callers)


class SqliteLimits:
    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(_TABLE)

    async def commits_alone(self, operations: int) -> dict[str, float]:
        meter = Meter()
        for _ in range(operations):
            self._connection.execute("INSERT INTO benchmark_rows (value) VALUES (?)", ("x" * 100,))
        return meter.read(operations)


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Any]:
    if url.startswith("file:"):
        yield SqliteLimits(url.removeprefix("file:"))
        return
    async with import_module("asyncpg").create_pool(url, min_size=16, max_size=16) as pool:
        yield PostgresLimits(pool)


if __name__ == "__main__":
    main(opened)
