"""Schedules and workers in memory."""

from datetime import datetime

from fastapi_durable.model.records import ScheduleState, WorkerRecord
from fastapi_durable.store.memory.access import TableAccess


class UpkeepOperations(TableAccess):
    """The operations that the store and a transaction share."""

    async def find_schedule(self, schedule_id: str) -> ScheduleState | None:
        async with self._access() as tables:
            return tables.schedules.get(schedule_id)

    async def list_schedules(self, *, limit: int = 1000) -> list[ScheduleState]:
        async with self._access() as tables:
            return sorted(tables.schedules, key=lambda row: row.id)[:limit]

    async def save_schedule(self, state: ScheduleState) -> None:
        async with self._access() as tables:
            tables.schedules.put(state.id, state)

    async def save_worker(self, worker: WorkerRecord) -> None:
        async with self._access() as tables:
            tables.workers.put(worker.id, worker)

    async def list_workers(self, *, since: datetime | None = None, limit: int = 1000) -> list[WorkerRecord]:
        async with self._access() as tables:
            rows = [row for row in tables.workers if since is None or row.beat_at >= since]
            rows.sort(key=lambda row: row.id)
            return sorted(rows, key=lambda row: row.beat_at, reverse=True)[:limit]

    async def remove_worker(self, worker_id: str) -> bool:
        async with self._access() as tables:
            return tables.workers.pop(worker_id) is not None

    async def prune_workers(self, before: datetime, *, limit: int) -> int:
        async with self._access() as tables:
            old = sorted((row.beat_at, row.id) for row in tables.workers if row.beat_at < before)[:limit]
            for _, worker_id in old:
                tables.workers.pop(worker_id)
            return len(old)
