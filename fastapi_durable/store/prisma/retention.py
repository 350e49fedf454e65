"""Deleting finished runs that a retention policy gives up."""

from datetime import datetime

from fastapi_durable.model import RetentionPolicy
from fastapi_durable.store.prisma.base import Operations
from fastapi_durable.store.prisma.database import Database
from fastapi_durable.store.prisma.runs import delete_runs
from fastapi_durable.store.prisma.sql.builder import Sql
from fastapi_durable.store.prisma.sql.predicates import in_namespaces, in_statuses, where


class RetentionOperations(Operations):
    async def prune_terminal_runs(
        self, policy: RetentionPolicy, *, now: datetime, limit: int, namespace: str | None = None
    ) -> int:
        def kept_by_the_policy(sql: Sql) -> str:
            return where([in_statuses(sql, policy.statuses), *in_namespaces(sql, self._scope, namespace)])

        async def prune(database: Database) -> int:
            sql = await database.sql()
            # Age and count both give up the oldest runs, so together they give up the larger of two numbers of them.
            number = []
            if policy.max_age is not None:
                number.append(
                    f"SELECT count(*) AS n FROM durable_workflow_runs AS r WHERE {kept_by_the_policy(sql)}"
                    f" AND r.updated_at < {sql.moment(now - policy.max_age)}"
                )
            if policy.max_count is not None:
                number.append(
                    f"SELECT count(*) - {sql.integer(policy.max_count)} AS n FROM durable_workflow_runs AS r"
                    f" WHERE {kept_by_the_policy(sql)}"
                )
            (counted,) = await database.query(
                sql, f"SELECT max(n) AS n FROM ({' UNION ALL '.join(number)}) AS given_up"
            )
            batch = min(limit, int(counted["n"]))
            if batch <= 0:
                return 0
            sql = await database.sql()
            oldest = (
                f"SELECT r.id FROM durable_workflow_runs AS r WHERE {kept_by_the_policy(sql)}"
                f" ORDER BY r.updated_at, {sql.bytewise('r.id')} LIMIT {sql.integer(batch)}"
            )
            # The status again: it is looked at once more if somebody changed the run meanwhile.
            conditions = f"r.id IN ({oldest}) AND {in_statuses(sql, policy.statuses)}"
            return len(await delete_runs(database, sql, conditions))

        return await self._database.atomically(prune)
