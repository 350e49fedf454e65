"""The kinds of columns: how a value of the model is stored, and how it is read."""

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
        postgresql: What a parameter is cast to there.
        to_column: From the model's value (never None) to text or a number; moments go through the dialect instead.
        from_column: From the stored value (never None) to the model's.
        is_json: The column holds JSON.
        absent: The model's value for SQL NULL.
        is_plain: `to_column` gives what a JSON list of the value would hold.
        is_moment: A DateTime column, whose text each dialect has its own form of.
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
# The quick parser knows whole numbers of 64 bits only, and no short text holds a longer one.
_SHORT = 18
# Built once: `json.dumps` with options builds an encoder for each call.
_write_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def to_json_text(value: Json) -> str:
    """The JSON text of a value, compact, with characters as they are.

    Raises:
        SerializationError: the value has no JSON form.
    """
    if value is True or value is False or value is None:
        return _WORDS[value]
    if type(value) is int and -_LARGEST_PLAIN < value < _LARGEST_PLAIN:
        return str(value)
    try:
        text = _write_json(value)
        text.encode()  # a lone surrogate is no character
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(f"a value has no JSON form: {error}") from error
    return orjson.dumps(_with_all_digits(value)).decode() if "e+" in text else text


def _with_all_digits(value: Json) -> Any:
    """The value with its large floats as 9223372036854775808.0, not 9.223372036854776e+18.

    PostgreSQL writes out the digits of an exponent's number, without ".0": read again, it would be an integer, and
    another number than the float was.
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
    """The value of a JSON text.

    Raises:
        ValueError: the text is not JSON.
    """
    if len(text) <= _SHORT:
        try:
            return orjson.loads(text)
        except ValueError:
            pass  # perhaps half of a surrogate pair, which the other one takes
    return json.loads(text)


def to_moment(value: datetime | str | float) -> datetime:
    """A stored time: ISO text (UTC where it names no zone), or milliseconds, which older Prisma wrote on SQLite."""
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
# Nothing is NULL and no empty list or object, as in the reference.
JSON_LIST = Kind("text::jsonb", _list_to_text, tuple, is_json=True, absent=())
JSON_OBJECT = Kind("text::jsonb", _mapping_to_text, dict, is_json=True, absent={})


SPAN = Kind("bigint", _span_to_millis, _span_from_millis)
BEGUN = Kind("text::jsonb", _begun_to_text, _begun_from_json, is_json=True, absent=())
NUMBER = Kind("double precision", float, float)


def enum(values: Callable[[Any], Any]) -> Kind:
    """A text that has to be one of the values."""
    return Kind("text", _text, values, is_plain=True)
