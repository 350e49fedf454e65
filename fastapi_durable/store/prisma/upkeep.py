"""Schedules and workers."""

from datetime import datetime
from typing import Any

from fastapi_durable.model.records import ScheduleState, WorkerRecord
from fastapi_durable.store.prisma.base import Operations
from fastapi_durable.store.prisma.sql.statements import delete, insert_or_replace, prune, select
from fastapi_durable.store.prisma.tables import SCHEDULES, WORKERS, Table


class UpkeepOperations(Operations):
    async def find_schedule(self, schedule_id: str) -> ScheduleState | None:
        sql = await self._database.sql()
        return await self._first_row(SCHEDULES, sql, select(sql, SCHEDULES, [f"r.id = {sql.text(schedule_id)}"]))

    async def list_schedules(self, *, limit: int = 1000) -> list[ScheduleState]:
        sql = await self._database.sql()
        text = select(sql, SCHEDULES, [], sql.bytewise("r.id"))
        return await self._rows(SCHEDULES, sql, f"{text} LIMIT {sql.integer(limit)}")

    async def save_schedule(self, state: ScheduleState) -> None:
        sql = await self._database.sql()
        await self._database.execute(sql, insert_or_replace(sql, SCHEDULES, _columns(SCHEDULES, state)))

    async def save_worker(self, worker: WorkerRecord) -> None:
        sql = await self._database.sql()
        await self._database.execute(sql, insert_or_replace(sql, WORKERS, _columns(WORKERS, worker)), urgent=True)

    async def list_workers(self, *, since: datetime | None = None, limit: int = 1000) -> list[WorkerRecord]:
        sql = await self._database.sql()
        conditions = [] if since is None else [f"r.beat_at >= {sql.millis(since)}"]
        text = select(sql, WORKERS, conditions, f"r.beat_at DESC, {sql.bytewise('r.id')}")
        return await self._rows(WORKERS, sql, f"{text} LIMIT {sql.integer(limit)}")

    async def remove_worker(self, worker_id: str) -> bool:
        sql = await self._database.sql()
        return await self._database.execute(sql, delete(WORKERS, [f"r.id = {sql.text(worker_id)}"])) > 0

    async def prune_workers(self, before: datetime, *, limit: int) -> int:
        sql = await self._database.sql()
        return await self._database.execute(sql, prune(sql, WORKERS, "beat_at", before, limit))


def _columns(table: Table[Any], record: object) -> dict[str, Any]:
    """Return the values of a record by column. A nested record stays one, because its column's kind writes it."""
    return {name: getattr(record, name) for name in table.names}
