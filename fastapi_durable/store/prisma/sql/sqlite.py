# ruff: noqa: S608 - names come from `tables` and from this package, values are always parameters
"""The fragments and statements of SQLite."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from math import isfinite
from typing import Any

from fastapi_durable.model.clock import in_utc, to_millis
from fastapi_durable.model.records import Json
from fastapi_durable.store.prisma.kinds import JSON, Kind, to_json_text
from fastapi_durable.store.prisma.sql.builder import Conditions, Parameter, Sql, pairs_parameter, values_parameter
from fastapi_durable.store.prisma.sql.predicates import where
from fastapi_durable.store.prisma.tables import RUNS, SIGNALS, WAITERS, Column, Table

_LARGEST_WHOLE = 2**53


class SqliteSql(Sql):
    writes_in_tables = False
    one_writer = True

    def bind(self, value: Parameter, kind: Kind) -> str:  # noqa: ARG002 - values have types here, parameters have not
        self.parameters.append(value)
        return "?"

    @classmethod
    def storing(cls, kind: Kind) -> Callable[[Any], Parameter]:
        return _to_json if kind is JSON else super().storing(kind)

    @staticmethod
    def stored_moment(moment: datetime) -> str | int:
        return in_utc(moment).isoformat(timespec="milliseconds")

    def row(self, table: Table[Any], alias: str) -> str:
        return _listed(table, alias)

    def gathered(self, table: Table[Any], alias: str) -> str:
        return f"json_group_array({_listed(table, alias)})"

    def millis_of(self, column: str) -> str:
        # Prisma before 7 wrote milliseconds, Prisma 7 and the engine in this process write ISO text.
        days = f"julianday({column}) - 2440587.5"
        return (
            f"CASE typeof({column}) WHEN 'integer' THEN {column} ELSE CAST(round(({days}) * 86400000) AS INTEGER) END"
        )

    def joined(self, column: str) -> str:
        return f"group_concat({column}, ',')"

    def not_after(self, column: str, moment: datetime) -> str:
        return f"{self.millis_of(column)} <= {self.millis(moment)}"

    def bytewise(self, column: str) -> str:
        return column

    def starts_with(self, column: str, prefix: str) -> str:
        return f"substr({column}, 1, {self.integer(len(prefix))}) = {self.text(prefix)}"

    def texts(self, values: Iterable[str]) -> str:
        return f"(SELECT value FROM json_each({self.text(values_parameter(values))}))"

    def integers(self, values: Iterable[int]) -> str:
        return f"(SELECT value FROM json_each({self.text(values_parameter(values))}))"

    def pairs(self, values: Iterable[tuple[str, str]]) -> str:
        source = f"json_each({self.text(pairs_parameter(values))})"
        return f"(SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS token FROM {source})"

    def has_tag(self, column: str, tag: str) -> str:
        return f"EXISTS (SELECT 1 FROM json_each({_valid(column)}) AS tag WHERE tag.value = {self.text(tag)})"

    def is_boolean(self, column: str, key: str) -> str:
        member = f"SELECT 1 FROM json_each({_valid(column)}) AS member WHERE member.key = {self.text(key)}"
        return f"EXISTS ({member} AND member.type IN ('true', 'false'))"

    def lease_is_held(self, run_id: str, token: str) -> str:
        # There is one writer at a time, so no worker can take the lease before this write is committed.
        return (
            f"EXISTS (SELECT 1 FROM durable_workflow_runs AS r WHERE r.id = {self.text(run_id)}"
            f" AND r.locked_by = {self.text(token)})"
        )

    def returned_row(self, table: Table[Any], alias: str) -> str:  # noqa: ARG002 - RETURNING knows no alias
        return self.row(table, table.name)

    def too_common(self, column: str) -> str:
        return f"+{column}"

    def namespaces(self) -> None:
        return None  # SQLite has no LATERAL

    @staticmethod
    def foresees(value: Json) -> bool:
        # The numeric column converts a float with an integral value to an integer, and a very large integer to a float.
        kind = type(value)
        return (kind is not int or -_LARGEST_WHOLE < value < _LARGEST_WHOLE) and not (
            kind is float and value.is_integer()
        )

    def given_integers(self, position: int) -> str:
        return f"(SELECT value FROM json_each(json_extract(g.value, '$[{position}]')))"

    def given(self, position: int, kind: Kind) -> str:  # noqa: ARG002 - values have types here
        return f"json_extract(g.value, '$[{position}]')"

    def with_given(self) -> str:
        return ""

    def with_given_leases(self, run_id: str, token: str, *, waits: bool) -> str:  # noqa: ARG002 - nothing to lock
        return ""

    def given_rows(self) -> str:
        return f"json_each({self.text('')}) AS g"

    def given_lease_is_held(self, run_id: str, token: str) -> str:
        return f"EXISTS (SELECT 1 FROM durable_workflow_runs AS r WHERE r.id = {run_id} AND r.locked_by = {token})"

    def unindexed(self, column: str) -> str:
        # The planner does not know the size of a parameter, and would read all running runs for each call of a batch.
        return f"+{column}"

    def update_given(self, values: str, guards: Callable[[], list[str]]) -> str:
        return (
            f"UPDATE durable_workflow_runs AS r SET {values} FROM {self.given_rows()} WHERE {where(guards())}"
            " RETURNING durable_workflow_runs.id AS id"
        )

    def updated_ids(self) -> str:
        return f"(SELECT json_extract(value, '$.id') FROM json_each({self.text('')}))"

    def first_of_each(
        self, groups: str, columns: str, conditions: Callable[[], list[str]], order: str, limit: int
    ) -> str:
        # SQLite has no LATERAL. CROSS JOIN keeps the order in which the tables are read.
        return (
            f"SELECT {columns} FROM {groups} CROSS JOIN durable_workflow_runs AS r WHERE r.id IN (SELECT r.id"
            f" FROM durable_workflow_runs AS r WHERE {where(conditions())} ORDER BY {order} LIMIT {limit})"
        )

    def passing_locked(self, alias: str) -> str:  # noqa: ARG002 - there is one writer
        return ""

    def claim_picked(self, picked: str, values: str) -> str:
        # RETURNING sees only the updated row, so it cannot return since when a run waited.
        return (
            f"{picked} UPDATE durable_workflow_runs AS r SET {values} FROM picked"
            f" WHERE r.id = picked.id RETURNING {self.returned_row(RUNS, 'r')} AS row,"
            " durable_workflow_runs.id AS id, NULL AS since"
        )

    def renew_leases(self, leases: Sequence[tuple[str, str]], until: datetime, conditions: Conditions) -> str:
        return (
            f"UPDATE durable_workflow_runs AS r SET locked_until = {self.moment(until)}"
            f" FROM {self.pairs(leases)} AS lease WHERE r.id = lease.id AND r.locked_by = lease.token"
            f" AND {where(conditions(self))} RETURNING durable_workflow_runs.id AS id,"
            f" {self.is_held_up('durable_workflow_runs')} AS changed"
        )

    def take_waiter(self, token: str, conditions: Conditions) -> str:
        return (
            f"DELETE FROM durable_signal_waiters AS w WHERE w.token = {self.text(token)} AND {where(conditions(self))}"
            f" RETURNING {self.returned_row(WAITERS, 'w')} AS row"
        )

    def take_signal(self, token: str) -> str:
        return (
            "DELETE FROM durable_buffered_signals WHERE id = (SELECT id FROM durable_buffered_signals"
            f" WHERE token = {self.text(token)} ORDER BY id LIMIT 1) RETURNING {self.returned_row(SIGNALS, 's')} AS row"
        )

    def lock_run(self, run_id: str, conditions: Conditions) -> str:
        # A write makes this transaction the one writer, however the client began it.
        return (
            f"UPDATE durable_workflow_runs AS r SET wake_count = wake_count WHERE r.id = {self.text(run_id)}"
            f" AND {where(conditions(self))} RETURNING {self.returned_row(RUNS, 'r')} AS row"
        )

    def lock_name(self, name: str) -> str:  # noqa: ARG002 - the one writer holds every name
        return "UPDATE durable_workflow_runs SET wake_count = wake_count WHERE 1 = 0 RETURNING id AS locked"


class SqliteMillisecondsSql(SqliteSql):
    """The same for a file whose dates are integers, as Prisma's native engine writes them."""

    @staticmethod
    def stored_moment(moment: datetime) -> int:
        return to_millis(moment)


@cache
def _listed(table: Table[Any], alias: str) -> str:
    # JSON columns stay text, because with `json()` one broken value would fail the statement for every row.
    return f"json_array({', '.join(_readable(alias, column) for column in table.columns)})"


def _readable(alias: str, column: Column) -> str:
    name = f"{alias}.{column.name}"
    if not column.kind.is_json:
        return name
    # Prisma declares JSON columns JSONB, a numeric type for SQLite: JSON that is a number is stored as one. Of its 17
    # digits, SQLite gets the last one wrong now and then.
    return f"CASE typeof({name}) WHEN 'real' THEN printf('%!.20g', {name}) ELSE CAST({name} AS TEXT) END"


def _valid(column: str) -> str:
    return f"CASE WHEN json_valid({column}) THEN {column} END"


def _to_json(value: Json) -> str | float:
    # As a text, it would be converted by the numeric column, which is not exact: some 3 of 1000 doubles change.
    return value if type(value) is float and isfinite(value) else to_json_text(value)
