"""`ctx.sleep` and `ctx.sleep_until`: wait without occupying anything but a row.

The deadline is recorded (`pending`) before the run suspends, so a crash does not start the wait again.
"""

from datetime import datetime

from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.records import CheckpointKind, CheckpointStatus

_NAME = "sleep"


async def sleep_until(turn: Turn, seq: int, deadline: datetime) -> None:
    """Return at `deadline`, or at the one that was recorded on the first run."""
    async with turn.under_way():
        now = turn.kernel.clock.now
        recorded = await turn.recorded(seq, CheckpointKind.SLEEP, _NAME)
        if recorded is None:
            recorded = await turn.record(
                turn.checkpoint(seq, CheckpointKind.SLEEP, _NAME, CheckpointStatus.PENDING, wake_at=deadline)
            )
        # The reference writes its sleep rows as completed at once: their deadline counts all the same.
        if recorded.wake_at is not None and recorded.wake_at > now():
            await turn.park(recorded.wake_at)
        if not recorded.status.is_finished:
            await turn.record(
                turn.checkpoint(
                    seq,
                    CheckpointKind.SLEEP,
                    _NAME,
                    CheckpointStatus.COMPLETED,
                    wake_at=recorded.wake_at,
                    started_at=recorded.started_at,
                )
            )
