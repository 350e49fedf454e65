"""`ctx.now`, `ctx.uuid`, `ctx.random`, `ctx.side_effect`: a value taken once and recorded for every replay."""

import inspect
from collections.abc import Callable
from typing import Any

from fastapi_durable.engine.runs.failure import error_record
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import StepFailedError
from fastapi_durable.model.records import CheckpointKind, CheckpointStatus, ErrorRecord


async def record_value(turn: Turn, seq: int, name: str, declared: Any, take: Callable[[], Any]) -> Any:
    """The recorded value of this position; on the first run, what `take` (sync or async) returns.

    A crash between taking and recording takes again, so `take` should not change the outside world.

    Raises:
        StepFailedError: `take` raised, or its value has no JSON form.
    """
    codec = turn.kernel.codec
    async with turn.under_way():
        recorded = await turn.recorded(seq, CheckpointKind.LOCAL, name)
        if recorded is None:
            try:
                value = take()
                if inspect.isawaitable(value):
                    value = await value
                output = codec.encode(value, declared, what=f"the value of {name}")
            except Exception as error:
                # Recorded, so that a body which caught the error takes the same branch on every replay.
                failed = turn.checkpoint(
                    seq, CheckpointKind.LOCAL, name, CheckpointStatus.FAILED, error=error_record(error)
                )
                recorded = await turn.record(failed)
            else:
                recorded = await turn.record(
                    turn.checkpoint(seq, CheckpointKind.LOCAL, name, CheckpointStatus.COMPLETED, output=output)
                )
        if recorded.status is CheckpointStatus.FAILED:
            failure = recorded.error or ErrorRecord(message="no value")
            raise turn.failed(seq, StepFailedError(name, failure, recorded.attempts))
        return codec.decode(recorded.output, declared, what=f"the value of {name}")
