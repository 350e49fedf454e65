"""The columns of a row as the text of a JSON list, which is how a statement for many calls takes them."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeVar

import orjson

from fastapi_durable.store.prisma.kinds import Kind
from fastapi_durable.store.prisma.sql.builder import Parameter, Sql
from fastapi_durable.store.prisma.tables import RUNS, Table

T = TypeVar("T")

_NUL_ESCAPE = "\\u0000"
"""SQLite's JSON functions end a text there."""

_Conversions = tuple[tuple[int, Callable[[Any], Parameter]], ...]


def row_text(dialect: type[Sql], table: Table[T], subject: T, *after: str) -> str | None:
    """The row of a model's object; None if it has no faithful place in a JSON list.

    Args:
        after: Further columns, behind those of the table.

    Raises:
        SerializationError: a value has no JSON form.
    """
    return _text([*table.values(subject), *after], _of_table(dialect, table))


def changes_text(
    dialect: type[Sql], first: tuple[Any, ...], names: tuple[str, ...], values: Iterable[Any]
) -> str | None:
    """Columns that have a JSON form already, and then those columns of a run; None and raises as `row_text`."""
    return _text([*first, *values], _of_changes(dialect, len(first), names))


def _text(values: list[Any], conversions: _Conversions) -> str | None:
    for place, convert in conversions:
        # Most columns of a row are empty.
        if (value := values[place]) is not None:
            values[place] = convert(value)
    try:
        text = orjson.dumps(values).decode()
    except TypeError:
        return None
    return None if _NUL_ESCAPE in text else text


@cache
def _of_table(dialect: type[Sql], table: Table[Any]) -> _Conversions:
    return _conversions(dialect, [column.kind for column in table.columns])


@cache
def _of_changes(dialect: type[Sql], start: int, names: tuple[str, ...]) -> _Conversions:
    return _conversions(dialect, [RUNS.column(name).kind for name in names], start)


def _conversions(dialect: type[Sql], kinds: Iterable[Kind], start: int = 0) -> _Conversions:
    """What is done to values of these kinds before they are a JSON list, by their places."""
    return tuple((place, dialect.storing(kind)) for place, kind in enumerate(kinds, start) if not kind.is_plain)
