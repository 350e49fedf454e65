"""One connection to PostgreSQL: how it is opened, and the statements that are prepared on it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import socket
from asyncio.trsock import TransportSocket
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from prisma_inprocess.drivers.base import RawResult, Rows
from prisma_inprocess.drivers.postgresql_codecs import register_codecs
from prisma_inprocess.drivers.postgresql_errors import DATABASE_ERRORS, connection_error, query_error
from prisma_inprocess.drivers.postgresql_values import PostgresDialect, raw_parameters, raw_result
from prisma_inprocess.errors import EngineError, parameters_exceeded
from prisma_inprocess.url import PostgresUrl

Types = tuple[type[Any], type[Any]]
# Time for a discarded connection to close properly. After it, the connection is cut.
CLOSE_LIMIT: Final = 2.0
_OUTDATED: Final = -1
_INTERNET: Final = frozenset((socket.AF_INET, socket.AF_INET6))


class _UniquelyNaming(asyncpg.Connection):  # type: ignore[misc] # asyncpg has no types
    """Gives prepared statements names that no other connection uses, in any process.

    asyncpg counts them from one in each process. Behind a pooler in transaction mode, two processes share a server
    connection, and one would execute what the other has prepared.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._prefix = secrets.token_hex(8)
        self._numbers = itertools.count(1)

    def _get_unique_id(self, prefix: str) -> str:
        return f"__prisma_{prefix}_{self._prefix}_{next(self._numbers):x}__"


class PostgresConnection:
    """One connection, with the statements that were prepared on it for raw queries.

    Args:
        connection: The open connection.
        url: The URL with which it was opened.
        types: The generated package's own `Json` and `Base64` classes.
        generation: Number of observed changes of tables before it was opened.
    """

    def __init__(
        self, connection: asyncpg.Connection[asyncpg.Record], url: PostgresUrl, types: Types, generation: int
    ) -> None:
        self.raw = connection
        self.generation = generation
        self._types = types
        self._prepared: OrderedDict[str, PreparedStatement[asyncpg.Record]] = OrderedDict()
        self._limit = url.statement_cache_size

    def usable(self) -> bool:
        return not self.raw.is_closed() and not self.raw.is_in_transaction()

    def in_transaction(self) -> bool:
        """Whether the server reports an open transaction, failed or not."""
        return bool(self.raw.is_in_transaction())

    async def close(self) -> None:
        """Close, within a limit. A cancel request that is under way is waited for, so that a cancelled statement does
        not continue in the server.
        """
        try:
            async with asyncio.timeout(CLOSE_LIMIT + 1):
                await self.raw.close(timeout=CLOSE_LIMIT)
        except DATABASE_ERRORS:
            self.raw.terminate()
        except BaseException:
            self.raw.terminate()
            raise

    def stop(self) -> None:
        """End the connection without an event loop. The socket itself is closed when it is collected: asyncpg has no
        way to close it without the loop that it belongs to.
        """
        link = _socket(self.raw)
        # uvloop closes its sockets itself, and its socket object does not have this method.
        if isinstance(link, TransportSocket):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def failure(self, error: BaseException, *, raw: bool, unanswered: bool) -> EngineError:
        """Prisma's error for one of `DATABASE_ERRORS` that a statement failed with; arguments as for `query_error`."""
        if isinstance(error, asyncpg.SyntaxOrAccessError):
            # A column may have changed its type since the statement was prepared. Prepare it again next time.
            self.generation = _OUTDATED
        return query_error(error, raw=raw, unanswered=unanswered)

    async def forget_statements(self, generation: int) -> None:
        """Prepare everything again: tables or types have changed."""
        self.generation = generation
        self._prepared.clear()
        await self.raw.reload_schema_state()  # asyncpg's own statements and types; it sends nothing

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Rows:
        rows: list[asyncpg.Record] = await self.raw.fetch(sql, *arguments)
        return Rows(tuple(rows[0].keys()) if rows else (), rows)

    async def execute(self, sql: str, arguments: Sequence[Any]) -> int:
        return _affected(await self.raw.execute(sql, *arguments))

    async def fetch_raw(self, sql: str, parameters: Sequence[Any], *, for_model: bool) -> RawResult:
        statement, rows = await self._run_raw(sql, parameters)
        columns = [(attribute.name, _type_name(attribute.type)) for attribute in statement.get_attributes()]
        return raw_result(columns, [tuple(row) for row in rows], for_model=for_model)

    async def execute_raw(self, sql: str, parameters: Sequence[Any]) -> int:
        # Several statements at once could end a transaction and begin another; a prepared statement is only one.
        if not parameters and not (self.in_transaction() and ";" in sql.rstrip("; \t\r\n")):
            return _affected(await self.raw.execute(sql))
        statement, _ = await self._run_raw(sql, parameters)
        return _affected(statement.get_statusmsg())

    async def _run_raw(
        self, sql: str, parameters: Sequence[Any]
    ) -> tuple[PreparedStatement[asyncpg.Record], list[asyncpg.Record]]:
        if len(parameters) > PostgresDialect.max_parameters:
            raise parameters_exceeded()
        statement = await self._prepare(sql)
        types = [_type_name(kind) for kind in statement.get_parameters()]
        values = raw_parameters(parameters, types, *self._types)
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


