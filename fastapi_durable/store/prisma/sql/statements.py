# ruff: noqa: S608 - names come from `tables` and from this package, values are always parameters
"""Whole statements. Each is atomic by itself. Comments explain the guarantees.

`r` is a run and `c` a checkpoint. Statements that differ in more than a fragment are in `postgresql` and `sqlite`.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from fastapi_durable.model.records import Checkpoint, CheckpointStatus, Run, RunChanges, SignalWaiter
from fastapi_durable.store.prisma.sql.builder import Conditions, Sql
from fastapi_durable.store.prisma.sql.predicates import (
    DRIVEN,
    LIVE,
    WAITING,
    in_namespaces,
    where,
)
from fastapi_durable.store.prisma.tables import ATTRIBUTES, CHECKPOINTS, RUNS, WAITERS, Table

_KEY = ("run_id", "seq")
UNLESS_FINISHED = "c.status NOT IN ('completed', 'failed')"
_REPLACED = [name for name in CHECKPOINTS.names if name not in _KEY]


def select(sql: Sql, table: Table[Any], conditions: Sequence[str], order: str | None = None) -> str:
    """Rows of a table, named `r`, each in the column `row`."""
    text = f"SELECT {sql.row(table, 'r')} AS row FROM {table.name} AS r WHERE {where(conditions)}"
    return text if order is None else f"{text} ORDER BY {order}"


def latest_by_name(sql: Sql, run_id: str, name: str, *, by_time: bool) -> str:
    """Select the checkpoint of a name with the highest position, or the one that finished last."""
    # Find the position first. Otherwise every row of the name would be converted to JSON for the sort.
    order = f"{sql.millis_of('c.finished_at')} DESC, c.seq DESC" if by_time else "c.seq DESC"
    of_run = f"r.run_id = {sql.text(run_id)}"
    named = f"c.run_id = {sql.text(run_id)} AND c.name = {sql.text(name)}"
    seq = f"SELECT c.seq FROM durable_step_checkpoints AS c WHERE {named} ORDER BY {order} LIMIT 1"
    return select(sql, CHECKPOINTS, [of_run, f"r.seq = ({seq})"])


def select_histories(sql: Sql, run_ids: Sequence[str]) -> str:
    """Select the checkpoints of each run that has some, in one text."""
    found = f"SELECT {sql.gathered(CHECKPOINTS, 'r')} AS history FROM durable_step_checkpoints AS r WHERE r.run_id"
    if len(run_ids) == 1:
        return f"{found} = {sql.text(run_ids[0])}"
    return f"{found} IN {sql.texts(run_ids)} GROUP BY r.run_id"


DIALECT_QUESTION = "SELECT CAST(2.5 AS INTEGER) AS answer"
"""PostgreSQL rounds and answers 3, SQLite cuts and answers 2. Neither refuses, so the statement is harmless in a
transaction."""

MOMENT_QUESTION = "SELECT typeof(?) AS answer"
"""With a time as parameter, it returns how the client stores times in this SQLite file: `text` or `integer`."""


def probe(table: str, columns: str) -> str:
    """A statement that reads nothing, and fails if the table or one of the columns is missing."""
    return f"SELECT {columns} FROM {table} WHERE 1 = 0"


def expired_runs(sql: Sql, now: datetime, limit: int, *namespaces: str | None) -> str:
    # Statuses are listed, so that the index on (status, expires_at) is used. A run that is being cancelled ends anyway.
    live = "r.status IN ('pending', 'running', 'suspended', 'blocked')"
    conditions = [live, f"r.expires_at <= {sql.millis(now)}", *in_namespaces(sql, *namespaces)]
    return f"{meets(conditions)} ORDER BY r.expires_at, {sql.bytewise('r.id')} LIMIT {sql.integer(limit)}"


def meets(conditions: Sequence[str]) -> str:
    """The id of a run that meets the conditions."""
    return f"SELECT r.id AS id FROM durable_workflow_runs AS r WHERE {where(conditions)}"


def insert_run(sql: Sql, run: Run) -> str:
    # The conflict is part of the statement, so concurrent starts of one id never meet a unique violation.
    return (
        f"INSERT INTO durable_workflow_runs AS r ({', '.join(RUNS.names)})"
        f" VALUES ({sql.columns(RUNS, run, RUNS.names)})"
        f" ON CONFLICT (id) DO NOTHING RETURNING {sql.returned_row(RUNS, 'r')} AS row"
    )


def update_run(sql: Sql, changes: RunChanges) -> str:
    """The beginning of an update. Its conditions on `r` follow."""
    return f"UPDATE durable_workflow_runs AS r SET {_assignments(sql, changes)} WHERE "


def _assignments(sql: Sql, changes: RunChanges) -> str:
    return ", ".join(f"{name} = {sql.value(value, RUNS.column(name).kind)}" for name, value in changes.items())


def delete_runs(conditions: str) -> str:
    return f"DELETE FROM durable_workflow_runs AS r WHERE {conditions} RETURNING id"


def delete_rows_of_runs(sql: Sql, table: str, run_ids: Sequence[str]) -> str:
    return f"DELETE FROM {table} WHERE run_id IN {sql.texts(run_ids)}"


def prolong_leases(sql: Sql, tokens: Collection[str], until: datetime, *namespaces: str | None) -> str:
    """Prolong the leases under one of the tokens whose runs are not locked. Return each run's `id` and `token`."""
    leased = [f"r.status IN {DRIVEN}", f"r.locked_by IN {sql.texts(tokens)}", *in_namespaces(sql, *namespaces)]
    return (
        f"WITH held AS {sql.once} (SELECT r.id AS id FROM durable_workflow_runs AS r WHERE {where(leased)}"
        f" {sql.passing_locked('r')}) UPDATE durable_workflow_runs SET locked_until = {sql.moment(until)}"
        " WHERE id IN (SELECT id FROM held) RETURNING id, locked_by AS token"
    )


