"""Reads the annotations of functions, even texts that use local names of another function.

`from __future__ import annotations` turns each annotation into a text. Python looks its names up in the module only. A
decorator also sees the names of the enclosing functions, and remembers those that the annotations use.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from types import FrameType, FunctionType
from typing import Any, get_type_hints

from fastapi_durable.model.errors import DefinitionError

_NAMES = "__durable_names__"


def remember_names(target: Any) -> None:
    """Keep the local names that the annotations of a function, or of a class's functions, use.

    A decorator calls it, because its caller is where the function is defined.
    """
    written = [each for each in vars(target).values() if isinstance(each, FunctionType)] if _is_class(target) else []
    for function in [target, *written]:
        if not isinstance(function, FunctionType) or "<locals>" not in function.__qualname__:
            continue
        if not (missing := _names_in(function.__annotations__) - function.__globals__.keys()):
            continue
        found: dict[str, Any] = {}
        # A decorated class is defined already, so its body has no frame any more.
        inner = [vars(target)] if _is_class(target) else []
        for scope in [*inner, *_scopes_around(function)]:
            # The innermost scope counts.
            found = {name: scope[name] for name in missing if name in scope} | found
        if found:
            setattr(function, _NAMES, {**getattr(function, _NAMES, {}), **found})


def hints_of(function: Callable[..., Any], label: str) -> dict[str, Any]:
    """The annotations of a function, evaluated.

    Raises:
        DefinitionError: one names what cannot be found, or is not an annotation. It says which.
    """
    names = local_names(function)
    try:
        return get_type_hints(function, localns=names or None, include_extras=True)
    except (NameError, TypeError, ValueError, AttributeError, SyntaxError) as error:
        parameter = _unreadable(function, names)
        place = f"the annotation of {parameter!r}" if parameter else "an annotation"
        place = "the return annotation" if parameter == "return" else place
        raise DefinitionError(
            f"{place} of {label} cannot be read: {error}. Import what it names at run time, not under TYPE_CHECKING, "
            "and define it before the function is decorated"
        ) from error


def local_names(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the local names that annotations of a function may use: those in its closure, and those noted by the
    decorator.
    """
    names: dict[str, Any] = {}
    if isinstance(function, FunctionType):
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                names[name] = cell.cell_contents
            except ValueError:
                # Not assigned yet.
                continue
    return {**names, **getattr(function, _NAMES, {})}


def _unreadable(function: Callable[..., Any], names: Mapping[str, Any]) -> str | None:
    """Return the parameter whose annotation cannot be evaluated."""
    for parameter, annotation in getattr(function, "__annotations__", {}).items():

        def alone() -> None: ...

        alone.__annotations__ = {parameter: annotation}
        try:
            get_type_hints(alone, getattr(function, "__globals__", {}), dict(names))
        except Exception:
            return str(parameter)
    return None


def _names_in(annotations: Mapping[str, Any]) -> set[str]:
    """Return the names in annotations that are texts."""
    names: set[str] = set()
    for text in annotations.values():
        if isinstance(text, str):
            try:
                names.update(compile(text, "<annotation>", "eval").co_names)
            except (SyntaxError, ValueError):
                # The error is reported when the annotation is evaluated.
                continue
    return names


def _scopes_around(function: FunctionType) -> Iterator[Mapping[str, Any]]:
    """Return the local names of the functions and classes around a function that is being defined, the innermost
    first.
    """
    names = function.__qualname__.split(".")[:-1]
    start: FrameType | None = sys._getframe(1)
    for name in reversed([name for name in names if name != "<locals>"]):
        frame = start
        while frame is not None and not (frame.f_code.co_name == name and frame.f_globals is function.__globals__):
            frame = frame.f_back
        if frame is not None:
            yield frame.f_locals
            start = frame.f_back


def _is_class(target: Any) -> bool:
    return isinstance(target, type)
