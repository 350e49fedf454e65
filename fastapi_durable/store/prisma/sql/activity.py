# ruff: noqa: S608 - names come from `tables` and from this package, values are always parameters
"""Counts the runs that began and ended in each bucket of time, at a cost that does not grow with the table.

Each count reads the newest entries of its bucket in an index, and no more than a fixed number of them.
"""

from itertools import pairwise

from fastapi_durable.model.activity import ActivityQuery
from fastapi_durable.store.prisma.sql.builder import Sql
from fastapi_durable.store.prisma.sql.predicates import in_namespaces, where

COUNTED = {
    "started": ("created_at", "1 = 1"),
    "completed": ("updated_at", "r.status = 'completed'"),
    "failed": ("updated_at", "r.status = 'failed'"),
    "dead": ("updated_at", "r.status = 'dead'"),
    "cancelled": ("updated_at", "r.status = 'cancelled'"),
}
"""For each kind: the column with its time, and its runs. The `updated_at` of a finished run is the time of its end."""


def activity(sql: Sql, query: ActivityQuery, scope: str | None) -> str:
    """Build a statement with a row for each bucket, whose number is `n`.

    Each kind is a text: the number of entries read, the number of matching ones, and the oldest one's milliseconds.
    `latencies` is a list of milliseconds joined by commas.
    """
    edges = query.beginnings()
    bounds = [
        f"({number}, {sql.moment(first)}, {sql.moment(last)})" for number, (first, last) in enumerate(pairwise(edges))
    ]
    counts = [_count(sql, query, scope, kind) for kind in COUNTED]
    return (
        f"WITH bucket(n, first, last) AS (VALUES {', '.join(bounds)})"
        f" SELECT b.n AS n, {', '.join(counts)}, {_latencies(sql, query, scope)} FROM bucket AS b"
    )


def _count(sql: Sql, query: ActivityQuery, scope: str | None, kind: str) -> str:
    column, kept = COUNTED[kind]
    looked_at = (
        f"SELECT {_matches(sql, query, scope)} AS hit, r.{column} AS at FROM durable_workflow_runs AS r"
        f" WHERE {kept} AND {_within(column)} LIMIT {query.looked_at}"
    )
    told = f"count(*) || ',' || coalesce(sum(hit), 0) || ',' || coalesce({sql.millis_of('min(at)')}, 0)"
    return f"(SELECT {told} FROM ({looked_at}) AS looked_at) AS {kind}"


def _latencies(sql: Sql, query: ActivityQuery, scope: str | None) -> str:
    millis = f"{sql.millis_of('r.updated_at')} - {sql.millis_of('r.created_at')}"
    looked_at = (
        f"SELECT {millis} AS millis, {_matches(sql, query, scope)} AS hit FROM durable_workflow_runs AS r"
        f" WHERE r.status = 'completed' AND {_within('updated_at')} LIMIT {query.sampled}"
    )
    return f"(SELECT {sql.joined('millis')} FROM ({looked_at}) AS looked_at WHERE hit = 1) AS latencies"


def _within(column: str) -> str:
    return f"r.{column} >= b.first AND r.{column} < b.last ORDER BY r.{column} DESC"


def _matches(sql: Sql, query: ActivityQuery, scope: str | None) -> str:
    # Not a condition, because the scan would read the whole bucket to find the entries of a rare workflow.
    conditions = in_namespaces(sql, scope, query.namespace)
    if query.workflow is not None:
        conditions.append(f"r.workflow = {sql.text(query.workflow)}")
    return f"CASE WHEN {where(conditions)} THEN 1 ELSE 0 END" if conditions else "1"
