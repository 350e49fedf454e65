"""Signals: `ctx.wait_for_signal` and the delivery to it.

Both sides take the lock of the token first, then the run's, each in one transaction. Whichever comes second sees what
the first one left: the sender a waiter, or the waiter a buffered signal. Taking a signal, recording it and waking the
run happen in that transaction too, so a crash at any moment leaves the signal either untouched or received.
"""

from datetime import datetime, timedelta
from typing import Any

from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.engine.core.dispatch import LocalDispatch
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.chain import CHAIN
from fastapi_durable.engine.runs.delivery import deliver_to_waiter
from fastapi_durable.engine.runs.namespaces import is_visible
from fastapi_durable.engine.runs.singleton import check_depth, gate_of
from fastapi_durable.engine.runs.start_validation import refuse_other
from fastapi_durable.engine.turns.own_run import own_run
from fastapi_durable.engine.turns.position import FIRST_BRANCH_SEQ
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.clock import Clock
from fastapi_durable.model.errors import InputValidationError, SignalTimeoutError, SignalTokenTakenError
from fastapi_durable.model.records import (
    Checkpoint,
    CheckpointKind,
    CheckpointStatus,
    ErrorRecord,
    Json,
    Run,
    SignalWaiter,
)
from fastapi_durable.store.base import StateStore, StoreTransaction
from fastapi_durable.store.port.runs import CreatedRun

_TOKEN_LIMIT = 500
_RESERVED = (CHAIN, "child:", "event:", "entityreply:", "singleton:", "task:", "update:", "wh:")
"""What tokens of the engine's own begin with: a signal on one would forge an ending, an event, a place or a run, or
bring an update that no validator saw."""

SIGNAL_TIMEOUT = "signal_timeout"
_TAKEN_CODE = "signal_token_taken"


def checked_token(token: Any) -> str:
    """`token`, if every database can hold it as a key, and it is not one of the engine's own.

    Raises:
        InputValidationError: it cannot, or it is.
    """
    if not isinstance(token, str) or not token or len(token) > _TOKEN_LIMIT or not token.isprintable():
        raise InputValidationError(
            f"the token of a signal has 1 to {_TOKEN_LIMIT} printable characters, {token!r:.80} does not"
        )
    if token.startswith(_RESERVED):
        raise InputValidationError(f"the engine itself uses tokens such as {token[:80]!r}; choose another beginning")
    return token


async def wait_for_signal(
    turn: Turn, deadline_seq: int | None, seq: int, token: str, declared: Any, timeout: timedelta | None
) -> Any:
    """The payload of the next signal on `token`.

    A bounded wait takes two positions: its deadline, then the signal. A signal that is already buffered wins over a
    deadline that has passed.

    Raises:
        SignalTimeoutError: none came in time.
        SignalTokenTakenError: another live run waits for the token.
        SerializationError: the payload does not fit the declared type.
    """
    name = f"signal:{token}"
    async with turn.under_way():
        deadline = None
        if deadline_seq is not None and timeout is not None:
            deadline = await recorded_deadline(turn, deadline_seq, f"timeout:{token}", timeout)
        recorded = await turn.recorded(seq, CheckpointKind.SIGNAL, name)
        if recorded is None or not recorded.status.is_finished:
            # Before the waiter is there: a branch that is cancelled in between may leave one all the same.
            turn.put_waiters = True
            recorded = await turn.persist(lambda: _receive(turn, seq, token, deadline))
            if recorded is None:
                await turn.park(deadline)
            turn.remember(recorded)
        if recorded.status is CheckpointStatus.FAILED:
            if recorded.error is not None and recorded.error.code == _TAKEN_CODE:
                raise turn.failed(seq, SignalTokenTakenError(token, str(recorded.output)))
            raise turn.failed(seq, SignalTimeoutError(token, timeout or timedelta(0)))
        return turn.kernel.codec.decode(recorded.output, declared, what=f"the payload of signal {token!r}")


async def recorded_deadline(turn: Turn, seq: int, name: str, timeout: timedelta) -> datetime | None:
    """The recorded end of a bounded wait; it is fixed when the wait is reached for the first time."""
    recorded = await turn.recorded(seq, CheckpointKind.SLEEP, name)
    if recorded is None:
        recorded = await turn.record(
            turn.checkpoint(
                seq, CheckpointKind.SLEEP, name, CheckpointStatus.COMPLETED, wake_at=turn.kernel.clock.now() + timeout
            )
        )
    return recorded.wake_at


async def _receive(turn: Turn, seq: int, token: str, deadline: datetime | None) -> Checkpoint | None:
    """Take a buffered signal or the timeout into the history; else leave a waiter and return None."""
    waiter = SignalWaiter(token=token, run_id=turn.run.id, seq=seq)
    async with turn.kernel.store.transaction(timeout=turn.kernel.config.transaction_timeout) as transaction:
        await transaction.lock_name(signal_lock(token))
        await own_run(turn, transaction)
        # Delivered since this turn read the history.
        delivered = await transaction.find_checkpoint(turn.run.id, seq)
        if delivered is not None and delivered.status.is_finished:
            return delivered
        signal = await transaction.take_buffered_signal(token)
        if signal is not None:
            checkpoint = turn.checkpoint(
                seq, CheckpointKind.SIGNAL, f"signal:{token}", CheckpointStatus.COMPLETED, output=signal.payload
            )
        elif deadline is not None and deadline <= turn.kernel.clock.now():
            checkpoint = turn.checkpoint(
                seq,
                CheckpointKind.SIGNAL,
                f"signal:{token}",
                CheckpointStatus.FAILED,
                error=ErrorRecord(message=f"no signal {token!r} before its deadline", code=SIGNAL_TIMEOUT),
            )
        else:
            owner = await _put_waiter(transaction, waiter)
            if owner is None:
                if seq >= FIRST_BRANCH_SEQ:
                    # The waiter names the position, so the branch has to find the same one again.
                    await transaction.record_checkpoint(
                        turn.checkpoint(seq, CheckpointKind.SIGNAL, f"signal:{token}", CheckpointStatus.PENDING),
                        token=turn.token,
                    )
                return None
            # Recorded, so that a body which caught the error takes the same branch on every replay.
            checkpoint = turn.checkpoint(
                seq,
                CheckpointKind.SIGNAL,
                f"signal:{token}",
                CheckpointStatus.FAILED,
                output=owner,
                error=ErrorRecord(message=f"run {owner!r} waits for signal {token!r} already", code=_TAKEN_CODE),
            )
        await transaction.remove_signal_waiter(waiter)
        return (await transaction.record_checkpoint(checkpoint, token=turn.token)).checkpoint


