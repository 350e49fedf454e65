"""A list of any length as a single parameter, for lists that exceed the database's limit of parameters.

Splitting such a statement would change its meaning. Under `NOT`, the first part would match rows that the second part
excludes. `update_many` would change a row twice if the first change moves it into the second part.
"""

# ruff: noqa: S608 (the texts come from a query plan, and hold no values)

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

# SQLite's JSON functions cut texts at NUL, have no blobs, and round some floats. Such values are passed as tagged text.
_UNPACK: Final = "prisma_inprocess_unpack"


class WholeList(NamedTuple):
    """A condition's text before and after its one placeholder, and the parameter."""

    before: str
    after: str
    parameter: Any


def postgres_list(values: Sequence[Any], item: tuple[str, str], *, negated: bool) -> WholeList:
    """Return the condition that replaces `IN (...)` after a column, with an array as its parameter. PostgreSQL infers
    the array's type.

    Args:
        values: The list, encoded for the driver.
        item: What the plan writes before and after each item, such as `LOWER(` and `)`. It does so for texts only.
        negated: Whether the condition is `NOT IN`.
    """
    before, after = item
    if before or after:
        operator = "NOT IN" if negated else "IN"
        return WholeList(f"{operator} (SELECT {before}item{after} FROM unnest(", "::text[]) AS item)", list(values))
    return WholeList("<> ALL(" if negated else "= ANY(", ")", list(values))


def sqlite_list(values: Sequence[Any], item: tuple[str, str], *, negated: bool) -> WholeList:
    """The same for SQLite, with JSON text as the parameter."""
    before, after = item
    operator = "NOT IN" if negated else "IN"
    if all(_is_plain(value) for value in values):
        # The plus removes the column's affinity, so that values are compared as with parameters.
        element, packed = "+value", list(values)
    else:
        element, packed = f"{_UNPACK}(value)", [_pack(value) for value in values]
    text = json.dumps(packed, ensure_ascii=False)
    return WholeList(f"{operator} (SELECT {before}{element}{after} FROM json_each(", "))", text)


def register_unpacking(connection: sqlite3.Connection) -> None:
    """Give a connection the SQL function that `sqlite_list` uses."""
    connection.create_function(_UNPACK, 1, _unpack, deterministic=True)


def _is_plain(value: Any) -> bool:
    return value is None or type(value) is int or (type(value) is str and "\0" not in value)


def _pack(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, float):
        return f"f{value.hex()}"
    if isinstance(value, int):
        return f"i{value}"
    if isinstance(value, str):
        return f"s{value.encode().hex()}"
    return f"b{bytes(value).hex()}"


def _unpack(text: str | None) -> Any:
    if text is None:
        return None
    tag, content = text[0], text[1:]
    if tag == "f":
        return float.fromhex(content)
    if tag == "i":
        return int(content)
    return bytes.fromhex(content).decode() if tag == "s" else bytes.fromhex(content)
