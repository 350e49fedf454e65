"""The port through which processes notify each other, so that none of them waits for its next poll.

Correctness never depends on it. A wake-up that is lost, late or repeated costs one poll of the store, or the wait for
the next one. A process publishes a wake-up after the commit that it reports. If it dies between the two, the others
find the change by polling. A wake-up says that something may have happened, and the store says whether it has: one
that is forged changes nothing.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Topic(StrEnum):
    """What a notification says.

    `work`: a run may be claimable. `finished`: a run has ended. `cancelled`: a run was cancelled, or is to be.
    `delivered`: a run that is being driven received something. `stream`: something was appended to a stream of a run.
    `value`: a run has set a value. `paused`: a run that is being driven was paused.
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
    """One notification; `run_id` is empty for work."""

    topic: Topic
    run_id: str = ""


OnMessage = Callable[[Wakeup], None]
Publish = Callable[[Wakeup], None]


class Wakeups(Protocol):
    """Carries wake-ups between the processes that share a store. One object may be joined several times."""

    def joined(self, on_message: OnMessage) -> AbstractAsyncContextManager[Publish]:
        """Take part while the block is open.

        Joining does not fail when the other processes cannot be reached: it tries again, and every process polls.

        Args:
            on_message: Is called with each wake-up of the others, and with `Wakeup(Topic.WORK)` when some may have been
                missed.

        Returns:
            The function that publishes a wake-up to the others. It returns at once and never raises.
        """
        ...
