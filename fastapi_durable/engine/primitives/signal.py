"""Signals: `ctx.wait_for_signal` and the delivery to it.

Both sides lock the token first, then the run, each in one transaction. The second one sees what the first one wrote:
the sender finds a waiter, or the waiter finds a buffered signal. Taking a signal, recording it and waking the run
happen in that transaction too, so a crash at any moment leaves the signal either untouched or received.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from fastapi_durable.declare.codec import Codec
from fastapi_durable.engine.core.dispatch import LocalDispatch
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.primitives.wait import SIGNAL_TIMEOUT, TAKEN_CODE, Deadline, LockedWait
from fastapi_durable.engine.runs.awaited_type import told_type
from fastapi_durable.engine.runs.delivery import deliver_to_resting, deliver_to_waiter, delivery_id_of, tell_receiver
from fastapi_durable.engine.runs.namespaces import is_visible, namespace_of
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import InputValidationError, SignalTimeoutError, SignalTokenTakenError
from fastapi_durable.model.records import (
    BufferedSignal,
    Checkpoint,
    CheckpointStatus,
    ErrorRecord,
    Json,
    Run,
    SignalWaiter,
)
from fastapi_durable.model.reserved import kept_name
from fastapi_durable.store.base import StoreTransaction


class Signal(LockedWait[Any]):
    """The payload of the next signal on `token`.

    A signal that is already buffered wins over a deadline that has passed.

    Args:
        deadline_seq, timeout: Position of the deadline, and limit of the wait.
        declared: The type of the payload.
        tells_type: Whether to store the type, so that senders refuse a payload that does not fit.

    Raises:
        SignalTimeoutError: no signal came in time.
        SignalTokenTakenError: another live run waits for the token.
        SerializationError: the payload does not fit the declared type.
    """

    def __init__(
        self,
        turn: Turn,
        seq: int,
        token: str,
        declared: Any,
        deadline_seq: int | None = None,
        timeout: timedelta | None = None,
        *,
        tells_type: bool = False,
    ) -> None:
        bounded = None
        if deadline_seq is not None and timeout is not None:
            bounded = Deadline(turn, deadline_seq, f"timeout:{token}", timeout)
        super().__init__(turn, seq, f"signal:{token}", bounded)
        self._token = token
        self._declared = declared
        self._told = told_type(declared) if tells_type else {}

    def locks(self) -> Sequence[str]:
        return (signal_lock(self._token),)

    @property
    def waiter(self) -> SignalWaiter:
        return SignalWaiter(token=self._token, run_id=self.turn.run.id, seq=self.seq)

    async def keep(self, transaction: StoreTransaction, late: Checkpoint) -> Run | None:
        # The signal goes before signals that were kept since it came.
        namespace = self.turn.run.namespace
        waiter = await transaction.find_signal_waiter(self._token)
        other = None if waiter is None else await transaction.find_run(waiter.run_id)
        if other is not None and other.namespace != namespace:
            # The signal was for this run's namespace; a run of another one may wait for the token by now.
            await transaction.buffer_signal(
                kept_name(namespace, self._token),
                late.output,
                now=late.finished_at,
                signal_id=delivery_id_of(late),
            )
            return None
        return await deliver_or_buffer(
            transaction,
            self._token,
            late.output,
            namespace=namespace,
            now=late.finished_at,
            delivery_id=delivery_id_of(late),
        )

    async def take(self, transaction: StoreTransaction) -> Checkpoint | None:
        token, waiter = self._token, self.waiter
        signal = await transaction.take_buffered_signal(kept_name(self.turn.run.namespace, token))
        if signal is not None:
            row = self.row(CheckpointStatus.COMPLETED, input=self.input_of(signal), output=signal.payload)
        elif self.is_over:
            error = ErrorRecord(message=f"no signal {token!r} before its deadline", code=SIGNAL_TIMEOUT)
            row = self.row(CheckpointStatus.FAILED, error=error)
        elif (owner := await _put_waiter(transaction, waiter)) is None:
            await self.begin(transaction)
            return None
        else:
            # Recorded, so that a body which caught the error takes the same branch on every replay.
            error = ErrorRecord(message=f"run {owner!r} already waits for signal {token!r}", code=TAKEN_CODE)
            row = self.row(CheckpointStatus.FAILED, output=owner, error=error)
        await transaction.remove_signal_waiter(waiter)
        return await self.record_in(transaction, row)

    def input_of(self, signal: BufferedSignal, /) -> Json:  # noqa: ARG002 (for updates)
        """What the row says of the signal beside its payload."""
        return None

    async def begin(self, transaction: StoreTransaction) -> None:
        """See `LockedWait`. The row of the position stores the type."""
        if not self._told:
            await super().begin(transaction)
        elif self.begun is None or self.begun.input != self._told:
            await self.record_in(transaction, self.row(CheckpointStatus.PENDING, input=self._told))

    def returns(self, output: Json) -> Any:
        return self.turn.kernel.codec.decode(output, self._declared, what=payload_of(self._token))

    def raises(self, recorded: Checkpoint) -> Exception:
        if recorded.error is not None and recorded.error.code == TAKEN_CODE:
            return SignalTokenTakenError(self._token, str(recorded.output))
        return SignalTimeoutError(self._token, self.timeout)


async def _put_waiter(transaction: StoreTransaction, waiter: SignalWaiter) -> str | None:
    """Store the waiter, replacing one that a finished run may have left. Return the id of a live run that already
    waits.
    """
    other = await transaction.find_signal_waiter(waiter.token)
    if other == waiter:
        return None
    if other is not None:
        owner = await transaction.find_run(other.run_id)
        if owner is not None and not owner.status.is_terminal and owner.id != waiter.run_id:
            return owner.id
        # If the same run waits at another position, it has given up the first wait.
        await transaction.remove_signal_waiter(other)
    await transaction.put_signal_waiter(waiter)
    return None


async def deliver_signal(kernel: Kernel, token: str, payload: Json, *, signal_id: str | None = None) -> bool:
    """Deliver a payload to the run that waits for `token`, or keep it for the next run that will.

    Args:
        signal_id: Id that makes a repeated delivery harmless while the first one is buffered.

    Returns:
        True if a run received it, False if it was buffered for the engine's namespace.

    Raises:
        InputValidationError: a run of another namespace waits for the token.
        SerializationError: the payload does not fit the type of the waiting call. Nothing is consumed.
    """
    # Within a transaction, names are locked before runs; see `StoreTransaction`.
    if not kernel.is_within_transaction and await _deliver_to_resting(kernel, token, payload):
        return True
    with kernel.local_worker.place() as place:
        async with kernel.store.transaction() as transaction:
            await transaction.lock_name(signal_lock(token))
            await refuse_foreign(transaction, token, kernel.config.namespace)
            now = kernel.clock.now()
            receiver = await deliver_or_buffer(
                transaction,
                token,
                payload,
                namespace=namespace_of(kernel.config),
                now=now,
                signal_id=signal_id,
                place=place,
                codec=kernel.codec,
                what=payload_of(token),
            )
    if receiver is not None:
        tell_receiver(kernel.notifications, receiver, place)
    return receiver is not None


async def _deliver_to_resting(kernel: Kernel, token: str, payload: Json) -> bool:
    """Deliver to a resting run in two statements, as most signals can be."""
    found = await kernel.store.find_receiver(token)
    if found is None or kernel.config.namespace not in (None, found.run.namespace):
        return False
    with kernel.local_worker.place() as place:
        delivered = await deliver_to_resting(
            kernel.store,
            found,
            payload,
            now=kernel.clock.now(),
            place=place,
            codec=kernel.codec,
            what=payload_of(token),
        )
    if delivered:
        tell_receiver(kernel.notifications, found.run, place)
    return delivered


async def deliver_within(kernel: Kernel, namespace: str, token: str, payload: Json) -> bool:
    """Deliver the payload to the run of this namespace that waits for `token` now. Return False if none waits. Nothing
    is kept then.

    A token has one waiter in all namespaces, so the run's namespace is read under the token's lock.

    Raises:
        SerializationError: the payload does not fit the type of the waiting call. Nothing is consumed.
    """
    with kernel.local_worker.place() as place:
        async with kernel.store.transaction() as transaction:
            await transaction.lock_name(signal_lock(token))
            waiter = await transaction.find_signal_waiter(token)
            run = None if waiter is None else await transaction.find_run(waiter.run_id)
            if waiter is None or run is None or run.namespace != namespace or not is_visible(kernel.config, run):
                return False
            receiver = await deliver_to_waiter(
                transaction,
                waiter,
                payload,
                now=kernel.clock.now(),
                place=place,
                codec=kernel.codec,
                what=payload_of(token),
            )
    if receiver is not None:
        tell_receiver(kernel.notifications, receiver, place)
    return receiver is not None


async def deliver_or_buffer(
    transaction: StoreTransaction,
    token: str,
    payload: Json,
    *,
    namespace: str,
    now: datetime,
    signal_id: str | None = None,
    place: LocalDispatch | None = None,
    codec: Codec | None = None,
    what: str = "the payload",
    delivery_id: str | None = None,
) -> Run | None:
    """Deliver a signal, or keep it. The transaction holds the token's lock.

    Args:
        namespace: Only runs of this namespace find a kept signal.
        codec, what: As for `deliver_to_waiter`, which raises.
        delivery_id: Id by which the run may answer. A signal that is kept has it instead of `signal_id`.

    Returns:
        The run that received the signal. None: it is kept.
    """
    waiter = await transaction.find_signal_waiter(token)
    if waiter is not None:
        receiver = await deliver_to_waiter(
            transaction, waiter, payload, now=now, place=place, codec=codec, what=what, delivery_id=delivery_id
        )
        if receiver is not None:
            return receiver
    await transaction.buffer_signal(kept_name(namespace, token), payload, now=now, signal_id=delivery_id or signal_id)
    return None


async def refuse_foreign(transaction: StoreTransaction, token: str, namespace: str | None) -> None:
    """Refuse a signal to a run of another namespace.

    Raises:
        InputValidationError: a run of another namespace waits for the token.
    """
    waiter = None if namespace is None else await transaction.find_signal_waiter(token)
    run = None if waiter is None else await transaction.find_run(waiter.run_id)
    if run is not None and not run.status.is_terminal and run.namespace != namespace:
        raise InputValidationError(
            f"a run of another namespace waits for the signal {token!r}, so it was not sent. All namespaces share "
            "the tokens. Put the namespace into your token"
        )


def payload_of(token: str) -> str:
    """Return how messages name the payload."""
    return f"the payload of signal {token!r}"


def signal_lock(token: str) -> str:
    """Return the name that every waiter and every sender of `token` locks."""
    return f"signal:{token}"
