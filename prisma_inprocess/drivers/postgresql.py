"""PostgreSQL through asyncpg."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from prisma_inprocess.drivers.base import RawResult, Row, Transaction
from prisma_inprocess.drivers.pool import Pool, PoolClosed
from prisma_inprocess.drivers.postgresql_errors import connection_error, is_connection_lost, query_error
from prisma_inprocess.drivers.postgresql_values import PostgresDialect, raw_parameters, raw_result
from prisma_inprocess.errors import EngineError
from prisma_inprocess.url import PostgresUrl

T = TypeVar("T")
# What a statement can fail with while the connection stays good: the server's errors, and asyncpg's refusal to encode
# an argument. Whether the connection is in fact still good is asked when it is given back.
_STATEMENT_ERRORS = (asyncpg.PostgresError, asyncpg.DataError, TypeError, ValueError, OverflowError)
_CONNECTION_ERRORS = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
_ISOLATION_LEVELS = {
    "ReadUncommitted": "READ UNCOMMITTED",
    "ReadCommitted": "READ COMMITTED",
    "RepeatableRead": "REPEATABLE READ",
    "Serializable": "SERIALIZABLE",
}
_ENDED = "Transaction already closed: A query cannot be executed on an expired or closed transaction."
_CLOSE_TIMEOUT = 2.0


class PostgresConnection:
    """One connection, with the statements that were prepared on it for raw queries."""

    def __init__(
        self, connection: asyncpg.Connection[asyncpg.Record], url: PostgresUrl, types: tuple[type[Any], type[Any]]
    ) -> None:
        self.raw = connection
        self._types = types
        self._prepared: OrderedDict[str, PreparedStatement[asyncpg.Record]] = OrderedDict()
        self._limit = url.statement_cache_size

    def usable(self) -> bool:
        return not self.raw.is_closed() and not self.raw.is_in_transaction()

    async def close(self) -> None:
        # Waits for a running cancel request, so that a cancelled statement does not go on in the server.
        try:
            await self.raw.close(timeout=_CLOSE_TIMEOUT)
        except (*_STATEMENT_ERRORS, *_CONNECTION_ERRORS):
            self.raw.terminate()

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Sequence[Row]:
        rows: list[asyncpg.Record] = await self.raw.fetch(sql, *arguments)
        return rows

    async def execute(self, sql: str, arguments: Sequence[Any]) -> int:
        return _affected(await self.raw.execute(sql, *arguments))

    async def fetch_raw(self, sql: str, parameters: Sequence[Any], *, for_model: bool) -> RawResult:
        statement, rows = await self._run_raw(sql, parameters)
        columns = [(attribute.name, _type_name(attribute.type)) for attribute in statement.get_attributes()]
        return raw_result(columns, [tuple(row) for row in rows], for_model=for_model)

    async def execute_raw(self, sql: str, parameters: Sequence[Any]) -> int:
        if not parameters:
            return _affected(await self.raw.execute(sql))
        statement, _ = await self._run_raw(sql, parameters)
        return _affected(statement.get_statusmsg())

    async def _run_raw(
        self, sql: str, parameters: Sequence[Any]
    ) -> tuple[PreparedStatement[asyncpg.Record], list[asyncpg.Record]]:
        statement = await self._prepare(sql)
        types = [_type_name(kind) for kind in statement.get_parameters()]
        values = raw_parameters(parameters, types, *self._types)
        try:
            return statement, await statement.fetch(*values)
        except asyncpg.InvalidCachedStatementError:
            # A table changed since the statement was prepared. Inside a transaction the server has given it up already.
            self._prepared.pop(sql, None)
            if self.raw.is_in_transaction():
                raise
        statement = await self._prepare(sql)
        return statement, await statement.fetch(*values)

    async def _prepare(self, sql: str) -> PreparedStatement[asyncpg.Record]:
        cached = self._prepared.get(sql)
        if cached is not None:
            self._prepared.move_to_end(sql)
            return cached
        statement = await self.raw.prepare(sql)
        if self._limit:
            self._prepared[sql] = statement
            if len(self._prepared) > self._limit:
                self._prepared.popitem(last=False)
        return statement


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
        self._pool: Pool[PostgresConnection] | None = None

    async def connect(self) -> None:
        if self._pool is not None:
            return
        pool = Pool(self._open, self._url.connection_limit)
        pool.release(await pool.acquire(None))
        self._pool = pool

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    def close_now(self) -> None:
        # Sockets close with the process or when they are collected; asyncpg has no way to close one without its event
        # loop.
        self._pool = None

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Sequence[Row]:
        return await self._run(lambda connection: connection.fetch(sql, arguments), raw=False)

    async def execute(self, sql: str, arguments: Sequence[Any]) -> int:
        return await self._run(lambda connection: connection.execute(sql, arguments), raw=False)

    async def fetch_raw(self, sql: str, parameters: Sequence[Any], *, for_model: bool) -> RawResult:
        return await self._run(lambda connection: connection.fetch_raw(sql, parameters, for_model=for_model), raw=True)

    async def execute_raw(self, sql: str, parameters: Sequence[Any]) -> int:
        return await self._run(lambda connection: connection.execute_raw(sql, parameters), raw=True)

    async def begin(self, *, max_wait: float | None = None, isolation_level: str | None = None) -> Transaction:
        command = "BEGIN"
        if isolation_level is not None:
            if isolation_level not in _ISOLATION_LEVELS:
                raise EngineError(f"Error in connector: Conversion error: {isolation_level}", "P2023")
            command = f"BEGIN ISOLATION LEVEL {_ISOLATION_LEVELS[isolation_level]}"
        pool = self._connected()
        try:
            connection = await self._acquire(pool, self._url.pool_timeout if max_wait is None else max_wait)
        except TimeoutError:
            if max_wait is None:
                raise _pool_timeout(self._url) from None
            raise
        try:
            await connection.raw.execute(command)
        except BaseException as error:
            pool.discard(connection)
            if isinstance(error, (*_STATEMENT_ERRORS, *_CONNECTION_ERRORS)):
                raise query_error(error, raw=False) from error
            raise
        return _PostgresTransaction(connection, pool)

    def _connected(self) -> Pool[PostgresConnection]:
        if self._pool is None:
            raise EngineError("The client is not connected: call connect() first", "P1017")
        return self._pool

    async def _open(self) -> PostgresConnection:
        url = self._url
        settings = {}
        if url.schema is not None and not url.pgbouncer:
            # For raw queries; planned ones name their schema.
            settings["search_path"] = '"' + url.schema.replace('"', '""') + '"'
        if url.application_name is not None:
            settings["application_name"] = url.application_name
        try:
            connection = await asyncpg.connect(
                host=url.host,
                port=url.port,
                user=url.user,
                password=url.password,
                database=url.database,
                timeout=url.connect_timeout,
                command_timeout=url.statement_timeout,
                statement_cache_size=url.statement_cache_size,
                ssl=_ssl(url),
                server_settings=settings or None,
            )
        except (*_STATEMENT_ERRORS, *_CONNECTION_ERRORS) as error:
            raise connection_error(error, url) from error
        return PostgresConnection(connection, url, self._types)

    async def _acquire(self, pool: Pool[PostgresConnection], wait: float | None) -> PostgresConnection:
        try:
            return await pool.acquire(wait)
        except PoolClosed:
            raise EngineError("The client is not connected: it was disconnected meanwhile", "P1017") from None

    async def _run(self, operation: Callable[[PostgresConnection], Awaitable[T]], *, raw: bool) -> T:
        pool = self._connected()
        try:
            connection = await self._acquire(pool, self._url.pool_timeout)
        except TimeoutError:
            raise _pool_timeout(self._url) from None
        try:
            result = await operation(connection)
        except _STATEMENT_ERRORS as error:
            # A server that shuts a connection down says so first and closes it later: it is not to be used once more.
            if is_connection_lost(error):
                pool.discard(connection)
            else:
                pool.release(connection)
            raise query_error(error, raw=raw) from error
        except BaseException as error:
            pool.discard(connection)
            if isinstance(error, _CONNECTION_ERRORS):
                raise query_error(error, raw=raw) from error
            raise
        pool.release(connection)
        return result


class _PostgresTransaction:
    """A transaction on a connection of its own. Statements take turns, as they must on one connection."""

    in_transaction = True

    def __init__(self, connection: PostgresConnection, pool: Pool[PostgresConnection]) -> None:
        self._connection = connection
        self._pool = pool
        self._lock = asyncio.Lock()
        self._ended = False

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Sequence[Row]:
        return await self._run(lambda connection: connection.fetch(sql, arguments), raw=False)

    async def execute(self, sql: str, arguments: Sequence[Any]) -> int:
        return await self._run(lambda connection: connection.execute(sql, arguments), raw=False)

    async def fetch_raw(self, sql: str, parameters: Sequence[Any], *, for_model: bool) -> RawResult:
        return await self._run(lambda connection: connection.fetch_raw(sql, parameters, for_model=for_model), raw=True)

    async def execute_raw(self, sql: str, parameters: Sequence[Any]) -> int:
        return await self._run(lambda connection: connection.execute_raw(sql, parameters), raw=True)

    async def commit(self) -> None:
        async with self._lock:
            if self._ended:
                raise EngineError(_ENDED, "P2028")
            status = await self._end("COMMIT")
        if status != "COMMIT":
            # PostgreSQL answers COMMIT in a failed transaction with ROLLBACK, without an error. Nothing was saved, so
            # this is one.
            raise EngineError(
                "Transaction already closed: the database rolled it back after an earlier error.", "P2028"
            )

    async def rollback(self) -> None:
        async with self._lock:
            if not self._ended:
                await self._end("ROLLBACK")

    async def abandon(self) -> None:
        if self._ended:
            return
        if self._lock.locked():
            # A statement is running: the connection goes, and the statement fails with it. The server would not notice
            # before the statement is through, and keep its locks, so it is told.
            self._ended = True
            process = self._connection.raw.get_server_pid()
            self._connection.raw.terminate()
            self._pool.discard(self._connection)
            with contextlib.suppress(EngineError, PoolClosed, *_STATEMENT_ERRORS, *_CONNECTION_ERRORS):
                helper = await self._pool.acquire(_CLOSE_TIMEOUT)
                try:
                    await helper.raw.execute("SELECT pg_cancel_backend($1)", process)
                finally:
                    self._pool.release(helper)
        else:
            await self.rollback()

    async def _end(self, command: str) -> str:
        self._ended = True
        try:
            status = str(await self._connection.raw.execute(command))
        except BaseException as error:
            self._pool.discard(self._connection)
            if isinstance(error, (*_STATEMENT_ERRORS, *_CONNECTION_ERRORS)):
                raise query_error(error, raw=False) from error
            raise
        self._pool.release(self._connection)
        return status

    async def _run(self, operation: Callable[[PostgresConnection], Awaitable[T]], *, raw: bool) -> T:
        async with self._lock:
            if self._ended:
                raise EngineError(_ENDED, "P2028")
            try:
                return await operation(self._connection)
            except _STATEMENT_ERRORS as error:
                raise self._failure(error, raw=raw) from error
            except BaseException as error:
                # The state of the transaction is unknown: it must not be committed any more.
                if not self._ended:
                    self._ended = True
                    self._pool.discard(self._connection)
                if isinstance(error, _CONNECTION_ERRORS):
                    raise self._failure(error, raw=raw) from error
                raise

    def _failure(self, error: BaseException, *, raw: bool) -> EngineError:
        # Ended while the statement ran: its time was up.
        return (
            EngineError(_ENDED, "P2028")
            if self._ended and self._connection.raw.is_closed()
            else query_error(error, raw=raw)
        )


def _affected(status: str) -> int:
    """The number of rows from a command's status, such as `INSERT 0 5`."""
    last = status.rsplit(" ", 1)[-1] if status else ""
    return int(last) if last.isdecimal() else 0


def _type_name(kind: asyncpg.Type) -> str:
    return str(kind.name)


def _ssl(url: PostgresUrl) -> Any:
    if url.ssl_root_certificate is None:
        return url.ssl_mode
    context = ssl.create_default_context(cafile=url.ssl_root_certificate)
    if url.ssl_mode not in ("verify-full", None):
        context.check_hostname = False
    if url.ssl_mode in ("disable", "allow", "prefer"):
        with contextlib.suppress(ValueError):
            context.verify_mode = ssl.CERT_NONE
    return context


def _pool_timeout(url: PostgresUrl) -> EngineError:
    return EngineError(
        "Timed out fetching a new connection from the connection pool. (Current connection pool timeout: "
        f"{url.pool_timeout:g}, connection limit: {url.connection_limit})",
        "P2024",
        {"connection_limit": url.connection_limit, "timeout": url.pool_timeout},
    )
