"""PostgreSQL through asyncpg."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from prisma_inprocess.drivers.base import RawResult, RawStatement, Reader, Rows, Transaction
from prisma_inprocess.drivers.pool import pool_timeout
from prisma_inprocess.drivers.postgresql_connection import PostgresConnection
from prisma_inprocess.drivers.postgresql_errors import DATABASE_ERRORS
from prisma_inprocess.drivers.postgresql_pool import PostgresPool
from prisma_inprocess.drivers.postgresql_transaction import PostgresTransaction
from prisma_inprocess.drivers.postgresql_values import PostgresDialect
from prisma_inprocess.errors import EngineError, Fault, not_connected
from prisma_inprocess.transaction_control import left_open
from prisma_inprocess.url import PostgresUrl

T = TypeVar("T")
_ISOLATION_LEVELS = {
    "ReadUncommitted": "READ UNCOMMITTED",
    "ReadCommitted": "READ COMMITTED",
    "RepeatableRead": "REPEATABLE READ",
    "Serializable": "SERIALIZABLE",
}


class PostgresDriver:
    """A PostgreSQL database.

    Args:
        url: Address and options.
        json_type: The generated package's own `Json` class.
        base64_type: The generated package's own `Base64` class.
    """

    in_transaction = False

    def __init__(self, url: PostgresUrl, json_type: type[Any], base64_type: type[Any]) -> None:
        self.dialect = PostgresDialect()
        self._url = url
        self._types = (json_type, base64_type)
        self._pool: PostgresPool | None = None
        # A pooler gives connections to other programs after each transaction, so the path must not outlast the
        # transaction.
        self._local_path = (
            f"SET LOCAL search_path TO {url.search_path}" if url.pgbouncer and url.search_path is not None else None
        )

    async def connect(self) -> None:
        if self._pool is not None:
            return
        pool = PostgresPool(self._url, self._types)
        await pool.open_first()
        self._pool = pool

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    def close_now(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Rows:
        # A plan's SELECT changes nothing, so it may be repeated even if its answer was lost.
        changes = not sql.startswith("SELECT")
        return await self._run(lambda connection: connection.fetch(sql, arguments), raw=False, changes=changes)

    async def read_together(self, work: Callable[[Reader], Coroutine[Any, Any, T]]) -> T:
        return await work(self)

    async def execute(self, sql: str, arguments: Sequence[Any]) -> int:
        return await self._run(lambda connection: connection.execute(sql, arguments), raw=False)

    async def fetch_raw(self, sql: str, parameters: Sequence[Any], *, for_model: bool) -> RawResult:
        if self._local_path is not None:
            return await self._in_transaction(
                lambda transaction: transaction.fetch_raw(sql, parameters, for_model=for_model)
            )
        return await self._run(lambda connection: connection.fetch_raw(sql, parameters, for_model=for_model), raw=True)

    async def execute_raw(self, sql: str, parameters: Sequence[Any]) -> int:
        if self._local_path is not None:
            return await self._in_transaction(lambda transaction: transaction.execute_raw(sql, parameters))
        return await self._run(lambda connection: connection.execute_raw(sql, parameters), raw=True)

    async def fetch_raw_together(self, statements: Sequence[RawStatement]) -> list[RawResult]:
        async def work(transaction: Transaction) -> list[RawResult]:
            return await transaction.fetch_raw_together(statements)

        try:
            return await self._in_transaction(work)
        except EngineError as error:
            if error.fault is not Fault.PLAN_CHANGED or error.in_doubt:
                raise
        # A table was altered since a statement was prepared. Prepare it again, once.
        return await self._in_transaction(work)

    async def begin(self, *, max_wait: float | None = None, isolation_level: str | None = None) -> Transaction:
        command = "BEGIN"
        if isolation_level is not None:
            if isolation_level not in _ISOLATION_LEVELS:
                raise EngineError(f"Error in connector: Conversion error: {isolation_level}", "P2023")
            command = f"BEGIN ISOLATION LEVEL {_ISOLATION_LEVELS[isolation_level]}"
        if self._local_path is not None:
            command = f"{command}; {self._local_path}"
        pool = self._connected()
        connection = await (self._acquire(pool) if max_wait is None else pool.acquire(max_wait))
        try:
            # The statement waits for nothing in the server, so a server that does not answer is gone.
            limit = min(self._url.connect_timeout, self._url.statement_timeout or self._url.connect_timeout)
            await connection.raw.execute(command, timeout=limit)
        except BaseException as error:
            pool.discard(connection)
            if isinstance(error, DATABASE_ERRORS):
                raise connection.failure(error, raw=False, unanswered=False) from error
            raise
        return PostgresTransaction(connection, pool, self._url.statement_timeout)

    async def _in_transaction(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        transaction = await self.begin()
        try:
            result = await work(transaction)
        except BaseException:
            await transaction.rollback()
            raise
        await transaction.commit()
        return result

    def _connected(self) -> PostgresPool:
        if self._pool is None:
            raise not_connected("call connect() first")
        return self._pool

    async def _acquire(self, pool: PostgresPool) -> PostgresConnection:
        try:
            return await pool.acquire(self._url.pool_timeout)
        except TimeoutError:
            raise pool_timeout(self._url.pool_timeout, self._url.connection_limit) from None

    async def _run(
        self,
        operation: Callable[[PostgresConnection], Awaitable[T]],
        *,
        raw: bool,
        changes: bool = True,
        repeat: bool = True,
    ) -> T:
        pool = self._connected()
        connection = await self._acquire(pool)
        try:
            result = await operation(connection)
        except EngineError:
            pool.give_back(connection)  # refused before it was sent
            raise
        except DATABASE_ERRORS as error:
            failure = connection.failure(error, raw=raw, unanswered=changes)
            pool.give_back(connection, failure)
            if failure.fault is not Fault.PLAN_CHANGED or failure.in_doubt or not repeat:
                raise failure from error
        except BaseException:
            pool.discard(connection)
            raise
        else:
            if raw and connection.in_transaction():
                pool.discard(connection)
                raise left_open()
            pool.give_back(connection)
            return result
        # A table was altered since the statement was prepared. Prepare it again, once.
        return await self._run(operation, raw=raw, changes=changes, repeat=False)
