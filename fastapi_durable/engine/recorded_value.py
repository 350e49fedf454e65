"""`ctx.now`, `ctx.uuid`, `ctx.random`, `ctx.side_effect`: a value taken once and recorded for every replay."""

import inspect
from collections.abc import Callable
from typing import Any

from fastapi_durable.engine.turn import Turn
from fastapi_durable.model import CheckpointKind, CheckpointStatus


async def record_value(turn: Turn, seq: int, name: str, declared: Any, take: Callable[[], Any]) -> Any:
    """The recorded value of this position; on the first run, what `take` (sync or async) returns.

    A crash between taking and recording takes again, so `take` should not change the outside world.

    Raises:
        SerializationError: the value has no JSON form.
    """
    codec = turn.services.codec
    async with turn.under_way():
        recorded = turn.recorded(seq, CheckpointKind.LOCAL, name)
        if recorded is None:
            value = take()
            if inspect.isawaitable(value):
                value = await value
            output = codec.encode(value, declared, what=f"the value of {name}")
            recorded = await turn.record(
                turn.checkpoint(seq, CheckpointKind.LOCAL, name, CheckpointStatus.COMPLETED, output=output)
            )
        return codec.decode(recorded.output, declared, what=f"the value of {name}")
