"""The connections to one PostgreSQL server, and the handling of their failures."""

from __future__ import annotations

import asyncio
import contextlib

from prisma_inprocess.drivers.pool import Pool, PoolClosed
from prisma_inprocess.drivers.postgresql_connection import CLOSE_LIMIT, PostgresConnection, Types, open_connection
from prisma_inprocess.drivers.postgresql_errors import DATABASE_ERRORS, GONE
from prisma_inprocess.errors import EngineError, Fault, not_connected
from prisma_inprocess.url import PostgresUrl

_CANCEL = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid = $1"
_CANCEL_PAUSE = 0.02


class PostgresPool:
    """Hands out connections, and knows which failures make one connection, or all of them, unusable.

    Args:
        url: Address and options.
        types: The generated package's own `Json` and `Base64` classes.
    """

    def __init__(self, url: PostgresUrl, types: Types) -> None:
        self._url = url
        self._types = types
        self._pool: Pool[PostgresConnection] = Pool(self._open, url.connection_limit)
        # Number of changes of tables that a connection has noticed, so that the others prepare their statements again
        # as well.
        self._generation = 0

    async def open_first(self) -> None:
        """Open the first connection. Raises: EngineError (P1xxx)."""
        try:
            self._pool.release(await self._pool.acquire(None))
        except BaseException:
            self._pool.shut()  # connections that are being opened are closed when they are open
            raise

    async def acquire(self, wait: float | None) -> PostgresConnection:
        """Take a connection.

        Raises: TimeoutError when none became free within `wait` seconds; EngineError (P1xxx).
        """
        try:
            connection = await self._pool.acquire(wait)
        except PoolClosed:
            raise not_connected() from None
        if connection.generation != self._generation:
            await connection.forget_statements(self._generation)
        return connection

    def give_back(self, connection: PostgresConnection, failure: EngineError | None = None) -> None:
        """Return a connection whose last statement succeeded, or failed with `failure`."""
        if failure is not None:
            self.learn(failure)
        if failure is not None and failure.fault in GONE:
            self._pool.discard(connection)
        else:
            self._pool.release(connection)

    def learn(self, failure: EngineError) -> None:
        """Draw conclusions for all connections from the failure of one."""
        if failure.fault is Fault.READ_ONLY:
            self._pool.retire()  # the server was demoted, so new connections may lead to its successor
        elif failure.fault is Fault.PLAN_CHANGED:
            self._generation += 1

    def discard(self, connection: PostgresConnection) -> None:
        """Close a connection whose state is unknown."""
        self._pool.discard(connection)

    async def cancel(self, process: int) -> None:
        """Ask the server to stop the statement of a connection that was cut off, within a limit.

        Otherwise the statement would continue and keep its locks. A failure is ignored.

        The statement may not have arrived yet. A request that arrives before it stops nothing. So the request is
        repeated until the server has noticed the end of the connection.
        """
        with contextlib.suppress(EngineError, *DATABASE_ERRORS):
            async with asyncio.timeout(CLOSE_LIMIT):
                await self._cancel(process)

    async def _cancel(self, process: int) -> None:
        helper = await self.acquire(None)
        try:
            while await helper.raw.fetchval(_CANCEL, process):  # noqa: ASYNC110 (the server does not call back)
                await asyncio.sleep(_CANCEL_PAUSE)
        except BaseException:
            self.discard(helper)
            raise
        self.give_back(helper)

    def shut(self) -> None:
        self._pool.shut()

    async def close(self) -> None:
        await self._pool.close()

    def stop(self) -> None:
        """Close all connections without an event loop."""
        self._pool.stop()

    async def _open(self) -> PostgresConnection:
        return await open_connection(self._url, self._types, self._generation)
