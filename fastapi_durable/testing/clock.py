"""A clock that a test moves by hand."""

import asyncio
from datetime import UTC, datetime, timedelta


class HandClock:
    """Stands still until it is moved; whoever sleeps on it is woken at once.

    With `DurableOptions(store=MemoryStateStore(), clock=HandClock())` a run that sleeps for days takes no time in a
    test. Move it while runs wait (`settled`): a run that is under way would outlive its lease.

    Args:
        moment: Where it stands at first; aware, UTC.
    """

    def __init__(self, moment: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    async def sleep(self, delay: timedelta) -> None:  # noqa: ARG002 (no time passes by itself)
        await asyncio.sleep(0)

    def move(self, **parts: float) -> None:
        """Let time pass, named as the parts of a timedelta: `move(days=3, seconds=1)`."""
        self.moment += timedelta(**parts)
