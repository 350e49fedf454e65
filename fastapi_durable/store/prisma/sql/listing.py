# ruff: noqa: S608 - names come from `tables` and from this package, values are always parameters
"""Listing and counting runs where there are a great many of them.

A listing reads the newest runs of each status from an index that is ordered by time within it, and merges these few.
In one walk through all runs by time, a status or a workflow that was last seen long ago would cost a walk to there.
Counts stop at a number that the caller chooses, status by status.
"""

from collections.abc import Callable, Iterable

from fastapi_durable.model import RunQuery, RunStatus
from fastapi_durable.store.prisma.sql.builder import Sql
from fastapi_durable.store.prisma.sql.predicates import (
    listed_after,
    matching,
    matching_beside_facets,
    matching_beside_statuses,
    where,
)
from fastapi_durable.store.prisma.tables import RUNS

_TABLE = "durable_workflow_runs"


def list_runs(sql: Sql, query: RunQuery, scope: str | None) -> str:
    """The runs of a query as `row`, the newest first."""
    order = f"r.created_at DESC, {sql.bytewise('r.id')} DESC"
    page = f"ORDER BY {order} LIMIT {query.limit} OFFSET {query.offset}"
    statuses = _statuses(query)
    source = _source(sql, query, scope) if statuses else None
    if source is None:
        conditions = [*matching(sql, query, scope), *_after(sql, query)]
        return f"SELECT {sql.row(RUNS, 'r')} AS row FROM {_TABLE} AS r WHERE {where(conditions)} {page}"
    newest = f"ORDER BY {order} LIMIT {query.limit + query.offset}"
    parts: list[str] = []
    for status in statuses:
        conditions = [f"r.status = '{status}'", *matching_beside_statuses(sql, query, scope), *_after(sql, query)]
        parts.append(source(f"SELECT r.* FROM {_TABLE} AS r WHERE {where(conditions)}", newest))
    return f"SELECT {sql.row(RUNS, 'r')} AS row FROM ({' UNION ALL '.join(parts)}) AS r {page}"


def _source(sql: Sql, query: RunQuery, scope: str | None) -> Callable[[str, str], str] | None:
    """How to read the newest runs of one status; None: read those of all statuses as a whole.

    A tag, an attribute, an origin or a parent is better looked for as a whole: the database knows how many have it.
    """
    if query.tag or query.attributes or query.origin or query.unattributed or query.parent_run_id:
        return None
    if query.workflow is not None or query.namespace is not None or scope is not None:
        named = [("r.namespace", scope), ("r.namespace", query.namespace), ("r.workflow", query.workflow)]

        def of_the_named(runs: str, newest: str) -> str:
            given = [(column, value) for column, value in named if value is not None]
            rare = where(_rare(column, sql.text(value), sql.text(value)) for column, value in given)
            return f"SELECT * FROM ({runs} AND {rare} {newest}) AS part"

        return of_the_named
    if len(_statuses(query)) == len(RunStatus) or (namespaces := sql.namespaces()) is None:
        return None
    return lambda runs, newest: (
        f"SELECT part.* FROM {namespaces} AS each_one"
        f" CROSS JOIN LATERAL ({runs} AND r.namespace = each_one.namespace"
        f" AND {_rare('r.namespace', *['each_one.namespace'] * 2)} {newest}) AS part"
    )


def _rare(column: str, first: str, last: str) -> str:
    """Says again that a column has a value, so that PostgreSQL takes it for a rare one.

    It plans a prepared statement for values that it does not know, expects any namespace to have a good share of the
    runs, and walks through all of them by time to find one page of a small tenant's. Of a range it expects few rows.
    """
    return f"{column} BETWEEN {first} AND {last}"


def _after(sql: Sql, query: RunQuery) -> list[str]:
    return [] if query.before is None else [listed_after(sql, *query.before)]


def _statuses(query: RunQuery) -> list[RunStatus]:
    allowed: Iterable[RunStatus] = RunStatus if query.statuses is None else query.statuses
    return sorted(status for status in allowed if query.status in (None, status))


def count_runs(sql: Sql, query: RunQuery, scope: str | None, at_most: int | None) -> str:
    """How many runs match, as `total`; counting stops at `at_most`."""
    conditions = where(matching(sql, query, scope))
    if at_most is None:
        return f"SELECT count(*) AS total FROM {_TABLE} AS r WHERE {conditions}"
    few = f"SELECT 1 AS one FROM {_TABLE} AS r WHERE {conditions} LIMIT {at_most}"
    return f"SELECT count(*) AS total FROM ({few}) AS few"


def run_facets(sql: Sql, query: RunQuery, scope: str | None, at_most: int | None) -> str:
    """How many runs have a `status` and an `origin`, as `total`; of each status `at_most` are counted."""
    if at_most is None:
        return (
            f"SELECT r.status AS status, {_origin(sql)} AS origin, count(*) AS total FROM {_TABLE} AS r"
            f" WHERE {where(matching_beside_facets(sql, query, scope))} GROUP BY 1, 2"
        )
    parts: list[str] = []
    for status in RunStatus:
        few = f"SELECT {_origin(sql)} AS origin FROM {_TABLE} AS r WHERE r.status = '{status}'"
        few += f" AND {where(matching_beside_facets(sql, query, scope))} LIMIT {at_most}"
        parts.append(f"SELECT '{status}' AS status, origin, count(*) AS total FROM ({few}) AS few GROUP BY origin")
    return " UNION ALL ".join(parts)


def _origin(sql: Sql) -> str:
    return f"CASE WHEN {sql.blank('r.origin')} THEN NULL ELSE r.origin END"
