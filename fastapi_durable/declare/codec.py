"""Converts between Python values and the stored JSON.

A workflow always sees a value decoded from its stored form, on the first run as on a replay, so both see the same.
`encode` therefore reads back what it returns, and refuses a value that does not fit its declared type or that has
changed. `Codec` keeps one pydantic adapter for each type; make one codec for each engine.
"""

import json
import logging
import math
import re
from collections.abc import Hashable
from typing import Any, NoReturn

import orjson
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError
from pydantic_core import PydanticSerializationError

from fastapi_durable.declare.signature import NoInput
from fastapi_durable.declare.silent_changes import ALTERED, MASK, Change, first_change, reveal
from fastapi_durable.model.errors import DefinitionError, SerializationError
from fastapi_durable.model.records import Json

_log = logging.getLogger("fastapi_durable")

_MASK = MASK.encode()

_MISFITS = "Pydantic serializer warnings:\n"
"""Beginning of an error about values that do not fit the declared type."""

_QUOTED_VALUE = re.compile(r"input_value=.*?, input_type=", re.DOTALL)

_DEEPEST = 150
"""Maximum depth of nesting. Pydantic's parser stops at 200, and the value may be stored inside another one."""

_NONE = type(None)

_SCALARS = frozenset({int, str, bool, float})

_LONGEST_INTEGER = 4096
"""Maximum size of an integer in bits. Python refuses to read an integer of more than 4300 digits."""

_ALONE = range(-(2**63), 2**63)
"""Largest integer that SQLite stores exactly as the only value of a column. It converts larger ones to doubles, so
every store refuses them."""


