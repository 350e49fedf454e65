"""Search attributes, by which runs are found. If the workflow declares a schema, all attributes of a run must fit it.

One transaction on the locked run changes them and records the result. So no change of another writer is lost, and a
replay returns the attributes of the first execution.
"""

import math
from collections.abc import Mapping
from typing import Any

from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.engine.primitives.primitive import Primitive
from fastapi_durable.engine.runs.failure import error_record
from fastapi_durable.engine.runs.start_validation import check_attributes
from fastapi_durable.engine.turns.own_run import own_run
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import InputValidationError, SerializationError
from fastapi_durable.model.records import Checkpoint, CheckpointStatus, Json, SearchAttributes, SearchValue


def checked_attributes(
    codec: Codec, definition: WorkflowDefinition | None, attributes: Mapping[str, Any]
) -> dict[str, SearchValue]:
    """Return the attributes as they are stored.

    Raises:
        InputValidationError: a value is not a text, a number or a boolean, or they do not fit the workflow's schema.
    """
    if not attributes:
        return {}
    values = dict(attributes)
    if definition is not None and definition.search_attributes is not None and values:
        label = f"the search attributes of workflow {definition.name!r}"
        try:
            decoded = codec.decode(codec.encode(values, Any, what=label), definition.search_attributes, what=label)
            encoded = codec.encode(decoded, definition.search_attributes, what=label)
        except SerializationError as error:
            raise InputValidationError(str(error)) from error
        # Only given fields: a default of the schema, or an absent optional field, is not an attribute of the run.
        values = {key: encoded.get(key, value) for key, value in values.items()}
    check_attributes(values)
    for key, value in values.items():
        if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
            raise InputValidationError(
                f"the search attribute {key!r} must be a text, a finite number or a boolean, got {type(value).__name__}"
            )
    try:
        # A text may also contain characters that no database can store.
        codec.encode(values, Any, what="the search attributes")
    except SerializationError as error:
        raise InputValidationError(str(error)) from error
    return values


class UpsertedAttributes(Primitive[SearchAttributes]):
    """Sets attributes of the run, and removes those that are None. Returns all attributes after the change.

    Raises:
        InputValidationError: the result does not fit the workflow's schema. Nothing was changed.
    """

    def __init__(self, turn: Turn, seq: int, changes: Mapping[str, Any]) -> None:
        super().__init__(turn, seq, "searchAttributes")
        self._changes = changes

    async def act(self) -> Checkpoint:
        return await self.commit(self._change)

    async def _change(self) -> Checkpoint:
        turn, kernel = self.turn, self.turn.kernel
        definition = kernel.registry.find(turn.run.workflow, turn.run.workflow_version)
        async with turn.transaction() as transaction:
            run = await own_run(turn, transaction)
            merged = {**run.search_attributes, **self._changes}
            try:
                attributes = checked_attributes(
                    kernel.codec, definition, {key: value for key, value in merged.items() if value is not None}
                )
            except InputValidationError as error:
                # Recorded, so that a body which caught the error takes the same branch on every replay.
                failure = error_record(error, retryable=False)
                return await self.record_in(transaction, self.row(CheckpointStatus.FAILED, error=failure))
            await transaction.update_run(
                run.id, {"search_attributes": attributes, "updated_at": kernel.clock.now()}, token=turn.token
            )
            return await self.record_in(transaction, self.row(CheckpointStatus.COMPLETED, output=attributes))

    def returns(self, output: Json) -> SearchAttributes:
        attributes: dict[str, SearchValue] = output or {}
        return attributes

    def raises(self, recorded: Checkpoint) -> Exception:
        return InputValidationError("" if recorded.error is None else recorded.error.message)
