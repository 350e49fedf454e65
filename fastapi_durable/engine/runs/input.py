"""Checks the values of callers before a row exists: inputs of workflows and of named steps, and values sent to runs."""

from typing import Any

from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.definition import StepDefinition, WorkflowDefinition
from fastapi_durable.declare.signature import NO_DEFAULT, NoInput
from fastapi_durable.model.errors import InputValidationError, SerializationError
from fastapi_durable.model.records import Json


class NoInputGiven:
    """Stands for the input of a workflow that takes none."""


NO_INPUT = NoInputGiven()


def encode_input(codec: Codec, definition: WorkflowDefinition, value: Any, *, given: bool) -> Json:
    """Check an input against the workflow's type, and return its stored form. Without an input, use the default.

    Raises:
        InputValidationError: the input does not fit, or cannot be stored.
    """
    label = f"the input of workflow {definition.name!r}"
    if definition.input_type is NoInput:
        if given and value is not None:
            raise InputValidationError(f"the input of workflow {definition.name!r} must be left out, got one")
        return None
    if not given:
        if definition.default is NO_DEFAULT:
            raise InputValidationError(f"the input of workflow {definition.name!r} must be given, got none")
        value = definition.default
    try:
        return codec.encode_given(value, definition.input_type, what=label)
    except SerializationError as error:
        raise InputValidationError(str(error)) from error


def encode_sent(codec: Codec, value: Any, *, what: str) -> Json:
    """Return the stored form of a value that a caller sends, such as the payload of a signal.

    Raises:
        InputValidationError: the value cannot be stored.
    """
    try:
        return codec.encode(value, Any, what=what)
    except SerializationError as error:
        raise InputValidationError(str(error), misfit=error.misfit) from error


def as_declared(codec: Codec, definition: StepDefinition, value: Any) -> Any:
    """Return the input of a step that is called by name. It may be given in its JSON form.

    Raises:
        SerializationError: it does not fit the step's type, as a value or as JSON.
    """
    label = f"the input of step {definition.name!r}"
    if definition.input_type is NoInput:
        return value
    return codec.decode(codec.encode_given(value, definition.input_type, what=label), definition.input_type, what=label)
