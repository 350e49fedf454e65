"""Work on rows in memory: joining relations, distinct, cursors and pages, differences."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import itemgetter
from typing import Any

from prisma_inprocess.drivers.base import Decoder, Rows
from prisma_inprocess.plan.values import Run, Scope, Value, compile_value

Key = tuple[Any, ...]


def as_list(value: Any) -> list[Any]:
    """What a node gave, as a list whose rows are dicts."""
    if isinstance(value, Rows):
        return value.as_dicts()
    return value if isinstance(value, list) else [value]


def some_of(rows: list[Any], chosen: Iterable[Any]) -> list[Any]:
    """Some of the rows of a list, in any order, as a list of the same kind."""
    return Rows(rows.columns, chosen) if isinstance(rows, Rows) else list(chosen)


def is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, list) and not value)


def _hashable(value: Any) -> Any:
    if isinstance(value, (dict, list)):
        return json.dumps(value, default=str)
    return value


@dataclass(slots=True, frozen=True)
class JoinChild:
    """One relation whose rows are joined to those of its parents.

    Attributes:
        on: The fields of a parent and of a child that are equal.
        field: The field of a parent that holds its children.
        is_unique: Whether a parent has one child at most.
        make: What a parent holds of the rows of all children, in the same order.
    """

    on: list[tuple[str, str]]
    field: str
    is_unique: bool
    make: Callable[[list[Any]], list[Any]]


def joined(parents: list[Any], join: JoinChild, children: Any, *, strict: bool) -> list[Any]:
    """New rows of the parents, each with its children. Without `strict`, keys are compared across number and text."""
    found = _by_key(join, children, strict)
    # Parents with the same key share one list: nothing that follows changes a list.
    nothing: list[Any] | None = None if join.is_unique else []
    own = [found.get(key, nothing) for key in _keys(parents, [one for one, _ in join.on], strict=strict)]
    if isinstance(parents, Rows):
        columns = (*parents.columns, join.field)
        return Rows(columns, [(*row, related) for row, related in zip(parents, own, strict=True)])
    return [{**row, join.field: related} for row, related in zip(parents, own, strict=True)]


def _by_key(join: JoinChild, children: Any, strict: bool) -> dict[Any, Any]:
    rows = children if isinstance(children, Rows) else [row for row in as_list(children) if row is not None]
    keys, made = _keys(rows, [other for _, other in join.on], strict=strict), join.make(rows)
    return dict(zip(keys, made, strict=True)) if join.is_unique else _groups(keys, made)


def _groups(keys: list[Any], rows: list[Any]) -> dict[Any, list[Any]]:
    groups: defaultdict[Any, list[Any]] = defaultdict(list)
    for key, row in zip(keys, rows, strict=True):
        groups[key].append(row)
    return groups


def _keys(rows: Sequence[Any], fields: Sequence[str], *, strict: bool = True) -> list[Any]:
    """The values of some fields of each row, as something that can be looked up."""
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
    taken = {_key(row, fields) for row in as_list(right)}
    return [row for row in as_list(left) if _key(row, fields) not in taken]


def _key(row: dict[str, Any] | None, fields: Sequence[str]) -> Key | None:
    return None if row is None else tuple(_hashable(row[field]) for field in fields)


def map_field(value: Any, field: str) -> Any:
    if isinstance(value, Rows):
        return list(_values(value, field))
    if isinstance(value, list):
        return [map_field(item, field) for item in value]
    return value.get(field) if isinstance(value, dict) else value


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
            rows = some_of(rows, self._paginate(rows, wanted))
        if self.reverse:
            rows = some_of(rows, reversed(rows))
        return [self._nested(row, run, scope) for row in as_list(rows)] if self.nested else rows

    def _apply_to_one(self, row: Any, wanted: dict[str, Any] | None, run: Run, scope: Scope) -> Any:
        if self.paginated and (self.skip > 0 or self.take == 0):
            return None
        if wanted is not None and not self._matches([row[field] for field in wanted], wanted):
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
        groups = _groups(_keys(rows, self.linking), rows)
        return [row for group in groups.values() for row in self._page(some_of(rows, group), wanted)]

    def _page(self, rows: list[Any], wanted: dict[str, Any] | None) -> list[Any]:
        start = 0
        if wanted is not None:
            columns = zip(*(_values(rows, field) for field in wanted), strict=True)
            found = next((number for number, row in enumerate(columns) if self._matches(row, wanted)), None)
            if found is None:
                return []
            start = found
        start += self.skip
        return rows[start:] if self.take is None else rows[start : start + self.take]

    def _matches(self, values: Sequence[Any], wanted: dict[str, Any]) -> bool:
        return all(map(self._same, values, wanted.values()))

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


def _distinct(rows: list[Any], fields: Sequence[str]) -> list[Any]:
    first: dict[Any, Any] = {}
    for key, row in zip(_keys(rows, fields), rows, strict=True):
        first.setdefault(key, row)
    return some_of(rows, first.values())


Transform = Callable[[Any, Run, Scope], Any]
