"""Sagas: undo what a run has done, in reverse order, when it fails or is cancelled with compensation.

An undo is a step like any other, with its own retries, recorded at the negative position that belongs to the step it
undoes. An undo that fails for good is recorded, and the other steps are undone all the same.
"""

import asyncio
import logging
from dataclasses import replace
from typing import Any

from fastapi_durable.declare.definition import StepDefinition, StepPolicy
from fastapi_durable.declare.signature import NoInput
from fastapi_durable.engine.primitives.step import Step
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.engine.turns.undo import Compensation, undo_position
from fastapi_durable.model.errors import SerializationError, StepFailedError
from fastapi_durable.model.records import CheckpointStatus
from fastapi_durable.transport.base import Transport

_log = logging.getLogger("fastapi_durable")


class CompensatedStep(Step):
    """A step whose success makes `undo` due, on the first run and on every replay."""

    def __init__(
        self,
        turn: Turn,
        seq: int,
        definition: StepDefinition,
        policy: StepPolicy,
        value: Any,
        undo: StepDefinition,
        transport: Transport | None = None,
    ) -> None:
        super().__init__(turn, seq, definition, policy, value, transport)
        self._undo = undo

    async def perform(self) -> Any:
        """See `Step`. The undo is noted once the step has succeeded."""
        try:
            result = await super().perform()
        except asyncio.CancelledError:
            # An abandoned step may still have completed in its thread.
            self._note_success()
            raise
        self._note_success()
        return result

    def _note_success(self) -> None:
        recorded = self.turn.history.find(self.seq)
        if recorded is not None and recorded.status is CheckpointStatus.COMPLETED:
            self.turn.compensations.append(
                Compensation(
                    seq=self.seq,
                    step=self.name,
                    undo=self._undo,
                    input=recorded.input,
                    output=recorded.output,
                )
            )


async def unwind(turn: Turn, compensations: list[Compensation]) -> None:
    """Undo the completed steps, the latest first.

    The order is that in which the body received their results in this turn. So a step is undone before the steps that
    it depended on. Times could not decide: two steps may end in one millisecond, and the clocks of two machines differ.
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
            await Step(turn, undo_position(due.seq), definition, definition.policy, value).perform()
        except (StepFailedError, SerializationError) as error:
            _log.error("run %s: step %r could not be undone: %s", turn.run.id, due.step, error)
