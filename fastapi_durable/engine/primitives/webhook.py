"""`ctx.webhook`: an address for one callback from outside.

Minting it records a secret and leaves the waiter in one transaction, so a callback is taken from then on, whether the
workflow waits already or not. The token is the reference's, `wh:<runId>:<seq>`, and the secret behind it: who does not
know the secret finds nothing. The first callback counts; a repeated one is accepted and changes nothing.
"""

import secrets
from collections.abc import Callable, Coroutine
from datetime import timedelta
from enum import Enum, auto
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.primitives.signal import SIGNAL_TIMEOUT
from fastapi_durable.engine.runs.delivery import deliver_to_waiter
from fastapi_durable.engine.turns.own_run import own_run
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.duration import Duration, parse_duration
from fastapi_durable.model.errors import SignalTimeoutError
from fastapi_durable.model.records import Checkpoint, CheckpointKind, CheckpointStatus, ErrorRecord, Json, SignalWaiter
from fastapi_durable.model.reserved import WEBHOOK

Payload = TypeVar("Payload")

_SECRET_BYTES = 24


class Callback(Enum):
    """What became of a callback."""

    RECEIVED = auto()
    REPEATED = auto()
    UNKNOWN = auto()
    ENDED = auto()


class Webhook(Generic[Payload]):
    """An address for one callback; made by `ctx.webhook`.

    Attributes:
        token: Ends the address. It holds a secret: give it only to whoever may call.
        url: The whole address; None if the option `webhook_url` is not set.
    """

    def __init__(self, turn: Turn, seq: int, token: str, declared: Any) -> None:
        self.token = token
        self.url = _url(turn.kernel.config.webhook_url, token)
        self._turn = turn
        self._seq = seq
        self._declared = declared

    def wait(self, *, timeout: Duration | None = None) -> Coroutine[Any, Any, Payload]:
        """The body of the first callback, also of one that came before. Takes a position if it has a timeout.

        Raises:
            SignalTimeoutError: none came in time. One that comes later is kept for another `wait`.
            SerializationError: the body does not fit the declared type.
        """
        limit = None if timeout is None else parse_duration(timeout)
        deadline_seq = None if limit is None else self._turn.take_position()
        return _wait(self._turn, deadline_seq, self._seq, self._declared, limit)


async def mint_webhook(turn: Turn, seq: int, declared: Any) -> Webhook[Any]:
    """The webhook of a position: made on the first run, the same on every replay."""
    async with turn.under_way():
        recorded = await turn.recorded(seq, CheckpointKind.SIGNAL, _name(turn, seq), only_begun=True)
        if recorded is None:
            secret = secrets.token_urlsafe(_SECRET_BYTES)
            recorded = await turn.persist(lambda: _register(turn, seq, secret))
            turn.remember(recorded)
        if not recorded.status.is_finished:
            turn.put_waiters = True
        return Webhook(turn, seq, _token(recorded), declared)


async def _register(turn: Turn, seq: int, secret: str) -> Checkpoint:
    async with turn.kernel.store.transaction(timeout=turn.kernel.config.transaction_timeout) as transaction:
        await own_run(turn, transaction)
        begun = turn.checkpoint(
            seq, CheckpointKind.SIGNAL, _name(turn, seq), CheckpointStatus.PENDING, input={"secret": secret}
        )
        recorded = await transaction.record_checkpoint(begun, token=turn.token)
        if not recorded.checkpoint.status.is_finished:
            waiter = SignalWaiter(token=_token(recorded.checkpoint), run_id=turn.run.id, seq=seq)
            await transaction.put_signal_waiter(waiter)
        return recorded.checkpoint


