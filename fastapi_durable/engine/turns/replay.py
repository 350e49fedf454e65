"""The order of a replay.

A body whose tasks make calls side by side meets their results in some order, and what it does may follow from that: it
cancels a task when another one has its answer, or takes what comes first. On a replay all that is recorded is there at
once. So it is given out in the order in which it was recorded, each result after the body has made of the one before
what it makes of it, and a call that has no result yet begins after all those that have one. A task that the body
cancelled is then cancelled at the same call as before, and does nothing again.

While a body has no other task than its own, it meets its calls in one order only, and nothing waits.
"""

from fastapi_durable.engine.turns.lifetime import Lifetime
from fastapi_durable.engine.turns.position import FIRST_BRANCH_SEQ
from fastapi_durable.engine.turns.quiescence import NEW
from fastapi_durable.model.records import Checkpoint, CheckpointKind


class Replay:
    """The part of a turn that the run has been through before.

    Attributes:
        is_over: A call has begun that was not answered when the turn began.
    """

    def __init__(self, life: Lifetime, *, is_over: bool) -> None:
        self.is_over = is_over
        self._life = life

    @property
    def is_ordered(self) -> bool:
        """Whether a call may have to wait for others."""
        return not self.is_over and bool(self._life.tasks.members)

    async def await_place(self, answer: Checkpoint) -> None:
        """Wait until all that was recorded before this row has been given out."""
        if self.is_ordered:
            # Times are whole milliseconds. A delivery comes from outside, and a branch got no answer that it was not
            # there to get: so these come first among equals.
            written = answer.kind is not CheckpointKind.SIGNAL
            of_body = answer.seq < FIRST_BRANCH_SEQ
            await self._life.park_until_rest((0, answer.finished_at.timestamp(), written, of_body, answer.seq))

    async def await_end(self) -> None:
        """Wait until all that was recorded has been given out."""
        if self.is_ordered:
            await self._life.park_until_rest(NEW)
        self.is_over = True