class Codec:
    """Encodes and decodes values by their declared type."""

    def __init__(self) -> None:
        self._adapters: dict[Hashable, TypeAdapter[Any]] = {}
        self._warned_of: set[tuple[str, ...]] = set()

    def adapter(self, declared: Any) -> TypeAdapter[Any]:
        """The adapter of a type.

        Raises:
            DefinitionError: pydantic has no schema for it.
        """
        try:
            return self._adapters[declared]
        except (KeyError, TypeError):
            pass
        try:
            adapter = _adapter(None if declared is NoInput else declared)
        except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError) as error:
            # Cut pydantic's advice after the reason, because it does not apply to stored models.
            reason = str(error).partition("\n")[0].partition(". Set `arbitrary_types_allowed")[0]
            raise DefinitionError(
                f"values of type {_type_name(declared)} cannot be stored: {reason}. Take and return JSON values, "
                "dataclasses or pydantic models"
            ) from error
        try:
            self._adapters[declared] = adapter
        except TypeError:
            # The type is not hashable, for example because of a list in its annotation. Build the adapter again each
            # time.
            pass
        return adapter

    def encode(self, value: Any, declared: Any, *, what: str) -> Json:
        """The JSON form of `value`, from which `decode` makes a value of the declared type again.

        Args:
            what: Names the value in the error.

        Raises:
            SerializationError: the value has no JSON form, or one that a database cannot hold (NaN, a lone surrogate,
                NUL, nesting without end). With `misfit`: the value is not what is declared, or it would not come back
                as it is.
        """
        if is_its_own_form(value, declared):
            if not _is_plain(value):
                _check_storable(value, what)
            return value
        encoded, change = self._encode(value, declared, what)
        return encoded if change is None else _refuse(what, change)

    def encode_given(self, value: Any, declared: Any, *, what: str) -> Json:
        """The JSON form of a value that is of its type, or is given in its JSON form, as callers by name give it.

        Raises:
            SerializationError: as `encode` and `decode`.
        """
        if is_its_own_form(value, declared):
            return self.encode(value, declared, what=what)
        try:
            encoded, change = self._encode(value, declared, what)
        except SerializationError:
            decoded = self.decode(self.encode(value, Any, what=what), declared, what=what)
            return self.encode(decoded, declared, what=what)
        # Refuse a value that fits its type but would change: its JSON form may fit, but has lost something.
        return encoded if change is None else _refuse(what, change)

    def _encode(self, value: Any, declared: Any, what: str) -> tuple[Json, Change | None]:
        """Return the JSON form, and the parts that would be read back differently."""
        adapter = self.adapter(declared)
        try:
            encoded = adapter.dump_python(value, mode="json", warnings="error", by_alias=True)
        except PydanticSerializationError as error:
            # The error's text, and so the trace of a chained error, would show the value.
            reason = _without_values(str(error))
            if (misfits := reason.removeprefix(_MISFITS)) != reason:
                raise _misfit(what, declared, " ".join(misfits.split())) from None
            raise SerializationError(
                f"{what} cannot be stored: {reason}. Return or pass JSON values, or an annotated type that "
                "pydantic serialises"
            ) from None
        except Exception as error:
            # A user's serialiser or computed field may raise anything.
            raise SerializationError(
                f"{what} cannot be stored: {error}. Return or pass JSON values, or an annotated type that "
                "pydantic serialises"
            ) from error
        stored = _checked_json(encoded, what)
        if _MASK in stored:
            encoded = self._revealed(value, encoded, what)
            stored = _checked_json(encoded, what)
        if declared is Any:
            # Every JSON value fits `Any`, and is read back in its JSON form.
            return encoded, first_change(value, encoded)
        # Pydantic serialises values that it cannot read back: None for an int, a model that was never validated, a
        # model with `serialization_alias`.
        try:
            back = _read(adapter, stored)
        except _Unreadable as unreadable:
            raise _misfit(what, declared, f"its JSON form does not fit: {unreadable}") from unreadable.__cause__
        change = first_change(value, back)
        if change is not None and change.reason == ALTERED and _reads_as(adapter, value, back):
            return encoded, None
        return encoded, change

    def _revealed(self, value: Any, encoded: Json, what: str) -> Json:
        """Return the JSON form with unmasked secrets, because masked ones would be lost."""
        encoded, secrets = reveal(value, encoded)
        if not secrets:
            return encoded
        place = (type(value).__name__, *secrets)
        if place not in self._warned_of:
            self._warned_of.add(place)
            _log.warning(
                "%s contains a secret (%s). The engine stores it as readable text, and the console shows it. Store a "
                "reference to the secret instead, or give the field a serializer that encrypts it",
                what,
                ", ".join(secrets),
            )
        return encoded

    def decode(self, stored: Json, declared: Any, *, what: str) -> Any:
        """The Python value of a stored JSON value.

        Raises:
            SerializationError: it does not fit the type. The message holds the places and reasons, not the values.
        """
        if is_its_own_form(stored, declared):
            return stored
        try:
            return _read(self.adapter(declared), _dumps(stored))
        except _Unreadable as unreadable:
            raise SerializationError(
                f"{what} does not fit {_type_name(declared)}: {unreadable}"
            ) from unreadable.__cause__


def _misfit(what: str, declared: Any, reason: str) -> SerializationError:
    return SerializationError(
        f"{what} cannot be stored as {_type_name(declared)}, its declared type: {reason}", misfit=True
    )


def _refuse(what: str, change: Change) -> NoReturn:
    raise SerializationError(
        f"{what} cannot be stored: a replay would read another value ({change}). Declare or configure its type so "
        "that the JSON form holds the whole value",
        misfit=True,
    )


def _reads_as(adapter: TypeAdapter[Any], given: Any, back: Any) -> bool:
    """Return whether the type itself converts the value to the one that was read back, for example because it strips
    texts.
    """
    try:
        return first_change(adapter.validate_python(given), back) is None
    except Exception:
        return False


class _Unreadable(Exception):
    """A JSON value does not fit a type. The text says why, without values; the cause is what a validator raised."""


