# ruff: noqa: S608 - names come from `tables` and from this package, values are always parameters
"""Selects the runs of a claim by walks through indexes. The cost depends on the size of the claim, not of the backlog.

Claimable runs are in several indexes: runs that were never driven in (status, queue, namespace, fairness_key,
claim_order), runs that wake in (status, queue, wake_at), and runs that lost their worker in (status, locked_until). One
condition over all of them would read and sort all waiting runs. So each index offers its first runs, and the claim
chooses among these. It locks nothing before it has chosen. Concurrent claims skip each other's choice, and take the
next runs.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from fastapi_durable.model.records import PRIORITY_WORTH
from fastapi_durable.store.prisma.sql.builder import Conditions, Sql
from fastapi_durable.store.prisma.sql.predicates import claimable, in_namespaces, lease_is_free, waiting_since, where

_RUN = "durable_workflow_runs AS r"
_WORTH = f"coalesce(r.priority, 0) * CAST({int(PRIORITY_WORTH.total_seconds() * 1000)} AS bigint)"
_MOST_KEYS = 1000
"""How many keys a claim reads on each side of the last served one, including keys without a claimable run."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """The worker that claims: its namespaces, and the workflows that it knows (None: all)."""

    namespaces: tuple[str | None, ...]
    workflows: Collection[tuple[str, str]] | None

    def tables(self, sql: Sql) -> str:
        """Return the common table that `conditions` use, followed by a comma."""
        return "" if self.workflows is None else f"known AS {sql.once} {sql.pairs(self.workflows)}, "

    def conditions(self, sql: Sql) -> list[str]:
        """Return the conditions on a run `r`."""
        known = [] if self.workflows is None else ["(r.workflow, r.workflow_version) IN (SELECT id, token FROM known)"]
        return [*in_namespaces(sql, *self.namespaces), *known]


@dataclass(frozen=True, slots=True)
class Line:
    """Runs that wait together: those without a queue, or those of one queue.

    Attributes:
        members: Conditions on `r` for its runs.
        claimant: The worker that claims.
        key: The column whose values take turns.
        only: The only value of the column to claim. None: all.
        after: The value that was served last.
        beginnings: Whether to claim runs that were never driven.
    """

    members: Conditions
    claimant: Claimant
    key: Literal["r.namespace", "r.fairness_key"]
    only: str | None = None
    after: str = ""
    beginnings: bool = True


def offers(sql: Sql, line: Line, now: datetime, limit: int) -> str:
    """Return the first runs of each index as common tables. The last one is `offers` with `id`, `key`, `since` and
    `begins`.
    """
    known = line.claimant.tables(sql)
    if not line.beginnings:
        return f"WITH {known}offers AS ({_begun(sql, line, now, limit)})"
    circle = _circle(sql, line)
    fresh = _fresh(sql, line, now, limit)
    begun = _begun(sql, line, now, limit)
    return f"WITH RECURSIVE {known}{circle}, fresh AS ({fresh}), offers AS (SELECT * FROM fresh UNION ALL {begun})"


def picked(sql: Sql, line: Line, now: datetime, limit: int) -> str:
    """Return the same and `picked`: `id` and `since` of the claimed runs. The keys take turns."""
    start = offers(sql, line, now, limit)
    place = f"CASE WHEN o.key > {sql.text(line.after)} THEN 0 ELSE 1 END AS place"
    turn = "row_number() OVER (PARTITION BY o.key ORDER BY o.since, o.id) AS turn"
    order = "f.turn, f.place, f.key, f.since"
    return (
        f"{start}, firsts AS (SELECT * FROM (SELECT o.id, o.key, o.since, {place}, {turn} FROM offers AS o) AS f"
        f" ORDER BY {order} LIMIT {_window(limit)}),"
        # Check again that the run is claimable, because it may have changed before it was locked. The check is written
        # so that no index fits. Otherwise the database might search for all claimable runs.
        f" picked AS {sql.once} (SELECT r.id AS id, f.since AS since FROM firsts AS f, {_RUN}"
        f" WHERE r.id = f.id AND CASE WHEN {claimable(sql, now)} THEN 1 ELSE 0 END = 1"
        f" ORDER BY {order}, {sql.bytewise('r.id')}"
        f" LIMIT {sql.integer(limit)} {sql.passing_locked('r')})"
    )


def _circle(sql: Sql, line: Line) -> str:
    """Return the table `circle`: the keys of runs that were never driven, found by jumps through the index."""
    if line.only is not None:
        return f"circle(name) AS (SELECT {sql.text(line.only)})"

    def following(bounds: Callable[[], list[str]]) -> str:
        conditions = [f"r.status = {sql.unforeseen('pending')}", *line.members(sql), *bounds()]
        return f"SELECT {line.key} AS name FROM {_RUN} WHERE {where(conditions)} ORDER BY {line.key} LIMIT 1"

    def side(table: str, begin: Callable[[], list[str]], bound: Callable[[], list[str]]) -> str:
        first = following(begin)
        further = following(lambda: [f"{line.key} > s.name", *bound()])
        return (
            f"{table}(name, hops) AS (SELECT name, 1 FROM ({first}) AS first UNION ALL"
            f" SELECT ({further}), s.hops + 1 FROM {table} AS s WHERE s.name IS NOT NULL AND s.hops < {_MOST_KEYS})"
        )

    def until_last() -> list[str]:
        return [f"{line.key} <= {sql.text(line.after)}"]

    after = side("keys_after", lambda: [f"{line.key} > {sql.text(line.after)}"], list)
    before = side("keys_before", until_last, until_last)
    both = "SELECT name FROM keys_after UNION ALL SELECT name FROM keys_before"
    return f"{after}, {before}, circle(name) AS (SELECT name FROM ({both}) AS keys WHERE name IS NOT NULL)"


def _fresh(sql: Sql, line: Line, now: datetime, limit: int) -> str:
    """Return the first runs of each key that were never driven."""

    def conditions() -> list[str]:
        members = [f"r.status = {sql.unforeseen('pending')}", *line.members(sql), f"{line.key} = circle.name"]
        if line.key == "r.namespace":
            members.append("r.fairness_key = ''")
        return [*members, lease_is_free(sql, now), *line.claimant.conditions(sql)]

    columns = f"r.id AS id, {line.key} AS key, r.claim_order AS since, 1 AS begins"
    return sql.first_of_each("circle", columns, conditions, "r.claim_order", _window(limit))


def _begun(sql: Sql, line: Line, now: datetime, limit: int) -> str:
    """Return the runs that wake, or lost their owner, the longest waiting of each status."""

    def first(status: str, due: Callable[[], list[str]], order: str) -> str:
        since = f"{waiting_since(sql)} - {_WORTH}"
        conditions = [f"r.status = {sql.unforeseen(status)}", *line.members(sql), *due(), lease_is_free(sql, now)]
        conditions += line.claimant.conditions(sql)
        return (
            f"SELECT * FROM (SELECT r.id AS id, {line.key} AS key, {since} AS since, 0 AS begins FROM {_RUN}"
            f" WHERE {where(conditions)} ORDER BY {order} LIMIT {_window(limit)}) AS {status}_first"
        )

    def woken() -> list[str]:
        return [f"r.wake_at <= (SELECT {sql.millis(now)})"]

    def undone() -> list[str]:
        return [f"r.wake_at IS NULL OR r.wake_at <= (SELECT {sql.millis(now)})"]

    return " UNION ALL ".join(
        [
            first("suspended", woken, "r.wake_at"),
            first("blocked", woken, "r.wake_at"),
            first("cancelling", undone, "r.wake_at"),
            first("running", list, "r.locked_until"),
        ]
    )


def _window(limit: int) -> int:
    """Return how many runs each index offers: more than needed, because other claims take some meanwhile.

    There are only a few sizes, so that there are few statements. The size is part of the text, because planners use it.
    """
    return 128 * (1 + limit // 64)
