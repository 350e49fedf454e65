"""The base of all groups of operations: the database and the scope."""

import copy
from typing import Self, TypeVar

from fastapi_durable.model.errors import StoreError
from fastapi_durable.store.prisma.bulk import BulkCalls
from fastapi_durable.store.prisma.database import Database
from fastapi_durable.store.prisma.sql.builder import Sql
from fastapi_durable.store.prisma.sql.predicates import in_namespaces
from fastapi_durable.store.prisma.sql.statements import meets
from fastapi_durable.store.prisma.tables import Table

T = TypeVar("T")


class Operations:
    """Operations on a database, restricted to the runs of one namespace if there is a scope.

    Checkpoints and waiters belong to the namespace of their run. It never changes, so it can be read before the
    statement. `bulk` gathers calls that are made at the same time. Stores of all scopes share it, and a transaction has
    none.
    """

    def __init__(self, database: Database, scope: str | None = None, bulk: BulkCalls | None = None) -> None:
        self._database = database
        self._scope = scope
        self._bulk = bulk

    def with_scope(self, namespace: str) -> Self:
        if self._scope not in (None, namespace):
            raise ValueError(f"namespace must be {self._scope!r}, to which this store is confined, got {namespace!r}")
        scoped = copy.copy(self)
        scoped._scope = namespace
        return scoped

    async def _rows(self, table: Table[T], sql: Sql, text: str) -> list[T]:
        rows = await self._database.query(sql, text)
        return table.read_all(row["row"] for row in rows)

    async def _first_row(self, table: Table[T], sql: Sql, text: str) -> T | None:
        rows = await self._database.query(sql, text)
        return table.read(rows[0]["row"]) if rows else None

    def _in_scope(self, sql: Sql) -> list[str]:
        """Return the scope as conditions on a run `r`."""
        return in_namespaces(sql, self._scope)

    async def _may_touch(self, run_id: str) -> bool:
        """Return whether the rows of this run may be read and changed."""
        if self._scope is None:
            return True
        sql = await self._database.sql()
        conditions = [f"r.id = {sql.text(run_id)}", *self._in_scope(sql)]
        return bool(await self._database.query(sql, meets(conditions)))

    async def _require_touchable(self, *run_ids: str) -> None:
        for run_id in run_ids:
            if not await self._may_touch(run_id):
                raise StoreError(f"run {run_id!r} is not in namespace {self._scope!r}, to which this store is confined")
