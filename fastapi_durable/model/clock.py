"""Time for the engine: UTC, in milliseconds, and replaceable in tests."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_FIRST_MILLIS = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
_LAST_MILLIS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND


class Clock(Protocol):
    """The engine's source of the time. Workflows call `ctx.now()` instead."""

    def now(self) -> datetime:
        """Return the current time in UTC, in whole milliseconds."""
        ...

    async def sleep(self, delay: timedelta) -> None:
        """Return when a time has passed on this clock.

        Args:
            delay: The time. Zero or less returns at once.
        """
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        # Cut before the object is created. A whole number of milliseconds is exact in microseconds.
        return datetime.fromtimestamp(time.time_ns() // 1_000_000 / 1000, UTC)

    async def sleep(self, delay: timedelta) -> None:
        await asyncio.sleep(max(0.0, delay.total_seconds()))


def in_utc(moment: datetime) -> datetime:
    """Return the same moment in UTC."""
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def truncate(moment: datetime) -> datetime:
    """Return `moment` in UTC, cut to milliseconds, the precision of the database columns."""
    moment = in_utc(moment)
    rest = moment.microsecond % 1000
    return moment.replace(microsecond=moment.microsecond - rest) if rest else moment


def to_millis(moment: datetime) -> int:
    """Return milliseconds since 1970 in UTC, the unit of the `wake_at` columns."""
    return (moment - _EPOCH) // _MILLISECOND


def from_millis(millis: int) -> datetime:
    """Return the inverse of `to_millis`. A moment beyond `datetime` becomes its first or last one.

    Other systems write such columns too: a run that sleeps until the year 20000 can be listed and cancelled.
    """
    return _EPOCH + min(max(millis, _FIRST_MILLIS), _LAST_MILLIS) * _MILLISECOND
