"""A clock that a test moves by hand."""

import asyncio
from datetime import UTC, datetime, timedelta


class HandClock:
    """A clock that stands still until a test moves it. A sleep on it returns at once.

    With `DurableOptions(store=MemoryStateStore(), clock=HandClock())`, a run that sleeps for days takes no time in a
    test. Move the clock only while runs wait (`settled`): a run that is driven would lose its lease.

    Args:
        moment: Time at the start, in UTC.
    """

    def __init__(self, moment: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)) -> None:
        self.moment = moment

    def now(self) -> datetime:
        """Return the time at which the clock stands."""
        return self.moment

    async def sleep(self, delay: timedelta) -> None:  # noqa: ARG002 (no time passes by itself)
        """Return at once, because no time passes by itself.

        Args:
            delay: Not used.
        """
        await asyncio.sleep(0)

    def move(self, **parts: float) -> None:
        """Let time pass: `clock.move(days=3, seconds=1)`.

        Args:
            parts: Keyword arguments of `timedelta`.
        """
        self.moment += timedelta(**parts)
