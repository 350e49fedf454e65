"""Search attributes: what runs are found by. The workflow's schema, if it declares one, holds for all of a run's.

Changing them and recording the change is one transaction on the locked run, so nothing that another writer set is lost,
and a replay finds what the run had then.
"""

import math
from collections.abc import Mapping
from typing import Any

from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.engine.runs.failure import error_record
from fastapi_durable.engine.runs.start_validation import check_attributes
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import InputValidationError, LeaseLostError, SerializationError
from fastapi_durable.model.records import Checkpoint, CheckpointKind, CheckpointStatus, SearchAttributes, SearchValue

_NAME = "searchAttributes"


def checked_attributes(
    codec: Codec, definition: WorkflowDefinition | None, attributes: Mapping[str, Any]
) -> dict[str, SearchValue]:
    """The attributes as they are stored.

    Raises:
        InputValidationError: one is no text, number or boolean, or they do not fit the workflow's schema.
    """
    values = dict(attributes)
    if definition is not None and definition.search_attributes is not None and values:
        label = f"the search attributes of workflow {definition.name!r}"
        try:
            decoded = codec.decode(codec.encode(values, Any, what=label), definition.search_attributes, what=label)
            encoded = codec.encode(decoded, definition.search_attributes, what=label)
        except SerializationError as error:
            raise InputValidationError(str(error)) from error
        # Only what was given: a default of the schema, or an absent optional field, is not an attribute of the run.
        values = {key: encoded.get(key, value) for key, value in values.items()}
    check_attributes(values)
    for key, value in values.items():
        if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
            raise InputValidationError(f"the search attribute {key!r} is a text, a number or a boolean, not {value!r}")
    return values


async def upsert_search_attributes(turn: Turn, seq: int, changes: Mapping[str, Any]) -> SearchAttributes:
    """Set attributes of the run, and remove those that are None; returns all that it has then.

    Raises:
        InputValidationError: the result does not fit the workflow's schema; nothing was changed.
    """
    async with turn.under_way():
        recorded = await turn.recorded(seq, CheckpointKind.LOCAL, _NAME)
        if recorded is None:
            recorded = await turn.persist(lambda: _change(turn, seq, changes))
            turn.remember(recorded)
        attributes: dict[str, SearchValue] = recorded.output or {}
        if recorded.error is not None:
            raise turn.failed(seq, InputValidationError(recorded.error.message))
        return attributes


async def _change(turn: Turn, seq: int, changes: Mapping[str, Any]) -> Checkpoint:
    kernel = turn.kernel
    definition = kernel.registry.find(turn.run.workflow, turn.run.workflow_version)
    async with kernel.store.transaction(timeout=kernel.config.transaction_timeout) as transaction:
        run = await transaction.lock_run(turn.run.id)
        if run is None or run.locked_by != turn.token:
            raise LeaseLostError(turn.run.id)
        merged = {key: value for key, value in {**run.search_attributes, **changes}.items() if value is not None}
        try:
            attributes = checked_attributes(kernel.codec, definition, merged)
        except InputValidationError as error:
            # Recorded, so that a body which caught the error takes the same branch on every replay.
            failed = turn.checkpoint(
                seq, CheckpointKind.LOCAL, _NAME, CheckpointStatus.FAILED, error=error_record(error, retryable=False)
            )
            return (await transaction.record_checkpoint(failed, token=turn.token)).checkpoint
        await transaction.update_run(
            run.id, {"search_attributes": attributes, "updated_at": kernel.clock.now()}, token=turn.token
        )
        done = turn.checkpoint(seq, CheckpointKind.LOCAL, _NAME, CheckpointStatus.COMPLETED, output=attributes)
        return (await transaction.record_checkpoint(done, token=turn.token)).checkpoint
