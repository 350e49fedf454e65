"""The databases that the fleet shares, with what can be done to them from outside."""

import asyncio
import itertools
import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Protocol

from tests.chaos.ledger import LEDGER
from tests.support.migrations import migrate
from tests.support.postgres import LocalPostgresServer, local_postgres

ALTERED: Final = ("chaos_ledger", "durable_step_checkpoints", "durable_workflow_runs")
"""Tables that get another column now and then, as a migration does it under load."""

SILENT_SECONDS: Final = 7.0
"""More than three leases."""


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

    dangers: tuple[str, ...] = ("hold the write lock", "alter the tables")
    connections_cut = 0

    def __init__(self, path: Path) -> None:
        self.url = f"file:{path}"
        self._path = path
        self._alterations = 0

    def rows(self, query: str) -> list[list[str]]:
        with closing(sqlite3.connect(self._path, timeout=30)) as connection:
            return [["" if value is None else str(value) for value in row] for row in connection.execute(query)]

    async def harm(self, danger: str, moments: random.Random) -> None:
        if danger == "alter the tables":
            self._alterations += 1
            for table in ALTERED:
                await asyncio.to_thread(self.rows, f"ALTER TABLE {table} ADD COLUMN chaos_{self._alterations} TEXT")
            return
        await asyncio.to_thread(self._hold, moments.uniform(0.1, 3))

    def _hold(self, seconds: float) -> None:
        with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            connection.execute("COMMIT")


class PostgresDatabase:
    """A PostgreSQL server of the rig's own, which can be restarted, and whose connections can be cut or stopped.

    Its clients have so few connections that they often wait for one, and sometimes in vain.
    """

    dangers: tuple[str, ...] = (
        "restart the database",
        "cut every connection",
        "cut some connections",
        "cut between two statements",
        "cut between two statements",
        "let some connections give no answer",
        "alter the tables",
        "change the isolation",
    )

    def __init__(self, server: LocalPostgresServer) -> None:
        self._server = server
        self.connections_cut = 0
        self._alterations = 0
        self._isolations = itertools.cycle(["repeatable read", "serializable", "read committed"])
        self.migration_url = server.create_database("chaos")
        self.url = f"{self.migration_url}?connection_limit=4&pool_timeout=1"

    def rows(self, query: str) -> list[list[str]]:
        answer = self._server.sql(query, "chaos")
        return [line.split("|") for line in answer.splitlines()]

    async def harm(self, danger: str, moments: random.Random) -> None:
        used = "FROM pg_stat_activity WHERE datname = 'chaos' AND pid <> pg_backend_pid()"
        if danger == "cut between two statements":
            until = time.monotonic() + moments.uniform(0.2, 2)
            while time.monotonic() < until:
                await self._cut(f"{used} AND state = 'idle in transaction'")
            return
        if danger == "let some connections give no answer":
            await self._silence(f"{used} AND random() < 0.3", SILENT_SECONDS)
            return
        if danger == "alter the tables":
            self._alterations += 1
            for table in ALTERED:
                statement = f"ALTER TABLE {table} ADD COLUMN chaos_{self._alterations} text"
                await asyncio.to_thread(self._server.sql, statement, "chaos")
            return
        if danger == "change the isolation":
            # It is the default of those who connect from now on.
            statement = f"ALTER DATABASE chaos SET default_transaction_isolation = '{next(self._isolations)}'"
            await asyncio.to_thread(self._server.sql, statement)
            await self._cut(f"{used} AND random() < 0.5")
            return
        if danger == "restart the database":
            self.connections_cut += int(await asyncio.to_thread(self._server.sql, f"SELECT count(*) {used}"))
            await asyncio.to_thread(self._server.stop)
            await asyncio.sleep(moments.uniform(0, 2))
            await asyncio.to_thread(self._server.start)
            return
        await self._cut(used if danger == "cut every connection" else f"{used} AND random() < 0.3")

    async def _cut(self, which: str) -> None:
        cut = f"SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) {which}"
        self.connections_cut += int(await asyncio.to_thread(self._server.sql, cut))

    async def _silence(self, which: str, seconds: float) -> None:
        """Stop the server's side of some connections: each stays open, and nothing comes over it."""
        answer = await asyncio.to_thread(self._server.sql, f"SELECT pid {which}")
        stopped = [pid for pid in map(int, answer.split()) if _signalled(pid, signal.SIGSTOP)]
        try:
            await asyncio.sleep(seconds)
        finally:
            for pid in stopped:
                _signalled(pid, signal.SIGCONT)


def _signalled(pid: int, number: signal.Signals) -> bool:
    """Send a signal; False: the process has ended meanwhile."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


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
        migrate(database.migration_url)
        for statement in LEDGER[kind]:
            database.rows(statement)
        yield database
