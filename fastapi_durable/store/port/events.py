"""Events that are kept for runs that will wait for them."""

from datetime import datetime
from typing import Protocol

from fastapi_durable.model.records import BufferedEvent


class EventStore(Protocol):
    """Buffered events, by name."""

    async def buffer_event(self, event: BufferedEvent) -> None:
        """Keep an event. An event with the same id changes nothing.

        Args:
            event: The event.
        """
        ...

    async def list_buffered_events(
        self, name: str, *, limit: int = 50, after: BufferedEvent | None = None
    ) -> list[BufferedEvent]:
        """Return the oldest events of a name, without consuming them.

        Args:
            name: Name of the events.
            limit: Maximum number of events.
            after: Event after which the page begins. None: from the oldest one.
        """
        ...

    async def remove_buffered_event(self, event_id: str) -> bool:
        """Remove an event. Of two callers, one gets True.

        Args:
            event_id: Id of the event.
        """
        ...

    async def prune_buffered_events(self, before: datetime, *, limit: int) -> int:
        """Delete old events, and return how many.

        Args:
            before: Moment before which the events were published.
            limit: Maximum number of events to delete.
        """
        ...
