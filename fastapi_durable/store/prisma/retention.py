"""Deletes the finished runs that a retention policy does not keep."""

from datetime import datetime

from fastapi_durable.model.clock import from_millis
from fastapi_durable.model.records import RetentionPolicy
from fastapi_durable.store.prisma.base import Operations
from fastapi_durable.store.prisma.database import Database
from fastapi_durable.store.prisma.runs import delete_runs_by
from fastapi_durable.store.prisma.sql import retention
from fastapi_durable.store.prisma.sql.retention import Bound

_STREAM_ROWS = 50_000
"""Maximum number of stream rows that one transaction deletes, unless a single run has more."""


class RetentionOperations(Operations):
    async def prune_terminal_runs(
        self, policy: RetentionPolicy, *, now: datetime, limit: int, namespace: str | None = None
    ) -> int:
        # Only the deletion is inside the transaction, because on SQLite every other writer waits for it.
        bounds = [] if policy.max_age is None else [Bound(now - policy.max_age)]
        if policy.max_count is not None and (beyond := await self._beyond(policy, policy.max_count, namespace)):
            bounds.append(beyond)
        if not bounds:
            return 0
        bound = max(bounds, key=lambda each: each.reach)
        sql = await self._database.sql()
        statement = retention.given_up(sql, policy, bound, limit, self._scope, namespace)
        run_ids = [row["id"] for row in await self._database.query(sql, statement)]
        if not run_ids:
            return 0
        run_ids = await self._within_reach(run_ids)

        async def prune(database: Database) -> int:
            sql = await database.sql()
            statement = retention.delete_given_up(sql, policy, bound, run_ids)
            return len(await delete_runs_by(database, sql, statement))

        return await self._database.atomically(prune)

    async def _within_reach(self, run_ids: list[str]) -> list[str]:
        """Return the first of these runs, as many as one transaction can delete in time with their streams. At
        least one.
        """
        while len(run_ids) > 1:
            sql = await self._database.sql()
            (found,) = await self._database.query(sql, retention.stream_rows_of(sql, run_ids, _STREAM_ROWS + 1))
            if int(found["total"]) <= _STREAM_ROWS:
                break
            run_ids = run_ids[: len(run_ids) // 2]
        return run_ids

    async def _beyond(self, policy: RetentionPolicy, kept: int, namespace: str | None) -> Bound | None:
        """Return the bound after the `kept` newest runs. None if there are no more runs.

        Runs that end between these queries are newer, so the bound only deletes fewer runs.
        """
        database, namespaces = self._database, (self._scope, namespace)
        sql = await database.sql()
        (ends,) = await database.query(sql, retention.end_of_kept(sql, policy, kept, *namespaces))
        looked_at = min(kept, retention.ENDS)
        if int(ends["found"]) <= looked_at:
            return None
        moment, ties = from_millis(int(ends["at"])), int(ends["ties"])
        if looked_at < ties and looked_at < kept:
            return Bound(moment)
        sql = await database.sql()
        beyond = await database.query(sql, retention.first_beyond_at(sql, policy, moment, ties - 1, *namespaces))
        return Bound(moment, str(beyond[0]["id"]) if beyond else None)
