"""Listing and counting runs."""

from collections.abc import Collection
from datetime import datetime

from fastapi_durable.model.records import Run, RunFacet, RunQuery, RunStatus
from fastapi_durable.store.prisma.base import Operations
from fastapi_durable.store.prisma.sql.listing import count_runs, list_runs, run_facets
from fastapi_durable.store.prisma.sql.predicates import in_namespaces, stranded, waiting_since
from fastapi_durable.store.prisma.sql.statements import expired_runs, select
from fastapi_durable.store.prisma.tables import RUNS

_STATUSES = frozenset(RunStatus)


class QueryOperations(Operations):
    async def list_runs(self, query: RunQuery) -> list[Run]:
        if query.limit <= 0:
            return []
        sql = await self._database.sql()
        return await self._rows(RUNS, sql, list_runs(sql, query, self._scope))

    async def count_runs(self, query: RunQuery, *, at_most: int | None = None) -> int:
        sql = await self._database.sql()
        rows = await self._database.query(sql, count_runs(sql, query, self._scope, at_most))
        return int(rows[0]["total"])

    async def run_facets(self, query: RunQuery, *, at_most: int | None = None) -> list[RunFacet]:
        sql = await self._database.sql()
        rows = await self._database.query(sql, run_facets(sql, query, self._scope, at_most))
        facets = [
            RunFacet(RunStatus(row["status"]), row["origin"], int(row["total"]))
            for row in rows
            if row["status"] in _STATUSES
        ]
        return sorted(facets, key=lambda facet: (facet.status, facet.origin or ""))

    async def list_expired_runs(self, now: datetime, *, limit: int, namespace: str | None = None) -> list[str]:
        sql = await self._database.sql()
        rows = await self._database.query(sql, expired_runs(sql, now, limit, self._scope, namespace))
        return [row["id"] for row in rows]

    async def list_stranded_runs(
        self, before: datetime, *, served: Collection[str], limit: int, namespace: str | None = None
    ) -> list[Run]:
        sql = await self._database.sql()
        conditions = [*stranded(sql, before, served), *in_namespaces(sql, self._scope, namespace)]
        text = select(sql, RUNS, conditions, f"{waiting_since(sql)}, {sql.bytewise('r.id')}")
        return await self._rows(RUNS, sql, f"{text} LIMIT {sql.integer(limit)}")
