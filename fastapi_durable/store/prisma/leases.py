"""Leases and claims."""

from collections.abc import Collection, Sequence
from datetime import datetime

from fastapi_durable.model.records import Lease, Run
from fastapi_durable.store.prisma.base import Operations
from fastapi_durable.store.prisma.sql.claims import Claimant, Line, picked
from fastapi_durable.store.prisma.sql.statements import claimed, prolong_leases
from fastapi_durable.store.prisma.tables import RUNS


class LeaseOperations(Operations):
    async def claim_runs(
        self,
        token: str,
        *,
        now: datetime,
        until: datetime,
        limit: int,
        workflows: Collection[tuple[str, str]] | None = None,
        namespace: str | None = None,
        after: str = "",
    ) -> list[Run]:
        if limit <= 0 or (workflows is not None and not workflows):
            return []
        line = Line(
            members=lambda _: ["r.queue = ''"],
            claimant=Claimant((self._scope, namespace), workflows),
            key="r.namespace",
            only=namespace or self._scope,
            after=after,
        )
        sql = await self._database.sql()
        tables = picked(sql, line, now, limit)
        rows = await self._database.query(sql, sql.claim_picked(tables, claimed(sql, token, now, until)))
        # The database chose the runs in order, but returns them in any order.
        runs = RUNS.read_all(row["row"] for row in rows)
        since = {row["id"]: row["since"] for row in rows}
        return sorted(runs, key=lambda run: (_waited_since(run, since[run.id]), run.id.encode()))

    async def renew_leases(self, leases: Sequence[Lease], *, until: datetime) -> dict[str, bool]:
        if not leases:
            return {}
        sql = await self._database.sql()
        pairs = [(lease.run_id, lease.token) for lease in leases]
        rows = await self._database.query(sql, sql.renew_leases(pairs, until, self._in_scope), urgent=True)
        return {row["id"]: bool(row["changed"]) for row in rows}

    async def prolong_leases(self, tokens: Collection[str], *, until: datetime) -> dict[str, str]:
        if not tokens:
            return {}
        sql = await self._database.sql()
        rows = await self._database.query(sql, prolong_leases(sql, tokens, until, self._scope), urgent=True)
        return {row["id"]: row["token"] for row in rows}


def _waited_since(run: Run, known: int | None) -> int:
    """Return the time that decided a claimed run's order. It is approximate if the database cannot return it."""
    return run.aged(run.wake_at or run.created_at) if known is None else int(known)
