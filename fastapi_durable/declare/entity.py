"""Entities as they are declared: a class whose instances live in the database, one for each key.

The class is the state: a pydantic model or a dataclass that can be made without arguments. Its operations are the
methods decorated with `@operation`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from fastapi_durable.declare.annotations import remember_names
from fastapi_durable.declare.definition import StepDefinition, default_name, step_definition
from fastapi_durable.declare.names import checked_name, checked_part
from fastapi_durable.model.errors import DefinitionError

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])

_ENTITY = "__durable_entity__"
_OPERATION = "__durable_operation__"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityDefinition:
    """An entity's name, the type of its state, and its operations by name."""

    name: str
    state_type: type
    operations: Mapping[str, StepDefinition]


@overload
def entity(cls: C, /) -> C: ...
@overload
def entity(*, name: str | None = None) -> Callable[[C], C]: ...
def entity(cls: C | None = None, /, *, name: str | None = None) -> C | Callable[[C], C]:
    """Declare a class as an entity. The class stays as it is.

    Args:
        cls: The class, if the decorator is used without parentheses.
        name: Name to record. Default: the class's name.

    Returns:
        The class, unchanged.

    Raises:
        DefinitionError: the name cannot be stored.
    """

    def declare(target: C) -> C:
        setattr(target, _ENTITY, checked_part("name of an entity", name or default_name(target)))
        return target

    return declare if cls is None else declare(cls)


@overload
def operation(function: F, /) -> F: ...
@overload
def operation(*, name: str | None = None) -> Callable[[F], F]: ...
def operation(function: F | None = None, /, *, name: str | None = None) -> F | Callable[[F], F]:
    """Declare a method of an entity as an operation: `def` or `async def`, with one input or none.

    An operation may change `self` and return a value. Both are recorded together after it returns. If it raises, the
    state stays as it was, and the caller receives the error. After a crash in the middle, it is executed again on the
    old state. Keyword-only parameters are injected.

    Args:
        function: The method, if the decorator is used without parentheses.
        name: Name by which callers ask for the operation. Default: the method's name.

    Returns:
        The method, unchanged.

    Raises:
        DefinitionError: the name cannot be stored.
    """

    def declare(target: F) -> F:
        remember_names(target)
        setattr(target, _OPERATION, checked_name(name or target.__name__))
        return target

    return declare if function is None else declare(function)


def entity_name(entity: Any) -> str:
    """The name of an entity.

    Raises:
        DefinitionError: the class is not decorated with `@entity`, or the text cannot be such a name.
    """
    if isinstance(entity, str):
        return checked_part("name of an entity", entity)
    name = vars(entity).get(_ENTITY) if isinstance(entity, type) else None
    if not isinstance(name, str):
        raise DefinitionError(f"{default_name(entity)!r} is not an entity. Decorate it with @entity")
    return name


def operation_name(operation: Callable[..., Any] | str) -> str:
    """The name of an operation.

    Raises:
        DefinitionError: the method is not decorated with `@operation`.
    """
    if isinstance(operation, str):
        return operation
    name = getattr(operation, _OPERATION, None)
    if not isinstance(name, str):
        raise DefinitionError(f"{default_name(operation)!r} is not an operation. Decorate it with @operation")
    return name


def entity_definition(cls: type) -> EntityDefinition:
    """Return the definition of a class that is decorated with `@entity`.

    Raises:
        DefinitionError: it is not decorated, has no operation, or an operation's signature cannot work.
    """
    name = entity_name(cls)
    operations: dict[str, StepDefinition] = {}
    for attribute in dir(cls):
        function = getattr(cls, attribute, None)
        operation = getattr(function, _OPERATION, None)
        if function is not None and isinstance(operation, str):
            if operation in operations:
                raise DefinitionError(
                    f"the operations of entity {name!r} must have different names, got {operation!r} twice"
                )
            operations[operation] = step_definition(function, leading=("self",))
    if not operations:
        raise DefinitionError(f"entity {name!r} has no operation. Decorate its methods with @operation")
    return EntityDefinition(name=name, state_type=cls, operations=operations)
