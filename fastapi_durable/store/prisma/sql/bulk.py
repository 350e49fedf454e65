# ruff: noqa: S608 - names come from `tables` and from this package, values are always parameters
"""Statements for many calls at a time, with the same guards as those of `statements` for one call.

Their first parameter is a JSON list with a list of columns for each call. The text depends only on the shape of the
calls, and is built once.

No statement waits for a run that another transaction has locked (PostgreSQL: SKIP LOCKED; SQLite has one writer). A
waiting call would delay all others of its batch, so it is left out, and then made alone. For the same reason, batches
cannot deadlock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from fastapi_durable.store.prisma.kinds import INTEGER, TEXT
from fastapi_durable.store.prisma.sql.builder import Parameter, Sql
from fastapi_durable.store.prisma.sql.predicates import where
from fastapi_durable.store.prisma.sql.statements import UNLESS_FINISHED, replaced_by_excluded
from fastapi_durable.store.prisma.tables import CHECKPOINTS, RUNS, WAITERS

_WAITER_TOKEN, _WAITER_SEQ, _FIRST_CHANGE = 4, 5, 6
"""Number of leading columns of a call that updates a run."""


@dataclass(frozen=True, slots=True)
class UpdateShape:
    """The shape of updates of runs. Updates of one shape are one statement.

    Attributes:
        columns: The columns to set.
        statuses: The run must have one of them. None: any status.
        has_token, has_wake_count: Whether these are guards.
        namespace: The store's scope.
        has_rows: Whether checkpoints are recorded with the updates.
        has_waiter: Whether waiters are removed with the updates. Only together with `has_rows`.
    """

    columns: tuple[str, ...]
    statuses: tuple[str, ...] | None
    has_token: bool
    has_wake_count: bool
    namespace: str | None
    has_rows: bool = False
    has_waiter: bool = False


@cache
def insert_runs(dialect: type[Sql], *, with_rows: bool) -> str:
    """Insert runs whose ids are not used yet, and return the `id` of each. The columns are the table's."""
    sql = dialect()
    start = sql.with_given()
    columns = ", ".join(sql.given(n, column.kind) for n, column in enumerate(RUNS.columns))
    row = f", {sql.returned_row(RUNS, 'r')} AS row" if with_rows else ""
    return (
        f"{start} INSERT INTO durable_workflow_runs AS r ({', '.join(RUNS.names)}) SELECT {columns}"
        f" FROM {sql.given_rows()} WHERE 1 = 1 ON CONFLICT (id) DO NOTHING RETURNING id AS id{row}"
    )


@cache
def record_checkpoints(dialect: type[Sql], *, with_rows: bool, waits: bool = False) -> str:
    """Record checkpoints under their leases, and return `run_id` and `seq` of those that were written.

    The columns are the token of the lease, or null, and those of the table.

    Args:
        waits: Whether to wait for locked runs. A statement of one caller may do so.
    """
    sql = dialect()
    run_id, token = sql.given(1 + CHECKPOINTS.names.index("run_id"), TEXT), sql.given(0, TEXT)
    row = f", {sql.returned_row(CHECKPOINTS, 'c')} AS row" if with_rows else ""
    start = sql.with_given_leases(run_id, token, waits=waits)
    condition = f"{token} IS NULL OR {sql.given_lease_is_held(run_id, token)}"
    insert = _insert_checkpoints(sql, sql.given_rows(), condition)
    return f"{start} {insert} RETURNING run_id AS run_id, seq AS seq{row}"


@cache
def record_checkpoints_of_changed(dialect: type[Sql]) -> str:
    """Record checkpoints of the runs that an update has changed.

    The second parameter is the JSON list of the rows that `update_runs` returned.
    """
    sql = dialect()
    source = sql.given_rows()
    run_id = sql.given(1 + CHECKPOINTS.names.index("run_id"), TEXT)
    return _insert_checkpoints(sql, source, f"{run_id} IN {sql.updated_ids()}")


