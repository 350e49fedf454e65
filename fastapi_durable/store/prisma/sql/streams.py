# ruff: noqa: S608 - names come from `tables` and from this package, values are always parameters
"""Statements for streams. The rows to append are a list in one parameter, as in `bulk`."""

from fastapi_durable.store.prisma.kinds import TEXT
from fastapi_durable.store.prisma.sql.builder import Sql
from fastapi_durable.store.prisma.sql.statements import select
from fastapi_durable.store.prisma.tables import STREAM_ROWS

_TOKEN = len(STREAM_ROWS.columns)
"""Index of the lease's token, after the columns."""


def append_rows(sql: Sql, rows: str) -> str:
    """Append rows of runs that are leased and not locked. Return the `run_id` of each written row.

    The lease is locked until the commit, so a worker that takes the run over reads what was appended before.
    """
    run_id, token = sql.given(STREAM_ROWS.names.index("run_id"), TEXT), sql.given(_TOKEN, TEXT)
    start = sql.with_given_leases(run_id, token, waits=False)
    text = f"{start} {_insert(sql)} FROM {sql.given_rows()} WHERE {sql.given_lease_is_held(run_id, token)} {_UNLESS}"
    sql.parameters[0] = rows
    return text


def append_rows_of(sql: Sql, run_id: str, token: str, rows: str) -> str:
    """Append rows of one run. The statement waits if the run is locked."""
    text = (
        f"{sql.with_given()} {_insert(sql)} FROM {sql.given_rows()} WHERE {sql.lease_is_held(run_id, token)} {_UNLESS}"
    )
    sql.parameters[0] = rows
    return text


def leased_under(sql: Sql, run_id: str, token: str) -> str:
    """Select a row if the run is leased under the token."""
    return (
        f"SELECT r.id AS id FROM durable_workflow_runs AS r WHERE r.id = {sql.text(run_id)}"
        f" AND r.locked_by = {sql.text(token)}"
    )


def page(sql: Sql, run_id: str, stream: str, after: int, limit: int) -> str:
    conditions = [
        f"r.run_id = {sql.text(run_id)}",
        f"r.stream = {sql.text(stream)}",
        f"r.item_offset > {sql.integer(after)}",
    ]
    return f"{select(sql, STREAM_ROWS, conditions, 'r.item_offset')} LIMIT {sql.integer(limit)}"


def parts(sql: Sql, run_id: str) -> str:
    return (
        "SELECT r.stream AS stream, r.step_id AS step_id, max(r.attempt) AS attempt, max(r.item_offset) AS item_offset,"
        " max(CASE WHEN r.kind = 'end' THEN 1 ELSE 0 END) AS closes FROM durable_stream_items AS r"
        f" WHERE r.run_id = {sql.text(run_id)} GROUP BY r.stream, r.step_id"
    )


def _insert(sql: Sql) -> str:
    columns = ", ".join(sql.given(place, column.kind) for place, column in enumerate(STREAM_ROWS.columns))
    return f"INSERT INTO {STREAM_ROWS.name} ({', '.join(STREAM_ROWS.names)}) SELECT {columns}"


_UNLESS = "ON CONFLICT (run_id, stream, item_offset) DO NOTHING RETURNING run_id AS run_id"
