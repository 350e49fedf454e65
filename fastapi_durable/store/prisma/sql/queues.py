# ruff: noqa: S608 - names come from `tables` and from this package, values are always parameters
"""Queues: their runs, and claims within their limits.

A run has a slot in its queue while it is leased, so a slot needs no row. The claim takes it, and the end of the lease
frees it. A claim takes slots only if the queue's `claims` has not changed since the slots were counted. So of two
workers that counted the same slots, one claims.
"""

from collections.abc import Sequence
from datetime import datetime

from fastapi_durable.declare.queue import QueueState
from fastapi_durable.store.prisma.sql.builder import Sql
from fastapi_durable.store.prisma.sql.claims import Line, offers
from fastapi_durable.store.prisma.sql.predicates import DRIVEN, WAITING, claimable, in_namespaces, lease_is_free, where
from fastapi_durable.store.prisma.tables import QUEUES

_LIMITS = ("concurrency", "worker_concurrency", "rate_limit", "rate_period")
_OF_QUEUE = "r.queue = q.name AND r.namespace = q.namespace"
_RUNS = "FROM durable_workflow_runs AS r WHERE"


def save_queue(sql: Sql, queue: QueueState) -> str:
    """Insert a queue, or set its limits. That counts as a claim, so a claim that was decided by the old limits
    fails.
    """
    limits = ", ".join(f"{name} = excluded.{name}" for name in (*_LIMITS, "updated_at"))
    return f"{_insert(sql, queue)} ON CONFLICT (id) DO UPDATE SET {limits}, claims = q.claims + 1"


def add_queue(sql: Sql, queue: QueueState) -> str:
    """Insert a queue that is new."""
    return f"{_insert(sql, queue)} ON CONFLICT (id) DO NOTHING"


def _insert(sql: Sql, queue: QueueState) -> str:
    values = sql.columns(QUEUES, queue, QUEUES.names)
    return f"INSERT INTO durable_queues AS q ({', '.join(QUEUES.names)}) VALUES ({values})"


def queue_loads(sql: Sql, now: datetime, *namespaces: str | None, limit: int) -> str:
    """Each queue as `row`, its leased runs as `running`, and as `waiting` and `lost` whether there are such runs."""
    running = f"SELECT count(*) {_RUNS} r.status IN {DRIVEN} AND {_OF_QUEUE} AND r.locked_by IS NOT NULL"
    undone = f"r.status = 'cancelling' AND {_OF_QUEUE} AND r.locked_by IS NULL"
    start = (
        f"SELECT {sql.row(QUEUES, 'q')} AS row, ({running}) AS running,"
        f" CASE WHEN EXISTS (SELECT 1 {_RUNS} r.status = 'pending' AND {_OF_QUEUE})"
        f" OR EXISTS (SELECT 1 {_RUNS} r.status IN {WAITING} AND {_OF_QUEUE} AND r.wake_at <= {sql.millis(now)})"
        f" OR EXISTS (SELECT 1 {_RUNS} {undone}) THEN 1 ELSE 0 END AS waiting,"
    )
    lost = f"r.status IN {DRIVEN} AND {_OF_QUEUE} AND r.locked_by IS NOT NULL AND ({lease_is_free(sql, now)})"
    conditions = [each.replace("r.", "q.", 1) for each in in_namespaces(sql, *namespaces)]
    return (
        f"{start} CASE WHEN EXISTS (SELECT 1 {_RUNS} {lost}) THEN 1 ELSE 0 END AS lost FROM durable_queues AS q"
        f" WHERE {where(conditions)} ORDER BY q.claimed_at, q.id LIMIT {sql.integer(limit)}"
    )


def count_waiting(sql: Sql, queue: QueueState, now: datetime, at_most: int | None) -> str:
    """Build the statement for the number of runs that only the limits hold back, as `n`. At most `at_most` of either
    kind are counted.
    """
    limit = "" if at_most is None else f" LIMIT {at_most}"
    members = f"r.queue = {sql.text(queue.name)} AND r.namespace = {sql.text(queue.namespace)}"
    pending = f"SELECT 1 AS one {_RUNS} r.status = 'pending' AND {members}{limit}"
    members = f"r.queue = {sql.text(queue.name)} AND r.namespace = {sql.text(queue.namespace)}"
    due = f"SELECT 1 AS one {_RUNS} r.status IN {WAITING} AND {members} AND r.wake_at <= {sql.millis(now)}{limit}"
    return f"SELECT (SELECT count(*) FROM ({pending}) AS p) + (SELECT count(*) FROM ({due}) AS d) AS n"


def revoke_lost(sql: Sql, now: datetime, *namespaces: str | None) -> str:
    """End the expired leases of runs in queues, so that their places are free and their owners can write no more."""
    start = (
        "UPDATE durable_workflow_runs AS r SET locked_by = NULL, locked_until = NULL,"
        f" wake_at = CASE WHEN r.status = 'running' THEN {sql.millis(now)} ELSE r.wake_at END,"
        " status = CASE WHEN r.status = 'running' THEN 'suspended' ELSE r.status END,"
        f" recovery_attempts = coalesce(r.recovery_attempts, 0) + 1, updated_at = {sql.moment(now)}"
    )
    conditions = [f"r.status IN {DRIVEN}", "r.queue <> ''", "r.locked_by IS NOT NULL", lease_is_free(sql, now)]
    return f"{start} WHERE {where([*conditions, *in_namespaces(sql, *namespaces)])}"


def candidates(sql: Sql, line: Line, now: datetime, limit: int) -> str:
    """Build the statement for the first runs of a queue: `id`, `key`, `place` of the key in the circle, `since` and
    `begins`.
    """
    start = offers(sql, line, now, limit)
    side = f"CASE WHEN o.key > {sql.text(line.after)} THEN 0 ELSE 1 END"
    return (
        f"{start} SELECT o.id AS id, o.key AS key, o.since AS since, o.begins AS begins,"
        f" dense_rank() OVER (ORDER BY {side}, o.key) AS place FROM offers AS o"
    )


def note_claim(sql: Sql, after: QueueState) -> str:
    """Return the update of a queue `q` by a claim, without its conditions."""
    names = ("begun", "last_key", "claims", "claimed_at")
    values = ", ".join(f"{name} = {sql.value(getattr(after, name), QUEUES.column(name).kind)}" for name in names)
    return f"UPDATE durable_queues AS q SET {values}"


def unchanged(sql: Sql, before: QueueState) -> str:
    """Return the condition that no worker has claimed from the queue `q` since it was read."""
    return f"q.id = {sql.text(before.id)} AND q.claims = {sql.integer(before.claims)}"


def gate(sql: Sql, before: QueueState) -> str:
    """A common table `gate` with the locked queue, if no worker has claimed from it since it was read."""
    return f"gate AS {sql.once} (SELECT q.id FROM durable_queues AS q WHERE {unchanged(sql, before)} FOR UPDATE)"


def chosen(sql: Sql, run_ids: Sequence[str], now: datetime, gate: str = "") -> str:
    """The chosen runs that are still claimable, as a common table `picked`; `gate` must have a row, if it is given."""
    also = f" AND EXISTS (SELECT 1 FROM {gate})" if gate else ""
    return (
        f"picked AS {sql.once} (SELECT r.id AS id, NULL AS since FROM durable_workflow_runs AS r"
        f" WHERE r.id IN {sql.texts(run_ids)}{also} AND CASE WHEN {claimable(sql, now)} THEN 1 ELSE 0 END = 1"
        f" {sql.passing_locked('r')})"
    )
