"""Entities, for callers outside of workflows."""

import uuid
from collections.abc import Callable
from typing import Any, Concatenate, TypeVar, overload

from fastapi_durable.declare.entity import entity_name, operation_name
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.primitives.entity_call import checked_call, signal_from_outside
from fastapi_durable.engine.primitives.entity_message import STATE, entity_run_id
from fastapi_durable.engine.runs.input import NO_INPUT
from fastapi_durable.engine.runs.namespaces import namespace_of
from fastapi_durable.model.reserved import checked_text

State = TypeVar("State")
Input = TypeVar("Input")


class Entities:
    """The part of the façade that speaks to entities."""

    _kernel: Kernel

    @overload
    async def signal_entity(
        self,
        entity: type[State],
        key: str,
        operation: Callable[Concatenate[State, Input, ...], Any],
        input: Input,
        /,
        *,
        operation_id: str | None = None,
    ) -> None: ...
    @overload
    async def signal_entity(
        self,
        entity: type[State],
        key: str,
        operation: Callable[[State], Any],
        /,
        *,
        operation_id: str | None = None,
    ) -> None: ...
    @overload
    async def signal_entity(
        self,
        entity: type | str,
        key: str,
        operation: str,
        input: Any = ...,
        /,
        *,
        operation_id: str | None = None,
    ) -> None: ...
    async def signal_entity(
        self,
        entity: type | str,
        key: str,
        operation: Callable[..., Any] | str,
        input: Any = NO_INPUT,
        /,
        *,
        operation_id: str | None = None,
    ) -> None:
        """Send an operation to an entity, which is created if it does not exist. No caller receives the result.

        Args:
            entity: The entity's class, or its name.
            key: Key of the entity.
            operation: The method of the class, or its name.
            input: Input of the operation. Leave it out for an operation without input.
            operation_id: Id of the operation. The entity skips an operation whose id is among the last 500 that it
                executed.

        Raises:
            InputValidationError: the input does not fit the operation, or the key or the id cannot be stored.
            RunStateError: an operator ended the entity.
        """
        if operation_id is not None:
            checked_text("operation_id", operation_id)
        call = checked_call(
            self._kernel,
            entity_name(entity),
            key,
            operation_name(operation),
            input,
            given=input is not NO_INPUT,
        )
        await signal_from_outside(self._kernel, call, operation_id or uuid.uuid4().hex)

    @overload
    async def get_entity_state(self, entity: type[State], key: str, /) -> State | None: ...
    @overload
    async def get_entity_state(self, entity: str, key: str, /) -> Any: ...
    async def get_entity_state(self, entity: type[Any] | str, key: str, /) -> Any:
        """Return the state of an entity after its last recorded operation.

        Args:
            entity: The entity's class, or its name.
            key: Key of the entity.

        Returns:
            An instance of the class. For a name, the state as JSON. None if no operation was recorded.

        Raises:
            SerializationError: the stored state does not fit the class.
        """
        run_id = entity_run_id(namespace_of(self._kernel.config), entity_name(entity), key)
        # The state before the row: a history that is emptied in between leaves the newer one in the input.
        run = await self._kernel.store.find_run(run_id)
        if run is None:
            return None
        shown = await self._kernel.store.find_latest_checkpoint_by_name(run_id, STATE)
        state = shown.output if shown is not None else None
        if state is None:
            run = await self._kernel.store.find_run(run_id)
            state = None if run is None else run.input.get("state")
        if state is None or isinstance(entity, str):
            return state
        return self._kernel.codec.decode(state, entity, what=f"the state of {run_id!r}")
