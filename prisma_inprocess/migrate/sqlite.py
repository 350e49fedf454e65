"""SQLite for the schema engine: the standard library's sqlite3 in its own thread."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from prisma_inprocess.drivers.sqlite_errors import DATABASE_ERRORS, open_error
from prisma_inprocess.drivers.sqlite_thread import SqliteThread
from prisma_inprocess.errors import MigrationError
from prisma_inprocess.migrate import database as kinds
from prisma_inprocess.migrate.database import DatabaseFailure, ResultSet
from prisma_inprocess.migrate.file_lock import FileLock
from prisma_inprocess.url import SqliteUrl

T = TypeVar("T")

_BUSY: Final = (5, 6)
_NO_HISTORY: Final = "no such table: _prisma_migrations"
# By this query the engine decides whether a database is empty. SQLite's own tables cannot be dropped, and do not count.
_TABLE_NAMES: Final = "SELECT name AS table_name FROM sqlite_master"
# The table as the engine creates it in an empty database.
_HISTORY: Final = """CREATE TABLE IF NOT EXISTS "_prisma_migrations" (
    "id"                    TEXT PRIMARY KEY NOT NULL,
    "checksum"              TEXT NOT NULL,
    "finished_at"           DATETIME,
    "migration_name"        TEXT NOT NULL,
    "logs"                  TEXT,
    "rolled_back_at"        DATETIME,
    "started_at"            DATETIME NOT NULL DEFAULT current_timestamp,
    "applied_steps_count"   INTEGER UNSIGNED NOT NULL DEFAULT 0
)"""
# The engine's own lock. It fails at once where an application has the file open, and two processes that ask for it at a
# time fail both; a lock of ours stands in its place.
_ENGINE_LOCK: Final = "PRAGMA main.locking_mode=EXCLUSIVE"
_TABLES: Final = re.compile(r"\b(?:FROM|JOIN)\s+[`\"\[]?(\w+)", re.IGNORECASE)
_DECLARED: Final = {
    "DATETIME": kinds.DATETIME,
    "TIMESTAMP": kinds.DATETIME,
    "DATE": kinds.DATE,
    "BOOLEAN": kinds.BOOLEAN,
}


class SqliteDatabase:
    """A SQLite file that is open to be migrated."""

    provider = "sqlite"
    schema_name: str | None = None

    def __init__(self, url: SqliteUrl, connection: SqliteConnection) -> None:
        self.place = url.path
        self.connection = connection
        self._lock = FileLock(Path(f"{url.path}.migrate-lock"))

    @classmethod
    async def open(cls, url: SqliteUrl, *, create: bool) -> SqliteDatabase:
        """Open a file.

        Args:
            url: The file.
            create: Whether a file that does not exist is created.

        Raises:
            MigrationError: the file does not exist (P1003), is not an SQLite file, or cannot be opened.
        """
        _check_path(url, create=create)
        uri = f"{Path(url.path).as_uri()}?mode={'rwc' if create else 'rw'}"
        try:
            thread = await SqliteThread.start(lambda: _open(uri, url.busy_timeout))
        except sqlite3.Error as error:
            raise MigrationError(
                f"{open_error(error, url.path)}. Check the file and its permissions", "P1003"
            ) from error
        return cls(url, SqliteConnection(thread))

    async def open_shadow(self) -> SqliteConnection:
        return SqliteConnection(await SqliteThread.start(lambda: _open("file::memory:", 0)))

    async def lock(self, limit: float) -> None:
        await self._lock.acquire(limit)
        # The client does so when it first connects. Here it makes the many small commits of a migration quicker.
        with contextlib.suppress(DatabaseFailure):
            await self.connection.query("PRAGMA journal_mode = WAL", ())

    async def has_history(self) -> bool:
        found = await self.connection.query("SELECT 1 FROM sqlite_master WHERE name = '_prisma_migrations'", ())
        return bool(found.rows)

    async def prepare_history(self) -> None:
        await self.connection.run_script(_HISTORY)

    async def empty(self) -> None:
        await self.connection.run(_drop_everything)

    async def close(self) -> None:
        await self.connection.close()
        self._lock.release()


class SqliteConnection:
    """One connection, in its thread."""

    def __init__(self, thread: SqliteThread) -> None:
        self._thread = thread

    async def query(self, sql: str, arguments: Sequence[Any]) -> ResultSet:
        try:
            found = await self.run(lambda connection: _query(connection, sql, arguments))
        except DatabaseFailure as failure:
            # The engine knows a missing history by the error's kind, on PostgreSQL only.
            if failure.message == _NO_HISTORY and sql.startswith("SELECT"):
                return ResultSet([], [], [])
            raise
        if sql.startswith(_TABLE_NAMES):
            return ResultSet(found.names, found.types, [row for row in found.rows if not row[0].startswith("sqlite_")])
        return found

    async def execute(self, sql: str, arguments: Sequence[Any]) -> int:
        if sql == _ENGINE_LOCK:
            return 0
        if arguments:
            return await self.run(lambda connection: max(0, connection.execute(sql, arguments).rowcount))
        await self.run_script(sql)  # the engine sends whole migrations to a shadow database in this way
        return 0

    async def run_script(self, script: str) -> None:
        def job(connection: sqlite3.Connection) -> None:
            try:
                connection.executescript(script)
                if connection.in_transaction:
                    raise sqlite3.OperationalError(kinds.LEFT_OPEN)
            finally:
                # What follows must not become part of the script's own transaction, or be lost with it.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

        await self.run(job)

    async def close(self) -> None:
        # In its turn, and not by the interruption that the thread's own end is: SQLite would leave its -wal file.
        await self._thread.run(lambda connection: connection.close(), interruptible=False)
        await self._thread.close()

    async def run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function in the connection's thread. Raises: DatabaseFailure."""
        try:
            return await self._thread.run(job)
        except DATABASE_ERRORS as error:
            raise _failure(error) from error


