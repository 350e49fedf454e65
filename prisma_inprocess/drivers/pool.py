"""A small connection pool that never loses a connection to a cancelled caller.

It hands out connections without a round trip. A caller that does not know the state of its connection discards it
instead of returning it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Protocol, TypeVar

from prisma_inprocess.errors import EngineError, Fault

# Closing waits this long for connections that are being opened or closed. Each of these has its own limit, too.
_CLOSE_LIMIT: Final = 10.0


class Poolable(Protocol):
    def usable(self) -> bool:
        """Whether the connection is open and idle, with no transaction left behind."""
        ...

    async def close(self) -> None:
        """Close the connection properly, within a limit."""
        ...

    def stop(self) -> None:
        """Close without an event loop, because its own may be closed."""
        ...


C = TypeVar("C", bound=Poolable)


class PoolClosed(Exception):
    """The pool was closed while a caller waited for a connection."""


def pool_timeout(wait: float | None, limit: int) -> EngineError:
    """Prisma's error for a caller that found no free connection within `wait` seconds."""
    return EngineError(
        "Timed out fetching a new connection from the connection pool. (Current connection pool timeout: "
        f"{wait or 0:g}, connection limit: {limit})",
        "P2024",
        {"connection_limit": limit, "timeout": wait},
        fault=Fault.POOL_TIMEOUT,
    )


class Pool(Generic[C]):
    """Up to `limit` connections, opened when needed, handed out last in, first out.

    Args:
        open_connection: Opens one connection.
        limit: Most connections at a time.
    """

    def __init__(self, open_connection: Callable[[], Awaitable[C]], limit: int) -> None:
        self._open_connection = open_connection
        self._limit = limit
        self._idle: list[C] = []
        # Connections that exist or are being opened, idle or not.
        self._count = 0
        # A waiter receives a connection, or None: the right to open one, which is counted already.
        self._waiters: deque[asyncio.Future[C | None]] = deque()
        self._closing: set[asyncio.Task[None]] = set()
        # Connections whose caller was cancelled while they were being opened.
        self._opening: set[asyncio.Future[C]] = set()
        # All open connections, and those that are closed instead of being handed out again.
        self._members: set[C] = set()
        self._retired: set[C] = set()
        self._closed = False

    @property
    def busy(self) -> int:
        """Connections that are handed out or being opened."""
        return self._count - len(self._idle)

    @property
    def open(self) -> int:
        return self._count

    async def acquire(self, wait: float | None) -> C:
        """Take a connection. Raises: TimeoutError after `wait` seconds without a free one; PoolClosed; what opening
        raises.
        """
        if self._closed:
            raise PoolClosed
        while self._idle:
            connection = self._idle.pop()
            if connection.usable():
                return connection
            self._count -= 1
            self._close_later(connection)
        if self._count < self._limit:
            self._count += 1
            return await self._open()
        waiter: asyncio.Future[C | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(wait):
                given = await waiter
        except BaseException:
            self._give_up(waiter)
            raise
        return await self._open() if given is None else given

    def release(self, connection: C) -> None:
        """Return a connection that is known to be idle and clean."""
        if self._closed or connection in self._retired or not connection.usable():
            self.discard(connection)
            return
        waiter = self._next_waiter()
        if waiter is None:
            self._idle.append(connection)
        else:
            waiter.set_result(connection)

    def discard(self, connection: C) -> None:
        """Discard a connection whose state is unknown. Its place is free at once."""
        self._close_later(connection)
        self._free_place()

    def retire(self) -> None:
        """Do not hand out any present connection again, because their server is no longer the right one."""
        self._retired |= self._members
        self._close_idle()

    def shut(self) -> None:
        """Refuse all waiters, and begin to close idle connections. Connections in use are closed when they come
        back.
        """
        self._closed = True
        while (waiter := self._next_waiter()) is not None:
            waiter.set_exception(PoolClosed())
        self._close_idle()

    async def close(self) -> None:
        """Close all connections, and wait for that within a limit."""
        self.shut()
        if self._opening:
            await asyncio.wait(self._opening, timeout=_CLOSE_LIMIT)
        if self._closing:
            await asyncio.wait(self._closing, timeout=_CLOSE_LIMIT)

    def stop(self) -> None:
        """Close all connections without an event loop, including those in use."""
        self._closed = True
        self._idle.clear()
        while self._members:
            self._members.pop().stop()

    def _close_idle(self) -> None:
        while self._idle:
            self._count -= 1
            self._close_later(self._idle.pop())

    async def _open(self) -> C:
        """Open a connection whose place is already counted.

        Opening continues if the caller is cancelled, and the next caller gets the connection. Cancelling it half-way
        would lose the work, and drivers may leak resources there.
        """
        opening = asyncio.ensure_future(self._open_connection())
        try:
            connection = await asyncio.shield(opening)
        except asyncio.CancelledError:
            self._opening.add(opening)
            opening.add_done_callback(self._opened_for_nobody)
            raise
        except BaseException:
            self._free_place()
            raise
        self._members.add(connection)
        if self._closed:
            self.discard(connection)
            raise PoolClosed
        return connection

    def _opened_for_nobody(self, opening: asyncio.Future[C]) -> None:
        self._opening.discard(opening)
        if opening.cancelled() or opening.exception() is not None:
            self._free_place()
        else:
            self._members.add(opening.result())
            self.release(opening.result())

    def _free_place(self) -> None:
        waiter = self._next_waiter()
        if waiter is None:
            self._count -= 1
        else:
            waiter.set_result(None)

    def _next_waiter(self) -> asyncio.Future[C | None] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _give_up(self, waiter: asyncio.Future[C | None]) -> None:
        if not waiter.done():
            waiter.cancel()
            return
        # The waiter was served at the moment of its cancel. Its connection goes to the next one.
        if waiter.cancelled() or waiter.exception() is not None:
            return
        given = waiter.result()
        if given is None:
            self._free_place()
        else:
            self.release(given)

    def _close_later(self, connection: C) -> None:
        self._members.discard(connection)
        self._retired.discard(connection)
        task = asyncio.get_running_loop().create_task(connection.close())
        self._closing.add(task)
        task.add_done_callback(lambda ended: self._closed_one(connection, ended))

    def _closed_one(self, connection: C, closing: asyncio.Task[None]) -> None:
        self._closing.discard(closing)
        if closing.cancelled():
            connection.stop()  # the event loop ended before it was closed