def wake_run(sql: Sql, now: datetime) -> str:
    """The beginning of an update. Further conditions on `r` follow."""
    return (
        "UPDATE durable_workflow_runs AS r SET wake_count = wake_count + 1,"
        f" wake_at = CASE WHEN status IN {WAITING} THEN {sql.millis(now)} ELSE wake_at END"
        f" WHERE r.status IN {LIVE} AND "
    )


def claimed(sql: Sql, token: str, now: datetime, until: datetime) -> str:
    """The assignments of a claim. All right-hand sides see the run as it was before."""
    return (
        "status = CASE WHEN r.status = 'cancelling' THEN r.status ELSE 'running' END,"
        f" recovery_attempts = CASE WHEN r.status IN {DRIVEN} AND r.locked_by IS NOT NULL"
        " THEN coalesce(r.recovery_attempts, 0) + 1"
        " ELSE r.recovery_attempts END,"
        f" locked_by = {sql.text(token)}, locked_until = {sql.moment(until)}, updated_at = {sql.moment(now)}"
    )


def save_checkpoint(sql: Sql, checkpoint: Checkpoint) -> str:
    return (
        f"{_insert_checkpoint(sql, checkpoint)} WHERE 1 = 1 ON CONFLICT (run_id, seq)"
        f" DO UPDATE SET {replaced_by_excluded()}"
        f" RETURNING {sql.returned_row(CHECKPOINTS, 'c')} AS row"
    )


def record_checkpoint(sql: Sql, checkpoint: Checkpoint, token: str | None) -> str:
    # The check of the lease, first-write-wins and the write are one statement. A finished row returns no row, like a
    # lost lease.
    start = _insert_checkpoint(sql, checkpoint)
    held = "1 = 1" if token is None else sql.lease_is_held(checkpoint.run_id, token)
    return (
        f"{start} WHERE {held} ON CONFLICT (run_id, seq) DO UPDATE SET {replaced_by_excluded()}"
        f" WHERE {UNLESS_FINISHED} RETURNING {sql.returned_row(CHECKPOINTS, 'c')} AS row"
    )


def recorded(sql: Sql, run_id: str, seq: int) -> str:
    """Select the owner of the lease, and the stored checkpoint."""
    return (
        f"SELECT (SELECT r.locked_by FROM durable_workflow_runs AS r WHERE r.id = {sql.text(run_id)}) AS locked_by,"
        f" (SELECT {sql.row(CHECKPOINTS, 'c')} FROM durable_step_checkpoints AS c"
        f" WHERE c.run_id = {sql.text(run_id)} AND c.seq = {sql.integer(seq)}) AS row"
    )


