"""The base of every part of the context."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from fastapi_durable.declare.definition import StepDefinition
from fastapi_durable.declare.names import checked_name
from fastapi_durable.declare.signature import NO_DEFAULT, NoInput
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import DefinitionError, StepNotRegisteredError, WorkflowNotRegisteredError

T = TypeVar("T")


class NoValue:
    """Stands for an argument that was not given."""


NO_VALUE = NoValue()


class ContextPart:
    """Calls that a turn answers."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def _take(self) -> int:
        return self._turn.take_position()

    def _registered(self, find: Callable[[], T], *seqs: int, name: str = "") -> T:
        """Look up what a call needs in the registry.

        Args:
            seqs: The positions that the call has taken.
            name: The name under which the call is recorded, if it has taken no position yet.

        Raises:
            WorkflowNotRegisteredError, StepNotRegisteredError: it is not registered, and the call is new. If the call
                is recorded, the turn ends instead, because a deploy lacks what an earlier one had.
        """
        try:
            return find()
        except (WorkflowNotRegisteredError, StepNotRegisteredError) as error:
            if name:
                self._turn.block_if_next_is(name, error)
            self._turn.block_if_recorded(error, *seqs)
            raise


def turn_of(part: ContextPart) -> Turn:
    """Return the turn behind a context, for the bodies of the engine's own workflows."""
    return part._turn


def checked_definition(definition: StepDefinition, name: str | None, input: Any) -> StepDefinition:
    """Return the definition, after a check of its name and input.

    Raises:
        DefinitionError: an input was given to a function that takes none, or none to one that has no default for it.
    """
    takes_none, given_none = definition.input_type is NoInput, input is NO_VALUE
    if takes_none != given_none and (takes_none or definition.default is NO_DEFAULT):
        rule = "left out, got one" if takes_none else "given, got none"
        raise DefinitionError(f"the input of {definition.name!r} must be {rule}")
    return definition if name is None else replace(definition, name=checked_name(name))


def given(definition: StepDefinition, input: Any) -> Any:
    """Return the argument, or the default of a function that takes one. None if there is neither."""
    if input is not NO_VALUE:
        return input
    return None if definition.default is NO_DEFAULT else definition.default
