"""Leases and claims."""

from collections.abc import Collection, Sequence
from datetime import datetime

from fastapi_durable.clock import from_millis, to_millis
from fastapi_durable.model import Lease, Run, RunStatus
from fastapi_durable.store.prisma.base import Operations
from fastapi_durable.store.prisma.sql.builder import Sql
from fastapi_durable.store.prisma.sql.predicates import in_namespaces, lease_is_free, where
from fastapi_durable.store.prisma.tables import RUNS


class LeaseOperations(Operations):
    async def acquire_lease(self, run_id: str, token: str, *, now: datetime, until: datetime) -> bool:
        sql = await self._database.sql()
        text = (
            f"UPDATE durable_workflow_runs AS r SET locked_by = {sql.text(token)}, locked_until = {sql.moment(until)}"
            f" WHERE r.id = {sql.text(run_id)} AND ({lease_is_free(sql, now)}) AND {where(self._in_scope(sql))}"
        )
        return await self._database.execute(sql, text) > 0

    async def renew_lease(self, run_id: str, token: str, *, until: datetime) -> bool:
        held = self._where_run(run_id, lockedBy=token)
        return await self._database.model(RUNS, lambda runs: runs.update_many({"lockedUntil": until}, held)) > 0

    async def release_lease(self, run_id: str, token: str) -> bool:
        held = self._where_run(run_id, lockedBy=token)
        free = {"lockedBy": None, "lockedUntil": None}
        return await self._database.model(RUNS, lambda runs: runs.update_many(free, held)) > 0

    async def claim_runs(
        self,
        token: str,
        *,
        now: datetime,
        until: datetime,
        limit: int,
        workflows: Collection[tuple[str, str]] | None = None,
        namespace: str | None = None,
    ) -> list[Run]:
        if limit <= 0 or (workflows is not None and not workflows):
            return []

        def conditions(sql: Sql) -> list[str]:
            named = in_namespaces(sql, self._scope, namespace)
            if workflows is not None:
                named.append(f"(r.workflow, r.workflow_version) IN {sql.pairs(workflows)}")
            return named

        sql = await self._database.sql()
        text = sql.claim(token, now, until, limit, conditions)
        rows = await self._database.query(sql, text)
        # The database chose by priority and wait, but returns in any order.
        runs = RUNS.from_rows((row["row"] for row in rows), json_is_text=sql.json_is_text)
        since = {row["id"]: row["since"] for row in rows}
        return sorted(runs, key=lambda run: (-(run.priority or 0), _waited_since(run, since[run.id]), run.id))

    async def renew_leases(self, leases: Sequence[Lease], *, until: datetime) -> set[str]:
        if not leases:
            return set()
        sql = await self._database.sql()
        rows = await self._database.query(sql, sql.renew_leases(leases, until, self._in_scope))
        return {row["id"] for row in rows}

    async def next_wake_at(self, *, namespace: str | None = None) -> datetime | None:
        sql = await self._database.sql()
        totals = []
        for status in (RunStatus.SUSPENDED, RunStatus.BLOCKED):
            conditions = [f"r.status = {sql.text(status)}", *in_namespaces(sql, self._scope, namespace)]
            totals.append(f"(SELECT min(r.wake_at) FROM durable_workflow_runs AS r WHERE {where(conditions)})")
        (row,) = await self._database.query(sql, f"SELECT {totals[0]} AS suspended, {totals[1]} AS blocked")
        return min((from_millis(int(millis)) for millis in row.values() if millis is not None), default=None)


def _waited_since(run: Run, known: int | None) -> int:
    """Since when a claimed run waited; near enough for a list's order where the database could not say."""
    return to_millis(run.wake_at or run.created_at) if known is None else int(known)
