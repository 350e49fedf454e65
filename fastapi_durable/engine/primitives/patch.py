"""`ctx.patched`: tells runs that were begun before a change of the code from those begun after it."""

from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.records import CheckpointKind, CheckpointStatus

_PREFIX = "patch:"


def is_older(turn: Turn, seq: int) -> bool:
    """Whether the run passed this position before the change: it recorded something else there.

    Such a run keeps the position for that; the call takes none.
    """
    recorded = turn.peek(seq)
    return recorded is not None and not recorded.name.startswith(_PREFIX)


async def mark_patched(turn: Turn, seq: int, patch_id: str) -> bool:
    """Record that the run takes the new way from here on."""
    name = f"{_PREFIX}{patch_id}"
    async with turn.under_way():
        if await turn.recorded(seq, CheckpointKind.LOCAL, name) is None:
            await turn.record(turn.checkpoint(seq, CheckpointKind.LOCAL, name, CheckpointStatus.COMPLETED, output=True))
        return True
