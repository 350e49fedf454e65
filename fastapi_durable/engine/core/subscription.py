"""A published event, what came of it, and who takes part in publishing it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fastapi_durable.model.records import Json
from fastapi_durable.store.base import StoreTransaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, as it was published; `payload` is encoded."""

    id: str
    name: str
    payload: Json
    published_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedEvent:
    """What came of publishing an event.

    Attributes:
        event_id: The given id, or the one that was made up.
        receivers: The runs that waited for it.
        started: What subscribers did with it: the runs that they started or passed it to.
        buffered: Nobody wanted it yet, so it is kept.
        duplicate: An event of this name and id was published before; nothing was done.
    """

    event_id: str
    receivers: tuple[str, ...] = ()
    started: tuple[str, ...] = ()
    buffered: bool = False
    duplicate: bool = False


class EventSubscriber(Protocol):
    """Takes part in the transaction that publishes an event, so it gets each one exactly once."""

    def locks(self, event: Event) -> Collection[str]:
        """Names that `receive` needs locked."""
        ...

    async def receive(self, transaction: StoreTransaction, event: Event) -> Sequence[str]:
        """Do what the event asks for; returns the runs that were touched. It may be repeated after a conflict."""
        ...
