"""A published event, what came of it, and who takes part in publishing it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from fastapi_durable.model.records import ErrorRecord, Json, Run
from fastapi_durable.store.base import StoreTransaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, as it was published; `payload` is encoded, and `traceparent` is the publisher's."""

    id: str
    name: str
    payload: Json
    published_at: datetime
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedEvent:
    """What came of publishing an event.

    Attributes:
        event_id: The given id, or the one that was made up.
        receivers: The runs that waited for it.
        started: What subscribers did with it: the runs that they started or passed it to.
        refused: The runs that it did not start, because no more runs of their singleton key may wait.
        buffered: Nobody wanted it yet, so it is kept.
        duplicate: An event of this name and id was published before; nothing was done.
    """

    event_id: str
    receivers: tuple[str, ...] = ()
    started: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    buffered: bool = False
    duplicate: bool = False


class Refusal(NamedTuple):
    """A run that did not begin, where no caller waits to be told by an exception."""

    run: Run
    error: ErrorRecord


@dataclass(frozen=True, slots=True)
class Reception:
    """What a subscriber did with an event.

    Attributes:
        touched: The runs that it started or passed the event to.
        refused: The runs that it could not start.
    """

    touched: Sequence[str] = ()
    refused: Sequence[Refusal] = ()


class EventSubscriber(Protocol):
    """Takes part in the transaction that publishes an event, so it gets each one exactly once."""

    def locks(self, event: Event) -> Collection[str]:
        """Names that `receive` needs locked."""
        ...

    async def receive(self, transaction: StoreTransaction, event: Event) -> Reception:
        """Do what the event asks for; it may be repeated after a conflict."""
        ...
