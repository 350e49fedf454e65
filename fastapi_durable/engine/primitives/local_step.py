"""`ctx.local_step`: a closure of the body as a step. It cannot leave the process, so no transport carries it."""

from typing import Any

from fastapi_durable.declare.definition import StepDefinition, StepPolicy
from fastapi_durable.engine.primitives.compensation import run_compensated_step
from fastapi_durable.engine.primitives.step import run_step
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.transport.base import StepHandler, StepOutcome, StepTask


class _Here:
    """The transport of what stays where it is."""

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def execute(self, task: StepTask, handler: StepHandler) -> StepOutcome:
        return await handler(task)


async def run_local_step(
    turn: Turn, seq: int, definition: StepDefinition, policy: StepPolicy, undo: StepDefinition | None
) -> Any:
    """Execute the closure, or return what is recorded of it; see `run_step`.

    Raises:
        StepFailedError: it failed for good.
    """
    if undo is None:
        return await run_step(turn, seq, definition, policy, None, transport=_Here())
    return await run_compensated_step(turn, seq, definition, policy, None, undo, transport=_Here())
