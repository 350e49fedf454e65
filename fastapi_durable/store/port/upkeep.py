"""Schedules and workers: what keeps an application going, and who does."""

from datetime import datetime
from typing import Protocol

from fastapi_durable.model.records import ScheduleState, WorkerRecord


class UpkeepStore(Protocol):
    """Schedules and workers are of no namespace: a schedule's id holds it, and workers may drive several."""

    async def find_schedule(self, schedule_id: str) -> ScheduleState | None: ...

    async def list_schedules(self, *, limit: int = 1000) -> list[ScheduleState]:
        """By id."""
        ...

    async def save_schedule(self, state: ScheduleState) -> None:
        """Insert or replace. Who decides by what it read does both under `lock_name`."""
        ...

    async def save_worker(self, worker: WorkerRecord) -> None:
        """Insert or replace."""
        ...

    async def list_workers(self, *, since: datetime | None = None, limit: int = 1000) -> list[WorkerRecord]:
        """Those that have beaten since a moment, the latest beat first."""
        ...

    async def remove_worker(self, worker_id: str) -> bool: ...

    async def prune_workers(self, before: datetime, *, limit: int) -> int:
        """Forget workers whose last beat is older."""
        ...
