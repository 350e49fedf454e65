"""What every part of the context works with."""

from dataclasses import replace
from typing import Any

from fastapi_durable.declare.definition import StepDefinition
from fastapi_durable.declare.names import checked_name
from fastapi_durable.declare.signature import NO_DEFAULT, NoInput
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import DefinitionError


class NoValue:
    """Stands for an argument that was not given."""


NO_VALUE = NoValue()


class ContextPart:
    """Calls that a turn answers."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def _take(self) -> int:
        return self._turn.take_position()


def turn_of(part: ContextPart) -> Turn:
    """The turn behind a context, for the bodies of the engine's own workflows."""
    return part._turn


def checked_definition(definition: StepDefinition, name: str | None, input: Any) -> StepDefinition:
    """The definition under the name that is to be recorded.

    Raises:
        DefinitionError: an input was given to a function that takes none, or none to one that has no default for it.
    """
    takes_none, given_none = definition.input_type is NoInput, input is NO_VALUE
    if takes_none != given_none and (takes_none or definition.default is NO_DEFAULT):
        takes = "takes no input" if takes_none else "takes an input"
        raise DefinitionError(f"{definition.name!r} {takes}; call it accordingly")
    return definition if name is None else replace(definition, name=checked_name(name))


def given(definition: StepDefinition, input: Any) -> Any:
    """The argument, or the default of a function that takes one; else None."""
    if input is not NO_VALUE:
        return input
    return None if definition.default is NO_DEFAULT else definition.default
