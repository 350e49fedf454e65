"""The databases that the fleet shares, with what can be done to them from outside."""

import asyncio
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Protocol

from tests.support.migrations import migrate
from tests.support.postgres import LocalPostgresServer, local_postgres

# `at` is in seconds since 1970, by the database's clock.
LEDGER_TABLE: Final = "CREATE TABLE chaos_ledger (job TEXT NOT NULL, entry TEXT NOT NULL, at {type} DEFAULT ({now}))"


class ChaosDatabase(Protocol):
    """A migrated database.

    Attributes:
        url: For Prisma clients.
        dangers: The names of what can be done to it.
    """

    url: str
    dangers: tuple[str, ...]

    def rows(self, query: str) -> list[list[str]]:
        """Ask it over a connection of the rig's own; NULL is an empty string."""
        ...

    async def harm(self, danger: str, moments: random.Random) -> None:
        """Do it, and return when it is over."""
        ...


class SqliteFile:
    """An SQLite file, whose one writer's place can be taken for a while."""

    dangers: tuple[str, ...] = ("hold the write lock",)

    def __init__(self, path: Path) -> None:
        self.url = f"file:{path}"
        self._path = path

    def rows(self, query: str) -> list[list[str]]:
        with closing(sqlite3.connect(self._path, timeout=30)) as connection:
            return [["" if value is None else str(value) for value in row] for row in connection.execute(query)]

    async def harm(self, danger: str, moments: random.Random) -> None:
        await asyncio.to_thread(self._hold, moments.uniform(0.1, 3))

    def _hold(self, seconds: float) -> None:
        with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            connection.execute("COMMIT")


class PostgresDatabase:
    """A PostgreSQL server of the rig's own, which can be restarted, and whose connections can be cut."""

    dangers: tuple[str, ...] = ("restart the database", "cut every connection", "cut some connections")

    def __init__(self, server: LocalPostgresServer) -> None:
        self._server = server
        self.url = server.create_database("chaos")

    def rows(self, query: str) -> list[list[str]]:
        answer = self._server.sql(query, "chaos")
        return [line.split("|") for line in answer.splitlines()]

    async def harm(self, danger: str, moments: random.Random) -> None:
        if danger == "restart the database":
            await asyncio.to_thread(self._server.stop)
            await asyncio.sleep(moments.uniform(0, 2))
            await asyncio.to_thread(self._server.start)
            return
        some = "" if danger == "cut every connection" else " AND random() < 0.3"
        cut = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'chaos'{some}"
        await asyncio.to_thread(self._server.sql, cut)


@contextmanager
def chaos_database(kind: str, folder: Path) -> Iterator[ChaosDatabase]:
    """A fresh database of one kind, with the rig's ledger in it."""
    if kind == "sqlite":
        path = folder / "chaos.db"
        migrate(f"file:{path}")
        file = SqliteFile(path)
        file.rows(LEDGER_TABLE.format(type="REAL", now="(julianday('now') - 2440587.5) * 86400"))
        yield file
        return
    with local_postgres() as server:
        database = PostgresDatabase(server)
        migrate(database.url)
        database.rows(LEDGER_TABLE.format(type="float8", now="extract(epoch FROM clock_timestamp())"))
        yield database
