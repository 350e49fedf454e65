"""The trails of branches that a primitive runs side by side: what it has to know of those that lose.

A branch that lost is cancelled, and the verdict takes away all that it waits for, in one transaction. So its waits do
not give up one by one, as a wait does that the body itself cancels.
"""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Protocol

from fastapi_durable.model.records import Checkpoint, Run
from fastapi_durable.store.base import StoreTransaction


class CancelledWait(Protocol):
    """A wait that was cancelled before it had its answer.

    Attributes:
        has_waiter: It had left its waiter, and only waited; else it may also have taken what was kept for it.
    """

    seq: int
    has_waiter: bool

    def locks(self) -> Sequence[str]:
        """The names that a delivery locks as well."""
        ...

    async def withdraw(
        self, transaction: StoreTransaction, stored: Checkpoint | None, receivers: list[Run]
    ) -> Checkpoint:
        """Take its waiter away, and keep for others what it received."""
        ...


class Trail:
    """What a branch, and the tasks that it creates, came to.

    Attributes:
        asked_for: The positions.
        is_lost: The branch is about to be cancelled, because another one has ended.
        waits: Those of its waits that ended by that.
    """

    def __init__(self) -> None:
        self.asked_for: set[int] = set()
        self.is_lost = False
        self.waits: list[CancelledWait] = []


_trails: ContextVar[tuple[Trail, ...]] = ContextVar("durable_trails", default=())
_stops: ContextVar[bool] = ContextVar("durable_stops", default=False)


def follow_branch(trail: Trail) -> None:
    """Have `trail` tell of the current task, and of tasks that it creates, from now on."""
    _trails.set((*_trails.get(), trail))


def lost_trail() -> Trail | None:
    """The trail of the branch to which the current task belongs, if that has lost."""
    return next((trail for trail in _trails.get() if trail.is_lost), None)


def stop_at_history() -> None:
    """Let the current task, and tasks that it creates, come no further than what is recorded."""
    _stops.set(True)


def asked_for(seq: int, *, finished: bool) -> None:
    """A call of the current task looks up its position.

    Raises:
        CancelledError: nothing finished is recorded there, and the task is to come no further.
    """
    for trail in _trails.get():
        trail.asked_for.add(seq)
    if not finished and _stops.get():
        raise asyncio.CancelledError
