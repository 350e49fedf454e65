"""A process that dies at its n-th write: a store for one engine that stops working at a chosen moment."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, cast

from fastapi_durable.store.base import StateStore

Moment = Literal["before", "after"]

_READS = frozenset(
    {
        "find_run",
        "renew_leases",
        "list_runs",
        "count_runs",
        "run_facets",
        "list_pending_runs",
        "list_incomplete_runs",
        "list_due_timers",
        "list_expired_runs",
        "list_stranded_runs",
        "next_wake_at",
        "find_checkpoint",
        "list_checkpoints",
        "page_checkpoints",
        "history_state",
        "find_latest_checkpoint_by_name",
        "list_checkpoints_by_name_prefix",
        "find_signal_waiter",
        "list_signal_waiters",
        "list_buffered_events",
        "lock_name",
        "lock_run",
        "ping",
        "ensure_schema",
    }
)


class ProcessDied(asyncio.CancelledError):
    """What every call to the store meets once the process is dead: its tasks end where they are, without a word."""


class Fuse:
    """Counts the writes of a process and blows at the n-th, before or after it is done."""

    def __init__(self, at: int, moment: Moment) -> None:
        self.writes = 0
        self.blown = False
        self._at = at
        self._moment = moment

    def check(self) -> None:
        if self.blown:
            raise ProcessDied

    def before(self) -> int:
        """Count a write that is about to be made; its number goes to `after`."""
        self.check()
        self.writes += 1
        if self.writes == self._at and self._moment == "before":
            self.blown = True
            raise ProcessDied
        return self.writes

    def after(self, number: int) -> None:
        if number == self._at and self._moment == "after":
            self.blown = True
            raise ProcessDied


def crashing(store: StateStore, fuse: Fuse) -> StateStore:
    """`store` as a process sees it that dies when the fuse blows. A commit counts as a write of its own."""
    return cast(StateStore, _CrashingStore(store, fuse))


class _CrashingStore:
    def __init__(self, inner: Any, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    @asynccontextmanager
    async def transaction(self, **options: Any) -> AsyncIterator["_CrashingStore"]:
        self._fuse.check()
        async with self._inner.transaction(**options) as transaction:
            yield _CrashingStore(transaction, self._fuse)
            number = self._fuse.before()
        self._fuse.after(number)

    async def claim_runs(self, *arguments: Any, **options: Any) -> Any:
        """A worker looks for work all the time; only a claim that gets something counts."""
        self._fuse.check()
        claimed = await self._inner.claim_runs(*arguments, **options)
        if claimed:
            self._fuse.after(self._fuse.before())
        return claimed

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        if not callable(attribute):
            return attribute
        return self._counted(attribute) if name not in _READS and name != "client" else self._checked(attribute)

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*arguments: Any, **options: Any) -> Any:
            number = self._fuse.before()
            result = await method(*arguments, **options)
            self._fuse.after(number)
            return result

        return call

    def _checked(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*arguments: Any, **options: Any) -> Any:
            self._fuse.check()
            return await method(*arguments, **options)

        return call