def _check_path(url: SqliteUrl, *, create: bool) -> None:
    if url.in_memory:
        raise MigrationError(
            "a database in memory cannot be migrated, because it ends with the command. Name a file, such as "
            "file:./dev.db"
        )
    path = Path(url.path)
    if not path.parent.is_dir():
        raise MigrationError(f"the folder {path.parent} of the database file does not exist. Create it", "P1003")
    if not create and not path.exists():
        raise MigrationError(f"the database file {path} does not exist. `migrate deploy` creates it", "P1003")


def _open(uri: str, busy_timeout: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,  # migrations say themselves when a transaction begins
        check_same_thread=False,  # `interrupt` comes from the event loop's thread
    )
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("SELECT name FROM sqlite_master LIMIT 1").fetchall()  # opening alone reads nothing
    except BaseException:
        connection.close()
        raise
    return connection


def _query(connection: sqlite3.Connection, sql: str, arguments: Sequence[Any]) -> ResultSet:
    cursor = connection.execute(sql, arguments)
    rows = cursor.fetchall()
    names = [column[0] for column in cursor.description or ()]
    declared = _declared_types(connection, sql) if names else {}
    types = [_type(declared.get(name), [row[index] for row in rows]) for index, name in enumerate(names)]
    return ResultSet(names, types, [[_value(*cell) for cell in zip(row, types, strict=True)] for row in rows])


def _declared_types(connection: sqlite3.Connection, sql: str) -> dict[str, int]:
    """The types of columns that their values do not tell: sqlite3 does not say how a column was declared."""
    found: dict[str, int] = {}
    for table in _TABLES.findall(sql):
        for row in connection.execute("SELECT name, type FROM pragma_table_info(?)", (table,)):
            kind = _DECLARED.get(row[1].upper())
            if kind is not None:
                found[row[0]] = kind
    return found


def _type(declared: int | None, values: Sequence[Any]) -> int:
    if declared is not None:
        return declared
    present = {type(value) for value in values if value is not None}
    if present == {int}:
        return kinds.INT64
    if present and present <= {int, float}:
        return kinds.DOUBLE
    return kinds.BYTES if present == {bytes} else kinds.TEXT


def _value(value: Any, kind: int) -> Any:
    if value is None:
        return None
    if isinstance(value, bytes):
        return list(value) if kind == kinds.BYTES else value.decode(errors="replace")
    if kind == kinds.TEXT:
        return str(value)
    if kind == kinds.DATETIME and isinstance(value, (int, float)):  # as Prisma's native engine writes times
        return dt.datetime.fromtimestamp(value / 1000, dt.UTC).isoformat()
    return kinds.integer(value) if isinstance(value, int) else value


def _failure(error: BaseException) -> DatabaseFailure:
    code = int(getattr(error, "sqlite_errorcode", 1))
    message = str(error)
    if code & 0xFF in _BUSY:
        message += " by another process, which wrote for longer than socket_timeout of the connection URL (5 s)"
    return DatabaseFailure(message, {"kind": "sqlite", "extendedCode": code, "message": message}, str(code))


def _drop_everything(connection: sqlite3.Connection) -> None:
    # Tables may reference each other in any order.
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("BEGIN IMMEDIATE")
    try:
        for kind in ("view", "trigger", "virtual table", "table"):
            for (name,) in connection.execute(_OBJECTS[kind]).fetchall():
                quoted = name.replace('"', '""')
                connection.execute(f'DROP {kind.rpartition(" ")[2].upper()} IF EXISTS "{quoted}"')
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.execute("PRAGMA foreign_keys = ON")


_OBJECTS: Final = {
    "view": "SELECT name FROM sqlite_master WHERE type = 'view'",
    "trigger": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
    # before the tables, which may be its own
    "virtual table": "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL %'",
    "table": "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
}
