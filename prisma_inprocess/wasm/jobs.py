"""Promises, microtasks, timers and closures: what lets a WebAssembly module wait for this process's event loop.

A module that waits returns to Python, and continues when a promise that it waits for is settled. Functions that it runs
next are queued. The queue runs when no call into the module is under way, as in a browser.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from prisma_inprocess.wasm.javascript import UNDEFINED, JsError, is_function

Callback = Callable[..., Any]
_WAKE_EVERY: Final = 0.1


class Rejected(Exception):
    """A promise was rejected; `value` is the reason, a value of JavaScript."""

    def __init__(self, value: Any) -> None:
        super().__init__(str(value))
        self.value = value


class Jobs:
    """The jobs of one module instance, all in one event loop.

    A failure of a job (a panic of the module) ends everything that is waited for.
    """

    def __init__(self) -> None:
        self._queue: deque[Callable[[], Any]] = deque()
        self._timers: set[asyncio.TimerHandle] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._waiting: set[asyncio.Future[Any]] = set()
        # No caller waits for the module any more, so do not call it, and begin nothing.
        self._over = False

    def add(self, job: Callable[[], Any]) -> None:
        """Queue a job after those that wait already."""
        self._queue.append(job)

    def run(self) -> None:
        """Run what is queued, and what that queues. Not to be called from a function that the module imports."""
        try:
            while self._queue and not self._over:
                self._queue.popleft()()
        except Exception as error:
            self._fail(error)

    def set_timer(self, callback: Callback, milliseconds: int) -> float:
        """Call a function later, as `setTimeout` does. Returns a number, which no caller uses."""

        def fire() -> None:
            self._timers.discard(handle)
            self.add(callback)
            self.run()

        handle = asyncio.get_running_loop().call_later(milliseconds / 1000, fire)
        self._timers.add(handle)
        return float(len(self._timers))

    def promise_of(self, work: Coroutine[Any, Any, Any]) -> Promise:
        """A promise of what a coroutine returns. The coroutine itself must convert its errors to values."""
        promise = Promise(self)
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)

        def settle(done: asyncio.Task[Any]) -> None:
            self._tasks.discard(done)
            if done.cancelled():
                return
            error = done.exception()
            if error is not None:
                self._fail(error)
                return
            promise.resolve(done.result())
            self.run()

        task.add_done_callback(settle)
        return promise

    async def result(self, promise: Promise) -> Any:
        """Wait for a promise.

        Raises:
            Rejected: the promise was rejected.
            WasmFailure: the module panicked meanwhile.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)

        def reject(reason: Any) -> None:
            if not future.done():
                future.set_exception(Rejected(reason))

        def resolve(value: Any) -> None:
            if not future.done():
                future.set_result(value)

        promise.then(resolve, reject)
        self.run()
        try:
            while not future.done():
                # Python acts on a signal that comes just as the event loop goes to sleep only when the loop wakes up.
                await asyncio.wait([future], timeout=_WAKE_EVERY)
            return future.result()
        finally:
            self._waiting.discard(future)
            future.cancel()

    async def cancel(self) -> None:
        """Cancel the coroutines that are under way, and wait until they have ended. The module gets no answer.

        Not even of a coroutine that has just ended: told of it, the module would begin the next one.
        """
        self._over = True
        for task in self._tasks:
            task.cancel()
        await self.close()

    async def close(self) -> None:
        """Cancel timers, and wait for the coroutines that are still under way."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._queue.clear()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _fail(self, error: BaseException) -> None:
        self._queue.clear()
        for future in self._waiting:
            if not future.done():
                future.set_exception(error)


class Promise:
    """A JavaScript promise."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._settled: tuple[bool, Any] | None = None
        self._followers: list[Callable[[bool, Any], None]] = []

    def resolve(self, value: Any = UNDEFINED, *_: Any) -> None:
        if isinstance(value, Promise):
            value.then(self.resolve, self.reject)
        else:
            self._settle(True, value)

    def reject(self, reason: Any = UNDEFINED, *_: Any) -> None:
        self._settle(False, reason)

    def then(self, on_value: Any = UNDEFINED, on_reason: Any = UNDEFINED) -> Promise:
        """A promise of what the function that is called returns."""
        following = Promise(self._jobs)

        def follow(fulfilled: bool, value: Any) -> None:
            self._jobs.add(lambda: _pass_on(following, on_value if fulfilled else on_reason, fulfilled, value))

        if self._settled is None:
            self._followers.append(follow)
        else:
            follow(*self._settled)
        return following

    def _settle(self, fulfilled: bool, value: Any) -> None:
        if self._settled is not None:
            return
        self._settled = (fulfilled, value)
        followers, self._followers = self._followers, []
        for follow in followers:
            follow(fulfilled, value)


def _pass_on(following: Promise, callback: Any, fulfilled: bool, value: Any) -> None:
    if not is_function(callback):
        (following.resolve if fulfilled else following.reject)(value)
        return
    try:
        result = callback(value)
    except JsError as error:
        following.reject(error)
    else:
        following.resolve(UNDEFINED if result is None else result)


class Closure:
    """A function of the module that JavaScript may call, with an environment in the module's memory.

    Args:
        invoke: Calls it: environment, table entry, argument.
        destroy: Frees its environment.
        environment: Address of the environment.
        table: Its table entry.
    """

    def __init__(self, invoke: Callback, destroy: Callback, environment: int, table: int) -> None:
        self._invoke = invoke
        self._destroy = destroy
        self._environment = environment
        self._table = table
        self._references = 1

    def __call__(self, argument: Any = UNDEFINED, *_: Any) -> None:
        # The environment must outlive the call, even if the module drops its own reference meanwhile.
        self._references += 1
        environment, self._environment = self._environment, 0
        try:
            self._invoke(environment, self._table, argument)
        finally:
            self._environment = environment
            self.release()

    def release(self) -> None:
        """Give up a reference; the last one frees the environment."""
        self._references -= 1
        if self._references == 0:
            environment, self._environment = self._environment, 0
            self._destroy(environment, self._table)
