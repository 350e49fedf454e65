"""The thread that renews a worker's leases while its event loop cannot.

The event loop renews leases itself, every third of a lease. If a step blocks the loop, or if every connection of its
pool is in use, the loop is late. Then this thread renews the leases, over a connection of its own. So a blocked process
keeps its runs, and an expired lease means that its process is gone or stopped as a whole.

A loop that has been blocked for ten leases will hardly run again. Then the thread hands the runs back, except the run
whose step blocks the loop. That run waits until its lease ends, and counts a crash like any run whose process died: it
would block the next worker as well.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, Final

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.hand_back import hand_back
from fastapi_durable.engine.upkeep.leases import HeldLeases
from fastapi_durable.engine.upkeep.loop_watch import Blocker, LoopWatch
from fastapi_durable.store.base import StateStore

_log = logging.getLogger("fastapi_durable")

_LOOKS_PER_LEASE: Final = 12
_SHORTEST_INTERVAL: Final = timedelta(milliseconds=10)
_LONGEST_INTERVAL: Final = timedelta(seconds=1)
_LONGEST_SILENCE: Final = timedelta(seconds=5)
_LEASES_OF_A_BLOCKED_LOOP: Final = 10
_PING_INTERVAL: Final = timedelta(seconds=15)
_STOP_SECONDS: Final = 3.0


class LeaseKeeper:
    """Watches the event loop of one worker. Start and stop it in that loop.

    Args:
        leases: The leases that the worker holds.
        beat: Writes the worker's heartbeat to the given store, if it is late.
    """

    def __init__(self, kernel: Kernel, leases: HeldLeases, *, beat: Callable[[StateStore], Awaitable[None]]) -> None:
        self._kernel = kernel
        self._leases = leases
        self._beat = beat
        lease = kernel.config.lease
        self._interval = min(max(lease / _LOOKS_PER_LEASE, _SHORTEST_INTERVAL), _LONGEST_INTERVAL).total_seconds()
        self._noteworthy = min(lease / 3, _LONGEST_SILENCE).total_seconds()
        self._hopeless = lease.total_seconds() * _LEASES_OF_A_BLOCKED_LOOP
        self._limit = (lease / 4).total_seconds()
        self._blocker: Blocker | None = None
        self._has_given_up = False
        self._fails = False
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._ended: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Begin to watch the running event loop."""
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        self._own_loop = asyncio.new_event_loop()
        watch = LoopWatch(self._kernel.executions, self._interval)
        connection = self._kernel.store.separate_connection()
        threading.Thread(
            target=self._work, args=(self._own_loop, watch, connection, loop), name="durable lease keeper", daemon=True
        ).start()

    async def stop(self) -> None:
        """End the thread. Its operations in progress are abandoned."""
        if self._own_loop is None or self._ended is None:
            return
        with contextlib.suppress(RuntimeError):  # the thread has ended, and its loop is closed
            self._own_loop.call_soon_threadsafe(self._stopping.set)
        await asyncio.wait({self._ended}, timeout=_STOP_SECONDS)

    # Inside the thread

    def _work(
        self,
        own_loop: asyncio.AbstractEventLoop,
        watch: LoopWatch,
        connection: AbstractAsyncContextManager[StateStore] | None,
        watched: asyncio.AbstractEventLoop,
    ) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: own_loop) as runner:
                runner.run(self._until_stopped(watch, connection))
        except Exception:
            _log.exception("the lease thread has ended; only the event loop renews leases now")
        finally:
            with contextlib.suppress(RuntimeError):  # the watched loop was closed before
                watched.call_soon_threadsafe(self._say_ended)

    def _say_ended(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    async def _until_stopped(
        self, watch: LoopWatch, connection: AbstractAsyncContextManager[StateStore] | None
    ) -> None:
        keeping = asyncio.create_task(self._keep_leases(connection))
        try:
            await self._unless_stopped(self._watch_loop(watch))
        finally:
            # Not cancelled, so that a connection that is being opened is closed again.
            self._stopping.set()
            await keeping

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Await a coroutine until it ends, or until this thread must end."""
        tasks = [asyncio.create_task(work), asyncio.create_task(self._stopped())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if not tasks[0].cancelled():
            tasks[0].result()

    async def _stopped(self) -> None:
        await self._stopping.wait()

    async def _watch_loop(self, watch: LoopWatch) -> None:
        """Report what blocks the loop, until the loop is closed."""
        told_at = 0.0
        while True:
            await asyncio.sleep(self._interval)
            try:
                silence = watch.look()
            except RuntimeError:
                return
            if silence == 0:
                if told_at:
                    _log.warning("the event loop runs again, after it was blocked for more than %.1f s", told_at)
                told_at, self._blocker, self._has_given_up = 0.0, None, False
            elif silence > self._noteworthy and not told_at:
                told_at = silence
                self._blocker = watch.blocker()
                _log.warning(
                    "the event loop has been blocked for %.1f s by %s. Meanwhile no run and no request of this "
                    "process continues. Make the step a plain `def`, which is executed in a thread, or call the "
                    "blocking function through `asyncio.to_thread`",
                    silence,
                    self._blocker,
                )
            elif told_at:
                told_at = silence
                if silence > self._hopeless and not self._has_given_up:
                    self._blocker = watch.blocker()
                    self._has_given_up = True
                    _log.error(
                        "the event loop has been blocked for %.1f s by %s, longer than %s leases: other workers may "
                        "take over the runs of this one. Restart this process",
                        silence,
                        self._blocker,
                        _LEASES_OF_A_BLOCKED_LOOP,
                    )

    async def _keep_leases(self, connection: AbstractAsyncContextManager[StateStore] | None) -> None:
        """Renew the leases over a connection. If it cannot be opened, open another one."""
        while connection is not None and not self._stopping.is_set():
            try:
                async with connection as store:
                    await self._unless_stopped(self._keep_over(store))
            except Exception as error:
                self._note(error)
                await self._unless_stopped(asyncio.sleep(self._interval))
                connection = self._kernel.store.separate_connection()

    async def _keep_over(self, store: StateStore) -> None:
        clock, lease = self._kernel.clock, self._kernel.config.lease
        asked_at, has_handed_back = clock.now(), False
        while True:
            await asyncio.sleep(self._interval)
            now = clock.now()
            try:
                async with asyncio.timeout(self._limit):
                    if self._has_given_up:
                        if not has_handed_back:
                            await self._hand_back(store)
                            has_handed_back = True
                        continue
                    has_handed_back = False
                    if tokens := self._leases.tokens(ending_before=now + lease / 2):
                        self._leases.prolonged(await store.prolong_leases(tokens, until=now + lease), now + lease)
                    await self._beat(store)
                    if now - asked_at >= _PING_INTERVAL:
                        # A network may drop an idle connection, and it is needed when the loop is blocked. So use it
                        # regularly.
                        await store.ping()
                        asked_at = now
            except Exception as error:
                self._note(error)
            else:
                self._note(None)

    async def _hand_back(self, store: StateStore) -> None:
        """Release every run that is leased here, except the run whose step blocks the loop."""
        clock, lease = self._kernel.clock, self._kernel.config.lease
        leased = await store.prolong_leases(self._leases.tokens(), until=clock.now() + lease)
        execution = None if self._blocker is None else self._blocker.execution
        blocking = None if execution is None else execution.run_id
        for run_id, token in leased.items():
            if run_id != blocking and (run := await store.find_run(run_id)) is not None:
                await hand_back(store, clock, run, token)

    def _note(self, error: Exception | None) -> None:
        """Log once that the connection fails, and once that it works again."""
        if error is not None and not self._fails:
            _log.warning("the lease thread cannot renew leases: %s: %s", type(error).__name__, error)
        elif error is None and self._fails:
            _log.info("the lease thread reaches the store again")
        self._fails = error is not None
