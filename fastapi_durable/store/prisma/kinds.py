"""The kinds of columns: how a value of the model is stored and read."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from fastapi_durable.model.clock import from_millis, to_millis, truncate
from fastapi_durable.model.errors import SerializationError
from fastapi_durable.model.records import ErrorRecord, Json


@dataclass(frozen=True, slots=True)
class Kind:
    """The type of a column.

    Attributes:
        postgresql: Type to which PostgreSQL casts a parameter.
        to_column: Converts the model's value (never None) to text or a number. The dialect converts moments instead.
        from_column: Converts the stored value (never None) to the model's value.
        is_json: Whether the column holds JSON.
        absent: The model's value for SQL NULL.
        is_plain: Whether `to_column` returns the value's form in a JSON list.
        is_moment: Whether it is a DateTime column. Each dialect has its own text form for these.
    """

    postgresql: str
    to_column: Callable[[Any], Any]
    from_column: Callable[[Any], Any]
    is_json: bool = False
    absent: Any = None
    is_plain: bool = False
    is_moment: bool = False


_WORDS: dict[bool | None, str] = {True: "true", False: "false", None: "null"}
_LARGEST_PLAIN = 2**63
_LEAST_WITH_EXPONENT = 1e16
# The fast parser supports whole numbers of 64 bits only. A short text cannot contain a longer one.
_SHORT = 18
# Created once, because `json.dumps` with options creates an encoder for each call.
_write_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def to_json_text(value: Json) -> str:
    """Return the compact JSON text of a value, without escaping characters.

    Raises:
        SerializationError: the value has no JSON form.
    """
    if value is True or value is False or value is None:
        return _WORDS[value]
    if type(value) is int and -_LARGEST_PLAIN < value < _LARGEST_PLAIN:
        return str(value)
    try:
        text = _write_json(value)
        text.encode()  # a lone surrogate is not a character
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(f"a value has no JSON form: {error}") from error
    return orjson.dumps(_with_all_digits(value)).decode() if "e+" in text else text


def _with_all_digits(value: Json) -> Any:
    """Return the value with large floats written as 9223372036854775808.0, not 9.223372036854776e+18.

    PostgreSQL writes a number with an exponent as digits, without ".0". Read again, it would be an integer, with
    another value than the float.
    """
    if isinstance(value, float):
        return orjson.Fragment(f"{value:.1f}") if abs(value) >= _LEAST_WITH_EXPONENT else value
    if isinstance(value, int) and not isinstance(value, bool):
        return orjson.Fragment(str(value))
    if isinstance(value, dict):
        return {key: _with_all_digits(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_all_digits(item) for item in value]
    return value


def from_json_text(text: str) -> Json:
    """Return the value of a JSON text.

    Raises:
        ValueError: the text is not JSON.
    """
    if len(text) <= _SHORT:
        try:
            return orjson.loads(text)
        except ValueError:
            pass  # perhaps half of a surrogate pair, which the other parser accepts
    return json.loads(text)


def to_moment(value: datetime | str | float) -> datetime:
    """Return a stored time. It is ISO text (UTC without a zone), or milliseconds, which older Prisma wrote on
    SQLite.
    """
    if isinstance(value, int | float):
        return from_millis(int(value))
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return truncate(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)


def _same(value: Any) -> Any:
    return value


def _text(value: Any) -> str:
    return value if type(value) is str else str(value)


def _error_to_text(error: ErrorRecord) -> str:
    return to_json_text(error.to_json())


def _list_to_text(values: tuple[Json, ...]) -> str | None:
    return to_json_text(list(values)) if values else None


def _mapping_to_text(values: Mapping[str, Json]) -> str | None:
    return to_json_text(dict(values)) if values else None


def _span_to_millis(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)


def _span_from_millis(millis: int | str) -> timedelta:
    return timedelta(milliseconds=int(millis))


def _begun_to_text(begun: tuple[tuple[datetime, int], ...]) -> str | None:
    return to_json_text([[to_millis(moment), number] for moment, number in begun]) if begun else None


def _begun_from_json(begun: Json) -> tuple[tuple[datetime, int], ...]:
    return tuple((from_millis(int(millis)), int(number)) for millis, number in begun)


TEXT = Kind("text", _text, _text, is_plain=True)
INTEGER = Kind("integer", _same, int, is_plain=True)
BIGINT = Kind("bigint", _same, int, is_plain=True)
BOOLEAN = Kind("boolean", bool, bool, is_plain=True)
MILLIS = Kind("bigint", to_millis, from_millis)
MOMENT = Kind("text::timestamp(3)", truncate, to_moment, is_moment=True)
JSON = Kind("text::jsonb", to_json_text, _same, is_json=True)
ERROR = Kind("text::jsonb", _error_to_text, ErrorRecord.from_json, is_json=True)
# An empty list or object is stored as NULL, as in nestjs-durable.
JSON_LIST = Kind("text::jsonb", _list_to_text, tuple, is_json=True, absent=())
JSON_OBJECT = Kind("text::jsonb", _mapping_to_text, dict, is_json=True, absent={})


SPAN = Kind("bigint", _span_to_millis, _span_from_millis)
BEGUN = Kind("text::jsonb", _begun_to_text, _begun_from_json, is_json=True, absent=())
NUMBER = Kind("double precision", float, float)


def enum(values: Callable[[Any], Any]) -> Kind:
    """Return the kind of a text that must be one of the enum's values."""
    return Kind("text", _text, values, is_plain=True)
