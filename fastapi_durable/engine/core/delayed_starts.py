"""How many runs of a namespace wait for the `delay` or `at` that they were started with.

The limit stops code that starts runs without end, so it need not be exact. The store counts, and counting more runs
takes longer. So a count is used again, for ten seconds and for a tenth of the remaining room. Close to the limit, each
start counts.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from fastapi_durable.model.clock import Clock
from fastapi_durable.model.records import RunQuery, RunStatus
from fastapi_durable.store.base import StateStore

_COUNT_HOLDS_FOR: Final = timedelta(seconds=10)
_SHARE: Final = 10
_NO_COUNT: Final = (0, datetime.min.replace(tzinfo=UTC))


class DelayedStarts:
    """The remaining room for delayed starts, as this process knows it.

    Args:
        limit: How many runs of one namespace may wait.
    """

    def __init__(self, clock: Clock, limit: int) -> None:
        self.limit = limit
        self._clock = clock
        self._room: dict[str, tuple[int, datetime]] = {}

    async def take(self, store: StateStore, namespace: str, number: int) -> bool:
        """Reserve room for runs that are about to be created. Return whether there is enough."""
        now = self._clock.now()
        left, until = self._room.get(namespace, _NO_COUNT)
        if number > left or now >= until:
            query = RunQuery(namespace=namespace, status=RunStatus.SUSPENDED, never_driven=True)
            free = self.limit - await store.count_runs(query, at_most=self.limit)
            if number > free:
                return False
            left, until = number + (free - number) // _SHARE, now + _COUNT_HOLDS_FOR
        self._room[namespace] = left - number, until
        return True
