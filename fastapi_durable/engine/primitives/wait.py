"""The base of all waits for a delivery: signals, events, ends of children, answers of entities, operators.

A cancelled wait removes its waiter, and a delivery that still arrived is kept for the next wait. The cancellation is
recorded. So on a replay, the wait neither waits again nor takes a kept delivery. It parks until the body cancels it
again.
"""

import asyncio
import contextvars
from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime, timedelta

from fastapi_durable.engine.primitives.primitive import Primitive, R
from fastapi_durable.engine.runs.delivery import tell_receiver
from fastapi_durable.engine.turns.own_run import own_run
from fastapi_durable.engine.turns.position import FIRST_BRANCH_SEQ
from fastapi_durable.engine.turns.trail import lost_trail
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.records import (
    Checkpoint,
    CheckpointKind,
    CheckpointStatus,
    ErrorRecord,
    Run,
    SignalWaiter,
)
from fastapi_durable.store.base import StoreTransaction

SIGNAL_TIMEOUT = "signal_timeout"
TAKEN_CODE = "signal_token_taken"
WAIT_CANCELLED = "wait_cancelled"

_PAGE = 500


class Wait(Primitive[R]):
    """A call that waits for a delivery at its position, or until its deadline.

    Args:
        deadline: Deadline at its own position, before this one. None: the wait has no limit.

    Attributes:
        until: When the wait ends, once that is known.
        has_waiter: Whether it has stored a waiter in this turn, and only waits.
    """

    kind = CheckpointKind.SIGNAL

    def __init__(self, turn: Turn, seq: int, name: str, deadline: "Deadline | None" = None) -> None:
        super().__init__(turn, seq, name)
        self.until: datetime | None = None
        self.has_waiter = False
        self._deadline = deadline

    async def perform(self) -> R:
        """See `Primitive`. A bounded wait looks up its deadline first."""
        if self._deadline is not None:
            self.until = await self._deadline.perform()
        return await super().perform()

    def is_answer(self, recorded: Checkpoint) -> bool:
        return recorded.status.is_finished and not was_given_up(recorded)

    async def keep_order(self, answer: Checkpoint | None) -> None:
        """See `Primitive`. A wait that is cancelled here first gives up its waiter or its delivery."""
        if self.begun is not None and was_given_up(self.begun):
            # The wait was cancelled in an earlier turn, so it continues when the body cancels it again.
            return
        try:
            await super().keep_order(answer)
        except asyncio.CancelledError:
            await self._give_up()
            raise

    async def act(self) -> Checkpoint:
        turn = self.turn
        # Set this before the waiter is stored: a branch that is cancelled in between may still store one.
        turn.put_waiters = True
        try:
            if self.begun is not None and was_given_up(self.begun):
                await turn.life.await_cancel()
            while True:
                received = await turn.persist(self.receive)
                if received is not None:
                    turn.history.add(received)
                    return received
                self.has_waiter = True
                received = await turn.delivered(self.seq, self.until)
                if received is not None:
                    return received
        except asyncio.CancelledError:
            await self._give_up()
            raise

    @abstractmethod
    async def receive(self) -> Checkpoint | None:
        """Record the delivery, or the end of the wait. Return None if there is neither, and a waiter is stored."""

    @property
    @abstractmethod
    def waiter(self) -> SignalWaiter:
        """The waiter that a delivery looks for."""

    def locks(self) -> Sequence[str]:
        """Return the names that a delivery locks as well, in order."""
        return ()

    async def locked(self, transaction: StoreTransaction) -> Checkpoint | None:
        """Lock the names that a delivery locks, and the run. Return the row that is stored at the position then."""
        for name in self.locks():
            await transaction.lock_name(name)
        await own_run(self.turn, transaction)
        return await transaction.find_checkpoint(self.turn.run.id, self.seq)

    async def keep(self, transaction: StoreTransaction, late: Checkpoint) -> Run | None:  # noqa: ARG002 (for others)
        """Keep a delivery that came too late for this wait for the next wait.

        Returns:
            The run that received it, if one waits already. By default nothing is kept.
        """
        return None

    @property
    def timeout(self) -> timedelta:
        """Return how long the wait is, for the timeout's message."""
        return timedelta(0) if self._deadline is None else self._deadline.timeout

    @property
    def is_over(self) -> bool:
        """Return whether its deadline has passed."""
        return self.until is not None and self.until <= self.turn.kernel.clock.now()

    # Giving up

    async def _give_up(self) -> None:
        if self.turn.life.ended is not None:
            return
        self.turn.history.failures.cancelled(self.seq)
        if self.begun is not None and was_given_up(self.begun):
            return
        if (trail := lost_trail()) is not None:
            # The verdict of the race removes its waiter.
            trail.waits.append(self)
            return
        # A second cancel must not leave the waiter behind.
        await asyncio.shield(asyncio.create_task(self._withdraw(), context=contextvars.Context()))

    async def _withdraw(self) -> None:
        life, receivers = self.turn.life, list[Run]()
        life.calls.enter()
        try:
            if life.ended is None:
                await self.commit(lambda: self._withdraw_in_transaction(receivers))
        finally:
            life.calls.leave()
        for receiver in receivers:
            tell_receiver(self.turn.kernel.notifications, receiver)

    async def _withdraw_in_transaction(self, receivers: list[Run]) -> Checkpoint:
        async with self.turn.transaction() as transaction:
            stored = await self.locked(transaction)
            if stored is not None and was_given_up(stored):
                # An earlier try of this call wrote it. Its commit was not confirmed.
                return stored
            return await self.withdraw(transaction, stored, receivers)

    async def withdraw(
        self, transaction: StoreTransaction, stored: Checkpoint | None, receivers: list[Run]
    ) -> Checkpoint:
        """Remove the waiter, keep its delivery for others, and record the cancel. The run and the names are locked."""
        turn = self.turn
        if not await transaction.remove_signal_waiter(self.waiter):
            await remove_waiters(transaction, turn.run.id, {self.seq})
        if stored is not None and stored.status.is_finished:
            if stored.status is CheckpointStatus.COMPLETED:
                receiver = await self.keep(transaction, stored)
                if receiver is not None:
                    receivers.append(receiver)
            # The body has not read the delivery. It received the cancel instead.
            await transaction.remove_checkpoints(turn.run.id, [self.seq])
        error = ErrorRecord(message="the wait was cancelled", code=WAIT_CANCELLED)
        row = self.row(
            CheckpointStatus.FAILED,
            input=None if stored is None else stored.input,
            error=error,
            started_at=None if stored is None else stored.started_at,
            parallel_group=None if stored is None else stored.parallel_group,
        )
        return await self.record_in(transaction, row)


