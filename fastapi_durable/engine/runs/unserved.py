"""Says of an awaited run that no live worker can drive it.

Only a run that a worker could claim now counts. A run that is driven, sleeps, waits for a delivery, is paused or has
not reached its `delay` waits for something else. So does a run whose queue is full or has used up its rate limit.

Nothing is written: the run stays as it is, and a worker that starts later drives it.
"""

import asyncio

from fastapi_durable.engine.core.live_workers import LiveWorkers
from fastapi_durable.model.clock import Clock
from fastapi_durable.model.due import waiting_since
from fastapi_durable.model.errors import NoWorkerError
from fastapi_durable.model.records import Run, RunStatus
from fastapi_durable.store.base import StateStore


class Unserved:
    """Counts how long a run has been without a worker, as one caller sees it who looks at the run again and again.

    The time is that of the event loop: the clocks of two machines differ, and the caller's patience does not.
    """

    def __init__(self, store: StateStore, clock: Clock, workers: LiveWorkers) -> None:
        self._store = store
        self._clock = clock
        self._workers = workers
        self._looks_at: float | None = None

    async def refuse(self, run: Run) -> None:
        """Refuse to wait longer for a worker. It costs nothing before `no_worker_after` has passed.

        Args:
            run: The run as it was read a moment ago.

        Raises:
            NoWorkerError: for `no_worker_after`, a worker could have claimed the run, and none is alive that may.
        """
        if not self._wants_worker(run):
            self._looks_at = None
            return
        now = asyncio.get_running_loop().time()
        if self._looks_at is None:
            self._looks_at = now + self._workers.patience.total_seconds()
        if now < self._looks_at:
            return
        self._looks_at = now + self._workers.period.total_seconds()
        if await self._workers.may_drive(self._store, run):
            return
        # A worker that has just started may have claimed the run before it wrote its first heartbeat.
        again = await self._store.find_run(run.id)
        if again is None or not self._wants_worker(again) or await self._is_held_back(again):
            return
        raise NoWorkerError(
            run.id, run.workflow, run.workflow_version, namespace=run.namespace, waited=self._workers.patience
        )

    def _wants_worker(self, run: Run) -> bool:
        return not run.is_paused and waiting_since(run, self._clock.now()) is not None

    async def _is_held_back(self, run: Run) -> bool:
        """Whether the limits of the run's queue keep it waiting."""
        if not run.queue or not self._workers.are_in(run.namespace):
            # Without a worker, the slots are those of workers that died: the next claim takes them back.
            return False
        now = self._clock.now()
        for load in await self._store.list_queues(now, namespace=run.namespace, at_most=1):
            if load.queue.name == run.queue:
                is_full = load.queue.concurrency is not None and load.running >= load.queue.concurrency
                return is_full or (run.status is RunStatus.PENDING and load.queue.may_begin(now) == 0)
        return False
