"""The type of what a call waits for. The row of its position stores it, so that senders of all processes can read it.

A sender refuses a payload that does not fit, before anything is consumed. If the sender cannot check it, because the
type has no name or is not loaded, the payload is checked when the run reads it.
"""

from typing import Any, Final

from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.type_names import find_type, type_name
from fastapi_durable.model.errors import DefinitionError, InputValidationError, SerializationError
from fastapi_durable.model.records import Checkpoint, Json

_TYPE: Final = "type"


def told_type(declared: Any) -> dict[str, Json]:
    """What the input of a waiting row says of the type; empty if there is nothing to say."""
    name = None if declared is Any else type_name(declared)
    return {} if name is None else {_TYPE: name}


def refuse_misfit(codec: Codec, waiting: Checkpoint | None, payload: Json, *, what: str) -> None:
    """Check a payload against the type that the row tells.

    Raises:
        InputValidationError: it does not fit. The message names the fields.
    """
    told = waiting.input if waiting is not None else None
    declared = find_type(told.get(_TYPE)) if isinstance(told, dict) else None
    if declared is None:
        return
    try:
        codec.decode(payload, declared, what=what)
    except DefinitionError:
        # The row was written by other code, and its name is now that of something else.
        return
    except SerializationError as error:
        raise InputValidationError(f"{error}. Nothing was delivered, and the run still waits", misfit=True) from error
