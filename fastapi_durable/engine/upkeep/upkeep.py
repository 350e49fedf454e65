"""The tasks of a worker besides driving runs.

It fires schedules, ends expired runs, deletes old rows, and writes its heartbeat. Each task is a loop of its own that
no error ends, so a slow sweep delays neither schedules nor runs.
"""

import asyncio
import logging
import os
import random
import socket
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.core.live_workers import HEARTBEAT, WORKER_SILENCE
from fastapi_durable.engine.upkeep.blocked import show_blocked
from fastapi_durable.engine.upkeep.expiry import cancel_expired, is_full
from fastapi_durable.engine.upkeep.retention import Retention, sweep
from fastapi_durable.engine.upkeep.scheduler import Scheduler
from fastapi_durable.model.duration import parse_duration
from fastapi_durable.model.records import WorkerRecord
from fastapi_durable.store.base import StateStore

_log = logging.getLogger("fastapi_durable")

_FAILURE_PAUSE: Final = timedelta(seconds=5)
_FAREWELL_SECONDS: Final = 1.0
_SHORTEST_EXPIRY_INTERVAL: Final = timedelta(milliseconds=50)
_RARE_EXPIRY_INTERVAL: Final = timedelta(seconds=30)

Work = Callable[[], Awaitable[timedelta]]


class Upkeep:
    """The loops of one worker.

    Args:
        in_flight: Returns how many runs the worker drives now.
        concurrency: Returns how many runs it would drive at most now.
    """

    def __init__(
        self,
        kernel: Kernel,
        scheduler: Scheduler,
        retention: Retention,
        *,
        in_flight: Callable[[], int],
        concurrency: Callable[[], int],
    ) -> None:
        self._kernel = kernel
        self._scheduler = scheduler
        self._retention = retention
        self._in_flight = in_flight
        self._concurrency = concurrency
        config, now = kernel.config, kernel.clock.now()
        self._record = WorkerRecord(
            id=config.instance_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=_own_version(),
            namespace=config.namespace,
            workflows=tuple(sorted(f"{name}@{number}" for name, number in kernel.registry.keys)),
            concurrency=concurrency(),
            started_at=now,
            beat_at=now,
        )
        self._beaten_at: datetime | None = None

    def loops(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return the loops by name. Each continues until it is cancelled."""
        works: dict[str, Work] = {
            "heartbeat": self._beat,
            "expiry": self._expire,
            "retention": self._sweep,
            "blocked": self._show_blocked,
        }
        if self._scheduler:
            works["schedules"] = self._scheduler.fire
        return {name: _forever(name, work) for name, work in works.items()}

    async def farewell(self) -> None:
        """Remove the worker's row when it stops. The row of a worker that dies stays, and its heartbeat becomes old."""
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._kernel.store.remove_worker(self._record.id)
        except Exception as error:
            _log.warning("the worker's row could not be removed: %s", error)

    async def beat_if_late(self, store: StateStore) -> None:
        """Say that the worker lives, over another connection, if its own loop has not done so in time."""
        if self._beaten_at is not None and self._kernel.clock.now() - self._beaten_at > 2 * HEARTBEAT:
            await self._save(store)

    async def _beat(self) -> timedelta:
        await self._save(self._kernel.store)
        return _jittered(HEARTBEAT)

    async def _save(self, store: StateStore) -> None:
        now = self._kernel.clock.now()
        record = replace(
            self._record,
            in_flight=self._in_flight(),
            concurrency=self._concurrency(),
            beat_at=now,
        )
        await store.save_worker(record)
        self._beaten_at = now

    async def _expire(self) -> timedelta:
        # If no workflow has a timeout, only runs from before its removal can expire. So look rarely.
        often = self._kernel.registry.has_timeouts
        interval = max(self._kernel.config.poll_interval, _SHORTEST_EXPIRY_INTERVAL if often else _RARE_EXPIRY_INTERVAL)
        await asyncio.sleep(_jittered(interval).total_seconds())
        while is_full(await cancel_expired(self._kernel)):
            pass
        return timedelta(0)

    async def _sweep(self) -> timedelta:
        # Wait first, so that workers that start together, as after a deploy, do not sweep together.
        await asyncio.sleep(_jittered(parse_duration(self._retention.sweep_interval)).total_seconds())
        await sweep(self._kernel, self._retention)
        return timedelta(0)

    async def _show_blocked(self) -> timedelta:
        # Wait first: when all workers start together, those that know a workflow need time to report it.
        await asyncio.sleep(_jittered(self._kernel.config.blocked_poll_interval).total_seconds())
        await show_blocked(self._kernel, alive_within=WORKER_SILENCE)
        return timedelta(0)


async def _forever(name: str, work: Work) -> None:
    failures = 0
    while True:
        try:
            rest = await work()
            failures = 0
        except Exception as error:
            failures += 1
            level = logging.ERROR if failures == 1 else logging.DEBUG
            _log.log(level, "%s failed and will be tried again: %s: %s", name, type(error).__name__, error)
            rest = _jittered(_FAILURE_PAUSE)
        await asyncio.sleep(rest.total_seconds())


def _jittered(duration: timedelta) -> timedelta:
    return duration * (0.75 + random.random() / 2)  # noqa: S311 (jitter)


def _own_version() -> str:
    try:
        return version("fastapi-durable")
    except PackageNotFoundError:
        return "unknown"
