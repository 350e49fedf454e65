"""One SQLite connection and the thread that owns it.

SQLite blocks, so each connection lives in a thread of its own. The thread is a daemon: a process that forgets to
disconnect still exits.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from prisma_inprocess.errors import EngineError

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], Any]
_Entry = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Job]


class SqliteThread:
    """Runs functions on a SQLite connection, one after the other.

    Args:
        open_connection: Opens and configures the connection; runs in the thread.
    """

    def __init__(self, open_connection: Callable[[], sqlite3.Connection]) -> None:
        self._open_connection = open_connection
        self._jobs: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        self._order = threading.Lock()  # nothing is queued behind the end, where nobody would do it
        self._thread = threading.Thread(target=self._work, name="prisma-inprocess-sqlite", daemon=True)

    @classmethod
    async def start(cls, open_connection: Callable[[], sqlite3.Connection]) -> SqliteThread:
        """Start the thread and open the connection. Raises: sqlite3.Error when it cannot be opened."""
        worker = cls(open_connection)
        worker._thread.start()
        try:
            await worker.run(_nothing)
        except BaseException:
            worker.stop()
            raise
        return worker

    async def run(self, job: Callable[[sqlite3.Connection], T], *, interruptible: bool = True) -> T:
        """Run a function in the thread.

        When the caller is cancelled, the statement is interrupted (unless it must not be) and waited for before the
        cancellation goes on: afterwards nothing of it is still running.

        Raises:
            EngineError: P1017, it was closed.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._order:
            if self._closed:
                raise EngineError("The client is not connected: it was disconnected meanwhile", "P1017")
            self._jobs.put((loop, future, job))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if interruptible and not future.done():
                self.interrupt()
            while not future.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([future])
            if not future.cancelled():
                future.exception()  # looked at, so that asyncio does not report it as never retrieved
            raise

    def usable(self) -> bool:
        connection = self._connection
        return not self._closed and connection is not None and not connection.in_transaction

    def interrupt(self) -> None:
        """Make the running statement fail."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.interrupt()

    def stop(self) -> None:
        """Close the connection after what is queued, without waiting."""
        with self._order:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)

    async def close(self) -> None:
        """Close the connection and wait for the thread, at most five seconds."""
        self.stop()
        self.interrupt()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join, 5.0)

    def _work(self) -> None:
        while (entry := self._jobs.get()) is not None:
            loop, future, job = entry
            result: Any = None
            failure: BaseException | None = None
            try:
                if self._connection is None:
                    self._connection = self._open_connection()
                result = job(self._connection)
            except BaseException as error:
                failure = error
            # A closed loop has nobody left who waits for the answer.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_resolve, future, result, failure)
            del entry, loop, future, job, result, failure
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()


def _nothing(_: sqlite3.Connection) -> None:
    """The first job: opening the connection comes before it."""


def _resolve(future: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if future.done():
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)
