"""A transaction on the one SQLite connection that writes."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from prisma_inprocess.drivers import sqlite_connection as on_connection
from prisma_inprocess.drivers.base import RawResult, RawStatement, Reader, Rows
from prisma_inprocess.drivers.sqlite_connection import Job, RolledBack
from prisma_inprocess.drivers.sqlite_errors import DATABASE_ERRORS, query_error
from prisma_inprocess.drivers.sqlite_thread import SqliteThread
from prisma_inprocess.drivers.sqlite_values import RawParameters
from prisma_inprocess.errors import EngineError, transaction_closed, transaction_failed
from prisma_inprocess.raw_batch import one_by_one

T = TypeVar("T")
_FAILURES: Final[tuple[type[Exception], ...]] = (RolledBack, *DATABASE_ERRORS)


class SqliteTransaction:
    """A transaction that owns the writer until it ends.

    Args:
        writer: The connection, on which the transaction was begun.
        release: Gives the connection to the next writer. Called exactly once, at the end.
        parameters: Encodes the parameters of raw statements.
    """

    in_transaction = True

    def __init__(self, writer: SqliteThread, release: Callable[[], None], parameters: RawParameters) -> None:
        self._writer = writer
        self._release = release
        self._parameters = parameters
        # Why the transaction is over. Every later statement fails with this error.
        self._over: EngineError | None = None
        self._is_undone = False
        # The last failure of a statement. Some failures make SQLite roll back the whole transaction.
        self._spoiled_by: EngineError | None = None

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Rows:
        return await self._run(lambda connection: on_connection.fetch(connection, sql, arguments), raw=False)

    async def read_together(self, work: Callable[[Reader], Coroutine[Any, Any, T]]) -> T:
        return await self._run(lambda connection: on_connection.read_together(connection, work), raw=False)

    async def execute(self, sql: str, arguments: Sequence[Any]) -> int:
        return await self._run(lambda connection: on_connection.execute(connection, sql, arguments), raw=False)

    async def fetch_raw(self, sql: str, parameters: Sequence[Any], *, for_model: bool) -> RawResult:
        values = self._parameters.encode(parameters)
        return await self._run(
            lambda connection: on_connection.fetch_raw(connection, sql, values, for_model=for_model), raw=True
        )

    async def execute_raw(self, sql: str, parameters: Sequence[Any]) -> int:
        values = self._parameters.encode(parameters)
        return await self._run(lambda connection: on_connection.execute(connection, sql, values), raw=True)

    async def fetch_raw_together(self, statements: Sequence[RawStatement]) -> list[RawResult]:
        return await one_by_one(self, statements)

    async def commit(self, *, within: float | None = None) -> None:  # noqa: ARG002 (the thread cannot be left)
        if self._over is not None:
            raise self._over.again()
        self._over = transaction_closed()
        try:
            await self._writer.run(on_connection.commit, interruptible=False)
        except RolledBack:
            raise transaction_failed(self._spoiled_by) from None
        except DATABASE_ERRORS as error:
            await self._undo()
            raise query_error(error, raw=False, committing=True) from error
        except BaseException:
            await self._undo()
            raise
        finally:
            self._release()

    async def rollback(self) -> None:
        await self._end(transaction_closed(), urgent=False)

    async def abandon(self, reason: EngineError) -> None:
        await self._end(reason, urgent=True)

    async def _end(self, reason: EngineError, *, urgent: bool) -> None:
        if self._over is not None:
            return
        self._over = reason
        self._is_undone = True
        try:
            await self._undo(urgent=urgent)
        finally:
            self._release()

    async def _run(self, job: Job[T], *, raw: bool) -> T:
        if self._over is not None:
            raise self._over.again()
        try:
            return await self._writer.run(lambda connection: self._within(connection, job))
        except _FAILURES as error:
            if self._is_undone and self._over is not None:  # interrupted, or queued behind the end
                raise self._over.again() from error
            if isinstance(error, RolledBack):
                raise transaction_failed(self._spoiled_by) from error
            self._spoiled_by = query_error(error, raw=raw)
            raise self._spoiled_by from error
        except asyncio.CancelledError:
            # SQLite rolls a transaction back when a write in it is interrupted. Continuing would commit half of it.
            await self.abandon(transaction_closed())
            raise

    def _within(self, connection: sqlite3.Connection, job: Job[T]) -> T:
        """Run a statement in the thread.

        The check is in the thread, which orders statements and the end of the transaction. A statement that was queued
        before the end must not run outside the transaction, and must not delay its end.
        """
        if self._is_undone or not connection.in_transaction:
            raise RolledBack
        return job(connection)

    async def _undo(self, *, urgent: bool = False) -> None:
        """Roll back, even if the caller is cancelled meanwhile. A closed connection has rolled back already."""
        with contextlib.suppress(EngineError, *DATABASE_ERRORS):
            await self._writer.run(on_connection.roll_back, interruptible=False, urgent=urgent)
