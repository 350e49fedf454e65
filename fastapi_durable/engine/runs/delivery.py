"""Records a delivery at the position that waits for it.

The commit that consumes the delivery also records it and wakes the run. Signals, events and the ends of other runs
answer their waiters only through this module.
"""

from datetime import datetime
from typing import Final

from fastapi_durable.declare.codec import Codec
from fastapi_durable.engine.core.dispatch import LocalDispatch
from fastapi_durable.engine.core.notifications import Notifications
from fastapi_durable.engine.runs.awaited_type import refuse_misfit
from fastapi_durable.model.records import (
    Checkpoint,
    CheckpointKind,
    CheckpointStatus,
    Json,
    Run,
    RunStatus,
    SignalWaiter,
)
from fastapi_durable.store.base import StateStore, StoreTransaction
from fastapi_durable.store.port.signals import Receiver

_DELIVERY_ID: Final = "delivery"


async def deliver_to_waiter(
    transaction: StoreTransaction,
    waiter: SignalWaiter,
    payload: Json,
    *,
    now: datetime,
    place: LocalDispatch | None = None,
    codec: Codec | None = None,
    what: str = "the payload",
    delivery_id: str | None = None,
) -> Run | None:
    """Record `payload` at the position that left `waiter`, remove the waiter, and wake the run.

    The run is locked before its waiter is removed, in the same order as in the transaction that ends the run and
    removes all its waiters.

    Args:
        place: Slot in which the run may continue at once.
        codec: Codec that checks the payload, if the caller can still receive an error.
        what: Name of the payload in that error.
        delivery_id: Id by which the run may answer.

    Returns:
        The run that received it, as it was before. None if it has ended, or if another delivery settled its position;
        then only the waiter was removed.

    Raises:
        SerializationError: the payload does not fit the type of the waiting call. The caller's transaction ends with
            it, so nothing is consumed.
    """
    run = await transaction.lock_run(waiter.run_id)
    await transaction.remove_signal_waiter(waiter)
    if run is None or run.status.is_terminal:
        return None
    # A position that was begun has a row with a name, a start and the key of its branch. Other positions get a plain
    # row.
    begun = await transaction.find_checkpoint(waiter.run_id, waiter.seq)
    if codec is not None and not (begun is not None and begun.status.is_finished):
        refuse_misfit(codec, begun, payload, what=what)
    if not (await transaction.record_checkpoint(_received(waiter, begun, payload, now, delivery_id))).won:
        return None
    if place is None or not await place.take(transaction, run, now=now):
        await transaction.wake_run(waiter.run_id, now=now)
    return run


async def deliver_to_resting(
    store: StateStore,
    receiver: Receiver,
    payload: Json,
    *,
    now: datetime,
    place: LocalDispatch,
    codec: Codec,
    what: str,
) -> bool:
    """Do the same in one commit, if the run still rests and still waits when the delivery is written.

    No name is locked. A waiter shows that no signal is kept for its token, and only one of several deliveries finds it.
    A turn that gives up the wait is in progress, which the run's status shows.

    Everything else that was read may be out of date by the write: a pause, a resume, or a whole turn that ends with the
    same wait changes neither the status nor the count. So the write depends on nothing else, and the run is read again
    before it is driven.

    Args:
        store: Not a transaction.
        receiver: The waiter, its run and its position, as they were read.
        payload: JSON form of the payload.
        now: Time of the delivery.
        place: Slot in which the run may continue at once.
        codec: Codec that checks the payload.
        what: Name of the payload in the error of that check.

    Returns:
        False if the delivery has to be made in a transaction, under locks. Then nothing was written.

    Raises:
        SerializationError: as `deliver_to_waiter`.
    """
    waiter, run, begun = receiver
    if run.status is not RunStatus.SUSPENDED or run.locked_by is not None:
        return False
    if begun is not None and begun.status.is_finished:
        return False
    refuse_misfit(codec, begun, payload, what=what)
    received = store.prepare_checkpoint(_received(waiter, begun, payload, now))
    if received is None:
        return False
    changes = place.lease_unlocked(run, now=now) or {"wake_count": run.wake_count + 1, "wake_at": now}
    delivered = await store.update_run(
        run.id,
        changes,
        statuses=(RunStatus.SUSPENDED,),
        wake_count=run.wake_count,
        checkpoints=[received],
        waiter=waiter,
    )
    if not delivered:
        place.give_up()
    return delivered


def with_delivery_id(told: Json, delivery_id: str | None) -> Json:
    """The input of a row that received a delivery: what the wait told of its type, and the id of the delivery."""
    if delivery_id is None:
        return told
    return {**(told if isinstance(told, dict) else {}), _DELIVERY_ID: delivery_id}


def delivery_id_of(received: Checkpoint) -> str | None:
    """The id of the delivery that a row received; None if it has none."""
    told = received.input
    return told.get(_DELIVERY_ID) if isinstance(told, dict) else None


def _received(
    waiter: SignalWaiter, begun: Checkpoint | None, payload: Json, now: datetime, delivery_id: str | None = None
) -> Checkpoint:
    """What is recorded of a delivery at the position that waits."""
    return Checkpoint(
        run_id=waiter.run_id,
        seq=waiter.seq,
        name=f"signal:{waiter.token}" if begun is None else begun.name,
        kind=CheckpointKind.SIGNAL,
        status=CheckpointStatus.COMPLETED,
        step_id=f"{waiter.run_id}:{waiter.seq}" if begun is None else begun.step_id,
        input=with_delivery_id(None if begun is None else begun.input, delivery_id),
        output=payload,
        parallel_group=waiter.parallel_group,
        enqueued_at=now if begun is None else begun.enqueued_at,
        started_at=now if begun is None else begun.started_at,
        finished_at=now,
    )


def tell_receiver(notifications: Notifications, receiver: Run, place: LocalDispatch | None = None) -> None:
    """Notify the run's turn, or the workers that may claim it, of a delivery, after the commit."""
    if receiver.locked_by is not None:
        notifications.delivered(receiver.id)
    elif place is None or place.run is None:
        notifications.work_available()