def receiver(sql: Sql, token: str, scope: Conditions) -> str:
    """Select a waiter, its run, and the row at its position, as `waiter`, `run` and `begun`."""
    return (
        f"SELECT {sql.row(WAITERS, 'w')} AS waiter, {sql.row(RUNS, 'r')} AS run,"
        f" CASE WHEN c.run_id IS NOT NULL THEN {sql.row(CHECKPOINTS, 'c')} END AS begun"
        f" FROM {WAITERS.name} AS w JOIN {RUNS.name} AS r ON r.id = w.run_id"
        f" LEFT JOIN {CHECKPOINTS.name} AS c ON c.run_id = w.run_id AND c.seq = w.seq"
        f" WHERE {where([f'w.token = {sql.text(token)}', *scope(sql)])}"
    )


def history_state(sql: Sql, run_id: str) -> str:
    """Select the number of checkpoints of a run as `total`, and values of which one changes whenever a checkpoint
    does.
    """
    finished = ", ".join(
        f"sum(CASE WHEN c.status = '{status}' THEN 1 ELSE 0 END) AS {status}" for status in CheckpointStatus
    )
    return (
        "SELECT count(*) AS total, sum(c.attempts) AS attempts, max(c.started_at) AS started,"
        f" max(c.finished_at) AS finished, {finished} FROM durable_step_checkpoints AS c"
        f" WHERE c.run_id = {sql.text(run_id)}"
    )


def _insert_checkpoint(sql: Sql, checkpoint: Checkpoint) -> str:
    names = CHECKPOINTS.names
    return (
        f"INSERT INTO durable_step_checkpoints AS c ({', '.join(names)})"
        f" SELECT {sql.columns(CHECKPOINTS, checkpoint, names)}"
    )


def replaced_by_excluded() -> str:
    """The assignments that replace the old checkpoint by the new one."""
    return ", ".join(f"{name} = excluded.{name}" for name in _REPLACED)


def insert_unless_known(sql: Sql, table: Table[Any], values: dict[str, Any], unique: str) -> str:
    """Insert a row, unless a row with the same unique columns exists."""
    placeholders = ", ".join(sql.value(value, table.column(name).kind) for name, value in values.items())
    return f"INSERT INTO {table.name} ({', '.join(values)}) VALUES ({placeholders}) ON CONFLICT ({unique}) DO NOTHING"


def insert_attributes(sql: Sql, rows: Sequence[tuple[Any, ...]]) -> str:
    """Insert rows of attributes, each with its values in the order of the columns."""
    kinds = [column.kind for column in ATTRIBUTES.columns]
    listed = [", ".join([sql.value(value, kind) for value, kind in zip(row, kinds, strict=True)]) for row in rows]
    return f"INSERT INTO {ATTRIBUTES.name} ({', '.join(ATTRIBUTES.names)}) VALUES ({'), ('.join(listed)})"


def delete(table: Table[Any], conditions: Sequence[str]) -> str:
    """Delete rows of a table, named `r`."""
    return f"DELETE FROM {table.name} AS r WHERE {where(conditions)}"


def remove_waiter(sql: Sql, waiter: SignalWaiter) -> str:
    """Delete exactly this waiter, not another one of the same token."""
    exactly = [
        f"r.token = {sql.text(waiter.token)}",
        f"r.run_id = {sql.text(waiter.run_id)}",
        f"r.seq = {sql.integer(waiter.seq)}",
    ]
    return delete(WAITERS, exactly)


def prune(sql: Sql, table: Table[Any], column: str, before: datetime, limit: int) -> str:
    """Delete the oldest rows from before a moment. Rows without a time stay."""
    return (
        f"DELETE FROM {table.name} WHERE id IN (SELECT id FROM {table.name} WHERE {column} < {sql.millis(before)}"
        f" ORDER BY {column}, id LIMIT {sql.integer(limit)})"
    )


def insert_or_replace(sql: Sql, table: Table[Any], values: dict[str, Any]) -> str:
    """Insert a row, or set every column of the row with its id."""
    placeholders = ", ".join(sql.value(values[name], table.column(name).kind) for name in table.names)
    replaced = ", ".join(f"{name} = excluded.{name}" for name in table.names if name != "id")
    return (
        f"INSERT INTO {table.name} ({', '.join(table.names)}) VALUES ({placeholders})"
        f" ON CONFLICT (id) DO UPDATE SET {replaced}"
    )
