"""From database rows to what the client's models are built from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from prisma_inprocess.drivers.base import Decoder, Dialect, Rows, Unreadable
from prisma_inprocess.plan.row_mapper import Leaf, RowMapper, Shape

Mapper = Callable[[Any], Any]
Enums = Mapping[str, Mapping[str, str]]
# If a driver returns exactly this type, the client can use the value, and no conversion is called.
_DECODED: Final[Mapping[str, type]] = {"int": int, "bigint": int, "float": float, "string": str}


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
    leaves: list[Leaf] = []
    map_rows = RowMapper(_shape(structure, enums, dialect, leaves), leaves)
    skip_nulls = bool(structure["skipNulls"])

    def map_result(value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, Rows):
            return map_rows(value)
        if isinstance(value, list):
            return map_rows([row for row in value if row is not None] if skip_nulls else value)
        if isinstance(value, str):
            return map_result(json.loads(value))
        return map_rows.one(value)

    return map_result


def _shape(structure: dict[str, Any], enums: Enums, dialect: Dialect, leaves: list[Leaf]) -> Shape:
    """The shape of one object, whose leaves are appended to the list."""
    shape: dict[str, Shape] = {}
    for name, node in structure["fields"].items():
        if node["type"] == "object" and node["serializedName"] is None:
            shape[name] = _shape(node, enums, dialect, leaves)  # its fields are columns of the same row
            continue
        shape[name] = len(leaves)
        if node["type"] == "field":
            leaves.append(_field(node, enums, dialect))
        elif node["type"] == "mapped":
            leaves.append(Leaf(node["dbName"], None))
        else:
            leaves.append(Leaf(node["serializedName"], compile_data_map(node, enums, dialect), takes_none=True))
    return shape


def _field(node: dict[str, Any], enums: Enums, dialect: Dialect) -> Leaf:
    kind, is_list = node["fieldType"]["type"], node["fieldType"]["arity"] == "list"
    decode = _field_decoder(node["fieldType"], enums, dialect)
    return Leaf(node["dbName"], decode, None if is_list else _DECODED.get(kind), is_list=is_list)


def _same(value: Any) -> Any:
    return value


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


class _EnumNames(dict[str, str]):
    """The names of an enum's values, by what the database stores."""

    __slots__ = ("enum",)

    def __init__(self, enum: str, names: Mapping[str, str]) -> None:
        super().__init__(names)
        self.enum = enum

    def __missing__(self, stored: Any) -> str:
        raise Unreadable(f"a value that enum {self.enum} does not have")


def _enum_decoder(name: str, enums: Enums) -> Decoder:
    return _EnumNames(name, enums[name]).__getitem__