async def open_connection(url: PostgresUrl, types: Types, generation: int) -> PostgresConnection:
    """Open a connection within the URL's `connect_timeout`. Raises: EngineError (P1xxx)."""
    try:
        connection = await connect(url)
    except DATABASE_ERRORS as error:
        raise connection_error(error, url) from error
    return PostgresConnection(connection, url, types, generation)


async def connect(url: PostgresUrl) -> asyncpg.Connection[asyncpg.Record]:
    """Open asyncpg's connection to a URL. Only here does a password leave this process.

    Raises:
        OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError: no connection opened within
        `connect_timeout`, or the server does not have the role that the URL requires.
    """
    settings = {}
    if url.search_path is not None and not url.pgbouncer:
        settings["search_path"] = url.search_path
    if url.application_name is not None:
        settings["application_name"] = url.application_name
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
        host=url.host,
        port=url.port,
        user=url.user,
        password=url.password,
        database=url.database,
        timeout=url.connect_timeout,
        command_timeout=url.statement_timeout,
        statement_cache_size=url.statement_cache_size,
        ssl=url.tls.for_asyncpg(),
        server_settings=settings or None,
        connection_class=_UniquelyNaming,
    )
    await register_codecs(connection)
    _keep_alive(connection, url)
    return connection


def _keep_alive(connection: asyncpg.Connection[asyncpg.Record], url: PostgresUrl) -> None:
    """Let the kernel detect when the other side is silently gone, while we wait for it or send to it."""
    link = _socket(connection)
    if link is None or link.family not in _INTERNET:
        return
    options: list[tuple[str, int]] = [("TCP_USER_TIMEOUT", int(url.tcp_user_timeout * 1000))]
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(url.keepalives))
    if url.keepalives:
        options += [
            ("TCP_KEEPIDLE", url.keepalives_idle),
            ("TCP_KEEPINTVL", url.keepalives_interval),
            ("TCP_KEEPCNT", url.keepalives_count),
        ]
    for name, value in options:
        option = getattr(socket, name, None)  # not every system has all of them
        if option is not None:
            with contextlib.suppress(OSError):
                link.setsockopt(socket.IPPROTO_TCP, option, value)


def _socket(connection: asyncpg.Connection[asyncpg.Record]) -> socket.socket | TransportSocket | None:
    # asyncpg has no public way to its socket.
    transport = connection._transport
    return None if transport is None else transport.get_extra_info("socket")


def _affected(status: str) -> int:
    """The number of rows from a command's status, such as `INSERT 0 5`."""
    last = status.rsplit(" ", 1)[-1] if status else ""
    return int(last) if last.isdecimal() else 0


def _type_name(kind: asyncpg.Type) -> str:
    return str(kind.name)
