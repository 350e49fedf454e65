"""How long the store of an application may stay without an answer follows from its lease."""

from datetime import timedelta
from typing import Self

import pytest

from fastapi_durable import DurableModule, DurableOptions, MemoryStateStore


class LimitedStore(MemoryStateStore):
    """Notes the limits that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[timedelta] = []

    def with_timeout(self, limit: timedelta) -> Self:
        self.limits.append(limit)
        return self


@pytest.mark.parametrize(("lease", "limit"), [("30s", 10), ("9s", 3), ("1h", 1200), ("1s", 2)])
async def test_the_store_has_a_third_of_the_lease(lease: str, limit: float) -> None:
    """And two seconds at least: a shorter lease is for tests, which run on slow machines."""
    store = LimitedStore()
    durable = DurableModule.for_root(DurableOptions(store=store, lease=lease), workflows=[])
    async with durable.running():
        assert store.limits == [timedelta(seconds=limit)]
