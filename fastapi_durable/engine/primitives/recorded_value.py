"""`ctx.now`, `ctx.uuid`, `ctx.random`, `ctx.side_effect`: a value taken once and recorded for every replay."""

import inspect
from collections.abc import Callable
from typing import Any

from fastapi_durable.engine.primitives.primitive import Primitive
from fastapi_durable.engine.runs.failure import error_record
from fastapi_durable.engine.turns.body_task import is_interruption, take_back_own_cancels
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.records import Checkpoint, CheckpointStatus, Json


class RecordedValue(Primitive[Any]):
    """The recorded value of this position. On the first run, `take` (sync or async) returns it.

    After a crash between taking and recording, `take` is called again. So it should not change the outside world.

    Args:
        declared: The type of the value.

    Raises:
        StepFailedError: `take` raised, or its value has no JSON form.
    """

    begins_effect = False
    needs_output_only = True

    def __init__(self, turn: Turn, seq: int, name: str, declared: Any, take: Callable[[], Any]) -> None:
        super().__init__(turn, seq, name)
        self._declared = declared
        self._take = take

    async def act(self) -> Checkpoint:
        try:
            try:
                value = self._take()
                if inspect.isawaitable(value):
                    await self.turn.begin_effect()
                    value = await value
            finally:
                if self.turn.life.tasks.self_cancelled:
                    await take_back_own_cancels()
            output = self.turn.kernel.codec.encode(value, self._declared, what=f"the value of {self.name}")
        except BaseException as error:
            if is_interruption(error):
                raise
            # Recorded, so that a body which caught the error takes the same branch on every replay.
            row = self.row(CheckpointStatus.FAILED, error=error_record(error))
        else:
            row = self.row(CheckpointStatus.COMPLETED, output=output)
        return await self.turn.hold(row)

    def returns(self, output: Json) -> Any:
        return self.turn.kernel.codec.decode(output, self._declared, what=f"the value of {self.name}")
