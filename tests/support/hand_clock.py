"""A clock that a test moves by hand."""

import asyncio
from datetime import UTC, datetime, timedelta


class HandClock:
    """Stands still until it is moved; whoever sleeps on it is woken at once."""

    def __init__(self, moment: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    async def sleep(self, delay: timedelta) -> None:
        await asyncio.sleep(0)

    def move(self, **parts: float) -> None:
        self.moment += timedelta(**parts)
