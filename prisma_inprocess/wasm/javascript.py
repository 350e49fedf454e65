"""JavaScript's values, as Python holds them for a WebAssembly module.

An object or a Map is a `dict`, an array a `list`, a string a `str`, a function anything that can be called, and a
Uint8Array a `bytearray` or a `memoryview`. The rest has no Python counterpart and is here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final


class Singleton:
    """A value that is equal to itself only."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


# Neither may be Python's None: wasmtime turns None into a null reference, which is a third thing.
UNDEFINED: Final = Singleton("undefined")
NULL: Final = Singleton("null")
SYMBOL_ITERATOR: Final = Singleton("Symbol(Symbol.iterator)")


class JsError(Exception):
    """A JavaScript `Error`: an object that the module builds, and may throw.

    Attributes:
        message: Its text.
        properties: Other properties that were set on it, such as `name` and `code`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.properties: dict[str, Any] = {}


class Date:
    """The moment at which it was made."""

    def __init__(self) -> None:
        self.milliseconds = time.time() * 1000.0


class BigInt(int):
    """A JavaScript bigint: an integer that is not a `number`."""


class Opaque:
    """An object that the module only hands on, or asks for its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"[object {self.name}]"


class RegExp:
    """A regular expression, for the patterns of Prisma's engines: JavaScript's named groups are Python's too."""

    def __init__(self, pattern: str, flags: str) -> None:
        python = re.sub(r"\(\?<(?![=!])", "(?P<", pattern)
        known = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}
        combined = re.RegexFlag(0)
        for flag in flags:
            combined |= known.get(flag, re.RegexFlag(0))
        self._compiled = re.compile(python, combined)

    def exec(self, text: str) -> list[Any] | None:
        """The whole match and its groups, or None."""
        found = self._compiled.search(text)
        if found is None:
            return None
        return [found[0], *(UNDEFINED if group is None else group for group in found.groups())]


def is_nullish(value: Any) -> bool:
    return value is None or value is UNDEFINED or value is NULL


def is_function(value: Any) -> bool:
    return callable(value)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, (bool, BigInt))


def is_object(value: Any) -> bool:
    """Whether `typeof` says "object"; `null` does not count."""
    return not (
        is_nullish(value)
        or isinstance(value, (str, int, float, Singleton))
        or (is_function(value) and value is not None)
    )


def get_property(target: Any, key: Any) -> Any:
    """Return the value of `target[key]` in JavaScript."""
    if isinstance(target, Mapping):
        return target.get(key, UNDEFINED)
    if isinstance(target, (list, tuple)):
        return _of_array(target, key)
    if isinstance(target, JsError):
        return target.message if key == "message" else target.properties.get(key, UNDEFINED)
    return UNDEFINED


def _of_array(target: list[Any] | tuple[Any, ...], key: Any) -> Any:
    if key is SYMBOL_ITERATOR:
        return lambda *_: _iterator(target)
    if key == "length":
        return len(target)
    if is_number(key) and 0 <= key < len(target):
        return target[int(key)]
    return UNDEFINED


def _iterator(items: list[Any] | tuple[Any, ...]) -> dict[str, Callable[..., Any]]:
    remaining = iter(items)

    def step(*_: Any) -> dict[str, Any]:
        for item in remaining:
            return {"done": False, "value": item}
        return {"done": True, "value": UNDEFINED}

    return {"next": step}


def set_property(target: Any, key: Any, value: Any) -> bool:
    """Do what `target[key] = value` does in JavaScript. Returns whether it was done."""
    if isinstance(target, dict):
        target[key] = value
    elif isinstance(target, JsError):
        target.properties[key] = value
    else:
        return False
    return True


def to_python(value: Any) -> Any:
    """A value built by the module as plain Python data.

    JavaScript has one number type, so every number arrives as a double: integral ones become `int` again. Keys that
    are undefined disappear.
    """
    if value is NULL or value is UNDEFINED:
        return None
    if isinstance(value, dict):
        return {key: to_python(item) for key, item in value.items() if item is not UNDEFINED}
    if isinstance(value, list):
        return [to_python(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, BigInt):
        return int(value)
    return value


def to_javascript(value: Any) -> Any:
    """Plain Python data for the module: None becomes `null`, at every depth."""
    if value is None:
        return NULL
    if isinstance(value, Mapping):
        return {key: to_javascript(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_javascript(item) for item in value]
    return value
