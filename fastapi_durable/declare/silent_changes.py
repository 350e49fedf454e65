"""Finds what a value loses on its way to JSON and back without an error from pydantic.

Pydantic drops a field with `exclude=True` and the fields of a subclass, masks secrets, writes NaN as null where the
type is not known, and merges the keys 1 and "1". `first_change` finds the place. `reveal` writes secrets in full.

A value declared as `Any`, or not at all, is read back in its JSON form: a tuple as a list, a date as a text. That is no
change here, unless something is missing.
"""

import dataclasses
import enum
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import zip_longest
from numbers import Number
from typing import Any, NamedTuple

from pydantic import BaseModel, RootModel, Secret, SecretBytes, SecretStr
from pydantic_core import to_jsonable_python

from fastapi_durable.model.records import Json

MASK = "**********"
"""The text that pydantic writes instead of a secret."""

_SECRETS = (SecretStr, SecretBytes, Secret)
_SETS = (set, frozenset)
_SEQUENCES = (list, tuple, deque, *_SETS)
_MISSING: Any = object()


ALTERED = "it changes"


class Change(NamedTuple):
    """Describe the first part that is read back differently, and how it changes, without values.

    Attributes:
        path: Names of fields, keys and numbers of items, joined by dots; empty for the value itself.
        reason: `SecretStr comes back masked`, for example, or `ALTERED` for another value of the same type.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path or 'value'}: {self.reason}"


def equal(one: Any, other: Any) -> bool:
    """Whether two values say that they are equal; False if they cannot say."""
    try:
        return bool(one == other)
    except Exception:
        # An array has no truth value, and a class of the application may raise anything.
        return False


def first_change(given: Any, back: Any, path: str = "") -> Change | None:
    """The first place where `back`, which was read from the JSON form of `given`, is not what `given` is."""
    if given is back or equal(given, back):
        return None
    if isinstance(given, enum.Enum):
        return None if equal(given.value, back) or not isinstance(back, type(given)) else Change(path, ALTERED)
    if isinstance(given, RootModel):
        return first_change(given.root, back.root if isinstance(back, RootModel) else back, path)
    kind = type(given).__name__
    if isinstance(given, _SECRETS):
        secret, shown = given.get_secret_value(), back.get_secret_value() if isinstance(back, _SECRETS) else back
        lost = secret != MASK if shown == MASK else first_change(secret, shown) is not None
        return Change(path, f"{kind} comes back masked") if lost else None
    if back is None:
        return Change(path, f"{kind} comes back as None")
    if isinstance(given, BaseModel) or dataclasses.is_dataclass(given):
        return _change_of_fields(given, back, path)
    if isinstance(given, Mapping):
        return _change_of_mapping(given, back, path) if isinstance(back, Mapping) else None
    if isinstance(given, _SEQUENCES):
        return _change_of_items(given, back, path) if isinstance(back, _SEQUENCES) else None
    return Change(path, ALTERED) if _differs(given, back) else None


def reveal(given: Any, encoded: Json, path: str = "") -> tuple[Json, list[str]]:
    """The JSON form of `given` with its secrets in place of their masks, and the paths of these secrets.

    Args:
        encoded: The JSON form that pydantic made; it is changed.
    """
    if isinstance(given, _SECRETS):
        return (_secret_of(given), [path or "value"]) if encoded == MASK else (encoded, [])
    if isinstance(given, RootModel):
        return reveal(given.root, encoded, path)
    paths: list[str] = []
    for key, name, item in _parts(given, encoded):
        encoded[key], found = reveal(item, encoded[key], _inner(path, name))
        paths += found
    return encoded, paths


def _secret_of(given: Any) -> Json:
    return to_jsonable_python(given.get_secret_value())


def _parts(given: Any, encoded: Json) -> Iterable[tuple[Any, Any, Any]]:
    """Yield the separate parts of a value in its JSON form: key in the form, name, and the part."""
    if isinstance(encoded, dict):
        if isinstance(given, Mapping):
            # In the same order, because keys may have become texts.
            return [(key, key, item) for key, item in zip(encoded, given.values(), strict=False)]
        if isinstance(given, BaseModel) or dataclasses.is_dataclass(given):
            return [(key, name, item) for key, name, item in _fields(given) if key in encoded]
    if isinstance(encoded, list) and isinstance(given, _SEQUENCES) and len(given) == len(encoded):
        return [(number, number, item) for number, item in enumerate(given)]
    return []


def _fields(given: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield the fields of a model or dataclass: the key in its JSON form, the name, and the value."""
    declared: dict[str, Any] = getattr(type(given), "__pydantic_fields__", {})
    names = list(declared) if isinstance(given, BaseModel) else [each.name for each in dataclasses.fields(given)]
    for name in names:
        value = getattr(given, name, _MISSING)
        if value is not _MISSING:
            alias = declared[name].serialization_alias if name in declared else None
            yield alias or name, name, value
    for name, value in (getattr(given, "__pydantic_extra__", None) or {}).items():
        yield name, name, value


