"""A process that dies, or stands still, at its n-th write: a store for one engine that stops at a chosen moment."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Literal, Protocol, cast

from fastapi_durable.store.base import StateStore

Moment = Literal["before", "after"]

_READS = frozenset(
    {
        "find_run",
        "renew_leases",
        "list_runs",
        "count_runs",
        "run_facets",
        "list_expired_runs",
        "list_stranded_runs",
        "find_checkpoint",
        "list_checkpoints",
        "list_stream_parts",
        "read_history",
        "read_stream_rows",
        "page_checkpoints",
        "history_state",
        "find_latest_checkpoint_by_name",
        "list_checkpoints_by_name_prefix",
        "find_receiver",
        "find_signal_waiter",
        "list_signal_waiters",
        "list_buffered_events",
        "find_schedule",
        "list_schedules",
        "list_workers",
        "list_queues",
        "lock_name",
        "lock_run",
        "ping",
        "ensure_schema",
    }
)

_OF_THE_WORKER = frozenset(
    {"save_worker", "remove_worker", "save_queue", "add_queue", "prune_workers", "prune_buffered_signals"}
)
"""Writes that come by the clock or with the start: the n-th write is to be the same one every time."""


class ProcessDied(asyncio.CancelledError):
    """What every call to the store meets once the process is dead: its tasks end where they are, without a word."""


class Fate(Protocol):
    """What happens to a process at its writes."""

    async def check(self, *, within: bool) -> None:
        """At every call, alone or within a transaction."""

    async def before(self, *, within: bool) -> int:
        """A write is about to be made, alone or within a transaction; its number goes to `after`."""
        ...

    async def after(self, number: int) -> None:
        """It was made."""

    async def opening(self) -> None:
        """A transaction is about to begin."""


class Fuse:
    """Kills the process at its n-th write, before or after it is done. A commit counts as a write of its own."""

    def __init__(self, at: int, moment: Moment) -> None:
        self.writes = 0
        self.blown = False
        self._at = at
        self._moment = moment

    async def check(self, *, within: bool = False) -> None:
        if self.blown:
            raise ProcessDied

    async def before(self, *, within: bool) -> int:
        await self.check()
        self.writes += 1
        if self.writes == self._at and self._moment == "before":
            self.blown = True
            raise ProcessDied
        return self.writes

    async def after(self, number: int) -> None:
        if number == self._at and self._moment == "after":
            self.blown = True
            raise ProcessDied

    async def opening(self) -> None:
        await self.check()


class Frost:
    """Stops the process before its n-th write, until it is thawed: by then others have gone on without it.

    A transaction counts once, as it begins, and one that is open comes to its end: a frozen one would hold its locks.
    """

    def __init__(self, at: int) -> None:
        self.writes = 0
        self.frozen = asyncio.Event()
        self._thawed = asyncio.Event()
        self._at = at

    def thaw(self) -> None:
        self._thawed.set()

    async def check(self, *, within: bool) -> None:
        if self.frozen.is_set() and not within:
            await self._thawed.wait()

    async def before(self, *, within: bool) -> int:
        await self.check(within=within)
        if not within:
            self.writes += 1
            if self.writes == self._at:
                self.frozen.set()
                await self._thawed.wait()
        return self.writes

    async def after(self, number: int) -> None:
        pass

    async def opening(self) -> None:
        await self.before(within=False)


def crashing(store: StateStore, fate: Fate) -> StateStore:
    """`store` as a process sees it that meets this fate."""
    return cast(StateStore, _CrashingStore(store, fate))


class _CrashingStore:
    def __init__(self, inner: Any, fate: Fate, *, within: bool = False) -> None:
        self._inner = inner
        self._fate = fate
        self._within = within
        self._calls: list[Callable[[], None]] = []

    @asynccontextmanager
    async def transaction(self, **options: Any) -> AsyncIterator["_CrashingStore"]:
        await (self._fate.check(within=self._within) if self._within else self._fate.opening())
        async with self._inner.transaction(**options) as transaction:
            within = _CrashingStore(transaction, self._fate, within=True)
            yield within
            number = await self._fate.before(within=True)
            if self._within:
                # A part: what it asked for is called after the commit of the whole.
                self._calls += within._calls
        await self._fate.after(number)
        if not self._within:
            for call in within._calls:
                call()

    def within(self, client: object) -> "_CrashingStore":
        return _CrashingStore(self._inner.within(client), self._fate, within=True)

    def after_commit(self, call: Callable[[], None]) -> None:
        """The process may die between the commit and the call."""
        self._calls.append(call)

    def with_timeout(self, limit: timedelta) -> "_CrashingStore":
        return _CrashingStore(self._inner.with_timeout(limit), self._fate, within=self._within)

    def with_scope(self, namespace: str) -> "_CrashingStore":
        return _CrashingStore(self._inner.with_scope(namespace), self._fate, within=self._within)

    async def claim_runs(self, *arguments: Any, **options: Any) -> Any:
        """A worker looks for work all the time; only a claim that gets something counts."""
        await self._fate.check(within=self._within)
        claimed = await self._inner.claim_runs(*arguments, **options)
        if claimed:
            await self._fate.after(await self._fate.before(within=self._within))
        return claimed

    async def claim_queued_runs(self, *arguments: Any, **options: Any) -> Any:
        await self._fate.check(within=self._within)
        claim = await self._inner.claim_queued_runs(*arguments, **options)
        if claim.runs:
            await self._fate.after(await self._fate.before(within=self._within))
        return claim

    def separate_connection(self) -> None:
        """None: nothing reaches the store but through the fate of its process."""

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        if not callable(attribute) or name in ("client", "prepare_checkpoint"):
            return attribute
        return self._checked(attribute) if name in _READS | _OF_THE_WORKER else self._counted(attribute)

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*arguments: Any, **options: Any) -> Any:
            number = await self._fate.before(within=self._within)
            result = await method(*arguments, **options)
            await self._fate.after(number)
            return result

        return call

    def _checked(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*arguments: Any, **options: Any) -> Any:
            await self._fate.check(within=self._within)
            return await method(*arguments, **options)

        return call
