"""Buffered events."""

from datetime import datetime

from fastapi_durable.model.records import BufferedEvent
from fastapi_durable.store.prisma.base import Operations
from fastapi_durable.store.prisma.sql.statements import delete, insert_unless_known, prune, select
from fastapi_durable.store.prisma.tables import EVENTS


class EventOperations(Operations):
    async def buffer_event(self, event: BufferedEvent) -> None:
        values = {name: getattr(event, name) for name in EVENTS.names}
        sql = await self._database.sql()
        await self._database.execute(sql, insert_unless_known(sql, EVENTS, values, "id"))

    async def list_buffered_events(
        self, name: str, *, limit: int = 50, after: BufferedEvent | None = None
    ) -> list[BufferedEvent]:
        sql = await self._database.sql()
        event_id = sql.bytewise("r.id")
        conditions = [f"r.name = {sql.text(name)}"]
        if after is not None:
            conditions.append(f"r.published_at >= {sql.millis(after.published_at)}")
            later = f"r.published_at > {sql.millis(after.published_at)}"
            conditions.append(f"{later} OR {event_id} > {sql.text(after.id)}")
        text = select(sql, EVENTS, conditions, f"r.published_at, {event_id}")
        return await self._rows(EVENTS, sql, f"{text} LIMIT {sql.integer(limit)}")

    async def remove_buffered_event(self, event_id: str) -> bool:
        sql = await self._database.sql()
        return await self._database.execute(sql, delete(EVENTS, [f"r.id = {sql.text(event_id)}"])) > 0

    async def prune_buffered_events(self, before: datetime, *, limit: int) -> int:
        sql = await self._database.sql()
        return await self._database.execute(sql, prune(sql, EVENTS, "published_at", before, limit))
