"""A transaction on its own PostgreSQL connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from prisma_inprocess.drivers.base import RawResult, RawStatement, Reader, Rows
from prisma_inprocess.drivers.postgresql_connection import CLOSE_LIMIT, PostgresConnection
from prisma_inprocess.drivers.postgresql_errors import DATABASE_ERRORS, GONE
from prisma_inprocess.drivers.postgresql_pool import PostgresPool
from prisma_inprocess.errors import EngineError, Fault, transaction_closed, transaction_failed
from prisma_inprocess.raw_batch import one_by_one
from prisma_inprocess.transaction_control import ended_by_statement

T = TypeVar("T")


class PostgresTransaction:
    """Statements of one transaction. They take turns, as they must on one connection.

    Args:
        connection: The connection, on which the transaction was begun.
        pool: The pool of the connection.
        answer_limit: Seconds to wait for each answer, or None.
    """

    in_transaction = True

    def __init__(self, connection: PostgresConnection, pool: PostgresPool, answer_limit: float | None) -> None:
        self._connection = connection
        self._pool = pool
        self._answer_limit = answer_limit
        self._lock = asyncio.Lock()
        # Why the transaction is over. Every later statement fails with this error.
        self._over: EngineError | None = None
        # The last failure of a statement. PostgreSQL refuses everything after it, and only the first refusal says why.
        self._spoiled_by: EngineError | None = None

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Rows:
        return await self._run(lambda connection: connection.fetch(sql, arguments), raw=False)

    async def read_together(self, work: Callable[[Reader], Coroutine[Any, Any, T]]) -> T:
        return await work(self)

    async def execute(self, sql: str, arguments: Sequence[Any]) -> int:
        return await self._run(lambda connection: connection.execute(sql, arguments), raw=False)

    async def fetch_raw(self, sql: str, parameters: Sequence[Any], *, for_model: bool) -> RawResult:
        return await self._run(lambda connection: connection.fetch_raw(sql, parameters, for_model=for_model), raw=True)

    async def execute_raw(self, sql: str, parameters: Sequence[Any]) -> int:
        return await self._run(lambda connection: connection.execute_raw(sql, parameters), raw=True)

    async def fetch_raw_together(self, statements: Sequence[RawStatement]) -> list[RawResult]:
        return await one_by_one(self, statements)

    async def commit(self, *, within: float | None = None) -> None:
        async with self._lock:
            if self._over is not None:
                raise self._over.again()
            limits = [limit for limit in (within, self._answer_limit) if limit is not None]
            status = await self._commit(min(limits, default=None))
        if status != "COMMIT":
            # PostgreSQL answers COMMIT in a failed transaction with ROLLBACK, without an error. Nothing was saved, so
            # this is one.
            raise transaction_failed(self._spoiled_by)

    async def rollback(self) -> None:
        async with self._lock:
            if self._over is None:
                await self._roll_back(transaction_closed())

    async def abandon(self, reason: EngineError) -> None:
        if self._over is not None:
            return
        if self._lock.locked():
            # A statement is running. Discard the connection, so that the statement fails.
            self._over = reason
            process = self._connection.raw.get_server_pid()
            self._connection.raw.terminate()
            self._pool.discard(self._connection)
            await self._pool.cancel(process)
        else:
            self._over = reason  # at once, because the next statement may be about to start
            async with self._lock:
                await self._roll_back(reason)

    async def _commit(self, limit: float | None) -> str:
        self._over = transaction_closed()
        try:
            status = str(await self._connection.raw.execute("COMMIT", timeout=limit))
        except BaseException as error:
            self._pool.discard(self._connection)
            if isinstance(error, DATABASE_ERRORS):
                raise self._connection.failure(error, raw=False, unanswered=True) from error
            raise
        self._pool.give_back(self._connection)
        return status

    async def _roll_back(self, reason: EngineError) -> None:
        """Roll back, within a limit. A connection that fails at it is closed, which rolls back as well."""
        self._over = reason
        try:
            await self._connection.raw.execute("ROLLBACK", timeout=CLOSE_LIMIT)
        except BaseException as error:
            self._pool.discard(self._connection)
            if not isinstance(error, DATABASE_ERRORS):
                raise
        else:
            self._pool.give_back(self._connection)

    async def _run(self, operation: Callable[[PostgresConnection], Awaitable[T]], *, raw: bool) -> T:
        async with self._lock:
            if self._over is not None:
                raise self._over.again()
            try:
                result = await operation(self._connection)
            except EngineError:
                raise  # refused before it was sent
            except BaseException as error:
                failure = self._failed(error, raw=raw)
                if failure is None:
                    raise
                raise failure from error
            if raw and not self._connection.in_transaction():
                self._over = ended_by_statement()
                self._pool.discard(self._connection)
                raise self._over.again()
            return result

    def _failed(self, error: BaseException, *, raw: bool) -> EngineError | None:
        """Note the failure of a statement. Return Prisma's error if the database caused it."""
        if self._over is not None:
            return self._over.again()  # it was ended while the statement ran
        if not isinstance(error, DATABASE_ERRORS):
            # The statement was cancelled, so the state of the transaction is unknown. It must not be committed.
            self._over = transaction_closed()
            self._pool.discard(self._connection)
            return None
        failure = self._connection.failure(error, raw=raw, unanswered=False)
        self._pool.learn(failure)
        if failure.fault in GONE:
            self._over = failure
            self._pool.discard(self._connection)
        elif failure.fault is not Fault.TRANSACTION_FAILED:
            self._spoiled_by = failure
        elif self._spoiled_by is not None and self._spoiled_by.retryable:
            # A fault of the database stays one, even if the caller ignored it.
            failure.fault, failure.database_code = self._spoiled_by.fault, self._spoiled_by.database_code
        return failure
