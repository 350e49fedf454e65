"""Events: `ctx.wait_for_event` and `publish_event`.

An event goes to every run that waits for it. If no run receives it, one copy is kept for the first run that asks. Both
sides lock the name of the event first, then runs, each in one transaction, as signals do. An event with an id is
remembered for as long as events are kept, so a publisher that is not sure may publish it again.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.core.subscription import Event, PublishedEvent
from fastapi_durable.engine.primitives.wait import SIGNAL_TIMEOUT, Deadline, LockedWait
from fastapi_durable.engine.runs.create import report
from fastapi_durable.engine.runs.delivery import deliver_to_waiter, tell_receiver
from fastapi_durable.engine.runs.namespaces import namespace_of
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import InputValidationError, SignalTimeoutError
from fastapi_durable.model.records import (
    BufferedEvent,
    Checkpoint,
    CheckpointStatus,
    ErrorRecord,
    Json,
    Run,
    SignalWaiter,
)
from fastapi_durable.model.reserved import EVENT, looks_scoped, scoped
from fastapi_durable.model.text import fits_index, index_rule, shown
from fastapi_durable.store.base import StoreTransaction

_NAME_LIMIT = 200
_TOKEN_LIMIT = 2400
"""In bytes. PostgreSQL cannot index a longer key."""

_PAGE = 200
_PRUNED_AT_ONCE = 100


def checked_event_name(name: Any) -> str:
    """Return `name`, if every database can store it.

    Raises:
        InputValidationError: a database cannot store it.
    """
    if not fits_index(name, _NAME_LIMIT):
        raise InputValidationError(f"the name of an event must be {index_rule(_NAME_LIMIT)}, got {shown(name)}")
    if looks_scoped(name):
        raise InputValidationError(
            "the name of an event must not begin with '@', a number and '.', which mark a namespace, got "
            f"{shown(name)}. Put a word of your own in front"
        )
    return str(name)


def event_token(name: str, match: Mapping[str, Json], run_id: str, seq: int) -> str:
    """Return the token of one waiting position. It contains the `match` of the waiter.

    Raises:
        InputValidationError: `match` is too large.
    """
    wanted = json.dumps(match, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    token = f"{_prefix(name)}{_base64(wanted)}:{run_id}#{seq}"
    if len(token.encode()) > _TOKEN_LIMIT:
        raise InputValidationError(
            f"the match of event {name!r} is too large: it has {len(wanted)} characters as JSON. Match on an id, and "
            "check the rest of the payload in the workflow"
        )
    return token


class AwaitedEvent(LockedWait[Any]):
    """Waits for the payload of the next event of this name that has the values of `match` at its top level.

    A kept event that fits wins over a deadline that has passed.

    Args:
        deadline_seq, timeout: Position of the deadline, and limit of the wait.
        declared: The type of the payload.

    Raises:
        SignalTimeoutError: no event came in time.
        SerializationError: the payload does not fit the declared type.
    """

    def __init__(
        self,
        turn: Turn,
        seq: int,
        event: str,
        match: Mapping[str, Json],
        declared: Any,
        deadline_seq: int | None = None,
        timeout: timedelta | None = None,
    ) -> None:
        bounded = None
        if deadline_seq is not None and timeout is not None:
            bounded = Deadline(turn, deadline_seq, f"timeout:event:{event}", timeout)
        self._token = event_token(event, match, turn.run.id, seq)
        super().__init__(turn, seq, f"signal:{self._token}", bounded)
        self._event = event
        self._match = match
        self._declared = declared

    def locks(self) -> Sequence[str]:
        return (_lock(self._event),)

    @property
    def waiter(self) -> SignalWaiter:
        return SignalWaiter(token=self._token, run_id=self.turn.run.id, seq=self.seq)

    async def keep(self, transaction: StoreTransaction, late: Checkpoint) -> Run | None:
        """Give the event to a run that has begun to wait since it came, or keep it for the next run that waits."""
        event = Event(
            id=f"{self.turn.run.id}#{self.seq}",
            name=self._event,
            payload=late.output,
            published_at=late.finished_at,
        )
        for waiter in await _waiters_for(transaction, event, self.turn.run.namespace):
            receiver = await deliver_to_waiter(transaction, waiter, event.payload, now=self.turn.kernel.clock.now())
            if receiver is not None:
                return receiver
        await _keep(transaction, event, self.turn.run.namespace)
        return None

    async def take(self, transaction: StoreTransaction) -> Checkpoint | None:
        kernel, waiter = self.turn.kernel, self.waiter
        since = kernel.clock.now() - kernel.config.event_ttl
        event = await _take_kept(transaction, self.turn.run.namespace, self._event, self._match, since=since)
        if event is not None:
            row = self.row(CheckpointStatus.COMPLETED, output=event.payload)
        elif self.is_over:
            error = ErrorRecord(message=f"no event {self._event!r} before its deadline", code=SIGNAL_TIMEOUT)
            row = self.row(CheckpointStatus.FAILED, error=error)
        else:
            await transaction.put_signal_waiter(waiter)
            await self.begin(transaction)
            return None
        await transaction.remove_signal_waiter(waiter)
        return await self.record_in(transaction, row)

    def returns(self, output: Json) -> Any:
        return self.turn.kernel.codec.decode(output, self._declared, what=f"the payload of event {self._event!r}")

    def raises(self, _: Checkpoint) -> Exception:
        return SignalTimeoutError(f"event:{self._event}", self.timeout)


async def _take_kept(
    transaction: StoreTransaction, namespace: str, name: str, match: Mapping[str, Json], *, since: datetime
) -> BufferedEvent | None:
    """Remove and return the oldest kept event of the namespace that matches. Older events that do not match stay."""
    last: BufferedEvent | None = None
    while True:
        page = await transaction.list_buffered_events(scoped(namespace, name), limit=_PAGE, after=last)
        for event in page:
            fits = event.published_at >= since and matches(match, event.payload)
            if fits and await transaction.remove_buffered_event(event.id):
                return event
        if len(page) < _PAGE:
            return None
        last = page[-1]


async def publish_event(kernel: Kernel, event: Event, *, once: bool, buffer: bool) -> PublishedEvent:
    """Deliver an event to every run that waits for it, or keep it, in one transaction.

    Args:
        once: Whether the publisher chose the id: an event of this name and id that was published before is skipped.
        buffer: Whether to keep the event if no run wants it yet.
    """
    subscribers, namespace = tuple(kernel.subscribers), namespace_of(kernel.config)
    names = {_lock(event.name), *(name for subscriber in subscribers for name in subscriber.locks(event))}
    async with kernel.store.transaction(timeout=kernel.config.transaction_timeout) as transaction:
        for name in sorted(names):
            await transaction.lock_name(name)
        seen = scoped(namespace, f"published:{event.name}:{event.id}")
        if once and await transaction.list_buffered_events(seen, limit=1):
            return PublishedEvent(event_id=event.id, duplicate=True)
        waiters = await _waiters_for(transaction, event, kernel.config.namespace)
        receivers: list[Run] = []
        # Lock the runs in the same order everywhere, so that two publishers cannot block each other.
        for waiter in sorted(waiters, key=lambda waiter: (waiter.run_id, waiter.seq)):
            receiver = await deliver_to_waiter(transaction, waiter, event.payload, now=event.published_at)
            if receiver is not None:
                receivers.append(receiver)
        receptions = [await subscriber.receive(transaction, event) for subscriber in subscribers]
        started = [run_id for reception in receptions for run_id in reception.touched]
        refused = [refusal for reception in receptions for refusal in reception.refused]
        keep = buffer and not receivers and not started and not refused
        if once:
            await transaction.buffer_event(BufferedEvent(id=seen, name=seen, published_at=event.published_at))
        if keep:
            await _keep(transaction, event, namespace)
    for receiver in receivers:
        tell_receiver(kernel.notifications, receiver)
    if once or keep:
        # Each insert also deletes expired rows, so the table stays as small as the events of one `event_ttl`.
        await kernel.store.prune_buffered_events(event.published_at - kernel.config.event_ttl, limit=_PRUNED_AT_ONCE)
    for refusal in refused:
        report(kernel, refusal)
    return PublishedEvent(
        event_id=event.id,
        receivers=tuple(receiver.id for receiver in receivers),
        started=tuple(started),
        refused=tuple(refusal.run.id for refusal in refused),
        buffered=keep,
    )


async def _keep(transaction: StoreTransaction, event: Event, namespace: str) -> None:
    """Keep one copy of an event for the first run of the namespace that waits for it."""
    # The row's key contains the name, because ids of events are unique only within a name.
    kept_id, name = scoped(namespace, f"{event.name}:{event.id}"), scoped(namespace, event.name)
    await transaction.buffer_event(
        BufferedEvent(id=kept_id, name=name, payload=event.payload, published_at=event.published_at)
    )


async def _waiters_for(transaction: StoreTransaction, event: Event, namespace: str | None) -> list[SignalWaiter]:
    """Return the waiters that match the event, of one namespace or of all."""
    store = transaction if namespace is None else transaction.with_scope(namespace)
    prefix, found = _prefix(event.name), []
    after: str | None = None
    while True:
        page = await store.list_signal_waiters(prefix=prefix, limit=_PAGE, after=after)
        found += [waiter for waiter in page if matches(_wanted(waiter.token, prefix), event.payload)]
        if len(page) < _PAGE:
            return found
        after = page[-1].token


def matches(match: Mapping[str, Json], payload: Json) -> bool:
    """Return whether the payload's top level has each key of `match` with an equal value. An empty match fits
    anything.
    """
    if not match:
        return True
    return isinstance(payload, dict) and all(same_json(wanted, payload.get(key)) for key, wanted in match.items())


def same_json(one: Json, other: Json) -> bool:
    """Return whether two JSON values are equal. The order of keys does not matter, 1 equals 1.0, and true does not
    equal 1.
    """
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_json(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same_json(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def _wanted(token: str, prefix: str) -> Mapping[str, Json]:
    """Return the `match` in a waiter's token."""
    encoded = token.removeprefix(prefix).partition(":")[0]
    wanted = json.loads(base64.b64decode(encoded))
    return wanted if isinstance(wanted, dict) else {}


def _prefix(name: str) -> str:
    return f"{EVENT}{_base64(name)}:"


def _lock(name: str) -> str:
    return f"event:{name}"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
