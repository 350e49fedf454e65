"""Values between plans, the client and asyncpg."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Final
from uuid import UUID

from prisma_inprocess.drivers.base import ArgumentType, Decoder, Encoder, RawResult, Unreadable
from prisma_inprocess.drivers.lists import postgres_list
from prisma_inprocess.drivers.numbers import encode_integer
from prisma_inprocess.drivers.postgresql_codecs import OutOfRange
from prisma_inprocess.errors import EngineError
from prisma_inprocess.request import dump_json


@dataclass(slots=True, frozen=True)
class PostgresDialect:
    """Conversions for PostgreSQL through asyncpg, which requires each parameter as the Python type of its column."""

    max_parameters: ClassVar[int] = 32766
    whole_list = staticmethod(postgres_list)

    def encoder(self, kind: ArgumentType) -> Encoder | None:
        encode_one = _encoder(kind)
        if encode_one is None:
            return None

        # A parameter declared as one value may be a list (`= ANY($1)`), so decide by the value.
        def encode_any(value: Any) -> Any:
            if value is None:
                return None
            if isinstance(value, list):
                return [None if item is None else encode_one(item) for item in value]
            return encode_one(value)

        return encode_any

    def decoder(self, kind: str) -> Decoder | None:
        return _DECODERS.get(kind)


# The dates that asyncpg writes and reads as `-infinity` and `infinity`.
_FIRST: Final = dt.datetime.min.replace(tzinfo=dt.UTC)
_LAST: Final = dt.datetime.max.replace(tzinfo=dt.UTC)


def _encoder(kind: ArgumentType) -> Encoder | None:
    if kind.scalar == "datetime":
        encode_time = _datetime_encoder(kind.database or "")
        # An integer is compared with the count of a field, which a plan declares as the field's own type.
        return lambda value: value if type(value) is int else encode_time(value)
    return _ENCODERS.get(kind.scalar)


def _datetime_encoder(database_type: str) -> Encoder:
    if database_type.startswith("TIMESTAMPTZ"):
        return lambda value: _finite(to_datetime(value))
    if database_type.startswith("DATE"):
        return lambda value: to_datetime(value).astimezone(dt.UTC).date()
    if database_type.startswith("TIMETZ"):
        return lambda value: to_datetime(value).astimezone(dt.UTC).timetz()
    if database_type.startswith("TIME") and not database_type.startswith("TIMESTAMP"):
        return lambda value: to_datetime(value).astimezone(dt.UTC).time()
    return lambda value: _finite(to_datetime(value).astimezone(dt.UTC).replace(tzinfo=None))


def _finite(value: dt.datetime) -> dt.datetime:
    """Refuse the moment that asyncpg writes as `-infinity`. The client's values never reach that of `infinity`."""
    if value.year == 1 and value.replace(tzinfo=dt.UTC) == _FIRST:
        raise EngineError("Value out of range for the type: 0001-01-01T00:00:00 is not supported", "P2020")
    return value


def _read_datetime(value: Any) -> dt.datetime:
    """A time of a row. Raises: Unreadable for `infinity`, and for what the codecs could not read."""
    if (
        isinstance(value, dt.datetime)
        and value.year in (1, 9999)  # quicker than the comparison
        and value.replace(tzinfo=dt.UTC) in (_FIRST, _LAST)
    ):
        raise Unreadable("infinity, which a DateTime field cannot hold")
    if isinstance(value, OutOfRange):
        raise Unreadable(f"{value}, which a DateTime field cannot hold")
    return to_datetime(value)


def to_datetime(value: Any) -> dt.datetime:
    """A time with a zone, from what a plan or an earlier row holds: text, a time, a date, a time of day."""
    if isinstance(value, dt.datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=dt.UTC)
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    if isinstance(value, dt.time):
        return dt.datetime.combine(dt.date(1970, 1, 1), value, value.tzinfo or dt.UTC)
    parsed = dt.datetime.fromisoformat(value)
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=dt.UTC)


def _to_int(value: Any) -> int:
    return value if type(value) is int else int(value)


def _to_decimal(value: Any) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(str(value))


def _read_decimal(value: Any) -> Decimal:
    number = _to_decimal(value)
    if number.is_nan():
        raise Unreadable("NaN, which a Decimal field cannot hold")
    return number


def _to_bytes(value: Any) -> Any:
    return base64.b64decode(value) if isinstance(value, str) else value


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def _encode_text(value: Any) -> str | int:
    # An integer, as for a time.
    return value if isinstance(value, (str, int)) else str(value)


def _json_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


_ENCODERS: Final[dict[str, Encoder]] = {
    "int": encode_integer,
    "bigint": encode_integer,
    "float": float,
    "decimal": _to_decimal,
    "bytes": _to_bytes,
    "string": _encode_text,
    "enum": _encode_text,
}
_DECODERS: Final[dict[str, Decoder]] = {
    "int": _to_int,
    "bigint": _to_int,
    "float": float,
    "decimal": _read_decimal,
    "datetime": _read_datetime,
    "json": _json_text,
    "object": _json_text,
    "bytes": lambda value: base64.b64encode(value).decode(),
    "string": _to_text,
}

# The client's name for each of PostgreSQL's types; others are given as text.
_RAW_TYPES: Final[dict[str, str]] = {
    "int2": "int",
    "int4": "int",
    "int8": "bigint",
    "oid": "bigint",
    "float4": "float",
    "float8": "double",
    "bool": "bool",
    "numeric": "decimal",
    "json": "json",
    "jsonb": "json",
    "uuid": "uuid",
    "bytea": "bytes",
    "timestamp": "datetime",
    "timestamptz": "datetime",
    "date": "date",
    "time": "time",
    "timetz": "time",
}


