"""The port through which processes tell each other what happened, so that nobody waits for the next poll.

Nothing depends on it: a word that is lost, late or repeated costs a look at the store, or the wait for the next one.
Words are said after the commit of what they tell. A process that dies between the two leaves its word unsaid, and
polling finds what it would have told.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Topic(StrEnum):
    """What a notification says.

    `work`: a run may be claimable. `finished`: a run has ended. `cancelled`: a run was cancelled, or is to be.
    `delivered`: a run that is being driven received something.
    """

    WORK = "work"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    DELIVERED = "delivered"


@dataclass(frozen=True, slots=True)
class Wakeup:
    """What is told; `run_id` is empty for work."""

    topic: Topic
    run_id: str = ""


OnMessage = Callable[[Wakeup], None]
Publish = Callable[[Wakeup], None]


class Wakeups(Protocol):
    """Carries words between the processes that share a store. One object may be joined several times."""

    def joined(self, on_message: OnMessage) -> AbstractAsyncContextManager[Publish]:
        """Take part while the block is open.

        Joining does not fail because the others cannot be reached: it goes on trying, and meanwhile everybody polls.

        Args:
            hear: Is called with what others tell, and with `Word(Topic.WORK)` after words may have been missed.

        Returns:
            What tells the others; it returns at once and never raises.
        """
        ...
