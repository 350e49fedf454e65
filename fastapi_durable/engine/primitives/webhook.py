"""`ctx.webhook`: an address for one callback of another system.

One transaction records a secret and stores the waiter. From then on, a callback is accepted, even if the workflow does
not wait yet. The token is `wh:<runId>:<seq>`, as in nestjs-durable, followed by the secret: without the secret, nothing
is found. The first callback counts. A repeated one is accepted, and changes nothing.
"""

import secrets
from collections.abc import Callable, Coroutine
from datetime import timedelta
from enum import Enum, auto
from functools import partial
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.primitives.primitive import Primitive
from fastapi_durable.engine.primitives.wait import SIGNAL_TIMEOUT
from fastapi_durable.engine.runs.awaited_type import told_type
from fastapi_durable.engine.runs.delivery import deliver_to_waiter, tell_receiver
from fastapi_durable.engine.turns.own_run import own_run
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.duration import Duration, parse_duration
from fastapi_durable.model.errors import SignalTimeoutError
from fastapi_durable.model.records import Checkpoint, CheckpointKind, CheckpointStatus, ErrorRecord, Json, SignalWaiter
from fastapi_durable.model.reserved import WEBHOOK

Payload = TypeVar("Payload")

_SECRET_BYTES = 24


class Callback(Enum):
    """The result of a callback."""

    RECEIVED = auto()
    REPEATED = auto()
    UNKNOWN = auto()
    ENDED = auto()


class Webhook(Generic[Payload]):
    """An address for one callback. `ctx.webhook` creates it.

    Attributes:
        token: Last part of the address. It holds a secret, so give it only to the system that calls.
        url: The whole address. None if the option `webhook_url` is not set.
    """

    def __init__(self, turn: Turn, seq: int, token: str, declared: Any) -> None:
        self.token = token
        self.url = _url(turn.kernel.config.webhook_url, token)
        self._turn = turn
        self._seq = seq
        self._declared = declared

    def wait(self, *, timeout: Duration | None = None) -> Coroutine[Any, Any, Payload]:
        """Wait for the first callback. A callback that came before counts.

        A call takes one position if it has a timeout, and none otherwise.

        Args:
            timeout: How long to wait. None: no limit.

        Returns:
            The body of the callback.

        Raises:
            SignalTimeoutError: no callback came before the timeout. A later callback is kept for another `wait`.
            SerializationError: the body does not fit the declared type.
        """
        if timeout is None:
            return AwaitedCallback(self._turn, self._seq, self._declared).perform()
        limit = parse_duration(timeout)
        return TimedCallback(self._turn, self._turn.take_position(), self._seq, self._declared, limit).perform()


class MintedWebhook(Primitive[Webhook[Any]]):
    """Creates the webhook of a position on the first run. Every replay returns the same one."""

    kind = CheckpointKind.SIGNAL

    def __init__(self, turn: Turn, seq: int, declared: Any) -> None:
        super().__init__(turn, seq, _name(turn, seq))
        self._declared = declared

    def is_answer(self, _: Checkpoint) -> bool:
        return True

    async def act(self) -> Checkpoint:
        return await self.commit(partial(self._register, secrets.token_urlsafe(_SECRET_BYTES)))

    async def _register(self, secret: str) -> Checkpoint:
        turn = self.turn
        async with turn.transaction() as transaction:
            await own_run(turn, transaction)
            begun = self.row(CheckpointStatus.PENDING, input={"secret": secret, **told_type(self._declared)})
            recorded = await self.record_in(transaction, begun)
            if not recorded.status.is_finished:
                waiter = SignalWaiter(token=_token(recorded), run_id=turn.run.id, seq=self.seq)
                await transaction.put_signal_waiter(waiter)
            return recorded

    def result(self, recorded: Checkpoint) -> Webhook[Any]:
        if not recorded.status.is_finished:
            self.turn.put_waiters = True
        return Webhook(self.turn, self.seq, _token(recorded), self._declared)


class AwaitedCallback(Primitive[Any]):
    """Waits for the callback of a webhook, at the webhook's own position, where its waiter is stored."""

    kind = CheckpointKind.SIGNAL
    begins_effect = False

    def __init__(self, turn: Turn, seq: int, declared: Any) -> None:
        super().__init__(turn, seq, _name(turn, seq))
        self._declared = declared

    async def act(self) -> Checkpoint:
        while (callback := await self.turn.delivered(self.seq, None)) is None:
            pass
        return callback

    def returns(self, output: Json) -> Any:
        return self.turn.kernel.codec.decode(output, self._declared, what=f"the callback of webhook {self.seq}")