async def _put_waiter(transaction: StoreTransaction, waiter: SignalWaiter) -> str | None:
    """Register, in place of a waiter that a finished run may have left; return the live run that is in the way."""
    other = await transaction.find_signal_waiter(waiter.token)
    if other == waiter:
        return None
    if other is not None:
        owner = await transaction.find_run(other.run_id)
        if owner is not None and not owner.status.is_terminal and owner.id != waiter.run_id:
            return owner.id
        # The same run at another position asks again only after it gave up the first wait.
        await transaction.remove_signal_waiter(other)
    await transaction.put_signal_waiter(waiter)
    return None


async def deliver_signal(kernel: Kernel, token: str, payload: Json, *, signal_id: str | None = None) -> bool:
    """Give the payload to whoever waits for `token`, or keep it for the next one.

    Args:
        signal_id: Makes a repeated delivery harmless while the first one is still buffered.

    Returns:
        Whether a run received it; False: it was buffered.

    Raises:
        InputValidationError: a run of another namespace than the engine's waits for the token.
    """
    with kernel.local_worker.place() as place:
        async with kernel.store.transaction() as transaction:
            await transaction.lock_name(signal_lock(token))
            await _refuse_foreign(transaction, token, kernel.config.namespace)
            now = kernel.clock.now()
            received = await deliver_or_buffer(transaction, token, payload, now=now, signal_id=signal_id, place=place)
    if received and place.run is None:
        kernel.notifications.work_available()
    return received


async def deliver_within(kernel: Kernel, namespace: str, token: str, payload: Json) -> bool:
    """Give the payload to the run of this namespace that waits for `token` now; False: none does, and nothing is kept.

    The buffer is common to all namespaces, so what one of them must not leave there is decided under the token's lock.
    """
    with kernel.local_worker.place() as place:
        async with kernel.store.transaction() as transaction:
            await transaction.lock_name(signal_lock(token))
            waiter = await transaction.find_signal_waiter(token)
            run = None if waiter is None else await transaction.find_run(waiter.run_id)
            if waiter is None or run is None or run.namespace != namespace or not is_visible(kernel.config, run):
                return False
            received = await deliver_to_waiter(transaction, waiter, payload, now=kernel.clock.now(), place=place)
    if received and place.run is None:
        kernel.notifications.work_available()
    return received


async def start_with_signal(
    store: StateStore,
    clock: Clock,
    definition: WorkflowDefinition,
    run: Run,
    token: str,
    payload: Json,
    *,
    signal_id: str | None = None,
    namespace: str | None = None,
) -> CreatedRun:
    """Create the run unless one of its id exists, and deliver a signal, in one transaction.

    Raises:
        SingletonQueueFullError: the run is new, and no more of its key may wait; nothing was done.
        RunIdTakenError: the id is that of another workflow's run; nothing was done.
        InputValidationError: a run of another namespace waits for the token; nothing was done.
    """
    async with store.transaction() as transaction:
        if (gate := gate_of(run)) is not None:
            await transaction.lock_name(gate)
            await check_depth(transaction, definition, run)
        await transaction.lock_name(signal_lock(token))
        created = await transaction.create_run(run)
        refuse_other(created.run, run)
        await _refuse_foreign(transaction, token, namespace)
        await deliver_or_buffer(transaction, token, payload, now=clock.now(), signal_id=signal_id)
        return created


async def deliver_or_buffer(
    transaction: StoreTransaction,
    token: str,
    payload: Json,
    *,
    now: datetime,
    signal_id: str | None = None,
    place: LocalDispatch | None = None,
) -> bool:
    """Deliver a signal, or keep it; the transaction holds the token's lock. See `deliver_signal`."""
    waiter = await transaction.find_signal_waiter(token)
    if waiter is not None and await deliver_to_waiter(transaction, waiter, payload, now=now, place=place):
        return True
    await transaction.buffer_signal(token, payload, now=now, signal_id=signal_id)
    return False


async def _refuse_foreign(transaction: StoreTransaction, token: str, namespace: str | None) -> None:
    """Keep a sender of one namespace from a run of another.

    Raises:
        InputValidationError: such a run waits for the token.
    """
    waiter = None if namespace is None else await transaction.find_signal_waiter(token)
    run = None if waiter is None else await transaction.find_run(waiter.run_id)
    if run is not None and not run.status.is_terminal and run.namespace != namespace:
        raise InputValidationError(
            f"a run of another namespace waits for the signal {token!r}, so it was not sent. Tokens are common to all "
            "namespaces: put the namespace into yours"
        )


def signal_lock(token: str) -> str:
    """The name that everybody locks who waits for `token` or delivers to it."""
    return f"signal:{token}"
