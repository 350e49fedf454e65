"""Which workers are alive, as one process sees it: it reads their heartbeats in the table of workers.

A heartbeat has the time of its worker's clock, which may differ from the clock of this process. So a heartbeat that
changes between two looks counts as well, whatever its time.

All callers of a process share what was read. A look is one statement, and the statements do not grow with the callers.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from fastapi_durable.engine.core.dispatch import LocalWorker
from fastapi_durable.engine.core.registry import version_order
from fastapi_durable.model.clock import Clock
from fastapi_durable.model.records import Run, WorkerRecord
from fastapi_durable.store.base import StateStore

HEARTBEAT: Final = timedelta(seconds=10)
"""The time between two heartbeats of a worker, on average."""

WORKER_SILENCE: Final = 3 * HEARTBEAT
"""A worker whose last heartbeat is older counts as dead."""

_CLOCKS_APART: Final = timedelta(minutes=10)
"""An older heartbeat is not read: the worker is dead, or no clock can be trusted."""

_DOUBT: Final = 1.5 * HEARTBEAT
"""A live worker has written another heartbeat after this time, the longest pause between two included."""

_LOOK_HOLDS_FOR: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class _Sight:
    """A heartbeat as it was read.

    Attributes:
        since: The event loop's time at which this process first read it.
    """

    worker: WorkerRecord
    since: float


class LiveWorkers:
    """The workers that are alive.

    Args:
        local: The worker of this process, of which no heartbeat has to be read.
        patience: How long a caller waits for a worker before it looks; see `no_worker_after`.
    """

    def __init__(self, clock: Clock, local: LocalWorker, *, patience: timedelta) -> None:
        self.patience = patience
        self.period = min(patience, _LOOK_HOLDS_FOR)
        self._clock = clock
        self._local = local
        self._sights: dict[str, _Sight] = {}
        self._looked_at: float | None = None
        self._looking = asyncio.Lock()

    async def may_drive(self, store: StateStore, run: Run) -> bool:
        """Return whether a live worker knows the run's workflow in its version, and drives its namespace.

        Args:
            store: Store to read the heartbeats from, unless they were read a moment ago and the answer is yes.
            run: The run.
        """
        if self._local.dispatcher is not None and self._local.dispatcher.may_drive(run):
            return True
        return await self.serve(store, run.workflow, run.workflow_version, namespace=run.namespace)

    async def serve(self, store: StateStore, workflow: str, version: str | None, *, namespace: str) -> bool:
        """Return whether a live worker knows a workflow and drives a namespace, by its heartbeat.

        Args:
            store: Store to read the heartbeats from, unless they were read a moment ago and the answer is yes.
            workflow: Name of the workflow.
            version: Version of the workflow. None: any.
            namespace: The namespace.
        """

        def is_served() -> bool:
            versions = self.served(namespace).get(workflow, [])
            return bool(versions) if version is None else version in versions

        asked_at = asyncio.get_running_loop().time()
        holds_until = None if self._looked_at is None else self._looked_at + self.period.total_seconds()
        if holds_until is not None and asked_at < holds_until and is_served():
            return True
        async with self._looking:
            # Callers that asked at the same time share a look. A no that is older than the question does not count.
            if self._looked_at is None or self._looked_at < asked_at:
                await self._look(store)
        return is_served()

    def served(self, namespace: str) -> dict[str, list[str]]:
        """Return the versions of each workflow that the live workers of a namespace know, as the last look found them.

        Args:
            namespace: The namespace.

        Returns:
            The versions by workflow, the newest last.
        """
        known: dict[str, set[str]] = {}
        for worker in self._alive():
            if worker.namespace in (None, namespace):
                for each in worker.workflows:
                    # A version may contain the sign, too, and a name as well: both readings count.
                    for at in (index for index, sign in enumerate(each) if sign == "@"):
                        known.setdefault(each[:at], set()).add(each[at + 1 :])
        return {name: sorted(versions, key=version_order) for name, versions in known.items()}

    def are_in(self, namespace: str) -> bool:
        """Return whether the last look found a live worker that drives the runs of a namespace.

        Args:
            namespace: The namespace.
        """
        return any(each.namespace in (None, namespace) for each in self._alive())

    def _alive(self) -> list[WorkerRecord]:
        loop_time, now = asyncio.get_running_loop().time(), self._clock.now()
        alive = []
        for sight in self._sights.values():
            unchanged = timedelta(seconds=loop_time - sight.since)
            is_recent = abs(now - sight.worker.beat_at) <= WORKER_SILENCE
            # In doubt for the worker: its clock may be wrong, and then its next heartbeat says that it lives.
            if unchanged <= (WORKER_SILENCE if is_recent else _DOUBT):
                alive.append(sight.worker)
        return alive

    async def _look(self, store: StateStore) -> None:
        began = asyncio.get_running_loop().time()
        workers = await store.list_workers(since=self._clock.now() - _CLOCKS_APART)
        self._sights = {each.id: self._seen(each, began) for each in workers}
        self._looked_at = began

    def _seen(self, worker: WorkerRecord, at: float) -> _Sight:
        earlier = self._sights.get(worker.id)
        return earlier if earlier is not None and earlier.worker.beat_at == worker.beat_at else _Sight(worker, at)
