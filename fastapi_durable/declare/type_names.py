"""Names of types, so that another process with the same code finds the declared type."""

import sys
import types
from typing import Any, Final, Literal, Union, get_args, get_origin

from fastapi_durable.model.records import Json

_UNIONS: Final = (Union, types.UnionType)
_NONE: Final = "None"


def type_name(declared: Any) -> Json:
    """A JSON value from which `find_type` makes the type again: a text for a class, a list for what is made of types.

    None for a type that has no name, as one that is local to a function.
    """
    if get_origin(declared) is Literal:
        values = list(get_args(declared))
        return ["literal", values] if all(type(value) in (str, int, bool) for value in values) else None
    if arguments := get_args(declared):
        origin = get_origin(declared)
        kind = "union" if origin in _UNIONS else _class_name(origin)
        named = [["..."] if argument is Ellipsis else type_name(argument) for argument in arguments]
        return None if kind is None or None in named else [kind, named]
    return _class_name(declared)


def find_type(name: Json) -> Any:
    """Return the type of a name. None if this process has not loaded one of that name.

    It only searches loaded modules, so a stored name cannot make a process import anything.
    """
    match name:
        case str():
            return _loaded(name)
        case ["literal", [_, *_] as values]:
            return Literal[tuple(values)]
        case [str(kind), [_, *_] as parts]:
            found = [Ellipsis if part == ["..."] else find_type(part) for part in parts]
            origin = Union if kind == "union" else _loaded(kind)
            try:
                return None if origin is None or None in found else origin[tuple(found)]
            except TypeError:
                # The class no longer takes parameters.
                return None
        case _:
            return None


def _class_name(declared: Any) -> str | None:
    if declared is None or declared is types.NoneType:
        return _NONE
    module, path = getattr(declared, "__module__", None), getattr(declared, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(path, str):
        return None
    name = f"{module}:{path}"
    return name if _loaded(name) is declared else None


def _loaded(name: str) -> Any:
    if name == _NONE:
        return types.NoneType
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found
