"""`ctx.breakpoint`: a run that stops until an operator lets it continue.

One transaction writes its row and its waiter. Another one removes the waiter, completes the row and wakes the run.
"""

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.primitives.wait import LockedWait
from fastapi_durable.engine.runs.delivery import deliver_to_waiter, tell_receiver
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.records import CheckpointKind, CheckpointStatus, Json, SignalWaiter
from fastapi_durable.model.reserved import BREAKPOINT
from fastapi_durable.store.base import StoreTransaction

_NAME = "breakpoint"


def breakpoint_name(label: str | None) -> str:
    """Return the recorded name of a breakpoint with this label."""
    return _NAME if label is None else f"{_NAME}:{label}"


class Breakpoint(LockedWait[None]):
    """Returns when an operator lets the run continue."""

    def __init__(self, turn: Turn, seq: int, label: str | None) -> None:
        super().__init__(turn, seq, breakpoint_name(label))

    @property
    def waiter(self) -> SignalWaiter:
        return _waiter(self.turn.run.id, self.seq)

    async def take(self, transaction: StoreTransaction) -> None:
        await self.record_in(transaction, self.row(CheckpointStatus.PENDING))
        await transaction.put_signal_waiter(self.waiter)

    def returns(self, _: Json) -> None:
        """Nothing."""


async def pass_breakpoint(kernel: Kernel, run_id: str, label: str | None) -> bool:
    """Let a run continue from the first breakpoint at which it waits. Return False if it waits at none."""
    async with kernel.store.transaction(timeout=kernel.config.transaction_timeout) as transaction:
        await transaction.lock_run(run_id)
        rows = await transaction.list_checkpoints_by_name_prefix(run_id, [breakpoint_name(label)])
        for row in rows:
            stands = row.status is CheckpointStatus.PENDING and row.kind is CheckpointKind.SIGNAL
            if stands and (row.name == breakpoint_name(label) or (label is None and row.name.startswith(f"{_NAME}:"))):
                receiver = await deliver_to_waiter(transaction, _waiter(run_id, row.seq), None, now=kernel.clock.now())
                break
        else:
            return False
    if receiver is not None:
        tell_receiver(kernel.notifications, receiver)
    return receiver is not None


def _waiter(run_id: str, seq: int) -> SignalWaiter:
    return SignalWaiter(token=f"{BREAKPOINT}{run_id}:{seq}", run_id=run_id, seq=seq)
