"""Values between plans, the client and SQLite."""

from __future__ import annotations

import base64
import datetime as dt
import json
import sqlite3
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from prisma_inprocess.drivers.base import ArgumentType, Decoder, Encoder, RawResult
from prisma_inprocess.drivers.lists import sqlite_list
from prisma_inprocess.errors import EngineError
from prisma_inprocess.request import dump_json, to_utc


class JsonText(str):
    """Text from a column declared as JSON. A plain text to everybody else."""

    __slots__ = ()


class StoredBoolean(int):
    """A number from a column declared as BOOLEAN. A plain number to everybody else."""


def register_column_types() -> None:
    """Have sqlite3 tell Json and Boolean columns apart where it is asked to (`PARSE_DECLTYPES`).

    The registry is the whole process's, so the converters return what sqlite3 would return anyway, only as subclasses.
    """
    for name in ("JSON", "JSONB"):
        sqlite3.register_converter(name, _json_column)
    for name in ("BOOLEAN", "BOOL"):
        sqlite3.register_converter(name, _boolean_column)


def _json_column(content: bytes) -> JsonText | bytes:
    try:
        return JsonText(content.decode())
    except UnicodeDecodeError:
        return content  # SQLite's binary form


def _boolean_column(content: bytes) -> StoredBoolean | str:
    text = content.decode(errors="replace")
    return StoredBoolean(text) if text.lstrip("-").isdecimal() else text


class SqliteDialect:
    """Conversions for SQLite, storing what Prisma's own adapters store: ISO text with milliseconds, 0 and 1, JSON text,
    floats for Decimal.
    """

    # SQLite's own default limit since 3.32; Prisma's adapters use 999, the limit of older versions.
    max_parameters = 32766
    whole_list = staticmethod(sqlite_list)

    def encoder(self, kind: ArgumentType) -> Encoder | None:
        encoders: dict[str, Encoder] = {
            "datetime": encode_datetime,
            "int": _encode_int,
            "bigint": _encode_int,
            "float": float,
            "decimal": float,
            "boolean": int,
            "bytes": _encode_bytes,
        }
        encode_one = encoders.get(kind.scalar)
        if encode_one is None:
            return None

        def encode_any(value: Any) -> Any:
            if value is None:
                return None
            if isinstance(value, list):
                return [None if item is None else encode_one(item) for item in value]
            return encode_one(value)

        return encode_any

    def decoder(self, kind: str) -> Decoder | None:
        decoders: dict[str, Decoder] = {
            "int": int,
            "bigint": int,
            "datetime": decode_datetime,
            "boolean": _decode_boolean,
            "float": float,
            "decimal": lambda value: Decimal(str(value)),
            "bytes": lambda value: base64.b64encode(value).decode(),
            "json": lambda value: value if isinstance(value, str) else json.dumps(value),
            "object": lambda value: value if isinstance(value, str) else json.dumps(value),
            "string": lambda value: value if isinstance(value, str) else str(value),
        }
        return decoders.get(kind)


def encode_datetime(value: Any) -> str:
    return to_utc(_as_datetime(value)).isoformat(timespec="milliseconds")


def _as_datetime(value: Any) -> dt.datetime:
    return value if isinstance(value, dt.datetime) else decode_datetime(value)


def decode_datetime(value: Any) -> dt.datetime:
    """A stored time: ISO text, or milliseconds since 1970 as older Prisma versions wrote them."""
    if isinstance(value, (int, float)):
        return dt.datetime.fromtimestamp(value / 1000, dt.UTC)
    try:
        parsed = dt.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise EngineError(f"Inconsistent column data: Expected a date, got {type(value).__name__}", "P2023") from None
    return parsed.replace(tzinfo=dt.UTC) if parsed.tzinfo is None else parsed


def _encode_int(value: Any) -> int:
    return value if type(value) is int else int(value)


def _encode_bytes(value: Any) -> Any:
    return base64.b64decode(value) if isinstance(value, str) else value


def _decode_boolean(value: Any) -> bool:
    if isinstance(value, str):
        return value.lower() in ("true", "1")
    return bool(value)


def raw_parameter(value: Any, json_type: type[Any], base64_type: type[Any]) -> Any:
    """A parameter of the user's own statement as SQLite stores it."""
    if value is None or isinstance(value, (int, float, bytes)):
        return int(value) if isinstance(value, bool) else value
    if isinstance(value, str):
        return str(getattr(value, "value", value))  # a member of an enum of texts
    if isinstance(value, json_type):
        return dump_json(value.data)
    if isinstance(value, base64_type):
        return value.decode()
    if isinstance(value, dt.datetime):
        return encode_datetime(value)
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, (list, tuple, dict)):
        return dump_json(value)
    raise TypeError(f"Type {type(value)} not serializable")


def raw_result(columns: list[str], rows: Sequence[Sequence[Any]], *, for_model: bool) -> RawResult:
    """Rows of the user's own statement. SQLite has no column types beyond the values', so each column takes its first
    value's.
    """
    kinds = [
        next((_kind(row[index]) for row in rows if row[index] is not None), "string") for index in range(len(columns))
    ]
    return RawResult(columns, kinds, [[_raw_value(value, for_model=for_model) for value in row] for row in rows])


def _kind(value: Any) -> str:
    if isinstance(value, StoredBoolean):
        return "bool"
    if isinstance(value, int):
        return "bigint"
    if isinstance(value, float):
        return "double"
    if isinstance(value, bytes):
        return "bytes"
    # "unknown" keeps the client from working on a value that is already right.
    return "unknown" if isinstance(value, JsonText) else "string"


def _raw_value(value: Any, *, for_model: bool) -> Any:
    if isinstance(value, StoredBoolean):
        return bool(value)
    if isinstance(value, JsonText):
        return str(value) if for_model else json.loads(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value
