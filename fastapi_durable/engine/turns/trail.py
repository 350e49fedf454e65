"""The trails of branches that a primitive runs side by side: their positions and waits, for those that lose.

A losing branch is cancelled, and the verdict removes all its waiters in one transaction. So its waits do not remove
their waiters one by one, as waits do that the body cancels.
"""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Protocol

from fastapi_durable.model.records import Checkpoint, Run
from fastapi_durable.store.base import StoreTransaction


class CancelledWait(Protocol):
    """A wait that was cancelled before its answer.

    Attributes:
        has_waiter: Whether it had stored its waiter, and only waited. Otherwise it may also have taken a kept delivery.
    """

    seq: int
    has_waiter: bool

    def locks(self) -> Sequence[str]:
        """Return the names that a delivery locks as well."""
        ...

    async def withdraw(
        self, transaction: StoreTransaction, stored: Checkpoint | None, receivers: list[Run]
    ) -> Checkpoint:
        """Remove its waiter, and keep its delivery for others."""
        ...


class Trail:
    """The positions and waits of a branch, and of the tasks that it creates.

    Attributes:
        asked_for: Positions of its calls.
        is_lost: Whether the branch is about to be cancelled, because another one has ended.
        waits: The waits that this cancel ended.
    """

    def __init__(self) -> None:
        self.asked_for: set[int] = set()
        self.is_lost = False
        self.waits: list[CancelledWait] = []


_trails: ContextVar[tuple[Trail, ...]] = ContextVar("durable_trails", default=())
_stops: ContextVar[bool] = ContextVar("durable_stops", default=False)


def follow_branch(trail: Trail) -> None:
    """Record the current task, and tasks that it creates, in `trail` from now on."""
    _trails.set((*_trails.get(), trail))


def lost_trail() -> Trail | None:
    """Return the trail of the current task's branch, if that branch has lost."""
    return next((trail for trail in _trails.get() if trail.is_lost), None)


def stop_at_history() -> None:
    """Stop the current task, and tasks that it creates, at the end of their recorded calls."""
    _stops.set(True)


def asked_for(seq: int, *, finished: bool) -> None:
    """Note that a call of the current task looks up its position.

    Raises:
        CancelledError: there is no finished row, and the task stops at the end of its recorded calls.
    """
    for trail in _trails.get():
        trail.asked_for.add(seq)
    if not finished and _stops.get():
        raise asyncio.CancelledError
