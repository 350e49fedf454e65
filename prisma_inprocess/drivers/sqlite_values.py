"""Values between plans, the client and SQLite."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Final
from uuid import UUID

from prisma_inprocess.date_format import DateFormat
from prisma_inprocess.drivers.base import ArgumentType, Decoder, Encoder, RawResult
from prisma_inprocess.drivers.lists import sqlite_list
from prisma_inprocess.drivers.numbers import encode_integer
from prisma_inprocess.drivers.private_sqlite import private_sqlite
from prisma_inprocess.drivers.sqlite_dates import decode_datetime, encode_iso, encode_milliseconds
from prisma_inprocess.request import dump_json

_DATE_ENCODERS: Final[dict[DateFormat, Encoder]] = {
    DateFormat.ISO: encode_iso,
    DateFormat.MILLISECONDS: encode_milliseconds,
}


class JsonText(str):
    """Text from a column declared as JSON. For other code it is plain text."""

    __slots__ = ()


class StoredBoolean(int):
    """A number from a column declared as BOOLEAN. For other code it is a plain number."""


class StoredMilliseconds(int):
    """A number from a column declared as DATETIME, DATE or TIMESTAMP. For other code it is a plain number."""


def register_column_types() -> None:
    """Have our copy of sqlite3 tell Json, Boolean and DateTime columns apart (`PARSE_DECLTYPES`).

    The converters return what sqlite3 would return without them, only as subclasses.
    """
    for name in ("JSON", "JSONB"):
        private_sqlite.register_converter(name, _json_column)
    for name in ("BOOLEAN", "BOOL"):
        private_sqlite.register_converter(name, _boolean_column)
    for name in ("DATETIME", "DATE", "TIMESTAMP"):
        private_sqlite.register_converter(name, _date_column)


def _json_column(content: bytes) -> JsonText | bytes:
    try:
        return JsonText(content.decode())
    except UnicodeDecodeError:
        return content  # SQLite's binary form


_USUAL_BOOLEANS: Final = {b"0": StoredBoolean(0), b"1": StoredBoolean(1)}


def _boolean_column(content: bytes) -> StoredBoolean | str:
    usual = _USUAL_BOOLEANS.get(content)
    if usual is not None:
        return usual
    text = content.decode(errors="replace")
    return StoredBoolean(text) if text.lstrip("-").isdecimal() else text


def _date_column(content: bytes) -> StoredMilliseconds | float | str:
    # These columns have numeric affinity, so SQLite has converted every text that looks like a number.
    text = content.decode(errors="replace")
    if ":" in text:
        return text  # the usual form, which is not a number
    if text.removeprefix("-").isdecimal():
        return StoredMilliseconds(text)
    if text[-1:].isdecimal():  # but not the words that Python accepts as floats
        with contextlib.suppress(ValueError):
            return float(text)
    return text


@dataclass(slots=True, frozen=True)
class SqliteDialect:
    """Conversions for SQLite, storing what Prisma's own adapters store: dates as text or milliseconds, 0 and 1, JSON
    text, floats for Decimal.

    Attributes:
        dates: How the file stores DateTime values.
    """

    dates: DateFormat

    # SQLite's own default limit since 3.32; Prisma's adapters use 999, the limit of older versions.
    max_parameters: ClassVar[int] = 32766
    whole_list = staticmethod(sqlite_list)

    def encoder(self, kind: ArgumentType) -> Encoder | None:
        encode_date = _DATE_ENCODERS[self.dates]
        encoders: dict[str, Encoder] = {
            # An integer is stored as an integer, or compared with the count of a field.
            "datetime": lambda value: value if type(value) is int else encode_date(value),
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


def _encode_int(value: Any) -> int | float:
    number = encode_integer(value)
    return number if isinstance(number, int) else float(number)


def _encode_bytes(value: Any) -> Any:
    return base64.b64decode(value) if isinstance(value, str) else value


def _decode_boolean(value: Any) -> bool:
    if isinstance(value, str):
        return value.lower() in ("true", "1")
    return bool(value)


@dataclass(slots=True, frozen=True)
class RawParameters:
    """Encodes parameters of the user's own statements as SQLite stores them.

    Attributes:
        json_type: The generated package's own `Json` class.
        base64_type: The generated package's own `Base64` class.
        dates: How the file stores DateTime values.
    """

    json_type: type[Any]
    base64_type: type[Any]
    dates: DateFormat

    def encode(self, values: Sequence[Any]) -> list[Any]:
        """Encode parameters. Raises: TypeError for a type that SQLite cannot store."""
        return [self._encode(value) for value in values]

    def _encode(self, value: Any) -> Any:
        if value is None or isinstance(value, (int, float, bytes)):
            return int(value) if isinstance(value, bool) else value
        if isinstance(value, str):
            return str(getattr(value, "value", value))  # a member of an enum of texts
        if isinstance(value, self.json_type):
            return dump_json(value.data)
        if isinstance(value, self.base64_type):
            return value.decode()
        if isinstance(value, dt.datetime):
            return _DATE_ENCODERS[self.dates](value)
        if isinstance(value, dt.date) and self.dates is DateFormat.MILLISECONDS:
            return encode_milliseconds(dt.datetime.combine(value, dt.time(), dt.UTC))
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
    if isinstance(value, StoredMilliseconds):
        return "string"
    if isinstance(value, int):
        return "bigint"
    if isinstance(value, float):
        return "double"
    if isinstance(value, bytes):
        return "bytes"
    # With "unknown" the client leaves the correct value alone.
    return "unknown" if isinstance(value, JsonText) else "string"


def _raw_value(value: Any, *, for_model: bool) -> Any:
    if isinstance(value, StoredBoolean):
        return bool(value)
    if isinstance(value, JsonText):
        return str(value) if for_model else json.loads(value)
    if isinstance(value, StoredMilliseconds):
        return encode_iso(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value
