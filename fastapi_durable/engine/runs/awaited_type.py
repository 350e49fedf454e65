"""The type of an awaited payload. The row of the waiting position stores it, so that senders in all processes can read
it.

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
    """Return the part of a waiting row's input that names the type. Empty if the type has no name."""
    name = None if declared is Any else type_name(declared)
    return {} if name is None else {_TYPE: name}


def refuse_misfit(codec: Codec, waiting: Checkpoint | None, payload: Json, *, what: str) -> None:
    """Check a payload against the type that the row names.

    Raises:
        InputValidationError: the payload does not fit. The message names the fields.
    """
    told = waiting.input if waiting is not None else None
    declared = find_type(told.get(_TYPE)) if isinstance(told, dict) else None
    if declared is None:
        return
    try:
        codec.decode(payload, declared, what=what)
    except DefinitionError:
        # The row was written by other code, and the name refers to something else now.
        return
    except SerializationError as error:
        raise InputValidationError(f"{error}. Nothing was delivered, and the run still waits", misfit=True) from error
