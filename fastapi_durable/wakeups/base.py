"""The port through which processes notify each other, so that they need not wait for the next poll.

Correctness never depends on it. A notification that is lost, late or repeated costs one poll of the store, or the wait
for the next one. A process publishes it after the commit that it reports. If the process dies between the two, the
others find the change by polling. A notification says only that something may have happened, and the receiver asks the
store. So a forged notification changes nothing.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Topic(StrEnum):
    """The subject of a notification.

    `work`: a run may be claimable. `finished`: a run has ended. `cancelled`: a run was cancelled or is to be
    cancelled. `delivered`: a run that is driven received something. `stream`: something was appended to a stream of a
    run.
    `value`: a run has set a value. `paused`: a run that is driven was paused.
    """

    WORK = "work"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    DELIVERED = "delivered"
    STREAM = "stream"
    VALUE = "value"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Wakeup:
    """A notification. Its `run_id` is empty for `work`."""

    topic: Topic
    run_id: str = ""


OnMessage = Callable[[Wakeup], None]
Publish = Callable[[Wakeup], None]


class Wakeups(Protocol):
    """Carries notifications between the processes that share a store. One object may be joined several times."""

    def joined(self, on_message: OnMessage) -> AbstractAsyncContextManager[Publish]:
        """Take part while the block is open.

        Joining does not fail when the other processes cannot be reached. It tries again, and every process polls
        meanwhile.

        Args:
            on_message: Function that receives each notification of the others. It also receives `Wakeup(Topic.WORK)`
                when notifications may have been lost.

        Returns:
            A context manager that yields the function that publishes a notification. That function returns at once and
            never raises.
        """
        ...
