"""Writes the streams of all runs that this process drives. One statement writes many items of many runs.

An item is written at once if no write is in progress. Later items are collected for 50 ms, unless a caller waits for
them: a step that ends, or a step whose buffer is full.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextvars import Context
from typing import Final

from fastapi_durable.engine.core.config import EngineConfig
from fastapi_durable.engine.core.notifications import Notifications
from fastapi_durable.engine.core.run_streams import RunStreams
from fastapi_durable.model.clock import Clock
from fastapi_durable.model.errors import LeaseLostError, StoreConflictError, StoreUnavailableError
from fastapi_durable.store.base import StateStore

_log = logging.getLogger("fastapi_durable")

_GAP: Final = 0.05
_ROWS: Final = 1000
_BYTES: Final = 1_000_000
"""Limit for one statement. The remaining runs come next."""
_LONGEST_PAUSE: Final = 2.0


class StreamWriter:
    """The writer of one process. Attributes: `max_items` and `max_size` are the limits of a stream and of an item."""

    def __init__(self, store: StateStore, clock: Clock, config: EngineConfig, notifications: Notifications) -> None:
        self.store = store
        self.clock = clock
        self.max_items = config.stream_max_items
        self.max_size = config.stream_max_item_size
        self.tell = notifications.stream_grew
        self._runs: dict[tuple[str, str], RunStreams] = {}
        self._dirty: dict[RunStreams, None] = {}
        self._hurried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._begun_at = float("-inf")

    def of(self, run_id: str, token: str) -> RunStreams:
        """Return the streams of a run under a lease. All turns of the lease share them."""
        found = self._runs.get((run_id, token))
        if found is None:
            found = self._runs[run_id, token] = RunStreams(self, run_id, token)
        return found

    def leave(self, run_id: str, token: str) -> None:
        """Stop writing under a lease that was released or lost."""
        run = self._runs.pop((run_id, token), None)
        if run is not None:
            run.refuse(LeaseLostError(run_id))

    def wake(self, run: RunStreams, *, hurry: bool = False) -> None:
        """Write the queued items. `hurry`: a caller waits for it."""
        self._dirty[run] = None
        if hurry:
            self._hurried.set()
        if self._task is None or self._task.done():
            # Not in the context of a step: the writer serves all runs.
            self._task = asyncio.get_running_loop().create_task(
                self._write_all(), name="durable streams", context=Context()
            )

    async def write(self, runs: Sequence[RunStreams]) -> None:
        """Write the queued items of these runs in one statement. The caller holds their locks. Items of a failed write
        are kept.
        """
        taken = [run for run in runs if await self._take(run)]
        if not taken:
            return
        rows = [row for run in taken for row in run.take()]
        try:
            refused = await self.store.append_stream_rows(rows, tokens={run.run_id: run.token for run in taken})
        except (StoreUnavailableError, StoreConflictError) as error:
            for run in taken:
                run.failed(error)
        except Exception as error:
            if len(taken) > 1:
                # One of the runs causes the failure, so write each run alone.
                for run in taken:
                    await self.write([run])
            else:
                _log.exception("run %s: the items of its streams cannot be stored", taken[0].run_id)
                taken[0].refuse(error)
        else:
            for run in taken:
                if run.run_id in refused:
                    run.refuse(LeaseLostError(run.run_id))
                else:
                    run.stored()
                    self.tell(run.run_id)

    async def _take(self, run: RunStreams) -> bool:
        """Take the next rows of a run. Return whether there are any."""
        try:
            await run.learn()
        except (StoreUnavailableError, StoreConflictError) as error:
            run.failed(error)
            return False
        except Exception as error:
            run.refuse(error)
            return False
        return bool(run.take())

    async def _write_all(self) -> None:
        pause = _GAP
        while self._dirty:
            await self._gather()
            runs = await self._locked()
            if not runs:
                if self._dirty:
                    # All of these runs are locked by transactions that append to their streams.
                    await asyncio.sleep(_GAP)
                continue
            self._begun_at = asyncio.get_running_loop().time()
            try:
                await self.write(runs)
            finally:
                for run in runs:
                    run.lock.release()
            # The run goes behind the others, so that all runs are served.
            self._dirty.update((run, None) for run in runs if run.is_dirty)
            if any(run.has_failed for run in runs):
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                pause = _GAP

    async def _gather(self) -> None:
        """Wait until the collecting time is over, or a caller waits."""
        left = self._begun_at + _GAP - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(0.0, left)):
                await self._hurried.wait()
        except TimeoutError:
            pass
        self._hurried.clear()

    async def _locked(self) -> list[RunStreams]:
        """Return the runs of the next statement, with their locks held. Runs that others have locked come later."""
        chosen: dict[str, RunStreams] = {}
        rows = size = 0
        for run in list(self._dirty):
            if run.run_id in chosen or (chosen and (rows >= _ROWS or size >= _BYTES)):
                continue
            if not run.is_dirty:
                del self._dirty[run]
            elif not run.lock.locked():
                del self._dirty[run]
                await run.lock.acquire()
                chosen[run.run_id] = run
                more_rows, more_bytes = run.weight
                rows, size = rows + more_rows, size + more_bytes
        return list(chosen.values())
