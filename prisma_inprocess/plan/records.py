"""Work on rows in memory: joining relations, distinct, cursors and pages, differences."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from operator import itemgetter
from typing import Any

from prisma_inprocess.drivers.base import Decoder, Rows
from prisma_inprocess.plan.values import Run, Scope, Value, compile_value

Key = tuple[Any, ...]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def as_dicts(value: Any) -> list[dict[str, Any]]:
    """New dicts of rows, or of one row, which may be the driver's own immutable ones."""
    if isinstance(value, Rows):
        return [dict(zip(value.columns, row, strict=False)) for row in value]
    return [dict(row) for row in as_list(value)]


def some_of(rows: list[Any], chosen: Iterable[Any] = ()) -> list[Any]:
    """Some of the rows of a list, in any order, as a list of the same kind."""
    return Rows(rows.columns, chosen) if isinstance(rows, Rows) else list(chosen)


def is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, list) and not value)


def row_key(row: Any, fields: Sequence[str]) -> Key:
    """Return the values of some fields as a hashable key."""
    return tuple(_hashable(row[field]) for field in fields)


def _hashable(value: Any) -> Any:
    if isinstance(value, (dict, list)):
        return json.dumps(value, default=str)
    return value


@dataclass(slots=True, frozen=True)
class JoinChild:
    """One relation to attach to its parents."""

    on: list[tuple[str, str]]
    field: str
    is_unique: bool


def attach(parents: list[dict[str, Any]], join: JoinChild, children: Any, *, strict: bool) -> None:
    """Put each child under the parents it belongs to. Without `strict`, keys are compared across number and text."""
    groups = _grouped(children, [other for _, other in join.on], strict)
    for key, parent in zip(_join_keys(parents, [one for one, _ in join.on], strict), parents, strict=True):
        group = groups.get(key)
        if join.is_unique:
            parent[join.field] = None if group is None else group[-1]
        else:
            # Parents with the same key share one list: nothing that follows changes a list.
            parent[join.field] = [] if group is None else group


def _grouped(value: Any, fields: Sequence[str], strict: bool) -> dict[Any, list[Any]]:
    rows = value if isinstance(value, Rows) else [row for row in as_list(value) if row is not None]
    groups: defaultdict[Any, list[Any]] = defaultdict(partial(some_of, rows))
    for key, row in zip(_join_keys(rows, fields, strict), rows, strict=True):
        groups[key].append(row)
    return groups


def _join_keys(rows: Sequence[Any], fields: Sequence[str], strict: bool) -> list[Any]:
    convert = _hashable if strict else _comparable
    if len(fields) == 1:
        # The usual relation, by one field, which most often is a text: as it is, it is the key.
        return [value if type(value) is str else convert(value) for value in _values(rows, fields[0])]
    if not fields:
        # A relation of which no row is wanted (`take` is 0).
        return [()] * len(rows)
    return [tuple(map(convert, values)) for values in zip(*(_values(rows, field) for field in fields), strict=True)]


def _values(rows: Sequence[Any], field: str) -> Iterable[Any]:
    """The values of one field of rows that all have it."""
    if isinstance(rows, Rows) and rows:
        return map(itemgetter(rows.columns.index(field)), rows)
    return map(itemgetter(field), rows)


def _comparable(value: Any) -> Any:
    value = _hashable(value)
    return value if value is None else _loose(value)


