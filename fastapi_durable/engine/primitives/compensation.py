"""Sagas: undo what a run has done, in reverse order, when it fails or is cancelled with compensation.

An undo is a step like any other, with its own retries, recorded at the negative position that belongs to the step it
undoes. One that fails for good is recorded and passed over: the others are undone all the same.
"""

import asyncio
import logging
from dataclasses import replace
from typing import Any

from fastapi_durable.declare.definition import StepDefinition, StepPolicy
from fastapi_durable.declare.signature import NoInput
from fastapi_durable.engine.primitives.step import run_step
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.engine.turns.undo import Compensation, undo_position
from fastapi_durable.model.errors import SerializationError, StepFailedError
from fastapi_durable.model.records import CheckpointStatus
from fastapi_durable.transport.base import Transport

_log = logging.getLogger("fastapi_durable")


async def run_compensated_step(
    turn: Turn,
    seq: int,
    definition: StepDefinition,
    policy: StepPolicy,
    value: Any,
    undo: StepDefinition,
    *,
    transport: Transport | None = None,
) -> Any:
    """A step whose success makes `undo` due, on the first run and on every replay."""
    try:
        result = await run_step(turn, seq, definition, policy, value, transport=transport)
    except asyncio.CancelledError:
        # A step that was given up may have come to its end in its thread all the same.
        _note_success(turn, seq, definition, undo)
        raise
    _note_success(turn, seq, definition, undo)
    return result


def _note_success(turn: Turn, seq: int, definition: StepDefinition, undo: StepDefinition) -> None:
    recorded = turn.peek(seq)
    if recorded is not None and recorded.status is CheckpointStatus.COMPLETED:
        turn.compensations.append(
            Compensation(
                seq=seq,
                step=definition.name,
                undo=undo,
                input=recorded.input,
                output=recorded.output,
            )
        )


async def unwind(turn: Turn, compensations: list[Compensation]) -> None:
    """Undo, the latest first.

    That is the order in which the body came by them in this turn: on every replay, what a step was built on comes
    before it. Times would not say so: two steps end in one millisecond, and clocks of two machines differ.
    """
    for due in reversed(compensations):
        definition = replace(due.undo, name=f"compensate:{due.step}")
        try:
            value = None
            if definition.input_type is not NoInput:
                value = turn.kernel.codec.decode(
                    {"input": due.input, "output": due.output},
                    definition.input_type,
                    what=f"the input of the compensation of {due.step!r}",
                )
            await run_step(turn, undo_position(due.seq), definition, definition.policy, value)
        except (StepFailedError, SerializationError) as error:
            _log.error("run %s: step %r could not be undone: %s", turn.run.id, due.step, error)
