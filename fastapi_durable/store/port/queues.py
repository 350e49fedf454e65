"""Queues: their limits, and claims that keep them."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol

from fastapi_durable.declare.queue import QueueClaim, QueueLoad, QueueState


class QueueStore(Protocol):
    """Declared queues, and claims of the runs that wait in them."""

    async def save_queue(self, queue: QueueState) -> None:
        """Insert a queue, or set the limits of the queue that has its id. The record of its claims stays.

        Args:
            queue: The queue.
        """
        ...

    async def add_queue(self, queue: QueueState) -> None:
        """Insert a queue, unless a queue has its id. An existing queue stays as it is.

        Args:
            queue: The queue.
        """
        ...

    async def list_queues(
        self, now: datetime, *, namespace: str | None = None, limit: int = 1000, at_most: int | None = None
    ) -> list[QueueLoad]:
        """Return queues with the numbers of their runs, ordered by id.

        Args:
            now: The current time.
            namespace: Namespace of the queues. None: all.
            limit: Maximum number of queues.
            at_most: Number at which counting the waiting runs of a queue stops. None: no limit.
        """
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
        """Claim runs that wait in queues, within the limits of the queues; see `claim_runs`.

        A leased run holds a slot of its queue. An expired lease is ended first: its slot is free again, its owner can
        no longer write, and the run waits for a slot. Fairness keys of a queue take turns. Within a key, the longest
        wait comes first. The queue that was served last comes last.

        Args:
            token: Token of the new leases.
            now: The current time.
            until: End of the new leases.
            limit: Maximum number of runs.
            workflows: Only these `(name, version)` pairs. None: all.
            namespace: Namespace of the runs. None: all.
            in_flight: Number of runs that the worker drives, by namespace and name of the queue.

        Returns:
            The runs, and when to claim again.
        """
        ...
