# ruff: noqa: S608 - names come from `tables` and from this package, values are always parameters
"""Selects the finished runs that a retention policy deletes: all that ended at a bound or before it.

A bound means the same to all workers that prune at a time. A number of runs does not: of two workers that delete the
oldest ten, the second one might delete ten others. The bound is found by walking the index on (status, updated_at).
Without a namespace, the index has all needed columns, so a million kept runs cost a fraction of a second and no lock.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from fastapi_durable.model.records import RetentionPolicy
from fastapi_durable.model.reserved import JOINED
from fastapi_durable.store.prisma.sql.builder import Sql
from fastapi_durable.store.prisma.sql.predicates import LIVE, guarded_by_status, in_namespaces, in_statuses, where
from fastapi_durable.store.prisma.sql.statements import delete_runs

ENDS = 1000
"""How many runs that ended at the same moment are distinguished. More runs than that are deleted all together or not at
all."""

_RUNS = "FROM durable_workflow_runs AS r WHERE"


class Bound(NamedTuple):
    """Runs that ended before `moment` are deleted, and of those that ended at that moment the ids up to `last_id`."""

    moment: datetime
    last_id: str | None = None

    @property
    def reach(self) -> tuple[datetime, bool, str]:
        """The order of bounds: a later bound deletes more."""
        return self.moment, self.last_id is not None, self.last_id or ""


def end_of_kept(sql: Sql, policy: RetentionPolicy, kept: int, *namespaces: str | None) -> str:
    """Build the statement that walks along the `kept` newest runs to the first one beyond them.

    Returns:
        A row with `at`, in milliseconds when the last of these runs ended, `found`, how many there are up to
        `ENDS` + 1, and `ties`, how many of them ended at that moment. Without ids, which the index does not hold.
    """
    # One part for each status, so that each is read from the index, only as far as needed.
    parts = [
        f"SELECT ended_at FROM (SELECT r.updated_at AS ended_at {_RUNS}"
        f" {where([f'r.status = {sql.text(status)}', *in_namespaces(sql, *namespaces)])}"
        f" ORDER BY r.updated_at DESC LIMIT {sql.integer(kept + 1)}) AS {status}"
        for status in sorted(policy.statuses)
    ]
    looked_at = min(kept, ENDS)
    ends = (
        f"{' UNION ALL '.join(parts)} ORDER BY ended_at DESC"
        f" LIMIT {sql.integer(looked_at + 1)} OFFSET {sql.integer(kept - looked_at)}"
    )
    return (
        f"WITH ends AS ({ends}) SELECT {sql.millis_of('min(ended_at)')} AS at, count(*) AS found,"
        " sum(CASE WHEN ended_at = (SELECT min(ended_at) FROM ends) THEN 1 ELSE 0 END) AS ties FROM ends"
    )


def first_beyond_at(sql: Sql, policy: RetentionPolicy, moment: datetime, kept: int, *namespaces: str | None) -> str:
    """Build the statement for the highest `id` after the `kept` highest ones, among runs that ended at one moment."""
    conditions = [in_statuses(sql, sorted(policy.statuses)), f"r.updated_at = {sql.moment(moment)}"]
    return (
        f"SELECT r.id AS id {_RUNS} {where([*conditions, *in_namespaces(sql, *namespaces)])}"
        f" ORDER BY {sql.bytewise('r.id')} DESC LIMIT 1 OFFSET {sql.integer(kept)}"
    )


def given_up(sql: Sql, policy: RetentionPolicy, bound: Bound, limit: int, *namespaces: str | None) -> str:
    """Build the statement for the `id`s of the oldest runs within the bound, up to a limit, without runs that a parent
    still needs.
    """
    # One part for each status, so that each is read from the index, only as far as needed.
    parts = []
    for status in sorted(policy.statuses):
        conditions = [f"r.status = {sql.text(status)}", _within(sql, bound), _is_joined(sql)]
        conditions += in_namespaces(sql, *namespaces)
        parts.append(
            f"SELECT id, updated_at FROM (SELECT r.id, r.updated_at {_RUNS} {where(conditions)}"
            f" ORDER BY r.updated_at, {sql.bytewise('r.id')} LIMIT {sql.integer(limit)}) AS {status}"
        )
    return (
        f"SELECT id FROM ({' UNION ALL '.join(parts)}) AS part ORDER BY updated_at, {sql.bytewise('id')}"
        f" LIMIT {sql.integer(limit)}"
    )


def delete_given_up(sql: Sql, policy: RetentionPolicy, bound: Bound, run_ids: Sequence[str]) -> str:
    """Delete these runs unless one has been retried meanwhile, and return their ids."""
    conditions = [f"r.id IN {sql.texts(run_ids)}", guarded_by_status(sql, sorted(policy.statuses)), _within(sql, bound)]
    conditions.append(_is_joined(sql))
    return delete_runs(where(conditions))


def stream_rows_of(sql: Sql, run_ids: Sequence[str], at_most: int) -> str:
    """How many rows the streams of these runs have, as `total`; counting stops at `at_most`."""
    rows = f"SELECT 1 FROM durable_stream_items AS s WHERE s.run_id IN {sql.texts(run_ids)}"
    return f"SELECT count(*) AS total FROM ({rows} LIMIT {sql.integer(at_most)}) AS part"


def _is_joined(sql: Sql) -> str:
    """No parent needs the run: its parent has ended, or has recorded its ending.

    The check reads one row by primary key for each of the two. It does not use EXISTS, for which PostgreSQL may read
    the whole table once instead.
    """
    joined = (
        "SELECT 1 FROM durable_step_checkpoints AS c WHERE c.run_id = r.parent_run_id AND c.seq = r.parent_seq"
        f" AND c.status = 'completed' AND substr(c.name, 1, {len(JOINED)}) = {sql.text(JOINED)}"
    )
    living = f"SELECT 1 FROM durable_workflow_runs AS p WHERE p.id = r.parent_run_id AND p.status IN {LIVE}"
    return f"r.parent_run_id IS NULL OR ({living} LIMIT 1) IS NULL OR ({joined} LIMIT 1) IS NOT NULL"


def _within(sql: Sql, bound: Bound) -> str:
    if bound.last_id is None:
        return f"r.updated_at < {sql.moment(bound.moment)}"
    until, before = sql.moment(bound.moment), sql.moment(bound.moment)
    return (
        f"r.updated_at <= {until} AND (r.updated_at < {before} OR {sql.bytewise('r.id')} <= {sql.text(bound.last_id)})"
    )
