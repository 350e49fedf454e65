"""The order of a replay.

A body whose tasks make calls side by side receives their results in some order, and may act on that order: it may
cancel a task when another one has its answer, or take the first answer. On a replay, all recorded results are there at
once. So the engine delivers them in the order in which they were recorded, each one after the body has reacted to the
one before. A call without a result begins after all calls with one. So a task that the body cancelled is cancelled at
the same call as before, and repeats nothing.

A body without other tasks makes its calls in one order, and nothing has to wait.
"""

from fastapi_durable.engine.turns.lifetime import Lifetime
from fastapi_durable.engine.turns.position import FIRST_BRANCH_SEQ
from fastapi_durable.engine.turns.quiescence import NEW
from fastapi_durable.model.records import Checkpoint, CheckpointKind


class Replay:
    """The part of a turn that repeats earlier turns.

    Attributes:
        is_over: Whether a call has begun that was not answered when the turn began.
    """

    def __init__(self, life: Lifetime, *, is_over: bool) -> None:
        self.is_over = is_over
        self._life = life

    @property
    def is_ordered(self) -> bool:
        """Return whether a call may have to wait for others."""
        return not self.is_over and bool(self._life.tasks.members)

    async def await_place(self, answer: Checkpoint) -> None:
        """Wait until all results that were recorded before this row have been delivered."""
        if self.is_ordered:
            # Times are whole milliseconds. At equal times, deliveries and results of branches come first: a delivery
            # comes from outside, and a branch had to be running to get a result.
            written = answer.kind is not CheckpointKind.SIGNAL
            of_body = answer.seq < FIRST_BRANCH_SEQ
            await self._life.park_until_rest((0, answer.finished_at.timestamp(), written, of_body, answer.seq))

    async def await_end(self) -> None:
        """Wait until all recorded results have been delivered."""
        if self.is_ordered:
            await self._life.park_until_rest(NEW)
        self.is_over = True
