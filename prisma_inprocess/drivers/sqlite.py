"""SQLite: one writer and several readers on one file, in WAL mode."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from prisma_inprocess.date_format import DateColumns, DateFormat
from prisma_inprocess.drivers import sqlite_connection as on_connection
from prisma_inprocess.drivers.base import RawResult, RawStatement, Reader, Rows, Transaction
from prisma_inprocess.drivers.pool import Pool, PoolClosed, pool_timeout
from prisma_inprocess.drivers.private_sqlite import ERRORS
from prisma_inprocess.drivers.sqlite_connection import Job, open_connection
from prisma_inprocess.drivers.sqlite_errors import DATABASE_ERRORS, open_error, query_error
from prisma_inprocess.drivers.sqlite_stored_dates import StoredDates, look_at_dates
from prisma_inprocess.drivers.sqlite_thread import SqliteThread
from prisma_inprocess.drivers.sqlite_transaction import SqliteTransaction
from prisma_inprocess.drivers.sqlite_values import RawParameters, SqliteDialect, register_column_types
from prisma_inprocess.errors import EngineError, not_connected
from prisma_inprocess.url import SqliteUrl

T = TypeVar("T")
log = logging.getLogger(__name__)


class SqliteDriver:
    """A SQLite file.

    All writes go through one connection, one after the other. SQLite allows one writer, and waiting in this process is
    cheaper than being refused. Reads outside transactions use other connections. Transactions take the write lock when
    they begin (`BEGIN IMMEDIATE`), so that none fails half-way because another process wrote in between.

    Args:
        url: Path and options.
        json_type: The generated package's own `Json` class.
        base64_type: The generated package's own `Base64` class.
        date_columns: The DateTime columns of the schema, which `connect` checks.
    """

    in_transaction = False

    def __init__(self, url: SqliteUrl, json_type: type[Any], base64_type: type[Any], date_columns: DateColumns) -> None:
        self._url = url
        self._types = (json_type, base64_type)
        self._date_columns = date_columns
        self._use(url.dates or DateFormat.ISO)
        self._writer: SqliteThread | None = None
        self._write_lock = asyncio.Lock()
        self._readers: Pool[SqliteThread] | None = None

    async def connect(self) -> None:
        if self._writer is not None:
            return
        register_column_types()
        writer = await self._open(read_only=False)
        try:
            mode = await writer.run(_journal_mode)
            dates = await writer.run(lambda connection: look_at_dates(connection, self._date_columns))
            self._use(dates.format(self._url.dates, self._url.path, self._date_columns.command(self._url.path)))
        except BaseException as error:
            writer.stop()
            if isinstance(error, ERRORS):
                raise open_error(error, self._url.path) from error
            raise
        self._warn_of_other_texts(dates)
        self._writer = writer
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
        readers, self._readers = self._readers, None
        writer, self._writer = self._writer, None
        if readers is not None:
            readers.stop()
        if writer is not None:
            writer.stop()

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Rows:
        if self._readers is not None and sql.startswith("SELECT"):
            return await self._read(
                self._readers, lambda connection: on_connection.read(connection, sql, arguments), raw=False
            )
        return await self._write(lambda connection: on_connection.fetch(connection, sql, arguments), raw=False)

    async def read_together(self, work: Callable[[Reader], Coroutine[Any, Any, T]]) -> T:
        # A round trip to the thread takes as long as a small statement.
        def job(connection: sqlite3.Connection) -> T:
            return on_connection.read_together(connection, work)

        if self._readers is not None:
            return await self._read(self._readers, job, raw=False)
        return await self._write(job, raw=False)

    async def execute(self, sql: str, arguments: Sequence[Any]) -> int:
        return await self._write(lambda connection: on_connection.execute(connection, sql, arguments), raw=False)

    async def fetch_raw(self, sql: str, parameters: Sequence[Any], *, for_model: bool) -> RawResult:
        values = self._parameters.encode(parameters)

        def job(connection: sqlite3.Connection) -> RawResult:
            return on_connection.fetch_raw(connection, sql, values, for_model=for_model)

        if self._readers is not None and sql.lstrip()[:6].upper() == "SELECT":
            return await self._read(self._readers, job, raw=True)
        return await self._write(job, raw=True)

    async def execute_raw(self, sql: str, parameters: Sequence[Any]) -> int:
        values = self._parameters.encode(parameters)
        return await self._write(lambda connection: on_connection.execute(connection, sql, values), raw=True)

    async def fetch_raw_together(self, statements: Sequence[RawStatement]) -> list[RawResult]:
        encode = self._parameters.encode

        def job(connection: sqlite3.Connection) -> list[RawResult]:
            return on_connection.fetch_raw_together(connection, statements, encode)

        # Begin and end share one round trip to the thread.
        return await self._write(lambda connection: on_connection.atomically(connection, job), raw=True)

    async def begin(self, *, max_wait: float | None = None, isolation_level: str | None = None) -> Transaction:
        if isolation_level not in (None, "Serializable"):
            raise EngineError(f"Error in connector: Conversion error: {isolation_level}", "P2023")
        writer = self._connected()
        if max_wait is None:
            await self._take_turn()
        else:
            async with asyncio.timeout(max_wait):
                await self._write_lock.acquire()
        transaction = SqliteTransaction(writer, self._write_lock.release, self._parameters)
        try:
            await writer.run(on_connection.begin)
        except DATABASE_ERRORS as error:
            await transaction.rollback()
            raise query_error(error, raw=False) from error
        except BaseException:
            await transaction.rollback()
            raise
        return transaction

    def _use(self, dates: DateFormat) -> None:
        self.dialect = SqliteDialect(dates)
        self._parameters = RawParameters(*self._types, dates)

    def _warn_of_other_texts(self, dates: StoredDates) -> None:
        if dates.other_texts:
            log.warning(
                "%s stores DateTime values in %s as text that is not UTC with milliseconds. Filters and order may "
                "be wrong for them. Convert them: %s --to %s",
                self._url.path,
                ", ".join(dates.other_texts),
                self._date_columns.command(self._url.path),
                DateFormat.ISO,
            )

    def _connected(self) -> SqliteThread:
        if self._writer is None:
            raise not_connected("call connect() first")
        return self._writer

    async def _open_reader(self) -> SqliteThread:
        return await self._open(read_only=True)

    async def _open(self, *, read_only: bool) -> SqliteThread:
        try:
            return await SqliteThread.start(lambda: open_connection(self._url, read_only=read_only))
        except ERRORS as error:
            raise open_error(error, self._url.path) from error

    async def _read(self, readers: Pool[SqliteThread], job: Job[T], *, raw: bool) -> T:
        try:
            reader = await readers.acquire(self._url.pool_timeout)
        except TimeoutError:
            raise pool_timeout(self._url.pool_timeout, self._url.connection_limit) from None
        except PoolClosed:
            raise not_connected() from None
        try:
            return await reader.run(job)
        except DATABASE_ERRORS as error:
            raise query_error(error, raw=raw) from error
        finally:
            # `run` returns only when the function has ended, even if it was cancelled.
            readers.release(reader)

    async def _write(self, job: Job[T], *, raw: bool) -> T:
        writer = self._connected()
        await self._take_turn()
        try:
            return await writer.run(lambda connection: on_connection.alone(connection, job))
        except DATABASE_ERRORS as error:
            raise query_error(error, raw=raw, committing=True) from error
        finally:
            self._write_lock.release()

    async def _take_turn(self) -> None:
        try:
            async with asyncio.timeout(self._url.pool_timeout):
                await self._write_lock.acquire()
        except TimeoutError:
            raise pool_timeout(self._url.pool_timeout, self._url.connection_limit) from None


def _journal_mode(connection: sqlite3.Connection) -> str:
    return str(connection.execute("PRAGMA journal_mode").fetchone()["journal_mode"])
