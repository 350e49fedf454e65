"""The databases that the fleet shares, with what can be done to them from outside."""

import asyncio
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from tests.chaos.ledger import LEDGER
from tests.support.migrations import migrate
from tests.support.postgres import LocalPostgresServer, local_postgres


class ChaosDatabase(Protocol):
    """A migrated database.

    Attributes:
        url: For Prisma clients.
        dangers: The names of what can be done to it.
        connections_cut: How many it took away from those who used them.
    """

    url: str
    connections_cut: int
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
    connections_cut = 0

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
        self.connections_cut = 0
        self.url = server.create_database("chaos")

    def rows(self, query: str) -> list[list[str]]:
        answer = self._server.sql(query, "chaos")
        return [line.split("|") for line in answer.splitlines()]

    async def harm(self, danger: str, moments: random.Random) -> None:
        used = "FROM pg_stat_activity WHERE datname = 'chaos'"
        if danger == "restart the database":
            self.connections_cut += int(await asyncio.to_thread(self._server.sql, f"SELECT count(*) {used}"))
            await asyncio.to_thread(self._server.stop)
            await asyncio.sleep(moments.uniform(0, 2))
            await asyncio.to_thread(self._server.start)
            return
        some = "" if danger == "cut every connection" else " AND random() < 0.3"
        cut = f"SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) {used}{some}"
        self.connections_cut += int(await asyncio.to_thread(self._server.sql, cut))


@contextmanager
def chaos_database(kind: str, folder: Path) -> Iterator[ChaosDatabase]:
    """A fresh database of one kind, with the rig's ledger in it."""
    if kind == "sqlite":
        path = folder / "chaos.db"
        migrate(f"file:{path}")
        file = SqliteFile(path)
        for statement in LEDGER[kind]:
            file.rows(statement)
        yield file
        return
    with local_postgres() as server:
        database = PostgresDatabase(server)
        migrate(database.url)
        for statement in LEDGER[kind]:
            database.rows(statement)
        yield database
