"""Schedules and workers."""

from datetime import datetime
from typing import Protocol

from fastapi_durable.model.records import ScheduleState, WorkerRecord


class UpkeepStore(Protocol):
    """Schedules and workers.

    They belong to no namespace: the id of a schedule contains it, and a worker may drive the runs of several.
    """

    async def find_schedule(self, schedule_id: str) -> ScheduleState | None:
        """Return the state of a schedule. None if there is none.

        Args:
            schedule_id: Id of the schedule.
        """
        ...

    async def list_schedules(self, *, limit: int = 1000) -> list[ScheduleState]:
        """Return the states of schedules, ordered by id.

        Args:
            limit: Maximum number of schedules.
        """
        ...

    async def save_schedule(self, state: ScheduleState) -> None:
        """Insert or replace the state of a schedule.

        To decide by the state that you read, read and save it in one transaction under `lock_name`.

        Args:
            state: The state.
        """
        ...

    async def save_worker(self, worker: WorkerRecord) -> None:
        """Insert or replace the record of a worker.

        Args:
            worker: The record.
        """
        ...

    async def list_workers(self, *, since: datetime | None = None, limit: int = 1000) -> list[WorkerRecord]:
        """Return records of workers, the latest heartbeat first.

        Args:
            since: Moment since which the heartbeat must have come. None: any.
            limit: Maximum number of records.
        """
        ...

    async def remove_worker(self, worker_id: str) -> bool:
        """Remove the record of a worker, and return whether it was there.

        Args:
            worker_id: Id of the worker.
        """
        ...

    async def prune_workers(self, before: datetime, *, limit: int) -> int:
        """Remove records of workers with an old heartbeat, and return how many.

        Args:
            before: Moment before which the last heartbeat came.
            limit: Maximum number of records to remove.
        """
        ...
