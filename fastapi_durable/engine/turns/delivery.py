"""From a delivery to the position that waits for it: recorded and woken in the transaction that consumes it."""

from datetime import datetime

from fastapi_durable.engine.runs.dispatch import Place
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.errors import LeaseLostError
from fastapi_durable.model import Checkpoint, CheckpointKind, CheckpointStatus, Json, Run, SignalWaiter
from fastapi_durable.store.base import StoreTransaction


async def own_run(turn: Turn, transaction: StoreTransaction) -> Run:
    """Lock the turn's own run, after the names that the transaction needs.

    Raises:
        LeaseLostError: another worker owns it now.
    """
    run = await transaction.lock_run(turn.run.id)
    if run is None or run.locked_by != turn.token:
        raise LeaseLostError(turn.run.id)
    return run


async def hand_over(
    transaction: StoreTransaction, waiter: SignalWaiter, payload: Json, *, now: datetime, place: Place | None = None
) -> bool:
    """Record `payload` at the position that left `waiter`, remove the waiter and wake the run.

    Args:
        place: Where the run may go on at once.

    Returns:
        False if the run has ended, or its position was settled by somebody else; then only the waiter is gone.
    """
    run = await transaction.lock_run(waiter.run_id)
    await transaction.remove_signal_waiter(waiter)
    if run is None or run.status.is_terminal:
        return False
    # A position that was begun has a row, with a name, a start and the key of its branch; others get the plain form.
    begun = await transaction.find_checkpoint(waiter.run_id, waiter.seq)
    received = Checkpoint(
        run_id=waiter.run_id,
        seq=waiter.seq,
        name=f"signal:{waiter.token}" if begun is None else begun.name,
        kind=CheckpointKind.SIGNAL,
        status=CheckpointStatus.COMPLETED,
        step_id=f"{waiter.run_id}:{waiter.seq}" if begun is None else begun.step_id,
        input=None if begun is None else begun.input,
        output=payload,
        parallel_group=waiter.parallel_group,
        enqueued_at=now if begun is None else begun.enqueued_at,
        started_at=now if begun is None else begun.started_at,
        finished_at=now,
    )
    if not (await transaction.record_checkpoint(received)).won:
        return False
    if place is None or not await place.take(transaction, run, now=now):
        await transaction.wake_run(waiter.run_id, now=now)
    return True
