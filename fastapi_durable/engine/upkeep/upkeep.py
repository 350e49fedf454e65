"""What a worker does beside driving runs: it fires schedules, forgets old rows, and says that it is alive.

Each is a loop of its own that no error ends, so a slow sweep delays no schedule, and none of them a run.
"""

import asyncio
import logging
import os
import random
import socket
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.upkeep.blocked import show_blocked
from fastapi_durable.engine.upkeep.retention import Retention, sweep
from fastapi_durable.engine.upkeep.scheduler import Scheduler
from fastapi_durable.model.duration import parse_duration
from fastapi_durable.model.records import WorkerRecord

_log = logging.getLogger("fastapi_durable")

_FAILURE_PAUSE: Final = timedelta(seconds=5)
_FAREWELL_SECONDS: Final = 1.0
_HEARTBEAT: Final = timedelta(seconds=10)

Work = Callable[[], Awaitable[timedelta]]


class Upkeep:
    """The loops of one worker.

    Args:
        in_flight: How many runs the worker drives now.
        concurrency: How many it would drive at most now.
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

    def loops(self) -> dict[str, Coroutine[Any, Any, None]]:
        """The loops, by name; each goes on until it is cancelled."""
        works: dict[str, Work] = {"heartbeat": self._beat, "retention": self._sweep, "blocked": self._show_blocked}
        if self._scheduler:
            works["schedules"] = self._scheduler.fire
        return {name: _forever(name, work) for name, work in works.items()}

    async def farewell(self) -> None:
        """A worker that stops takes its row away; one that dies leaves it, and it grows old."""
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._kernel.store.remove_worker(self._record.id)
        except Exception as error:
            _log.warning("the worker's row could not be removed: %s", error)

    async def _beat(self) -> timedelta:
        record = replace(
            self._record,
            in_flight=self._in_flight(),
            concurrency=self._concurrency(),
            beat_at=self._kernel.clock.now(),
        )
        await self._kernel.store.save_worker(record)
        return _jittered(_HEARTBEAT)

    async def _sweep(self) -> timedelta:
        # The rest first: workers that start together, as after a deploy, do not sweep together.
        await asyncio.sleep(_jittered(parse_duration(self._retention.sweep_interval)).total_seconds())
        await sweep(self._kernel, self._retention)
        return timedelta(0)

    async def _show_blocked(self) -> timedelta:
        # The rest first: when a whole fleet starts, those who know a workflow shall have said so.
        await asyncio.sleep(_jittered(self._kernel.config.blocked_poll_interval).total_seconds())
        await show_blocked(self._kernel, alive_within=3 * _HEARTBEAT)
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
            _log.log(level, "%s failed, the next try follows: %s: %s", name, type(error).__name__, error)
            rest = _jittered(_FAILURE_PAUSE)
        await asyncio.sleep(rest.total_seconds())


def _jittered(duration: timedelta) -> timedelta:
    return duration * (0.75 + random.random() / 2)  # noqa: S311 (jitter)


def _own_version() -> str:
    try:
        return version("fastapi-durable")
    except PackageNotFoundError:
        return "unknown"