class LockedWait(Wait[R]):
    """A wait that leaves its waiter when it finds that nothing has come.

    The wait and a delivery lock the same names, so the second one sees what the first one wrote.
    """

    async def receive(self) -> Checkpoint | None:
        async with self.turn.transaction() as transaction:
            stored = await self.locked(transaction)
            if stored is not None and stored.status.is_finished:
                # A delivery came after this turn read the history.
                return stored
            self.begun = stored
            return await self.take(transaction)

    @abstractmethod
    async def take(self, transaction: StoreTransaction) -> Checkpoint | None:
        """Record the delivery, or the end of the wait. Otherwise leave a waiter, and return None. The run is
        locked.
        """

    async def begin(self, transaction: StoreTransaction) -> None:
        """Record that a branch waits here. The waiter names the position, so a replay must give the branch the same
        one.
        """
        if self.seq >= FIRST_BRANCH_SEQ:
            await self.record_in(transaction, self.row(CheckpointStatus.PENDING))


class Deadline(Primitive[datetime | None]):
    """The end of a bounded wait, at the position before it. The first execution fixes it."""

    kind = CheckpointKind.SLEEP
    begins_effect = False

    def __init__(self, turn: Turn, seq: int, name: str, timeout: timedelta) -> None:
        super().__init__(turn, seq, name)
        self.timeout = timeout

    async def act(self) -> Checkpoint:
        end = self.turn.kernel.clock.now() + self.timeout
        return await self.turn.hold(self.row(CheckpointStatus.COMPLETED, wake_at=end))

    def result(self, recorded: Checkpoint) -> datetime | None:
        return recorded.wake_at


def was_given_up(recorded: Checkpoint) -> bool:
    """Return whether the row records a cancelled wait."""
    return recorded.error is not None and recorded.error.code == WAIT_CANCELLED


async def remove_waiters(transaction: StoreTransaction, run_id: str, positions: set[int]) -> list[SignalWaiter]:
    """Remove the waiters of these positions of a run, whatever their tokens are now. Return them."""
    removed, after = list[SignalWaiter](), None
    while True:
        page = await transaction.list_signal_waiters(run_ids=[run_id], limit=_PAGE, after=after)
        for waiter in page:
            if waiter.seq in positions:
                await transaction.remove_signal_waiter(waiter)
                removed.append(waiter)
        if len(page) < _PAGE:
            return removed
        after = page[-1].token
