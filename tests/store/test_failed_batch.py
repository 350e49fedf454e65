"""A batch that fails by a fault of the library: its callers hear nothing of it, so the log does."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import pytest

from fastapi_durable.store.prisma.batching import Group


@dataclass(frozen=True)
class Number:
    """A call that doubles a number."""

    value: int
    shape: str = ""
    text: str = ""

    @property
    def keys(self) -> tuple[int]:
        return (self.value,)


async def test_a_batch_that_fails_is_logged_and_each_call_is_made_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    async def together(calls: Sequence[Number]) -> Sequence[int | None]:
        raise NameError("a fault of ours")

    group = Group(together, timedelta(seconds=5))

    async def doubled(value: int) -> int:
        async def alone() -> int:
            await asyncio.sleep(0)
            return 2 * value

        return await group.call(lambda: Number(value), alone)

    assert await asyncio.gather(*map(doubled, range(4))) == [0, 2, 4, 6]
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert record.getMessage() == "a batch of 3 calls failed, and each call is made by itself"
    assert "a fault of ours" in caplog.text
