"""Threads for plain `def` functions: steps, and the dependencies of steps.

Nothing can stop a thread. So a caller that abandons a call waits for its thread, up to a grace period, and logs a
warning if the thread still runs then. A second call with the same key begins only when the thread of the first one has
ended. The threads are daemons: they do not keep a process from exiting.
"""

import asyncio
import contextvars
import logging
import queue
import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeVar

T = TypeVar("T")
Report = Callable[[Any, BaseException | None], None]

_log = logging.getLogger("fastapi_durable")

_MOST_THREADS: Final = 40
"""As many as FastAPI has for `def` routes."""


class StillWorkingError(Exception):
    """The thread of an earlier call with the same key has not ended within the grace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A function that is called in a thread.

    Attributes:
        name: For the log, for instance "step 'parse' of run r1".
        key: Calls of one key never overlap; empty: they may.
        owner: On whose behalf.
    """

    name: str
    key: str = ""
    owner: str = ""


class Threads:
    """The threads of one engine, used in one event loop.

    Attributes:
        grace: How long a call that is given up waits for its thread.
    """

    def __init__(self, grace: timedelta = timedelta(seconds=30), *, limit: int = _MOST_THREADS) -> None:
        self.grace = grace
        self._places = asyncio.Semaphore(limit)
        self._idle: list[_Thread] = []
        self._working: dict[asyncio.Future[Any], Called] = {}
        self._given_up = asyncio.Event()
        weakref.finalize(self, _end_all, self._idle)

    async def call(
        self,
        function: Callable[[], T],
        called: Called,
        *,
        late: Callable[[T], None] | None = None,
        limited: bool = True,
    ) -> T:
        """Call a function in a thread, in a copy of the current context.

        Args:
            late: Gets the result if the call is cancelled and its thread still comes to an end within the grace. The
                cancellation continues afterwards.
            limited: Whether the call waits while as many threads work as may. One that gives resources back, for which
                those may wait, does not.

        Raises:
            StillWorkingError: the thread of an earlier call with this key works on.
        """
        await self._end_of_earlier(called)
        if limited:
            await self._places.acquire()
        future = self._begin(function, limited=limited)
        self._working[future] = called
        future.add_done_callback(self._forget)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not await self._ends_within_grace(future):
                _log.warning(
                    "%s was given up, but its thread still runs, because nothing can stop a thread. The worker no "
                    "longer waits for it",
                    called.name,
                )
            elif late is not None and future.exception() is None:
                late(future.result())
            raise

    def work_for(self, owner: str) -> bool:
        """Return whether a thread works for this owner now."""
        return any(called.owner == owner for called in self._working.values())

    def give_up(self) -> None:
        """Stop waiting for threads, because the process is about to end."""
        self._given_up.set()

    def close(self) -> None:
        """End the idle threads."""
        _end_all(self._idle)

    def _begin(self, function: Callable[[], T], *, limited: bool) -> "asyncio.Future[T]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        thread = self._idle.pop() if self._idle else _Thread(loop)
        thread.do(partial(contextvars.copy_context().run, function), partial(self._ended, thread, future, limited))
        return future

    def _ended(
        self, thread: "_Thread", future: "asyncio.Future[Any]", limited: bool, result: Any, error: BaseException | None
    ) -> None:
        self._idle.append(thread)
        if limited:
            self._places.release()
        if error is None:
            future.set_result(result)
        elif isinstance(error, StopIteration):
            # A future does not accept a StopIteration.
            future.set_exception(RuntimeError("a function in a thread raised StopIteration"))
        else:
            future.set_exception(error)

    def _forget(self, future: "asyncio.Future[Any]") -> None:
        del self._working[future]
        future.exception()  # otherwise asyncio reports the failure of a call without a waiting caller

    async def _end_of_earlier(self, called: Called) -> None:
        earlier = [future for future, other in self._working.items() if called.key and other.key == called.key]
        if earlier:
            await self._wait_for(earlier, self.grace.total_seconds())
        if not all(future.done() for future in earlier):
            raise StillWorkingError(
                f"an earlier call of {called.name} still runs in its thread, {self.grace} after it was given up"
            )

    async def _ends_within_grace(self, future: "asyncio.Future[Any]") -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.grace.total_seconds()
        while not future.done() and not self._given_up.is_set() and (left := deadline - loop.time()) > 0:
            try:
                await self._wait_for([future], left)
            except asyncio.CancelledError:
                continue  # the first cancellation continues afterwards
        return future.done()

    async def _wait_for(self, futures: "list[asyncio.Future[Any]]", seconds: float) -> None:
        """Wait for the first of these futures, for a limited time, or until `give_up` is called."""
        given_up = asyncio.ensure_future(self._given_up.wait())
        try:
            await asyncio.wait([*futures, given_up], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            given_up.cancel()


class _Thread:
    """One thread, which runs one function after another. It is reused, because functions may store thread-local
    values.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Report] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="durable def", daemon=True).start()

    def do(self, function: Callable[[], Any], report: Report) -> None:
        """Call a function, and report its end to the event loop."""
        self._jobs.put((function, report))

    def end(self) -> None:
        """End after the queued functions."""
        self._jobs.put(None)

    def _work(self) -> None:
        with _known_to_anyio(self._loop):
            while (job := self._jobs.get()) is not None:
                function, report = job
                result: Any = None
                failure: BaseException | None = None
                try:
                    result = function()
                except BaseException as error:
                    failure = error
                try:
                    self._loop.call_soon_threadsafe(report, result, failure)
                except RuntimeError:
                    return  # the loop was closed, so no caller waits, and no other result will come
                del job, function, report, result, failure


def _end_all(threads: list[_Thread]) -> None:
    while threads:
        threads.pop().end()


def _known_to_anyio(loop: asyncio.AbstractEventLoop) -> AbstractContextManager[Any]:
    """Lets `anyio.from_thread.run` find the event loop, as it does from a `def` route."""
    try:
        from anyio._core._eventloop import claim_worker_thread, get_async_backend
    except ImportError:  # anyio has no public name for this
        return nullcontext()
    return claim_worker_thread(get_async_backend("asyncio"), loop)
