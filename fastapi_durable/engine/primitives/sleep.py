"""`ctx.sleep` and `ctx.sleep_until`: a wait that occupies only a row.

The deadline is recorded (`pending`) with the suspension, or before it, so a crash does not start the wait again.
"""

from datetime import datetime

from fastapi_durable.engine.primitives.primitive import Primitive
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.records import Checkpoint, CheckpointKind, CheckpointStatus, Json


class Sleep(Primitive[None]):
    """Returns at `deadline`, or at the deadline that the first run recorded."""

    kind = CheckpointKind.SLEEP
    begins_effect = False

    def __init__(self, turn: Turn, seq: int, deadline: datetime) -> None:
        super().__init__(turn, seq, "sleep")
        self._deadline = deadline

    def is_answer(self, recorded: Checkpoint) -> bool:
        # nestjs-durable writes its sleep rows as completed at once. Their deadline counts all the same.
        return recorded.status.is_finished and not self._lies_ahead(recorded)

    async def act(self) -> Checkpoint:
        asleep = self.begun or await self.turn.hold(self.row(CheckpointStatus.PENDING, wake_at=self._deadline))
        if not self._lies_ahead(asleep):
            # Let other tasks run, however short the sleep is.
            await self.turn.held.commit()
        while self._lies_ahead(asleep):
            await self.turn.life.park(asleep.wake_at)
        if asleep.status.is_finished:
            return asleep
        awake = self.row(CheckpointStatus.COMPLETED, wake_at=asleep.wake_at, started_at=asleep.started_at)
        return await self.turn.hold(awake)

    def _lies_ahead(self, asleep: Checkpoint) -> bool:
        return asleep.wake_at is not None and asleep.wake_at > self.turn.kernel.clock.now()

    def returns(self, _: Json) -> None:
        """Nothing."""