def _insert_checkpoints(sql: Sql, source: str, condition: str) -> str:
    columns = ", ".join(sql.given(n, column.kind) for n, column in enumerate(CHECKPOINTS.columns, 1))
    return (
        f"INSERT INTO durable_step_checkpoints AS c ({', '.join(CHECKPOINTS.names)}) SELECT {columns} FROM {source}"
        f" WHERE {condition} ON CONFLICT (run_id, seq) DO UPDATE SET {replaced_by_excluded()} WHERE {UNLESS_FINISHED}"
    )


@cache
def update_runs(dialect: type[Sql], shape: UpdateShape, *, waits: bool = False) -> tuple[str, tuple[Parameter, ...]]:
    """Update runs that meet their guards, and return the `id` of each. Also return the parameters after the lists.

    The columns are id, token, wake count, the positions of the run's new checkpoints, the token and the position of its
    waiter, and the new values. A column that is not a guard is null. If a statement can write to several tables, it
    also removes the waiter, and inserts the checkpoints from a second list.

    Args:
        waits: As for `record_checkpoints`. Only for a statement that inserts checkpoints.
    """
    sql = dialect()

    def guards() -> list[str]:
        conditions = [f"r.id = {sql.given(0, TEXT)}"]
        if shape.has_token:
            conditions.append(f"{sql.unindexed('r.locked_by')} = {sql.given(1, TEXT)}")
        if shape.has_wake_count:
            conditions.append(f"r.wake_count = {sql.given(2, INTEGER)}")
        if shape.statuses is not None:
            listed = ", ".join([sql.text(status) for status in shape.statuses])
            conditions.append(f"{sql.unindexed('r.status')} IN ({listed})")
        if shape.namespace is not None:
            conditions.append(f"{sql.unindexed('r.namespace')} = {sql.text(shape.namespace)}")
        if shape.has_rows:
            conditions.append(none_is_finished(sql.given_integers(3)))
        return conditions

    waiter = [
        f"w.token = {sql.given(_WAITER_TOKEN, TEXT)}",
        "w.run_id = r.id",
        f"w.seq = {sql.given(_WAITER_SEQ, INTEGER)}",
    ]

    def insert(source: str) -> str:
        run_id = sql.given(1 + CHECKPOINTS.names.index("run_id"), TEXT)
        return f"{_insert_checkpoints(sql, source, f'changed.id = {run_id}')} RETURNING run_id AS id"

    new = [f"{name} = {sql.given(n, RUNS.column(name).kind)}" for n, name in enumerate(shape.columns, _FIRST_CHANGE)]
    values = ", ".join(new)
    if shape.has_rows and sql.writes_in_tables:
        text = sql.update_given_and_insert(values, guards, insert, waiter if shape.has_waiter else [], waits=waits)
        return text, tuple(sql.parameters[2:])

    def all_guards() -> list[str]:
        waits_for = f"EXISTS (SELECT 1 FROM {WAITERS.name} AS w WHERE {where(waiter)})"
        return [*guards(), waits_for] if shape.has_waiter else guards()

    text = sql.update_given(values, all_guards)
    return text, tuple(sql.parameters[1:])


@cache
def remove_waiters_of_changed(dialect: type[Sql]) -> str:
    """Remove the waiters of the runs that an update has changed. The parameters are the update's calls and its returned
    rows.
    """
    sql = dialect()
    source = sql.given_rows()
    changed = f"{sql.given(0, TEXT)} IN {sql.updated_ids()}"
    tokens = f"SELECT {sql.given(_WAITER_TOKEN, TEXT)} FROM {source} WHERE {changed}"
    return f"DELETE FROM {WAITERS.name} WHERE token IN ({tokens})"


def none_is_finished(seqs: str) -> str:
    """A condition: the run `r` has no finished checkpoint at any of the positions."""
    found = f"SELECT 1 FROM durable_step_checkpoints AS c WHERE c.run_id = r.id AND c.seq IN {seqs}"
    return f"NOT EXISTS ({found} AND NOT ({UNLESS_FINISHED}))"


def list_parameter(texts: Sequence[str]) -> str:
    """Return the parameter for some calls, each given as the text of its list of columns."""
    return f"[{','.join(texts)}]"