def _loose(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def difference(left: Any, right: Any, fields: Sequence[str]) -> list[Any]:
    """The rows of `left` that have no counterpart in `right`."""
    taken = {None if row is None else row_key(row, fields) for row in as_list(right)}
    return [row for row in as_list(left) if (None if row is None else row_key(row, fields)) not in taken]


def map_field(value: Any, field: str) -> Any:
    if isinstance(value, Rows):
        return list(_values(value, field))
    if isinstance(value, list):
        return [map_field(item, field) for item in value]
    if isinstance(value, dict):
        return value.get(field)
    return value[field] if hasattr(value, "keys") else value


@dataclass(slots=True, frozen=True)
class Operations:
    """Return the operations on a list of rows after the read."""

    distinct: list[str] | None
    linking: list[str] | None
    skip: int
    take: int | None
    paginated: bool
    cursor: dict[str, Value] | None
    reverse: bool
    nested: dict[str, Operations]
    to_moment: Decoder
    """Reads a date of a row, whose form is the database's, to compare it with that of a cursor."""

    @classmethod
    def compile(cls, raw: dict[str, Any], to_moment: Decoder) -> Operations:
        page = raw["pagination"] or {}
        cursor = page.get("cursor")
        return cls(
            distinct=raw["distinct"],
            linking=raw["linkingFields"],
            skip=page.get("skip") or 0,
            take=page.get("take"),
            paginated=bool(raw["pagination"]),
            cursor={field: compile_value(value) for field, value in cursor.items()} if cursor else None,
            reverse=bool(raw["reverse"]),
            nested={field: cls.compile(operations, to_moment) for field, operations in raw["nested"].items()},
            to_moment=to_moment,
        )

    def apply(self, value: Any, run: Run, scope: Scope) -> Any:
        if value is None:
            return None
        if isinstance(value, str):
            value = json.loads(value)
        wanted = {field: get(run, scope) for field, get in self.cursor.items()} if self.cursor else None
        if not isinstance(value, list):
            return self._apply_to_one(value, wanted, run, scope)
        rows = value
        if self.distinct is not None:
            rows = _distinct(rows, [*self.distinct, *(self.linking or ())])
        if self.paginated:
            rows = self._paginate(rows, wanted)
        if self.reverse:
            rows = rows[::-1]
        return [self._nested(row, run, scope) for row in rows] if self.nested else some_of(value, rows)

    def _apply_to_one(self, row: Any, wanted: dict[str, Any] | None, run: Run, scope: Scope) -> Any:
        if self.paginated and (self.skip > 0 or self.take == 0):
            return None
        if wanted is not None and not self._matches(row, wanted):
            return None
        return self._nested(row, run, scope)

    def _nested(self, row: Any, run: Run, scope: Scope) -> Any:
        if not self.nested:
            return row
        copy = dict(row)
        for field, operations in self.nested.items():
            copy[field] = operations.apply(copy[field], run, scope)
        return copy

    def _paginate(self, rows: list[Any], wanted: dict[str, Any] | None) -> list[Any]:
        if self.linking is None:
            return self._page(rows, wanted)
        groups: dict[Key, list[Any]] = {}
        for row in rows:
            groups.setdefault(row_key(row, self.linking), []).append(row)
        return [row for group in groups.values() for row in self._page(group, wanted)]

    def _page(self, rows: list[Any], wanted: dict[str, Any] | None) -> list[Any]:
        start = 0
        if wanted is not None:
            found = next((position for position, row in enumerate(rows) if self._matches(row, wanted)), None)
            if found is None:
                return []
            start = found
        start += self.skip
        return rows[start:] if self.take is None else rows[start : start + self.take]

    def _matches(self, row: Any, wanted: dict[str, Any]) -> bool:
        return all(self._same(row[field], value) for field, value in wanted.items())

    def _same(self, stored: Any, wanted: Any) -> bool:
        """Equality across what a database returns and what a caller passes: uuid and text, number and text, dates."""
        if stored is None or wanted is None or stored == wanted:
            return bool(stored == wanted)
        if isinstance(wanted, dt.datetime):
            return bool(self.to_moment(stored) == wanted)
        if isinstance(stored, bytes):
            return stored == (base64.b64decode(wanted) if isinstance(wanted, str) else wanted)
        if isinstance(stored, (Decimal, int, float)) and isinstance(wanted, (Decimal, int, float, str)):
            try:
                return Decimal(str(stored)) == Decimal(str(wanted))
            except ArithmeticError:
                return False
        return str(stored) == str(wanted)


def _distinct(rows: Iterable[Any], fields: Sequence[str]) -> list[Any]:
    seen: set[Key] = set()
    kept = []
    for row in rows:
        key = row_key(row, fields)
        if key not in seen:
            seen.add(key)
            kept.append(row)
    return kept


Transform = Callable[[Any, Run, Scope], Any]
