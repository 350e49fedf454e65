# ruff: noqa: S608 - names come from `tables` and from this package, values are always parameters
"""The runs of a query, a claim or a scope, as conditions on a run `r`."""

from collections.abc import Collection, Iterable
from datetime import datetime

from fastapi_durable.model.records import RunQuery, RunStatus
from fastapi_durable.store.prisma.sql.builder import Sql

LIVE = "('pending', 'running', 'suspended', 'cancelling', 'blocked')"
WAITING = "('suspended', 'blocked')"
DRIVEN = "('running', 'cancelling')"


def where(conditions: Iterable[str]) -> str:
    """Return the conditions joined by AND. Without conditions, the result is true."""
    return " AND ".join(f"({condition})" for condition in conditions) or "1 = 1"


def in_namespaces(sql: Sql, *namespaces: str | None) -> list[str]:
    """Return a condition for each given namespace: the store's scope and the caller's choice."""
    return [f"r.namespace = {sql.text(namespace)}" for namespace in namespaces if namespace is not None]


def owned_in_namespace(sql: Sql, column: str, namespace: str | None) -> list[str]:
    """Return conditions for a row whose `column` names a run of the namespace. Without a namespace, there are none."""
    if namespace is None:
        return []
    owner = f"SELECT 1 FROM durable_workflow_runs AS o WHERE o.id = {column}"
    return [f"EXISTS ({owner} AND o.namespace = {sql.text(namespace)})"]


def in_statuses(sql: Sql, statuses: Iterable[RunStatus]) -> str:
    listed = ", ".join([sql.text(status) for status in statuses])
    return f"r.status IN ({listed})" if listed else "1 = 0"


def guarded_by_status(sql: Sql, statuses: Iterable[RunStatus]) -> str:
    """Like `in_statuses`, for a run that is found by its id."""
    listed = ", ".join([sql.text(status) for status in statuses])
    return f"{sql.unindexed('r.status')} IN ({listed})"


def matching(sql: Sql, query: RunQuery, scope: str | None) -> list[str]:
    """Return every condition of a query except `before`."""
    conditions = matching_beside_statuses(sql, query, scope)
    if query.status is not None:
        conditions.append(f"r.status = {sql.text(query.status)}")
    if query.statuses is not None:
        conditions.append(in_statuses(sql, query.statuses))
    return conditions


def matching_beside_statuses(sql: Sql, query: RunQuery, scope: str | None) -> list[str]:
    """Return the same without the statuses."""
    conditions = matching_beside_facets(sql, query, scope)
    if query.origin is not None:
        conditions.append(f"r.origin = {sql.text(query.origin)}")
    if query.unattributed:
        conditions.append(f"r.origin IS NULL OR {sql.blank('r.origin')}")
    return conditions


def matching_beside_facets(sql: Sql, query: RunQuery, scope: str | None) -> list[str]:
    """The conditions that facets do not count by."""
    conditions = in_namespaces(sql, scope, query.namespace)
    if query.workflow is not None:
        conditions.append(f"r.workflow = {sql.text(query.workflow)}")
    if query.tag is not None:
        conditions.append(sql.has_tag("r.tags", query.tag))
    if query.parent_run_id is not None:
        conditions.append(f"r.parent_run_id = {sql.text(query.parent_run_id)}")
    if query.never_driven:
        conditions.append(f"{sql.millis_of('r.updated_at')} = {sql.millis_of('r.created_at')}")
    if query.created_from is not None:
        conditions.append(f"r.created_at >= {sql.moment(query.created_from)}")
    if query.created_until is not None:
        conditions.append(f"r.created_at < {sql.moment(query.created_until)}")
    conditions.extend(sql.attribute("r", condition) for condition in query.attributes)
    return conditions


def listed_after(sql: Sql, created_at: datetime, run_id: str) -> str:
    """Return the condition that a run comes after the given one in the listing, which is ordered from new to old."""
    # The first half alone lets the database start in its index on (created_at, id).
    return (
        f"r.created_at <= {sql.moment(created_at)} AND (r.created_at < {sql.moment(created_at)}"
        f" OR {sql.bytewise('r.id')} < {sql.text(run_id)})"
    )


def lease_is_free(sql: Sql, now: datetime) -> str:
    """The run has no live lease."""
    return f"r.locked_until IS NULL OR {sql.not_after('r.locked_until', now)}"


def claimable(sql: Sql, now: datetime) -> str:
    """The run is pending, or due, or lost its worker; and it has no live lease. An undo may wait for its retry."""
    return (
        f"(r.status = 'pending' OR (r.status IN {WAITING} AND r.wake_at <= {sql.millis(now)}) OR r.status = 'running'"
        f" OR (r.status = 'cancelling' AND (r.wake_at IS NULL OR r.wake_at <= {sql.millis(now)})))"
        f" AND ({lease_is_free(sql, now)})"
    )


def waiting_since(sql: Sql) -> str:
    """Return since when a run is claimable, in milliseconds since 1970."""
    return (
        f"CASE WHEN r.status = 'pending' THEN {sql.millis_of('r.created_at')}"
        f" WHEN r.status IN {WAITING} THEN r.wake_at"
        f" ELSE coalesce({sql.millis_of('r.locked_until')}, {sql.millis_of('r.updated_at')}) END"
    )


def stranded(sql: Sql, before: datetime, served: Collection[str]) -> list[str]:
    """Return the conditions for a run that is claimable since `before`, neither blocked nor being cancelled, and of a
    workflow that is not `served`.
    """
    conditions = [
        "r.status IN ('pending', 'suspended', 'running')",
        claimable(sql, before),
        f"{waiting_since(sql)} <= {sql.millis(before)}",
    ]
    if served:
        conditions.append(f"r.workflow || '@' || r.workflow_version NOT IN {sql.texts(sorted(served))}")
    return conditions
