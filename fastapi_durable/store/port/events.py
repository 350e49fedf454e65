"""Events that are kept for those who will wait for them."""

from datetime import datetime
from typing import Protocol

from fastapi_durable.model.records import BufferedEvent


class EventStore(Protocol):
    """Buffered events, by name."""

    async def buffer_event(self, event: BufferedEvent) -> None:
        """Keep an event; one of the same id again changes nothing."""
        ...

    async def list_buffered_events(
        self, name: str, *, limit: int = 50, after: BufferedEvent | None = None
    ) -> list[BufferedEvent]:
        """The oldest ones of a name, without consuming them; `after` continues a listing."""
        ...

    async def remove_buffered_event(self, event_id: str) -> bool:
        """True for the one caller that removed it."""
        ...

    async def prune_buffered_events(self, before: datetime, *, limit: int) -> int: ...
