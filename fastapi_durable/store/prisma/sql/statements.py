"""Whole statements. Each is atomic by itself; a comment says which guarantee its form gives.

`r` is a run and `c` a checkpoint. What differs in more than a fragment is in `postgresql` and `sqlite`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from fastapi_durable.model import Checkpoint, Run, RunChanges
from fastapi_durable.store.prisma.sql.builder import Sql
from fastapi_durable.store.prisma.sql.predicates import DRIVEN, LIVE, WAITING, where
from fastapi_durable.store.prisma.tables import CHECKPOINTS, RUNS, Table

_KEY = ("run_id", "seq")
_REPLACED = [name for name in CHECKPOINTS.names if name not in _KEY]


def select(sql: Sql, table: Table[Any], conditions: Sequence[str], order: str | None = None) -> str:
    """Rows of a table, named `r`, as JSON in the column `row`."""
    text = f"SELECT {sql.row(table, 'r')} AS row FROM {table.name} AS r WHERE {where(conditions)}"
    return text if order is None else f"{text} ORDER BY {order}"


def insert_run(sql: Sql, run: Run) -> str:
    # The conflict is part of the statement, so concurrent starts of one id never meet a unique violation.
    return (
        f"INSERT INTO durable_workflow_runs AS r ({', '.join(RUNS.names)}) VALUES ({sql.columns(RUNS, run, RUNS.names)})"
        f" ON CONFLICT (id) DO NOTHING RETURNING {sql.returned_row(RUNS, 'r')} AS row"
    )


def update_run(sql: Sql, changes: RunChanges) -> str:
    """The beginning of an update; its conditions on `r` follow."""
    return f"UPDATE durable_workflow_runs AS r SET {_assignments(sql, changes)} WHERE "


def _assignments(sql: Sql, changes: RunChanges) -> str:
    return ", ".join(f"{name} = {sql.value(value, RUNS.column(name).kind)}" for name, value in changes.items())


def wake_run(sql: Sql, now: datetime) -> str:
    """The beginning of an update; further conditions on `r` follow."""
    return (
        "UPDATE durable_workflow_runs AS r SET wake_count = wake_count + 1,"
        f" wake_at = CASE WHEN status IN {WAITING} THEN {sql.millis(now)} ELSE wake_at END"
        f" WHERE r.status IN {LIVE} AND "
    )


def claimed(sql: Sql, token: str, now: datetime, until: datetime) -> str:
    """What a claim sets. All right-hand sides see the run as it was before."""
    return (
        "status = CASE WHEN r.status = 'cancelling' THEN r.status ELSE 'running' END,"
        f" recovery_attempts = CASE WHEN r.status IN {DRIVEN} THEN coalesce(r.recovery_attempts, 0) + 1"
        " ELSE r.recovery_attempts END,"
        f" locked_by = {sql.text(token)}, locked_until = {sql.moment(until)}, updated_at = {sql.moment(now)}"
    )


def save_checkpoint(sql: Sql, checkpoint: Checkpoint) -> str:
    return (
        f"{_insert_checkpoint(sql, checkpoint)} WHERE 1 = 1 ON CONFLICT (run_id, seq) DO UPDATE SET {_excluded()}"
        f" RETURNING {sql.returned_row(CHECKPOINTS, 'c')} AS row"
    )


def record_checkpoint(sql: Sql, checkpoint: Checkpoint, token: str | None) -> str:
    # Lease, first-write-wins and the write are one statement. A finished row yields no row, and neither does a lost lease.
    start = _insert_checkpoint(sql, checkpoint)
    held = "1 = 1" if token is None else sql.lease_is_held(checkpoint.run_id, token)
    return (
        f"{start} WHERE {held} ON CONFLICT (run_id, seq) DO UPDATE SET {_excluded()}"
        f" WHERE c.status NOT IN ('completed', 'failed') RETURNING {sql.returned_row(CHECKPOINTS, 'c')} AS row"
    )


def recorded(sql: Sql, run_id: str, seq: int) -> str:
    """Who holds the lease, and the checkpoint as it is stored."""
    return (
        f"SELECT (SELECT r.locked_by FROM durable_workflow_runs AS r WHERE r.id = {sql.text(run_id)}) AS locked_by,"
        f" (SELECT {sql.row(CHECKPOINTS, 'c')} FROM durable_step_checkpoints AS c"
        f" WHERE c.run_id = {sql.text(run_id)} AND c.seq = {sql.integer(seq)}) AS row"
    )


def _insert_checkpoint(sql: Sql, checkpoint: Checkpoint) -> str:
    names = CHECKPOINTS.names
    return (
        f"INSERT INTO durable_step_checkpoints AS c ({', '.join(names)})"
        f" SELECT {sql.columns(CHECKPOINTS, checkpoint, names)}"
    )


def _excluded() -> str:
    return ", ".join(f"{name} = excluded.{name}" for name in _REPLACED)


def insert_unless_known(sql: Sql, table: Table[Any], values: dict[str, Any], unique: str) -> str:
    """Insert a row, unless one of the same unique columns exists."""
    placeholders = ", ".join(sql.value(value, table.column(name).kind) for name, value in values.items())
    return f"INSERT INTO {table.name} ({', '.join(values)}) VALUES ({placeholders}) ON CONFLICT ({unique}) DO NOTHING"


def prune(sql: Sql, table: Table[Any], column: str, before: datetime, limit: int) -> str:
    """Delete the oldest rows from before a moment; rows that do not know their time stay."""
    return (
        f"DELETE FROM {table.name} WHERE id IN (SELECT id FROM {table.name} WHERE {column} < {sql.millis(before)}"
        f" ORDER BY {column}, id LIMIT {sql.integer(limit)})"
    )
