# ruff: noqa: S608 - names come from `tables` and from this package, values are always parameters
"""The fragments and statements of PostgreSQL."""

import secrets
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from fastapi_durable.model.clock import in_utc
from fastapi_durable.model.records import Json
from fastapi_durable.store.prisma.kinds import TEXT, Kind
from fastapi_durable.store.prisma.sql.builder import Conditions, Parameter, Sql, pairs_parameter, values_parameter
from fastapi_durable.store.prisma.sql.predicates import where
from fastapi_durable.store.prisma.tables import RUNS, SIGNALS, WAITERS, Table


class PostgresSql(Sql):
    writes_in_tables = True
    one_writer = False

    def bind(self, value: Parameter, kind: Kind) -> str:
        self.parameters.append(value)
        return f"${len(self.parameters)}::{kind.postgresql}"

    @staticmethod
    def stored_moment(moment: datetime) -> str:
        # Without a zone: the columns are `timestamp(3)` in UTC, and the session's zone must not matter.
        return in_utc(moment).isoformat(timespec="milliseconds")[: -len("+00:00")]

    def row(self, table: Table[Any], alias: str) -> str:
        return f"{_listed(table, alias)}::text"

    def gathered(self, table: Table[Any], alias: str) -> str:
        return f"json_agg({_listed(table, alias)})::text"

    def millis_of(self, column: str) -> str:
        return f"(extract(epoch FROM {column}) * 1000)::bigint"

    def joined(self, column: str) -> str:
        return f"string_agg({column}::text, ',')"

    def not_after(self, column: str, moment: datetime) -> str:
        # A subselect, like `unforeseen`, so that the plan does not depend on the moment, and is made once.
        return f"{column} <= (SELECT {self.moment(moment)})"

    def bytewise(self, column: str) -> str:
        return f'{column} COLLATE "C"'

    def starts_with(self, column: str, prefix: str) -> str:
        return f"starts_with({column}, {self.text(prefix)})"

    def texts(self, values: Iterable[str]) -> str:
        return f"(SELECT * FROM {self._few(f'jsonb_array_elements_text({self._json(values_parameter(values))})')})"

    def integers(self, values: Iterable[int]) -> str:
        source = self._few(f"jsonb_array_elements_text({self._json(values_parameter(values))})")
        return f"(SELECT each::integer FROM {source} AS each)"

    def pairs(self, values: Iterable[tuple[str, str]]) -> str:
        source = self._few(f"jsonb_array_elements({self._json(pairs_parameter(values))})")
        return f"(SELECT pair ->> 0 AS id, pair ->> 1 AS token FROM {source} AS pair)"

    def has_tag(self, column: str, tag: str) -> str:
        return f"{column} @> {self._json(values_parameter([tag]))}"

    def is_boolean(self, column: str, key: str) -> str:
        return f"(jsonb_typeof({column} -> {self.text(key)}) IS NOT DISTINCT FROM 'boolean')"

    def lease_is_held(self, run_id: str, token: str) -> str:
        # FOR SHARE: a claim of the lease waits until this write is committed, or this write sees that the lease was
        # taken. Checkpoints of one run do not wait for each other.
        return (
            f"EXISTS (SELECT 1 FROM durable_workflow_runs AS r WHERE r.id = {self.text(run_id)}"
            f" AND r.locked_by = {self.text(token)} FOR SHARE)"
        )

    def planned_anew(self, text: str) -> str:
        # After a few executions, a prepared statement gets one plan for all values. A different text is another
        # statement.
        return f"/* {secrets.token_hex(4)} */ {text}"

    def namespaces(self) -> str:
        # One index lookup for each existing namespace, instead of one for each run.
        next_one = "SELECT o.namespace FROM durable_workflow_runs AS o {} ORDER BY o.namespace LIMIT 1"
        first, later = next_one.format(""), next_one.format("WHERE o.namespace > n.namespace")
        return (
            f"(WITH RECURSIVE n AS (({first}) UNION ALL SELECT ({later}) FROM n WHERE n.namespace IS NOT NULL)"
            " SELECT namespace FROM n WHERE namespace IS NOT NULL)"
        )

    @staticmethod
    def kept(value: Json) -> Json:
        # Like `jsonb`: keys ordered by length and then by bytes, and no negative zero.
        if type(value) is dict:
            keys = sorted(value, key=_order_of_key)
            return {key: PostgresSql.kept(value[key]) for key in keys}
        if type(value) is list:
            return [PostgresSql.kept(each) for each in value]
        return 0.0 if type(value) is float and value == 0 else value

    def given_integers(self, position: int) -> str:
        source = self._few(f"jsonb_array_elements_text(g.call -> {position})")
        return f"(SELECT each::integer FROM {source} AS each)"

    def given(self, position: int, kind: Kind) -> str:
        return f"(g.call ->> {position})::{kind.postgresql}"

    def with_given(self) -> str:
        calls = self._few(f"jsonb_array_elements({self._json('')})")
        return f"WITH given AS MATERIALIZED (SELECT call FROM {calls} AS call)"

    def with_given_leases(self, run_id: str, token: str, *, waits: bool) -> str:
        # Locked as by `lease_is_held`.
        skip = "" if waits else " SKIP LOCKED"
        return (
            f"{self.with_given()}, held AS MATERIALIZED (SELECT r.id, r.locked_by FROM durable_workflow_runs AS r"
            f" WHERE r.id IN (SELECT {run_id} FROM given AS g WHERE {token} IS NOT NULL) FOR SHARE{skip})"
        )

    def given_rows(self) -> str:
        return "given AS g"

    def given_lease_is_held(self, run_id: str, token: str) -> str:
        return f"EXISTS (SELECT 1 FROM held WHERE held.id = {run_id} AND held.locked_by = {token})"

    def unindexed(self, column: str) -> str:
        # The planner expects a single running run, and would read all dead rows of runs that were running before.
        return f"({column} || '')"

    def update_given(self, values: str, guards: Callable[[], list[str]]) -> str:
        given = self.with_given()
        held, update = self._update_given(values, guards, waits=False)
        return f"{given}, {held} {update}"

    def update_given_and_insert(
        self,
        values: str,
        guards: Callable[[], list[str]],
        insert: Callable[[str], str],
        waiter: Sequence[str],
        *,
        waits: bool,
    ) -> str:
        given, rows = self.with_given(), self._few(f"jsonb_array_elements({self._json('')})")
        held, update = self._update_given(values, guards, waiter, waits=waits)
        gone = f" gone AS (DELETE FROM {WAITERS.name} WHERE token IN (SELECT token FROM held))," if waiter else ""
        return (
            f"{given}, {held},{gone} changed AS ({update}), rows AS MATERIALIZED (SELECT call FROM {rows} AS call)"
            f" {insert('rows AS g, changed')}"
        )

    def _update_given(
        self, values: str, guards: Callable[[], list[str]], waiter: Sequence[str] = (), *, waits: bool
    ) -> tuple[str, str]:
        """Return the table of the runs that meet the guards, and their update."""
        # The guards are checked on the locked rows, which cannot change before the update.
        runs, waiters = "durable_workflow_runs AS r, given AS g", f", {WAITERS.name} AS w" if waiter else ""
        held = (
            f"held AS MATERIALIZED (SELECT r.id, g.call{', w.token' if waiter else ''} FROM {runs}{waiters}"
            f" WHERE {where([*guards(), *waiter])}"
            f" FOR NO KEY UPDATE OF r{', w' if waiter else ''}{'' if waits else ' SKIP LOCKED'})"
        )
        update = f"UPDATE durable_workflow_runs AS r SET {values} FROM held AS g WHERE r.id = g.id RETURNING r.id AS id"
        return held, update

    def first_of_each(
        self, groups: str, columns: str, conditions: Callable[[], list[str]], order: str, limit: int
    ) -> str:
        return (
            f"SELECT f.* FROM {groups} CROSS JOIN LATERAL (SELECT {columns} FROM durable_workflow_runs AS r"
            f" WHERE {where(conditions())} ORDER BY {order} LIMIT {limit}) AS f"
        )

    def unforeseen(self, word: str) -> str:
        return f"(SELECT '{word}'::text)"

    def passing_locked(self, alias: str) -> str:
        return f"FOR UPDATE OF {alias} SKIP LOCKED"

    def claim_picked(self, picked: str, values: str) -> str:
        return (
            f"{picked} UPDATE durable_workflow_runs AS r SET {values} FROM picked"
            f" WHERE r.id = picked.id RETURNING {self.row(RUNS, 'r')} AS row, r.id AS id, picked.since AS since"
        )

    def renew_leases(self, leases: Sequence[tuple[str, str]], until: datetime, conditions: Conditions) -> str:
        # Locked by id, in the same order as the cancel of a tree: an update alone locks its rows in any order.
        return (
            f"WITH held AS MATERIALIZED (SELECT r.id FROM durable_workflow_runs AS r, {self.pairs(leases)} AS lease"
            f" WHERE r.id = lease.id AND r.locked_by = lease.token AND {where(conditions(self))}"
            f" ORDER BY {self.bytewise('r.id')} FOR NO KEY UPDATE OF r)"
            f" UPDATE durable_workflow_runs AS r SET locked_until = {self.moment(until)}"
            " FROM held WHERE r.id = held.id RETURNING r.id AS id,"
            f" {self.is_held_up('r')} AS changed"
        )

    def take_waiter(self, token: str, conditions: Conditions) -> str:
        return (
            f"DELETE FROM durable_signal_waiters AS w WHERE w.token = {self.text(token)} AND {where(conditions(self))}"
            f" RETURNING {self.row(WAITERS, 'w')} AS row"
        )

    def take_signal(self, token: str) -> str:
        # Not SKIP LOCKED: if a caller skipped a signal that another transaction then gives back, it would wait although
        # the signal is there. So callers of one token take turns, the oldest signal first.
        return (
            "DELETE FROM durable_buffered_signals AS s WHERE s.id = (SELECT id FROM durable_buffered_signals"
            f" WHERE token = {self.text(token)} ORDER BY id LIMIT 1 FOR UPDATE)"
            f" RETURNING {self.row(SIGNALS, 's')} AS row"
        )

    def lock_run(self, run_id: str, conditions: Conditions) -> str:
        return (
            f"SELECT {self.row(RUNS, 'r')} AS row FROM durable_workflow_runs AS r"
            f" WHERE r.id = {self.text(run_id)} AND {where(conditions(self))} FOR NO KEY UPDATE"
        )

    def lock_name(self, name: str) -> str:
        return (
            f"SELECT pg_advisory_xact_lock(hashtextextended({self.text('fastapi_durable:' + name)}, 0))::text AS locked"
        )

    def _few(self, elements: str) -> str:
        """Return the elements as a table that PostgreSQL expects to be short.

        It expects a hundred rows from a JSON function, and might read a whole table instead of looking these up.
        """
        return f"unnest(ARRAY(SELECT {elements}))"

    def _json(self, text: str) -> str:
        return f"{self.bind(text, TEXT)}::jsonb"


def _order_of_key(key: str) -> tuple[int, bytes]:
    encoded = key.encode()
    return len(encoded), encoded


@cache
def _listed(table: Table[Any], alias: str) -> str:
    values = (f"{alias}.{column.name}{'::text' if column.kind.is_json else ''}" for column in table.columns)
    return f"json_build_array({', '.join(values)})"
