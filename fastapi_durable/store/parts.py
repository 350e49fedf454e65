"""The state of one open transaction: inner transactions that can be undone alone, and the calls that follow the commit.

Both stores use it. Inner transactions come one after the other: the database keeps one stack of savepoints for a
transaction, so two that were open at the same time would undo each other.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

AfterCommit = Callable[[], None]


class Parts:
    """The parts of one transaction, and the calls that wait for its commit."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._owner: asyncio.Task[object] | None = None
        self._calls: list[AfterCommit] = []

    def after_commit(self, call: AfterCommit) -> None:
        """Call a function when the transaction is committed. It is not called if the transaction, or the part that
        requested it, is undone.
        """
        self._calls.append(call)

    def committed(self) -> None:
        """Make the calls, because the transaction can no longer be undone."""
        calls, self._calls = self._calls, []
        for call in calls:
            call()

    @asynccontextmanager
    async def part(self) -> AsyncIterator[None]:
        """Open a part, when no other one is open. If it raises, the calls that it requested are dropped."""
        task = asyncio.current_task()
        if self._owner is task:
            async with self._forgetting():
                yield
            return
        async with self._lock:
            self._owner = task
            try:
                async with self._forgetting():
                    yield
            finally:
                self._owner = None

    @asynccontextmanager
    async def _forgetting(self) -> AsyncIterator[None]:
        asked_before = len(self._calls)
        try:
            yield
        except BaseException:
            del self._calls[asked_before:]
            raise
