"""Deleting finished runs that a retention policy gives up."""

from datetime import datetime

from fastapi_durable.model import RetentionPolicy
from fastapi_durable.store.prisma.base import Operations
from fastapi_durable.store.prisma.database import Database
from fastapi_durable.store.prisma.runs import delete_runs_by
from fastapi_durable.store.prisma.sql.statements import count_given_up, delete_oldest


class RetentionOperations(Operations):
    async def prune_terminal_runs(
        self, policy: RetentionPolicy, *, now: datetime, limit: int, namespace: str | None = None
    ) -> int:
        async def prune(database: Database) -> int:
            sql = await database.sql()
            (counted,) = await database.query(sql, count_given_up(sql, policy, now, limit, self._scope, namespace))
            number = min(limit, int(counted["n"]))
            if number <= 0:
                return 0
            sql = await database.sql()
            return len(await delete_runs_by(database, sql, delete_oldest(sql, policy, number, self._scope, namespace)))

        return await self._database.atomically(prune)
