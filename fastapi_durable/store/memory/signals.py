"""Signals, their waiters, and events in memory."""

from collections.abc import Collection, Iterable
from datetime import datetime

from fastapi_durable.model.errors import SignalTokenTakenError
from fastapi_durable.model.records import BufferedEvent, BufferedSignal, Json, SignalWaiter
from fastapi_durable.store.memory.access import TableAccess
from fastapi_durable.store.memory.tables import (
    KeptSignal,
    freeze_event,
    freeze_signal,
    thaw_checkpoint,
    thaw_event,
    thaw_run,
    thaw_signal,
)
from fastapi_durable.store.port.signals import Receiver


class SignalOperations(TableAccess):
    """The operations that the store and a transaction share."""

    async def put_signal_waiter(self, waiter: SignalWaiter) -> None:
        async with self._access() as tables:
            self._require_visible(tables, waiter.run_id)
            owner = tables.waiters.get(waiter.token)
            if owner is None:
                tables.waiters.put(waiter.token, waiter)
            elif (owner.run_id, owner.seq) != (waiter.run_id, waiter.seq):
                raise SignalTokenTakenError(waiter.token, owner.run_id)

    async def find_signal_waiter(self, token: str) -> SignalWaiter | None:
        async with self._access() as tables:
            return self._visible_waiter(tables, token)

    async def find_receiver(self, token: str) -> Receiver | None:
        async with self._access() as tables:
            waiter = self._visible_waiter(tables, token)
            run = None if waiter is None else self._visible(tables, waiter.run_id)
            if waiter is None or run is None:
                return None
            begun = tables.checkpoints.get((waiter.run_id, waiter.seq))
            return Receiver(waiter, thaw_run(run), None if begun is None else thaw_checkpoint(begun))

    async def take_signal_waiter(self, token: str) -> SignalWaiter | None:
        async with self._access() as tables:
            return tables.waiters.pop(token) if self._visible_waiter(tables, token) else None

    async def remove_signal_waiter(self, waiter: SignalWaiter) -> bool:
        async with self._access() as tables:
            stored = self._visible_waiter(tables, waiter.token)
            if stored is None or (stored.run_id, stored.seq) != (waiter.run_id, waiter.seq):
                return False
            tables.waiters.pop(waiter.token)
            return True

    async def remove_signal_waiters_of_run(self, run_id: str) -> int:
        async with self._access() as tables:
            waiters = tables.waiters.group(run_id) if self._touchable(tables, run_id) else []
            for waiter in waiters:
                tables.waiters.pop(waiter.token)
            return len(waiters)

    async def list_signal_waiters(
        self,
        *,
        prefix: str | None = None,
        run_ids: Collection[str] | None = None,
        limit: int = 1000,
        after: str | None = None,
    ) -> list[SignalWaiter]:
        async with self._access() as tables:
            candidates: Iterable[SignalWaiter] = tables.waiters
            if run_ids is not None:
                candidates = [waiter for run_id in set(run_ids) for waiter in tables.waiters.group(run_id)]
            found = [
                waiter
                for waiter in candidates
                if (prefix is None or waiter.token.startswith(prefix))
                and (after is None or waiter.token > after)
                and self._touchable(tables, waiter.run_id)
            ]
            return sorted(found, key=lambda waiter: waiter.token)[:limit]

    async def buffer_signal(self, token: str, payload: Json, *, now: datetime, signal_id: str | None = None) -> bool:
        async with self._access() as tables:
            if signal_id is not None and any(
                kept.signal.signal_id == signal_id for kept in tables.signals.group(token)
            ):
                return False
            # Like a database sequence, the number is not given back by a rollback.
            tables.last_signal_id += 1
            signal = BufferedSignal(id=tables.last_signal_id, token=token, payload=payload, signal_id=signal_id)
            tables.signals.put(signal.id, KeptSignal(freeze_signal(signal), now))
            return True

    async def take_buffered_signal(self, token: str) -> BufferedSignal | None:
        async with self._access() as tables:
            oldest = min(tables.signals.group(token), key=lambda kept: kept.signal.id, default=None)
            if oldest is None:
                return None
            tables.signals.pop(oldest.signal.id)
            return thaw_signal(oldest.signal)

    async def prune_buffered_signals(self, before: datetime, *, limit: int) -> int:
        async with self._access() as tables:
            old = sorted((kept.kept_at, kept.signal.id) for kept in tables.signals if kept.kept_at < before)[:limit]
            for _, signal_id in old:
                tables.signals.pop(signal_id)
            return len(old)

    # Events

    async def buffer_event(self, event: BufferedEvent) -> None:
        row = freeze_event(event)
        async with self._access() as tables:
            if tables.events.get(event.id) is None:
                tables.events.put(event.id, row)

    async def list_buffered_events(
        self, name: str, *, limit: int = 50, after: BufferedEvent | None = None
    ) -> list[BufferedEvent]:
        async with self._access() as tables:
            oldest_first = sorted(tables.events.group(name), key=lambda row: (row.published_at, row.id))
            if after is not None:
                position = (after.published_at, after.id)
                oldest_first = [row for row in oldest_first if (row.published_at, row.id) > position]
            return [thaw_event(row) for row in oldest_first[:limit]]

    async def remove_buffered_event(self, event_id: str) -> bool:
        async with self._access() as tables:
            return tables.events.pop(event_id) is not None

    async def prune_buffered_events(self, before: datetime, *, limit: int) -> int:
        async with self._access() as tables:
            old = sorted((row.published_at, row.id) for row in tables.events if row.published_at < before)[:limit]
            for _, event_id in old:
                tables.events.pop(event_id)
            return len(old)
