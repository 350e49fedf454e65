"""What the waits for a delivery have in common: a signal, an event, the end of a child, an answer, an operator."""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime, timedelta

from fastapi_durable.engine.primitives.primitive import Primitive, R
from fastapi_durable.engine.turns.own_run import own_run
from fastapi_durable.engine.turns.position import FIRST_BRANCH_SEQ
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.records import Checkpoint, CheckpointKind, CheckpointStatus
from fastapi_durable.store.base import StoreTransaction

SIGNAL_TIMEOUT = "signal_timeout"
TAKEN_CODE = "signal_token_taken"


class Wait(Primitive[R]):
    """A call that waits until its position is recorded by somebody else, or until its deadline.

    Args:
        deadline: At a position of its own before this one; None: the wait has no end.

    Attributes:
        until: When it stops waiting, once that is known.
    """

    kind = CheckpointKind.SIGNAL

    def __init__(self, turn: Turn, seq: int, name: str, deadline: "Deadline | None" = None) -> None:
        super().__init__(turn, seq, name)
        self.until: datetime | None = None
        self._deadline = deadline

    async def perform(self) -> R:
        """See `Primitive`; a bounded wait looks up its deadline first."""
        if self._deadline is not None:
            self.until = await self._deadline.perform()
        return await super().perform()

    async def act(self) -> Checkpoint:
        # Before the waiter is there: a branch that is cancelled in between may leave one all the same.
        self.turn.put_waiters = True
        received = await self.turn.persist(self.receive)
        if received is None:
            await self.turn.life.park(self.until)
        self.turn.history.add(received)
        return received

    @abstractmethod
    async def receive(self) -> Checkpoint | None:
        """Record what has come, or the end of the wait; None: neither, and a waiter is there."""

    @property
    def timeout(self) -> timedelta:
        """How long it waits, for the message that nothing came."""
        return timedelta(0) if self._deadline is None else self._deadline.timeout

    @property
    def is_over(self) -> bool:
        """Whether its deadline has passed."""
        return self.until is not None and self.until <= self.turn.kernel.clock.now()


class LockedWait(Wait[R]):
    """A wait that leaves its waiter when it finds that nothing has come.

    It and the delivery to that waiter lock the same names, so whichever comes second sees what the first one left.
    """

    async def receive(self) -> Checkpoint | None:
        turn = self.turn
        async with turn.transaction() as transaction:
            for name in self.locks():
                await transaction.lock_name(name)
            await own_run(turn, transaction)
            # Delivered since this turn read the history.
            stored = await transaction.find_checkpoint(turn.run.id, self.seq)
            if stored is not None and stored.status.is_finished:
                return stored
            self.begun = stored
            return await self.take(transaction)

    def locks(self) -> Sequence[str]:
        """The names that a delivery locks as well, in order."""
        return ()

    @abstractmethod
    async def take(self, transaction: StoreTransaction) -> Checkpoint | None:
        """Record what has come, or the end of the wait; else leave a waiter and return None. The run is locked."""

    async def begin(self, transaction: StoreTransaction) -> None:
        """Record that a branch waits here: the waiter names the position, so the branch has to find it again."""
        if self.seq >= FIRST_BRANCH_SEQ:
            await self.record_in(transaction, self.row(CheckpointStatus.PENDING))


class Deadline(Primitive[datetime | None]):
    """The end of a bounded wait, at the position before it; it is fixed when the wait is reached for the first time."""

    kind = CheckpointKind.SLEEP

    def __init__(self, turn: Turn, seq: int, name: str, timeout: timedelta) -> None:
        super().__init__(turn, seq, name)
        self.timeout = timeout

    async def act(self) -> Checkpoint:
        end = self.turn.kernel.clock.now() + self.timeout
        return await self.turn.record(self.row(CheckpointStatus.COMPLETED, wake_at=end))

    def result(self, recorded: Checkpoint) -> datetime | None:
        return recorded.wake_at
