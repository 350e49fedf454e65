"""One SQLite connection and the thread that owns it.

SQLite blocks, so each connection has its own thread. The thread is a daemon, so a process that forgets to disconnect
still exits.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from prisma_inprocess.drivers.private_sqlite import ERRORS
from prisma_inprocess.errors import not_connected

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], Any]
_CLOSE_LIMIT: Final = 5.0
# SQLite forgets an interruption that comes just before a statement begins, so it is repeated.
_INTERRUPT_EVERY: Final = 0.05


class _Entry:
    """A function that waits for its turn, or runs."""

    __slots__ = ("future", "has_begun", "has_ended", "is_unwanted", "job", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, job: Job) -> None:
        self.loop = loop
        self.job = job
        self.future: asyncio.Future[Any] = loop.create_future()
        self.has_begun = False
        self.has_ended = False
        # Its caller was cancelled before its turn, so it is not run.
        self.is_unwanted = False


class SqliteThread:
    """Runs functions on a SQLite connection, one after the other.

    Args:
        open_connection: Opens and configures the connection. Runs in the thread.
    """

    def __init__(self, open_connection: Callable[[], sqlite3.Connection]) -> None:
        self._open_connection = open_connection
        self._jobs: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        # Guards the queue: nothing is queued after the end, where it would never run. And an interruption hits the
        # intended function.
        self._order = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="prisma-inprocess-sqlite", daemon=True)

    @classmethod
    async def start(cls, open_connection: Callable[[], sqlite3.Connection]) -> SqliteThread:
        """Start the thread and open the connection. Raises: one of `private_sqlite.ERRORS` when it cannot be opened."""
        worker = cls(open_connection)
        worker._thread.start()
        try:
            await worker.run(_nothing)
        except BaseException:
            worker.stop()
            raise
        return worker

    async def run(
        self, job: Callable[[sqlite3.Connection], T], *, interruptible: bool = True, urgent: bool = False
    ) -> T:
        """Run a function in the thread.

        If the caller is cancelled, the statement is interrupted, if that is allowed. The cancellation propagates after
        the statement has ended, so nothing of it is running then.

        Args:
            job: The function.
            interruptible: Whether it may be interrupted or skipped if the caller is cancelled.
            urgent: Whether it interrupts the function before it.

        Raises:
            EngineError: P1017, the connection was closed.
        """
        entry = _Entry(asyncio.get_running_loop(), job)
        self._put(entry)
        if urgent:
            self._interrupt_before(entry)
        try:
            result: T = await entry.future
        except asyncio.CancelledError:
            if not (interruptible and self._withdraw(entry)):
                await self._wait_for_end(entry)
            raise
        return result

    async def _wait_for_end(self, entry: _Entry) -> None:
        """Wait for a function whose caller was cancelled, and its future with it. Further cancellations do not matter.

        Without a cancel, no `asyncio.shield` is used, because it costs another cycle of the event loop.
        """
        with self._order:
            if entry.has_ended:
                return
        entry.future = entry.loop.create_future()  # the answer comes later, in this thread
        while not entry.future.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([entry.future])
        entry.future.exception()  # retrieved, so that asyncio does not report it

    def usable(self) -> bool:
        connection = self._connection
        return not self._closed and connection is not None and not connection.in_transaction

    def stop(self) -> None:
        """Close the connection after the queued functions, without waiting."""
        with self._order:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)

    async def close(self) -> None:
        """Close the connection after the queued functions, and interrupt the running statement. Wait within a limit."""
        closing = _Entry(asyncio.get_running_loop(), _close)
        with self._order:
            if self._closed:
                return
            self._closed = True
            self._jobs.put(closing)
            self._jobs.put(None)
            self._interrupt()
        await asyncio.wait([closing.future], timeout=_CLOSE_LIMIT)

    def _put(self, entry: _Entry) -> None:
        with self._order:
            if self._closed:
                raise not_connected()
            self._jobs.put(entry)

    def _withdraw(self, entry: _Entry) -> bool:
        """Withdraw a function that no caller waits for. Return whether it had not begun, and never will."""
        with self._order:
            if not entry.has_begun:
                entry.is_unwanted = True
                return True
            if entry.has_ended:
                return False
            self._interrupt()
        entry.loop.call_later(_INTERRUPT_EVERY, self._withdraw, entry)
        return False

    def _interrupt_before(self, entry: _Entry) -> None:
        """Interrupt all functions before a function, until it has begun."""
        with self._order:
            if entry.has_begun:
                return
            self._interrupt()
        entry.loop.call_later(_INTERRUPT_EVERY, self._interrupt_before, entry)

    def _interrupt(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(*ERRORS):
                self._connection.interrupt()

    def _begin(self, entry: _Entry) -> bool:
        with self._order:
            entry.has_begun = not entry.is_unwanted
            return entry.has_begun

    def _work(self) -> None:
        while (entry := self._jobs.get()) is not None:
            if self._begin(entry):
                self._do(entry)
            del entry
        if self._connection is not None:
            _close(self._connection)

    def _do(self, entry: _Entry) -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            if self._connection is None:
                self._connection = self._open_connection()
            result = entry.job(self._connection)
        except BaseException as error:
            failure = error
        with self._order:
            entry.has_ended = True
        try:
            entry.loop.call_soon_threadsafe(_resolve, entry, result, failure)
        except RuntimeError:
            pass  # The loop is closed, so no caller waits for the answer.
        del result, failure  # an error must not keep itself alive through this frame


def _close(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(*ERRORS):
        connection.close()


def _nothing(_: sqlite3.Connection) -> None:
    """The first job: opening the connection comes before it."""


def _resolve(entry: _Entry, result: Any, failure: BaseException | None) -> None:
    future = entry.future
    if future.done():
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)
