"""Queues: their limits, and claims that keep them."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol

from fastapi_durable.declare.queue import QueueClaim, QueueLoad, QueueState


class QueueStore(Protocol):
    """Declared queues, and claims of the runs that wait in them."""

    async def save_queue(self, queue: QueueState) -> None:
        """Insert a queue, or set the limits of the one that has its id; how far that has come stays."""
        ...

    async def add_queue(self, queue: QueueState) -> None:
        """Insert a queue unless one has its id; that one stays as it is."""
        ...

    async def list_queues(
        self, now: datetime, *, namespace: str | None = None, limit: int = 1000, at_most: int | None = None
    ) -> list[QueueLoad]:
        """Queues with what is in them, by id; counting what waits in one stops at `at_most`."""
        ...

    async def claim_queued_runs(
        self,
        token: str,
        *,
        now: datetime,
        until: datetime,
        limit: int,
        workflows: Collection[tuple[str, str]] | None = None,
        namespace: str | None = None,
        in_flight: Mapping[tuple[str, str], int] | None = None,
    ) -> QueueClaim:
        """Take up to `limit` runs that wait in queues, as `claim_runs` does others, within the queues' limits.

        A leased run has a place in its queue. A lease that has expired is ended first: its place is free then, its
        owner can write no more, and the run waits for a place again. Fairness keys take turns in a queue; within a key
        the longest wait comes first. The queue that was served last comes last.

        Args:
            in_flight: How many runs the worker drives, by namespace and name of the queue.
        """
        ...
