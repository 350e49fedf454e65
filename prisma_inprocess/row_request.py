"""The rows of a `create_many`, encoded column by column.

The accepted types of a field are determined once, not for every row. It works for rows that have the same fields, with
values of one kind in each: then the plan for one row serves all of them (`plan/bulk_insert.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from prisma_inprocess.compiler.input_graph import Edge
from prisma_inprocess.request import ALIASES, RequestBuilder, dump_json, widest

_NESTED = (Mapping, list, tuple, set, frozenset)


class ShapesDiffer(Exception):
    """The rows need a plan of their own: they have other fields, or values that one placeholder cannot stand for."""


class RowRequestBuilder(RequestBuilder):
    """Builds the request for one of many rows; `values` holds a list for each placeholder, with one item a row."""

    __slots__ = ()

    def row(self, rows: Sequence[Any], edge: Edge) -> dict[str, Any]:
        """The form that all rows have in the JSON protocol.

        Args:
            rows: At least one row, as the caller of `create_many` passes it.
            edge: The forms of a row.

        Raises:
            ShapesDiffer: The rows have different forms.
            EngineError: P2019, P2020: a value cannot be stored.
        """
        if not all(issubclass(kind, Mapping) for kind in set(map(type, rows))):
            raise ShapesDiffer
        names = rows[0].keys()
        if not all(row.keys() == names for row in rows):
            raise ShapesDiffer
        fields = self._graph.fields(edge)
        encoded: dict[str, Any] = {}
        for key in names:
            name = ALIASES.get(key, key)
            encoded[name] = self._column([row[key] for row in rows], fields.get(name))
        return encoded

    def _column(self, values: list[Any], edge: Edge | None) -> Any:
        if edge is not None:
            values = _without_enums(values)
            present = [value for value in values if value is not None]
            if present and (len(present) == len(values) or edge.takes_null):
                kind, items = self._typed_column(present, edge)
                if kind is not None:
                    return self._placeholder(_with_nulls(items, values), kind)
        return self._one_by_one(values, edge)

    def _typed_column(self, values: list[Any], edge: Edge) -> tuple[str | None, list[Any]]:
        """The placeholder type that all values have in common, or None, and the values as a plan takes them."""
        kinds = set(map(type, values))
        if kinds == {self._json_type}:
            return _typed_json([dump_json(value.data) for value in values], edge)
        if any(issubclass(kind, _NESTED) for kind in kinds):
            return None, values
        if edge.enum is not None:
            stored = self._graph.enum_values(edge.enum)
            names = all(isinstance(value, str) and value in stored for value in values)
            return ("Enum", [stored[value] for value in values]) if names else (None, values)
        # The two most common types need no check of each value.
        if kinds == {str} and "String" in edge.scalars and all(map(str.isascii, values)):
            return "String", values
        if kinds == {int}:
            extremes = {self._typed(value, edge.scalars)[0] for value in (min(values), max(values))}
            if extremes <= {"Int", "BigInt"}:
                return widest(extremes), values
        typed = [self._typed(value, edge.scalars) for value in values]
        found = {kind for kind, _ in typed}
        # The compiler takes an integer as a Float, but not as a Decimal.
        common = widest(found) if len(found) == 1 or "Decimal" not in edge.scalars else None
        return common, [item for _, item in typed]

    def _one_by_one(self, values: list[Any], edge: Edge | None) -> Any:
        """Values that are literals, or hold placeholders somewhere within."""
        shape: Any = None
        names = self._names
        columns: dict[str, list[Any]] = {}
        for number, value in enumerate(values):
            alone = RequestBuilder(self._graph, self._json_type, self._base64_type, share=False)
            alone._names = dict(self._names)  # its placeholders are numbered from here on, for each row again
            encoded = alone._encode(value, edge)
            if number == 0:
                shape, names = encoded, alone._names
                columns = {name: [] for name in alone.values}
            elif encoded != shape:
                raise ShapesDiffer
            for name, item in alone.values.items():
                columns[name].append(item)
        self._names = names
        self.values.update(columns)
        return shape


def _without_enums(values: list[Any]) -> list[Any]:
    if any(issubclass(kind, Enum) for kind in set(map(type, values))):
        return [value.value if isinstance(value, Enum) else value for value in values]
    return values


def _with_nulls(items: list[Any], values: list[Any]) -> list[Any]:
    """The encoded items, with None where the values have it."""
    if len(items) == len(values):
        return items
    remaining = iter(items)
    return [None if value is None else next(remaining) for value in values]


def _typed_json(texts: list[str], edge: Edge) -> tuple[str | None, list[Any]]:
    # JSON's null is a word of the protocol where a field may hold it or the database's NULL, and no value.
    is_word = edge.null_kind is not None and "null" in texts
    return (None if is_word or edge.json_filter or "Json" not in edge.scalars else "Json"), texts