def _change_of_fields(given: Any, back: Any, path: str) -> Change | None:
    if isinstance(back, dict):
        if type(back) is dict and _has_own_serializer(given):
            return None
        found = {key: back.get(key, _MISSING) for key, _, _ in _fields(given)}
    elif isinstance(back, BaseModel) or dataclasses.is_dataclass(back):
        if not isinstance(given, type(back)):
            return Change(path, f"{type(given).__name__} comes back as {type(back).__name__}")
        found = {key: getattr(back, name, _MISSING) for key, name, _ in _fields(given)}
    else:
        # The value is the result of a serialiser of the application.
        return None
    for key, name, value in _fields(given):
        place = _inner(path, name)
        if found[key] is _MISSING:
            return Change(place, "it is lost")
        if change := first_change(value, found[key], place):
            return change
    return None


def _has_own_serializer(given: Any) -> bool:
    decorators = getattr(type(given), "__pydantic_decorators__", None)
    return bool(decorators is not None and decorators.model_serializers)


def _change_of_mapping(given: Mapping[Any, Any], back: Mapping[Any, Any], path: str) -> Change | None:
    if len(given) != len(back):
        return Change(path, f"{len(given)} keys become {len(back)}")
    for (key, item), (key_back, item_back) in zip(given.items(), back.items(), strict=True):
        if isinstance(key, (tuple, frozenset)) and isinstance(key_back, str):
            return Change(path, f"a key that is a {type(key).__name__} comes back as a text")
        if change := first_change(item, item_back, _inner(path, key_back)):
            return change
    return None


def _change_of_items(given: Any, back: Any, path: str) -> Change | None:
    if len(given) != len(back):
        return Change(path, f"{len(given)} items become {len(back)}")
    if isinstance(back, _SETS):
        # Without an order, items cannot be matched. Items that compare by identity never match.
        return None if any(_by_identity(each) for each in given) else Change(path, "an item changes")
    for number, (item, item_back) in enumerate(zip_longest(given, back)):
        if change := first_change(item, item_back, _inner(path, number)):
            return change
    return None


def _differs(given: Any, back: Any) -> bool:
    """Return whether two unequal values without parts really differ."""
    if isinstance(given, datetime) and isinstance(back, datetime) and given.tzinfo and back.tzinfo:
        # A time in an hour that the clock shows twice equals no time of another zone (PEP 495).
        return given.timestamp() != back.timestamp()
    if isinstance(given, Number) and isinstance(back, Number):
        # A number that is not equal to itself is NaN.
        return equal(given, given) or equal(back, back)
    if type(given) is not type(back) or _by_identity(given):
        # Compare the JSON form, for classes whose values compare by identity.
        return False
    try:
        return not bool(given == back)
    except Exception:
        return False


def _by_identity(value: Any) -> bool:
    equality: Any = type(value).__eq__
    return equality is object.__eq__


def _inner(path: str, name: Any) -> str:
    return f"{path}.{name}" if path else str(name)
