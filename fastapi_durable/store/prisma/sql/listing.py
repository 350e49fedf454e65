# ruff: noqa: S608 - names come from `tables` and from this package, values are always parameters
"""Lists and counts runs in very large tables.

A listing reads the newest runs of each status from an index that is ordered by time within it, and merges these few.
A single walk through all runs by time would have to go back to the last run of a rare status or workflow.
Counts stop at a number that the caller chooses, status by status. A tag or an attribute may belong to one run or to
half of all runs, which need different plans. So these statements are planned each time.
"""

from collections.abc import Iterable, Sequence

from fastapi_durable.model.records import RunQuery, RunStatus
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
    """Build the statement for the runs of a query as `row`, the newest first."""
    return _planned(sql, query, _list_runs(sql, query, scope))


def _planned(sql: Sql, query: RunQuery, text: str) -> str:
    return sql.planned_anew(text) if query.tag or query.attributes else text


def _list_runs(sql: Sql, query: RunQuery, scope: str | None) -> str:
    order = f"r.created_at DESC, {sql.bytewise('r.id')} DESC"
    page = f"ORDER BY {order} LIMIT {query.limit} OFFSET {query.offset}"
    statuses = _statuses(query)
    if not statuses or not _is_read_by_status(sql, query, scope):
        conditions = [*_in_statuses(sql, statuses), *matching_beside_statuses(sql, query, scope), *_after(sql, query)]
        if query.origin is not None:
            # Repeated as a range, as for a status below, so that its index is read, however many runs the origin has.
            conditions.append(_range("r.origin", sql.text(query.origin), sql.text(query.origin)))
        return f"SELECT {sql.row(RUNS, 'r')} AS row FROM {_TABLE} AS r WHERE {where(conditions)} {page}"
    newest = f"ORDER BY {order} LIMIT {query.limit + query.offset}"
    parts = " UNION ALL ".join([_of_status(sql, query, scope, status, newest) for status in statuses])
    return f"SELECT {sql.row(RUNS, 'r')} AS row FROM ({parts}) AS r {page}"


def _is_read_by_status(sql: Sql, query: RunQuery, scope: str | None) -> bool:
    # Find a tag, an attribute or a parent in one part, because the database knows how many runs have it. An origin has
    # its own index ordered by time.
    if query.tag or query.attributes or query.origin or query.unattributed or query.parent_run_id:
        return False
    if _named(query, scope):
        return True
    return len(_statuses(query)) < len(RunStatus) and sql.namespaces() is not None


def _of_status(sql: Sql, query: RunQuery, scope: str | None, status: RunStatus, newest: str) -> str:
    """Return the newest runs of one status, in the named namespaces or in each existing one."""
    conditions = [f"r.status = '{status}'", *matching_beside_statuses(sql, query, scope), *_after(sql, query)]
    of_status = f"SELECT r.* FROM {_TABLE} AS r WHERE {where(conditions)}"
    # Nearly all runs are completed. PostgreSQL plans a prepared statement without its values, and expects every
    # namespace to have many of these runs. So it would walk through all runs by time to find one page of a small
    # tenant. It expects few rows of a range, so the value is repeated as a range.
    ranges: list[str] = []
    if _named(query, scope):
        if status is RunStatus.COMPLETED:
            ranges = [_range(column, sql.text(value), sql.text(value)) for column, value in _named(query, scope)]
        return f"SELECT * FROM ({' AND '.join([of_status, *ranges])} {newest}) AS part"
    its_own = "r.namespace = each_one.namespace"
    if status is RunStatus.COMPLETED:
        ranges = [_range("r.namespace", "each_one.namespace", "each_one.namespace")]
    of_each = f"{' AND '.join([of_status, its_own, *ranges])} {newest}"
    return f"SELECT part.* FROM {sql.namespaces()} AS each_one CROSS JOIN LATERAL ({of_each}) AS part"


def _named(query: RunQuery, scope: str | None) -> list[tuple[str, str]]:
    """Return the columns with a given value in the query or the scope with which an index begins."""
    named = [("r.namespace", scope), ("r.namespace", query.namespace), ("r.workflow", query.workflow)]
    return [(column, value) for column, value in named if value is not None]


def _range(column: str, first: str, last: str) -> str:
    return f"{column} BETWEEN {first} AND {last}"


def _in_statuses(sql: Sql, statuses: Sequence[RunStatus]) -> list[str]:
    if len(statuses) == len(RunStatus):
        return []
    # Most runs are completed. A walk by time finds them soon, and they would be too many to sort.
    column = sql.too_common("r.status") if RunStatus.COMPLETED in statuses else "r.status"
    names = ", ".join(f"'{status}'" for status in statuses)
    return [f"{column} IN ({names})" if statuses else "1 = 0"]


def _after(sql: Sql, query: RunQuery) -> list[str]:
    return [] if query.before is None else [listed_after(sql, *query.before)]


def _statuses(query: RunQuery) -> list[RunStatus]:
    allowed: Iterable[RunStatus] = RunStatus if query.statuses is None else query.statuses
    return sorted(status for status in allowed if query.status in (None, status))


def count_runs(sql: Sql, query: RunQuery, scope: str | None, at_most: int | None) -> str:
    """Build the statement for the number of matching runs as `total`. Counting stops at `at_most`."""
    conditions = where(matching(sql, query, scope))
    if at_most is None:
        return f"SELECT count(*) AS total FROM {_TABLE} AS r WHERE {conditions}"
    few = f"SELECT 1 AS one FROM {_TABLE} AS r WHERE {conditions} LIMIT {at_most}"
    return _planned(sql, query, f"SELECT count(*) AS total FROM ({few}) AS few")


def run_facets(sql: Sql, query: RunQuery, scope: str | None, at_most: int | None) -> str:
    """Build the statement for the number of runs by `status` and `origin` as `total`. At most `at_most` runs of each
    status are counted.
    """
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
    return _planned(sql, query, " UNION ALL ".join(parts))


def _origin(sql: Sql) -> str:
    return f"CASE WHEN {sql.blank('r.origin')} THEN NULL ELSE r.origin END"
