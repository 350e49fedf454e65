"""From database rows to what the client's models are built from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from prisma_inprocess.drivers.base import Decoder, Dialect, Unreadable
from prisma_inprocess.errors import EngineError

Mapper = Callable[[Any], Any]
Enums = Mapping[str, Mapping[str, str]]
# What a driver gives as exactly this type is what the client wants: nothing is called for it.
_DECODED: Final[Mapping[str, type]] = {"int": int, "bigint": int, "float": float, "string": str}
_UNREADABLE: Final = (EngineError, ValueError, TypeError, ArithmeticError)


def compile_data_map(structure: dict[str, Any], enums: Enums, dialect: Dialect) -> Mapper:
    """A function that maps the result of a plan (rows, one row, a count) to the shape that was asked for."""
    kind = structure["type"]
    if kind == "affectedRows":
        return lambda count: {"count": count}
    if kind == "field":
        decode = _field_decoder(structure["fieldType"], enums, dialect)
        return decode or _same
    return _compile_object(structure, enums, dialect)


def _compile_object(structure: dict[str, Any], enums: Enums, dialect: Dialect) -> Mapper:
    columns: list[tuple[str, str, Decoder, type, bool]] = []
    nested: list[tuple[str, str | None, Mapper]] = []
    for name, node in structure["fields"].items():
        if node["type"] == "field":
            kind, is_list = node["fieldType"]["type"], node["fieldType"]["arity"] == "list"
            decode = _field_decoder(node["fieldType"], enums, dialect)
            columns.append((name, node["dbName"], decode or _same, _DECODED.get(kind, object), is_list))
        else:
            nested.append((name, node["serializedName"], compile_data_map(node, enums, dialect)))
    skip_nulls = bool(structure["skipNulls"])

    def map_row(row: Mapping[str, Any]) -> dict[str, Any]:
        mapped: dict[str, Any] = {}
        column = ""
        try:
            for name, column, decode, decoded, is_list in columns:
                value = row[column]
                if type(value) is decoded:
                    mapped[name] = value
                elif value is None:
                    mapped[name] = [] if is_list else None
                else:
                    mapped[name] = decode(value)
        except _UNREADABLE as error:
            raise _unreadable(column, error) from error
        for name, column_or_none, map_nested in nested:
            mapped[name] = map_nested(row if column_or_none is None else row[column_or_none])
        return mapped

    def map_result(value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, list):
            rows: list[Any] = [row for row in value if row is not None] if skip_nulls else value
            return [map_row(row) for row in rows]
        if isinstance(value, str):
            return map_result(json.loads(value))
        return map_row(value)

    return map_result


def _same(value: Any) -> Any:
    return value


def _unreadable(column: str, error: Exception) -> EngineError:
    """The error for a stored value that the schema's type cannot hold. It names the column and not the value."""
    # Python's own messages quote the value.
    what = str(error) if isinstance(error, Unreadable) else "a value of another type"
    return EngineError(f"Inconsistent column data: column `{column}` holds {what}", "P2023", {"column": column})


def _field_decoder(field: dict[str, Any], enums: Enums, dialect: Dialect) -> Decoder | None:
    kind = field["type"]
    decode = _enum_decoder(field["name"], enums) if kind == "enum" else dialect.decoder(kind)
    return decode if field["arity"] != "list" else _list_decoder(kind, decode)


def _list_decoder(kind: str, decode: Decoder | None) -> Decoder:
    """Decode the items of a list. The client's models have no NULL in lists, and no lists in lists."""

    def decode_item(item: Any) -> Any:
        if item is None:
            if kind == "json":
                return "null"
            raise Unreadable("a list with NULL in it")
        if isinstance(item, list):
            raise Unreadable("a list of lists")
        return item if decode is None else decode(item)

    return lambda values: [decode_item(item) for item in values]


def _enum_decoder(name: str, enums: Enums) -> Decoder:
    names = enums[name]

    def decode(value: Any) -> str:
        found = names.get(str(value))
        if found is None:
            raise Unreadable(f"a value that enum {name} does not have")
        return found

    return decode