async def _wait(turn: Turn, deadline_seq: int | None, seq: int, declared: Any, timeout: timedelta | None) -> Any:
    async with turn.under_way():
        deadline: Checkpoint | None = None
        label = f"timeout:wh:{turn.run.id}:{seq}"
        if deadline_seq is not None:
            deadline = await turn.recorded(deadline_seq, CheckpointKind.SLEEP, label, only_begun=True)
            # What was decided first counts: a callback after a timeout is for a later wait.
            if deadline is not None and deadline.status is CheckpointStatus.FAILED:
                raise turn.failed(
                    deadline.seq, SignalTimeoutError(f"{WEBHOOK}{turn.run.id}:{seq}", timeout or timedelta(0))
                )
        callback = await turn.recorded(seq, CheckpointKind.SIGNAL, _name(turn, seq))
        if deadline_seq is not None and deadline is None:
            wake_at = turn.kernel.clock.now() + (timeout or timedelta(0))
            deadline = await turn.record(
                turn.checkpoint(deadline_seq, CheckpointKind.SLEEP, label, CheckpointStatus.PENDING, wake_at=wake_at)
            )
        if callback is None or not callback.status.is_finished:
            wake_at_or_none = None if deadline is None else deadline.wake_at
            if deadline is None or wake_at_or_none is None or wake_at_or_none > turn.kernel.clock.now():
                await turn.park(wake_at_or_none)
            callback = await turn.persist(lambda: _decide(turn, seq, deadline))
            if callback is None:
                raise turn.failed(
                    deadline.seq, SignalTimeoutError(f"{WEBHOOK}{turn.run.id}:{seq}", timeout or timedelta(0))
                )
            turn.remember(callback)
        if deadline is not None and not deadline.status.is_finished:
            await turn.record(_ended(turn, deadline, CheckpointStatus.COMPLETED))
        return turn.kernel.codec.decode(callback.output, declared, what=f"the callback of webhook {seq}")


async def _decide(turn: Turn, seq: int, deadline: Checkpoint) -> Checkpoint | None:
    """At the deadline: the callback, if it came after all, or else the recorded timeout and None."""
    async with turn.kernel.store.transaction(timeout=turn.kernel.config.transaction_timeout) as transaction:
        await own_run(turn, transaction)
        callback = await transaction.find_checkpoint(turn.run.id, seq)
        if callback is not None and callback.status.is_finished:
            return callback
        await transaction.record_checkpoint(_ended(turn, deadline, CheckpointStatus.FAILED), token=turn.token)
        return None


def _ended(turn: Turn, deadline: Checkpoint, status: CheckpointStatus) -> Checkpoint:
    error = ErrorRecord(message="no callback before the deadline", code=SIGNAL_TIMEOUT)
    return turn.checkpoint(
        deadline.seq,
        deadline.kind,
        deadline.name,
        status,
        error=error if status is CheckpointStatus.FAILED else None,
        wake_at=deadline.wake_at,
        started_at=deadline.started_at,
    )


async def deliver_callback(kernel: Kernel, token: str, payload: Json) -> Callback:
    """Record a callback from outside at the position that the token names.

    An unknown run, a wrong position and a wrong secret are the same `UNKNOWN`, at the price of one read.
    """
    prefix, _, secret = token.rpartition(":")
    prefix, _, number = prefix.rpartition(":")
    run_id = prefix.removeprefix(str(WEBHOOK))
    if not prefix.startswith(str(WEBHOOK)) or not (number.isascii() and number.isdigit() and len(number) < 10):
        return Callback.UNKNOWN
    seq = int(number)
    if not _is_webhook(await kernel.store.find_checkpoint(run_id, seq), run_id, secret):
        return Callback.UNKNOWN
    with kernel.local_worker.place() as place:
        async with kernel.store.transaction() as transaction:
            run = await transaction.lock_run(run_id)
            row = await transaction.find_checkpoint(run_id, seq)
            if run is None or row is None or not _is_webhook(row, run_id, secret):
                return Callback.UNKNOWN
            if row.status.is_finished:
                return Callback.REPEATED
            waiter = SignalWaiter(token=token, run_id=run_id, seq=seq)
            if not await deliver_to_waiter(transaction, waiter, payload, now=kernel.clock.now(), place=place):
                return Callback.ENDED
    if place.run is None:
        kernel.notifications.work_available()
    return Callback.RECEIVED


def _is_webhook(row: Checkpoint | None, run_id: str, secret: str) -> bool:
    if row is None or row.name != f"signal:wh:{run_id}:{row.seq}" or not isinstance(row.input, dict):
        return False
    known = row.input.get("secret")
    return isinstance(known, str) and secrets.compare_digest(known.encode(), secret.encode())


def _name(turn: Turn, seq: int) -> str:
    return f"signal:wh:{turn.run.id}:{seq}"


def _token(recorded: Checkpoint) -> str:
    return f"{WEBHOOK}{recorded.run_id}:{recorded.seq}:{recorded.input['secret']}"


def _url(address: str | Callable[[str], str] | None, token: str) -> str | None:
    if address is None:
        return None
    quoted = quote(token, safe=":~")
    return address(quoted) if callable(address) else f"{address.rstrip('/')}/{quoted}"
