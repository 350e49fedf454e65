"""asyncpg's rows and errors as the schema engine reads them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import asyncpg

from prisma_inprocess.migrate import database as kinds
from prisma_inprocess.migrate.database import DatabaseFailure, ResultSet

_TYPES: Final = {
    "int2": kinds.INT64,
    "int4": kinds.INT64,
    "int8": kinds.INT64,
    "oid": kinds.INT64,
    "float4": kinds.DOUBLE,
    "float8": kinds.DOUBLE,
    "numeric": kinds.NUMERIC,
    "bool": kinds.BOOLEAN,
    "char": kinds.CHARACTER,
    "date": kinds.DATE,
    "time": kinds.TIME,
    "timestamp": kinds.DATETIME,
    "timestamptz": kinds.DATETIME,
    "json": kinds.JSON,
    "jsonb": kinds.JSON,
    "bytea": kinds.BYTES,
    "uuid": kinds.UUID,
}


def result_set(columns: Sequence[asyncpg.Attribute], rows: Sequence[asyncpg.Record]) -> ResultSet:
    """The rows of a prepared statement, with its columns."""
    types = [_type(str(column.type.name)) for column in columns]
    return ResultSet(
        [str(column.name) for column in columns],
        types,
        [[_value(*cell) for cell in zip(row, types, strict=True)] for row in rows],
    )


def failure_of(error: BaseException, script: str = "") -> DatabaseFailure:
    """The failure for one of asyncpg's errors; the script that it happened in, if any, tells the line."""
    state = str(getattr(error, "sqlstate", None) or "")
    if not isinstance(error, asyncpg.PostgresError):
        message = f"the connection was lost: {str(error) or type(error).__name__}"
        return DatabaseFailure(message, {"kind": "ConnectionClosed"}, state)
    message = str(error.args[0] if error.args else error)
    position = str(getattr(error, "position", None) or "")
    if position.isdecimal() and "\n" in script:
        message += f" (line {script.count(chr(10), 0, int(position) - 1) + 1})"
    payload = {
        "kind": "postgres",
        "code": state or "XX000",
        "severity": str(getattr(error, "severity", None) or "ERROR"),
        "message": message,
        "detail": getattr(error, "detail", None),
        "column": getattr(error, "column_name", None),
        "hint": getattr(error, "hint", None),
        "originalCode": state,
        "originalMessage": message,
    }
    return DatabaseFailure(message, payload, state)


def _type(name: str) -> int:
    element = name.removesuffix("[]")
    return _TYPES.get(element, kinds.TEXT) + (kinds.LIST if element != name else 0)


def _value(value: Any, kind: int) -> Any:
    if value is None or isinstance(value, (str, bool, float)):
        return value
    if isinstance(value, int):
        return kinds.integer(value)
    if isinstance(value, (list, tuple)):
        return [_value(item, kind % kinds.LIST) for item in value]
    if isinstance(value, bytes):
        return list(value) if kind == kinds.BYTES else value.decode(errors="replace")  # the type "char" is one byte
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).isoformat()
    return value.isoformat() if isinstance(value, (dt.date, dt.time)) else _as_text(value)


def _as_text(value: Any) -> str:
    return format(value, "f") if isinstance(value, Decimal) else str(value)
