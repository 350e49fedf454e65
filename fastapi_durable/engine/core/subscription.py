"""A published event, its effect, and the subscribers that take part in publishing it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from fastapi_durable.model.records import ErrorRecord, Json, Run
from fastapi_durable.store.base import StoreTransaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A published event. `payload` is its JSON form, and `traceparent` is that of the publisher."""

    id: str
    name: str
    payload: Json
    published_at: datetime
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedEvent:
    """The effect of publishing an event.

    Attributes:
        event_id: The given id, or a new one.
        receivers: The runs that waited for the event.
        started: The runs that subscribers started, or passed the event to.
        refused: The runs that were not started, because too many runs of their singleton key are alive.
        buffered: Whether the event is kept, because no run wanted it yet.
        duplicate: Whether an event of this name and id was published before. Nothing was done then.
    """

    event_id: str
    receivers: tuple[str, ...] = ()
    started: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    buffered: bool = False
    duplicate: bool = False


class Refusal(NamedTuple):
    """A run that was not started, where no caller could receive an exception."""

    run: Run
    error: ErrorRecord


@dataclass(frozen=True, slots=True)
class Reception:
    """The effect of an event on a subscriber.

    Attributes:
        touched: The runs that it started or passed the event to.
        refused: The runs that it could not start.
    """

    touched: Sequence[str] = ()
    refused: Sequence[Refusal] = ()


class EventSubscriber(Protocol):
    """Takes part in the transaction that publishes an event, so it receives each event exactly once."""

    def locks(self, event: Event) -> Collection[str]:
        """Return the names that the transaction locks before it calls `receive`.

        Args:
            event: The event.
        """
        ...

    async def receive(self, transaction: StoreTransaction, event: Event) -> Reception:
        """Do what the event asks for. After a conflict, the whole transaction is repeated.

        Args:
            transaction: The transaction that publishes the event.
            event: The event.

        Returns:
            The runs that were started or reached, and the runs that could not be started.
        """
        ...
