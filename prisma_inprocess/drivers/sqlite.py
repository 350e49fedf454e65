"""SQLite: one writer and several readers on one file, in WAL mode."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from prisma_inprocess.drivers.base import RawResult, Row, Transaction
from prisma_inprocess.drivers.lists import register_unpacking
from prisma_inprocess.drivers.pool import Pool, PoolClosed
from prisma_inprocess.drivers.sqlite_errors import DATABASE_ERRORS, query_error
from prisma_inprocess.drivers.sqlite_thread import SqliteThread
from prisma_inprocess.drivers.sqlite_values import SqliteDialect, raw_parameter, raw_result, register_column_types
from prisma_inprocess.errors import EngineError
from prisma_inprocess.url import SqliteUrl

T = TypeVar("T")
_ENDED = "Transaction already closed: A query cannot be executed on an expired or closed transaction."


class SqliteDriver:
    """A SQLite file.

    All writes go through one connection, one after the other: that is SQLite's own rule, and waiting in this process
    is cheaper than being refused. Reads outside transactions use connections beside it. Transactions take the write
    lock when they begin (`BEGIN IMMEDIATE`), so that none fails half-way because another process wrote in between.

    Args:
        url: Path and options.
        json_type: The generated package's own `Json` class.
        base64_type: The generated package's own `Base64` class.
    """

    in_transaction = False

    def __init__(self, url: SqliteUrl, json_type: type[Any], base64_type: type[Any]) -> None:
        self.dialect = SqliteDialect()
        self._url = url
        self._types = (json_type, base64_type)
        self._writer: SqliteThread | None = None
        self._write_lock = asyncio.Lock()
        self._readers: Pool[SqliteThread] | None = None

    async def connect(self) -> None:
        if self._writer is not None:
            return
        register_column_types()
        try:
            self._writer = await SqliteThread.start(lambda: _open(self._url, read_only=False))
        except sqlite3.Error as error:
            raise EngineError(
                f"Can't open the database file {self._url.path}: {error}",
                "P1003",
                {"database_file_path": self._url.path},
            ) from error
        mode = await self._writer.run(
            lambda connection: connection.execute("PRAGMA journal_mode").fetchone()["journal_mode"]
        )
        # Without WAL a reader would block the writer, and a database in memory belongs to its connection.
        if mode == "wal" and self._url.connection_limit > 1:
            self._readers = Pool(self._open_reader, self._url.connection_limit - 1)

    async def close(self) -> None:
        readers, self._readers = self._readers, None
        writer, self._writer = self._writer, None
        if readers is not None:
            await readers.close()
        if writer is not None:
            await writer.close()

    def close_now(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.stop()

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Sequence[Row]:
        if self._readers is not None and sql.startswith("SELECT"):
            return await self._read(
                self._readers, lambda connection: connection.execute(sql, arguments).fetchall(), raw=False
            )
        return await self._write(lambda connection: connection.execute(sql, arguments).fetchall(), raw=False)

    async def execute(self, sql: str, arguments: Sequence[Any]) -> int:
        return await self._write(lambda connection: _execute(connection, sql, arguments), raw=False)

    async def fetch_raw(self, sql: str, parameters: Sequence[Any], *, for_model: bool) -> RawResult:
        values = [raw_parameter(value, *self._types) for value in parameters]

        def job(connection: sqlite3.Connection) -> RawResult:
            return _fetch_raw(connection, sql, values, for_model=for_model)

        if self._readers is not None and sql.lstrip()[:6].upper() == "SELECT":
            return await self._read(self._readers, job, raw=True)
        return await self._write(job, raw=True)

    async def execute_raw(self, sql: str, parameters: Sequence[Any]) -> int:
        values = [raw_parameter(value, *self._types) for value in parameters]
        return await self._write(lambda connection: _execute(connection, sql, values), raw=True)

    async def begin(self, *, max_wait: float | None = None, isolation_level: str | None = None) -> Transaction:
        if isolation_level not in (None, "Serializable"):
            raise EngineError(f"Error in connector: Conversion error: {isolation_level}", "P2023")
        writer = self._connected()
        try:
            async with asyncio.timeout(self._url.pool_timeout if max_wait is None else max_wait):
                await self._write_lock.acquire()
        except TimeoutError:
            if max_wait is None:
                raise _pool_timeout(self._url) from None
            raise
        transaction = _SqliteTransaction(writer, self._write_lock.release, self._types)
        try:
            await writer.run(lambda connection: connection.execute("BEGIN IMMEDIATE"))
        except DATABASE_ERRORS as error:
            await transaction.rollback()
            raise query_error(error, raw=False) from error
        except BaseException:
            await transaction.rollback()
            raise
        return transaction

    def _connected(self) -> SqliteThread:
        if self._writer is None:
            raise EngineError("The client is not connected: call connect() first", "P1017")
        return self._writer

    async def _open_reader(self) -> SqliteThread:
        return await SqliteThread.start(lambda: _open(self._url, read_only=True))

    async def _read(self, readers: Pool[SqliteThread], job: Callable[[sqlite3.Connection], T], *, raw: bool) -> T:
        try:
            reader = await readers.acquire(self._url.pool_timeout)
        except TimeoutError:
            raise _pool_timeout(self._url) from None
        except PoolClosed:
            raise EngineError("The client is not connected: it was disconnected meanwhile", "P1017") from None
        try:
            return await reader.run(job)
        except DATABASE_ERRORS as error:
            raise query_error(error, raw=raw) from error
        finally:
            # `run` returns only when nothing is running any more, cancelled or not.
            readers.release(reader)

    async def _write(self, job: Callable[[sqlite3.Connection], T], *, raw: bool) -> T:
        writer = self._connected()
        try:
            async with asyncio.timeout(self._url.pool_timeout):
                await self._write_lock.acquire()
        except TimeoutError:
            raise _pool_timeout(self._url) from None
        try:
            return await writer.run(job)
        except DATABASE_ERRORS as error:
            raise query_error(error, raw=raw) from error
        finally:
            if not writer.usable():
                # The user's own BEGIN: it would swallow everybody else's writes. (Closed: there is nobody else.)
                with contextlib.suppress(EngineError, *DATABASE_ERRORS):
                    await writer.run(_rollback, interruptible=False)
            self._write_lock.release()


class _SqliteTransaction:
    """A transaction that owns the writer until it ends."""

    in_transaction = True

    def __init__(self, writer: SqliteThread, release: Callable[[], None], types: tuple[type[Any], type[Any]]) -> None:
        self._writer = writer
        self._release = release
        self._types = types
        self._ended = False

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Sequence[Row]:
        return await self._run(lambda connection: connection.execute(sql, arguments).fetchall(), raw=False)

    async def execute(self, sql: str, arguments: Sequence[Any]) -> int:
        return await self._run(lambda connection: _execute(connection, sql, arguments), raw=False)

    async def fetch_raw(self, sql: str, parameters: Sequence[Any], *, for_model: bool) -> RawResult:
        values = [raw_parameter(value, *self._types) for value in parameters]
        return await self._run(lambda connection: _fetch_raw(connection, sql, values, for_model=for_model), raw=True)

    async def execute_raw(self, sql: str, parameters: Sequence[Any]) -> int:
        values = [raw_parameter(value, *self._types) for value in parameters]
        return await self._run(lambda connection: _execute(connection, sql, values), raw=True)

    async def commit(self) -> None:
        if self._ended:
            raise EngineError(_ENDED, "P2028")
        self._ended = True
        try:
            await self._writer.run(_commit, interruptible=False)
        except DATABASE_ERRORS as error:
            await self._undo()
            raise query_error(error, raw=False) from error
        except BaseException:
            await self._undo()
            raise
        finally:
            self._release()

    async def rollback(self) -> None:
        if self._ended:
            return
        self._ended = True
        try:
            await self._undo()
        finally:
            self._release()

    async def abandon(self) -> None:
        if not self._ended:
            self._writer.interrupt()
        await self.rollback()

    async def _run(self, job: Callable[[sqlite3.Connection], T], *, raw: bool) -> T:
        if self._ended:
            raise EngineError(_ENDED, "P2028")
        try:
            return await self._writer.run(lambda connection: self._guarded(connection, job))
        except DATABASE_ERRORS as error:
            if self._ended:  # interrupted, because its time was up
                raise EngineError(_ENDED, "P2028") from error
            raise query_error(error, raw=raw) from error
        except asyncio.CancelledError:
            # SQLite rolls a transaction back when a write in it is interrupted; going on would commit half of it.
            await self.rollback()
            raise

    def _guarded(self, connection: sqlite3.Connection, job: Callable[[sqlite3.Connection], T]) -> T:
        # Checked in the thread, where statements and the end of the transaction are in one order: a statement that
        # was queued before its transaction expired must not run outside it.
        if not connection.in_transaction:
            raise EngineError(_ENDED, "P2028")
        return job(connection)

    async def _undo(self) -> None:
        """Roll back, whatever happens to the caller meanwhile. A connection that was closed has done so."""
        with contextlib.suppress(EngineError, *DATABASE_ERRORS):
            await self._writer.run(_rollback, interruptible=False)


def _open(url: SqliteUrl, *, read_only: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(
        url.path,
        timeout=url.busy_timeout,
        isolation_level=None,  # this module says itself when a transaction begins
        check_same_thread=False,  # `interrupt` comes from the event loop's thread
        detect_types=sqlite3.PARSE_DECLTYPES,
        cached_statements=256,
    )
    try:
        connection.row_factory = _as_dict
        register_unpacking(connection)
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _as_dict(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}


def _execute(connection: sqlite3.Connection, sql: str, arguments: Sequence[Any]) -> int:
    cursor = connection.execute(sql, arguments)
    if cursor.description is not None:
        cursor.fetchall()  # a statement with RETURNING takes effect only when it has run to its end
    if cursor.rowcount >= 0:
        return cursor.rowcount
    if sql.lstrip()[:4].upper() == "WITH":
        return int(connection.execute("SELECT changes() AS n").fetchone()["n"])
    return 0


def _fetch_raw(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any], *, for_model: bool) -> RawResult:
    cursor = connection.cursor()
    cursor.row_factory = None
    cursor.execute(sql, parameters)
    rows = cursor.fetchall()
    columns = [column[0] for column in cursor.description or ()]
    return raw_result(columns, rows, for_model=for_model)


def _commit(connection: sqlite3.Connection) -> None:
    if not connection.in_transaction:
        raise EngineError("Transaction already closed: SQLite rolled it back after an earlier error.", "P2028")
    connection.execute("COMMIT")


def _rollback(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _pool_timeout(url: SqliteUrl) -> EngineError:
    return EngineError(
        "Timed out fetching a new connection from the connection pool. (Current connection pool timeout: "
        f"{url.pool_timeout:g}, connection limit: {url.connection_limit})",
        "P2024",
        {"connection_limit": url.connection_limit, "timeout": url.pool_timeout},
    )
