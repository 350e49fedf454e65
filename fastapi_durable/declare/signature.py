"""Reads the types of the input and of the result from the signature of a workflow or a step."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, get_origin

from pydantic import BaseModel

from fastapi_durable.declare.annotations import hints_of
from fastapi_durable.model.errors import DefinitionError

_TYPES = "__durable_types__"

_DATA = (str, bytes, int, float, list, tuple, dict, set, BaseModel)
"""Types that are never a context, and often an input."""


@dataclass(frozen=True, slots=True)
class NoInput:
    """The input type of a function that takes none."""


class NoDefault:
    """Stands for the default of an input that has to be given."""


NO_DEFAULT = NoDefault()


class Signature(NamedTuple):
    """The input and the result of a function.

    Attributes:
        input_type: The annotation of its input; `NoInput` if it takes none.
        output_type: Its return annotation.
        default: The default of its input, or `NO_DEFAULT`.
    """

    input_type: Any
    output_type: Any
    default: Any


def signature_of(function: Callable[..., Any], label: str, *, leading: tuple[str, ...]) -> Signature:
    """`_read`, remembered on the function: reading annotations costs more than a whole step."""
    owner = getattr(function, "__func__", function)
    # `functools.wraps` copies the remembered signature to another function, which may have other types.
    remembered = getattr(owner, _TYPES, None)
    if remembered is None or remembered[0] is not owner:
        remembered = (owner, {})
        try:
            setattr(owner, _TYPES, remembered)
        except (AttributeError, TypeError):
            return _read(function, label, leading=leading)
    types: dict[tuple[str, ...], Signature] = remembered[1]
    if leading not in types:
        types[leading] = _read(function, label, leading=leading)
    return types[leading]


def _read(function: Callable[..., Any], label: str, *, leading: tuple[str, ...]) -> Signature:
    """Return the types of the input and of the result, and the default of the input.

    `leading` are the parameters that the engine passes before the input. Everything after the input must be
    keyword-only: those parameters are injected.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise DefinitionError(f"the signature of {label} cannot be read: {error}. Write it as a function") from error
    hints = hints_of(function_of(function), label)
    positional = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in signature.parameters.values()):
        raise DefinitionError(f"{label} must take one input or none, got *args")
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
        raise DefinitionError(f"{label} must name its injected dependencies after a bare `*`, got **kwargs")
    if len(positional) < len(leading):
        raise DefinitionError(
            f"{label} must take {' and '.join(leading)} before its input, got {len(positional)} positional parameters"
        )
    inputs = positional[len(leading) :]
    if len(inputs) > 1 and inputs[0].name == "self":
        raise DefinitionError(
            f"{label} is a method without its instance. Pass the method of an instance, or name the class in "
            "DurableModule(steps=[...]), so that injection makes one"
        )
    if len(inputs) > 1:
        extra = inputs[1].name
        raise DefinitionError(
            f"{label} must take one input or none, got {', '.join(parameter.name for parameter in inputs)}. Put "
            f"several values into one model. If {extra!r} is an injected dependency, put a bare `*` before it"
        )
    for name in (*(parameter.name for parameter in inputs), "return"):
        if variable := _variable_in(hints.get(name)):
            place = "the return annotation" if name == "return" else f"the annotation of {name!r}"
            raise DefinitionError(
                f"{place} of {label} must be a type, got the type variable {variable}, so the type of stored values "
                "is unknown. Name the type, or Any for JSON values"
            )
    output_type = hints.get("return", Any)
    if not inputs:
        return Signature(NoInput, output_type, NO_DEFAULT)
    (taken,) = inputs
    default = NO_DEFAULT if taken.default is taken.empty else taken.default
    return Signature(hints.get(taken.name, Any), output_type, default)


def _variable_in(hint: Any) -> TypeVar | None:
    """Return an unbound type variable of an annotation. A generic class without arguments counts as a type."""
    if isinstance(hint, TypeVar):
        return hint
    open_ones = () if isinstance(hint, type) else getattr(hint, "__parameters__", ())
    return next((each for each in open_ones if isinstance(each, TypeVar)), None)


def refuse_data_as_context(function: Callable[..., Any], label: str, position: int) -> None:
    """Refuse a body whose first parameter is meant for data: it would be given the context.

    Raises:
        DefinitionError: it is.
    """
    parameter = list(inspect.signature(function).parameters.values())[position]
    declared = hints_of(function_of(function), label).get(parameter.name)
    kind = get_origin(declared) or declared
    if inspect.isclass(kind) and issubclass(kind, _DATA):
        raise DefinitionError(
            f"the first parameter of {label} must be the context, got {parameter.name!r}, declared as "
            f"{kind.__name__}. Write `async def (ctx: WorkflowContext, {parameter.name}: {kind.__name__})`"
        )


def function_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function of a callable: that of a callable object is its `__call__`."""
    if inspect.isfunction(function) or inspect.ismethod(function):
        return function
    return type(function).__call__