def _read(adapter: TypeAdapter[Any], stored: bytes) -> Any:
    try:
        return adapter.validate_json(stored)
    except ValidationError as error:
        # Not chained, because the text of pydantic's error shows the values, and a stored trace would contain it.
        raise _Unreadable(_summary(error)) from None
    except Exception as error:
        # A user's validator may raise anything.
        raise _Unreadable(f"its validation raised {type(error).__name__}") from error


def is_its_own_form(value: Any, declared: Any) -> bool:
    """Whether a value is exactly of a type that JSON has, and that type is what is declared: nothing to convert.

    Most results are such values, so no adapter is asked about them.
    """
    if value is None:
        return declared is None or declared is _NONE or declared is NoInput or declared is Any
    kind = type(value)
    return kind in _SCALARS and (declared is kind or declared is Any)


def _is_plain(value: Json) -> bool:
    """Return whether a value is certainly storable, without a close check. False: it must be checked."""
    kind = type(value)
    if kind is int:
        return value in _ALONE
    return value is None or kind is bool or (kind is str and value.isascii() and "\x00" not in value)


def _adapter(declared: Any) -> TypeAdapter[Any]:
    """Return the adapter of a type. It keeps NaN and infinities, which would silently become null."""
    try:
        return TypeAdapter(declared, config=ConfigDict(ser_json_inf_nan="constants"))
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        # It is a model, whose own configuration applies.
        return TypeAdapter(declared)


def _checked_json(encoded: Json, what: str) -> bytes:
    """Return the JSON of a value, if a database can store it.

    Most values show in their bytes that they have no NUL and are not deep, and then need no walk in Python. orjson
    refuses lone surrogates and long integers, and writes numbers that JSON does not have as null.

    Raises:
        SerializationError: a database cannot hold it.
    """
    try:
        stored = orjson.dumps(encoded)
    except TypeError:
        pass
    else:
        if (
            b"\\u0000" not in stored
            and b"null" not in stored
            and stored.count(b"[") + stored.count(b"{") < _DEEPEST
            and type(encoded) is not int
        ):
            return stored
    _check_storable(encoded, what)
    return _dumps(encoded)


def _dumps(value: Json) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        # orjson stops at 64-bit integers; JSON and Python do not.
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def _without_values(text: str) -> str:
    """Return a text of pydantic without the values that it quotes."""
    return _QUOTED_VALUE.sub("input_type=", text)


def _type_name(declared: Any) -> str:
    return getattr(declared, "__name__", None) or str(declared)


def _summary(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    shown = "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'value'}: {problem['msg']}" for problem in problems[:5]
    )
    more = len(problems) - 5
    return f"{shown}; and {more} more" if more > 0 else shown


def _check_storable(value: Json, what: str) -> None:
    """Refuse a value that a database cannot store.

    Raises:
        SerializationError: it cannot hold the value.
    """
    if type(value) is int and value not in _ALONE:
        raise SerializationError(
            f"{what} cannot be stored: it is an integer of {value.bit_length()} bits. A top-level integer must be "
            "between -2**63 and 2**63 - 1. Put it into a model, a list or a dict"
        )
    if problem := _unstorable(value):
        raise SerializationError(f"{what} cannot be stored: it contains {problem}")


def _unstorable(value: Json, depth: int = 0) -> str | None:
    """Describe the part of a JSON value that PostgreSQL, JSON or a JSON parser cannot represent."""
    if depth > _DEEPEST:
        return f"more than {_DEEPEST} levels of nesting"
    if isinstance(value, int):
        return None if value.bit_length() <= _LONGEST_INTEGER else f"an integer of {value.bit_length()} bits"
    if isinstance(value, str):
        if "\x00" in value:
            return "a string with a NUL character"
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                return "a string with a lone surrogate"
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"the number {value}, which JSON does not have"
    if isinstance(value, dict):
        for key, item in value.items():
            if problem := _unstorable(key) or _unstorable(item, depth + 1):
                return problem
    elif isinstance(value, list):
        for item in value:
            if problem := _unstorable(item, depth + 1):
                return problem
    return None
