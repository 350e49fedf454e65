"""`ctx.patched`: distinguishes runs that began before a change of the code from runs that began after it."""

from fastapi_durable.engine.primitives.primitive import Primitive
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.records import Checkpoint, CheckpointStatus, Json

_PREFIX = "patch:"


class Patch(Primitive[bool]):
    """Records that the run follows the new code from here on."""

    begins_effect = False

    def __init__(self, turn: Turn, seq: int, patch_id: str) -> None:
        super().__init__(turn, seq, f"{_PREFIX}{patch_id}")

    async def act(self) -> Checkpoint:
        return await self.turn.hold(self.row(CheckpointStatus.COMPLETED, output=True))

    def returns(self, _: Json) -> bool:
        return True


def is_older(turn: Turn, seq: int) -> bool:
    """Return whether the run passed this position before the change, and recorded something else there.

    Such a run keeps the position for that call, so `patched` takes none.
    """
    recorded = turn.history.find(seq)
    return recorded is not None and not recorded.name.startswith(_PREFIX)