def raw_parameters(
    values: Sequence[Any], types: Sequence[str], json_type: type[Any], base64_type: type[Any]
) -> list[Any]:
    """Parameters of the user's own statement, each as the type that PostgreSQL inferred for it."""
    if len(values) != len(types):
        message = f"the statement takes {len(types)} parameters, but {len(values)} were given"
        raise EngineError(
            f"Raw query failed. Code: `08P01`. Message: `{message}`", "P2010", {"code": "08P01", "message": message}
        )
    return [
        _fitting(number, value, kind, json_type, base64_type)
        for number, (value, kind) in enumerate(zip(values, types, strict=True), 1)
    ]


def _fitting(number: int, value: Any, kind: str, json_type: type[Any], base64_type: type[Any]) -> Any:
    # Raised outside the handler, because Python's error quotes the value and would be shown as the context.
    with contextlib.suppress(TypeError, ValueError, ArithmeticError):
        return _raw_parameter(value, kind, json_type, base64_type)
    message = f"query argument ${number}: a {type(value).__name__} that does not fit the type {kind}"
    raise EngineError(
        f"Raw query failed. Code: `22P02`. Message: `{message}`", "P2010", {"code": "22P02", "message": message}
    )


def _raw_parameter(value: Any, kind: str, json_type: type[Any], base64_type: type[Any]) -> Any:
    if value is None:
        return None
    if isinstance(value, base64_type):
        value = value.decode()
    if kind in ("json", "jsonb"):
        if isinstance(value, json_type):
            return dump_json(value.data)
        return value if isinstance(value, str) else dump_json(value)
    if isinstance(value, json_type):
        value = dump_json(value.data)
    if kind.endswith("[]"):
        element = kind.removesuffix("[]")
        return [_raw_parameter(item, element, json_type, base64_type) for item in _elements(value)]
    convert = _RAW_CONVERTERS.get(kind)
    if convert is not None:
        return convert(value)
    return value


def _elements(value: Any) -> Sequence[Any]:
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, (set, frozenset)):
        return list(value)
    raise TypeError(f"an array parameter must be a list, not {type(value).__name__}")


def _raw_text(value: Any) -> str:
    if isinstance(value, str):
        return str(getattr(value, "value", value))  # a member of an enum of texts
    if isinstance(value, (dict, list, bool)):
        return dump_json(value)
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    return str(value)


def _raw_timestamp(value: Any) -> dt.datetime:
    return to_datetime(value).astimezone(dt.UTC).replace(tzinfo=None)


def _raw_date(value: Any) -> dt.date:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    return to_datetime(value).date()


def _raw_time(value: Any) -> Any:
    return dt.time.fromisoformat(value) if isinstance(value, str) else value


def _raw_int(value: Any) -> Any:
    if isinstance(value, (str, Decimal)) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    return int(value) if isinstance(value, bool) else value


_RAW_CONVERTERS: Final[dict[str, Callable[[Any], Any]]] = {
    "text": _raw_text,
    "varchar": _raw_text,
    "bpchar": _raw_text,
    "name": _raw_text,
    "unknown": _raw_text,
    "int2": _raw_int,
    "int4": _raw_int,
    "int8": _raw_int,
    "float4": float,
    "float8": float,
    "numeric": _to_decimal,
    "timestamp": _raw_timestamp,
    "timestamptz": to_datetime,
    "date": _raw_date,
    "time": _raw_time,
    "timetz": _raw_time,
    "bytea": _to_bytes,
}


def raw_result(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]], *, for_model: bool) -> RawResult:
    """Rows of the user's own statement, from column names with PostgreSQL's type names."""
    names: list[str] = []
    types: list[str] = []
    converters: list[Callable[[Any], Any]] = []
    for name, database_type in columns:
        element = database_type.removesuffix("[]")
        is_list = element != database_type
        kind = _RAW_TYPES.get(element, "string")
        convert = _raw_converter(kind, for_model=for_model)
        names.append(name)
        types.append(_client_type(kind, is_list=is_list, for_model=for_model))
        converters.append(_list_converter(convert) if is_list else convert)
    return RawResult(
        names,
        types,
        [
            [None if value is None else convert(value) for value, convert in zip(row, converters, strict=True)]
            for row in rows
        ],
    )


def _client_type(kind: str, *, is_list: bool, for_model: bool) -> str:
    # With "unknown" the client leaves the correct value alone. Otherwise it would convert a decimal to a float, and
    # encode JSON text again.
    if kind == "json" or (kind == "decimal" and for_model):
        kind = "unknown"
    return f"{kind}-array" if is_list else kind


def _list_converter(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda values: [None if value is None else convert(value) for value in values]


def _raw_converter(kind: str, *, for_model: bool) -> Callable[[Any], Any]:
    if kind == "json":
        return _identity if for_model else json.loads
    if kind == "decimal":
        return _identity if for_model else str
    if kind in ("datetime", "date", "time"):
        return _raw_time_value
    if kind == "bytes":
        return lambda value: base64.b64encode(value).decode()
    if kind in ("uuid", "string"):
        return _as_text
    return _identity


def _identity(value: Any) -> Any:
    return value


def _raw_time_value(value: Any) -> str:
    if isinstance(value, OutOfRange):
        return str(value)
    if isinstance(value, dt.datetime):
        return to_datetime(value).isoformat()
    return str(value.isoformat())


def _as_text(value: Any) -> str:
    if isinstance(value, (str, UUID, int, float)):
        return _to_text(value)
    return _other_text(value)


def _other_text(value: Any) -> str:
    return json.dumps(value, default=str) if isinstance(value, (list, dict, tuple)) else str(value)