class TimedCallback(Primitive[Any]):
    """Waits with a deadline. The deadline's position records which of the two came first."""

    kind = CheckpointKind.SLEEP
    begins_effect = False

    def __init__(self, turn: Turn, seq: int, webhook_seq: int, declared: Any, timeout: timedelta) -> None:
        super().__init__(turn, seq, f"timeout:{_token_of(turn, webhook_seq)}")
        self._webhook_seq = webhook_seq
        self._declared = declared
        self._timeout = timeout

    async def act(self) -> Checkpoint:
        turn, clock = self.turn, self.turn.kernel.clock
        deadline = self.begun or await turn.hold(
            self.row(CheckpointStatus.PENDING, wake_at=clock.now() + self._timeout)
        )
        callback = turn.history.find_finished(self._webhook_seq)
        while callback is None and (deadline.wake_at is None or deadline.wake_at > clock.now()):
            callback = await turn.delivered(self._webhook_seq, deadline.wake_at)
        if callback is None:
            return await self.commit(partial(self._decide, deadline))
        return await turn.hold(self._in_time(deadline))

    async def _decide(self, deadline: Checkpoint) -> Checkpoint:
        """Record the callback at the deadline's position, or the timeout if no callback has come."""
        turn = self.turn
        async with turn.transaction() as transaction:
            await own_run(turn, transaction)
            callback = await transaction.find_checkpoint(turn.run.id, self._webhook_seq)
            if callback is not None and callback.status.is_finished:
                turn.history.add(callback)
                return await self.record_in(transaction, self._in_time(deadline))
            error = ErrorRecord(message="no callback before the deadline", code=SIGNAL_TIMEOUT)
            row = self.row(
                CheckpointStatus.FAILED, error=error, wake_at=deadline.wake_at, started_at=deadline.started_at
            )
            return await self.record_in(transaction, row)

    def _in_time(self, deadline: Checkpoint) -> Checkpoint:
        return self.row(CheckpointStatus.COMPLETED, wake_at=deadline.wake_at, started_at=deadline.started_at)

    def returns(self, _: Json) -> Any:
        callback = self.turn.history.find(self._webhook_seq)
        label = f"the callback of webhook {self._webhook_seq}"
        return self.turn.kernel.codec.decode(None if callback is None else callback.output, self._declared, what=label)

    def raises(self, _: Checkpoint) -> Exception:
        # The first decision counts: a callback after a timeout is kept for a later wait.
        return SignalTimeoutError(_token_of(self.turn, self._webhook_seq), self._timeout)


async def deliver_callback(kernel: Kernel, token: str, payload: Json) -> Callback:
    """Record a callback from outside at the position that the token names.

    An unknown run, a wrong position and a wrong secret all give `UNKNOWN`, after the same single read.

    Raises:
        SerializationError: the payload does not fit the type of the webhook. Nothing is consumed.
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
            receiver = await deliver_to_waiter(
                transaction,
                waiter,
                payload,
                now=kernel.clock.now(),
                place=place,
                codec=kernel.codec,
                what="the body of the callback",
            )
            if receiver is None:
                return Callback.ENDED
    tell_receiver(kernel.notifications, receiver, place)
    return Callback.RECEIVED


def _is_webhook(row: Checkpoint | None, run_id: str, secret: str) -> bool:
    if row is None or row.name != f"signal:wh:{run_id}:{row.seq}" or not isinstance(row.input, dict):
        return False
    known = row.input.get("secret")
    return isinstance(known, str) and secrets.compare_digest(known.encode(), secret.encode())


def _token_of(turn: Turn, seq: int) -> str:
    """Return the token without its secret, which must not appear in messages and names."""
    return f"{WEBHOOK}{turn.run.id}:{seq}"


def _name(turn: Turn, seq: int) -> str:
    return f"signal:{_token_of(turn, seq)}"


def _token(recorded: Checkpoint) -> str:
    return f"{WEBHOOK}{recorded.run_id}:{recorded.seq}:{recorded.input['secret']}"


def _url(address: str | Callable[[str], str] | None, token: str) -> str | None:
    if address is None:
        return None
    quoted = quote(token, safe=":~")
    return address(quoted) if callable(address) else f"{address.rstrip('/')}/{quoted}"
