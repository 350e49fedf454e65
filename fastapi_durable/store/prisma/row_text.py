"""Encodes the columns of a row as the text of a JSON list, the form that a statement for many calls takes."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeVar

import orjson

from fastapi_durable.store.prisma.kinds import Kind
from fastapi_durable.store.prisma.sql.builder import Parameter, Sql
from fastapi_durable.store.prisma.tables import RUNS, Table

T = TypeVar("T")

_NUL_ESCAPE = "\\u0000"
"""SQLite's JSON functions end a text at this character."""

_Conversions = tuple[tuple[int, Callable[[Any], Parameter]], ...]


def row_text(dialect: type[Sql], table: Table[T], subject: T, *after: str) -> str | None:
    """Return the row of a model's object. None if a JSON list cannot represent it exactly.

    Args:
        after: Further columns, after those of the table.

    Raises:
        SerializationError: a value has no JSON form.
    """
    return _text([*table.values(subject), *after], _of_table(dialect, table))


def changes_text(
    dialect: type[Sql], first: tuple[Any, ...], names: tuple[str, ...], values: Iterable[Any]
) -> str | None:
    """Return columns that have a JSON form already, followed by those columns of a run. None and errors as in
    `row_text`.
    """
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
    """Return the conversions for values of these kinds in a JSON list, by index."""
    return tuple((place, dialect.storing(kind)) for place, kind in enumerate(kinds, start) if not kind.is_plain)
