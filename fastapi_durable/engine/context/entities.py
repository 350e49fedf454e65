"""`ctx.call_entity` and `ctx.signal_entity`."""

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, TypeVar, overload

from fastapi_durable.declare.entity import entity_name, operation_name
from fastapi_durable.engine.context.base import NO_VALUE, ContextPart
from fastapi_durable.engine.primitives.entity_call import Call, EntityCall, EntitySignal, checked_call

Entity = TypeVar("Entity")
Input = TypeVar("Input")
Output = TypeVar("Output")


class EntityCalls(ContextPart):
    """The part of the context that sends operations to entities."""

    @overload
    def call_entity(
        self,
        entity: type[Entity],
        key: str,
        operation: Callable[Concatenate[Entity, Input, ...], Coroutine[Any, Any, Output]],
        input: Input,
        /,
    ) -> Coroutine[Any, Any, Output]: ...
    @overload
    def call_entity(
        self,
        entity: type[Entity],
        key: str,
        operation: Callable[Concatenate[Entity, Input, ...], Output],
        input: Input,
        /,
    ) -> Coroutine[Any, Any, Output]: ...
    @overload
    def call_entity(
        self, entity: type[Entity], key: str, operation: Callable[[Entity], Coroutine[Any, Any, Output]], /
    ) -> Coroutine[Any, Any, Output]: ...
    @overload
    def call_entity(
        self, entity: type[Entity], key: str, operation: Callable[[Entity], Output], /
    ) -> Coroutine[Any, Any, Output]: ...
    @overload
    def call_entity(
        self, entity: type | str, key: str, operation: str, input: Any = NO_VALUE, /
    ) -> Coroutine[Any, Any, Any]: ...
    def call_entity(
        self, entity: type | str, key: str, operation: Callable[..., Any] | str, input: Any = NO_VALUE, /
    ) -> Coroutine[Any, Any, Any]:
        """Send an operation to an entity, and wait for its result: `ctx.call_entity(Cart, "7", Cart.add, 2)`.

        An entity executes the operations of one key one after the other. It executes each one once, however often this
        run is replayed.

        Args:
            entity: The entity's class, or its name.
            key: Key of the entity.
            operation: The method of the class, or its name.
            input: Input of the operation. Leave it out for an operation without input.

        Returns:
            What the operation returns.

        Raises:
            EntityOperationError: the operation raised, or the entity has no operation of this name. The entity
                continues.
            InputValidationError: the input does not fit the operation.
        """
        call = self._call(entity, key, operation, input)
        return EntityCall(self._turn, self._take(), call).perform()

    @overload
    def signal_entity(
        self,
        entity: type[Entity],
        key: str,
        operation: Callable[Concatenate[Entity, Input, ...], Any],
        input: Input,
        /,
    ) -> Coroutine[Any, Any, None]: ...
    @overload
    def signal_entity(
        self, entity: type[Entity], key: str, operation: Callable[[Entity], Any], /
    ) -> Coroutine[Any, Any, None]: ...
    @overload
    def signal_entity(
        self, entity: type | str, key: str, operation: str, input: Any = ..., /
    ) -> Coroutine[Any, Any, None]: ...
    def signal_entity(
        self, entity: type | str, key: str, operation: Callable[..., Any] | str, input: Any = NO_VALUE, /
    ) -> Coroutine[Any, Any, None]:
        """Send an operation to an entity, and continue at once. No caller receives the result.

        Args:
            entity: The entity's class, or its name.
            key: Key of the entity.
            operation: The method of the class, or its name.
            input: Input of the operation. Leave it out for an operation without input.

        Raises:
            EntityOperationError: an operator ended the entity.
            InputValidationError: the input does not fit the operation.
        """
        call = self._call(entity, key, operation, input)
        return EntitySignal(self._turn, self._take(), call).perform()

    def _call(self, entity: type | str, key: str, operation: Callable[..., Any] | str, input: Any) -> Call:
        name, asked = entity_name(entity), operation_name(operation)
        return checked_call(self._turn.kernel, name, key, asked, input, given=input is not NO_VALUE)
