"""A schedule as it is declared, and the arithmetic of its windows.

A window is a moment at which the schedule fires. Its number, the bucket, is the reference's: for an interval the count
of intervals since 1970, for a cron expression the moment itself in milliseconds.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from fastapi_durable.model.clock import from_millis, to_millis
from fastapi_durable.model.duration import Duration, parse_duration
from fastapi_durable.model.errors import DefinitionError

Overlap = Literal["allow", "skip"]

_KEY_LIMIT: Final = 200
_ZERO: Final = timedelta(0)
_MILLISECOND: Final = timedelta(milliseconds=1)


class NoScheduledInput:
    """Stands for the input of a workflow that takes none."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A workflow that is started again and again: `DurableOptions(schedules=[Schedule(...)])`.

    Each window starts one run, `sched:<key>:<bucket>`, however many workers there are, and never again once the run
    was deleted. A schedule that is seen for the first time waits for its next window; it does not fire a past one.

    Attributes:
        key: Names the schedule. Under another key it begins anew.
        workflow: The decorated function or a registered name; its newest version is started.
        input: For every run.
        every: An interval, counted from 1970, so that all workers agree; or
        cron: Five fields, or six with the seconds first. In the hour that a clock change skips, a daily window fires
            when the hour would have ended; in the one it repeats, once.
        timezone: Of the cron expression, by its IANA name.
        overlap: "skip" leaves a window out while the run that was started last has not ended.
        jitter: Each window fires up to so much later, by an offset of its own that every worker computes alike.
        backfill: After a time in which no worker ran, the latest window that was missed fires, and up to so many
            before it.
        paused: Windows pass without a run.
        tags, priority, queue, fairness_key: Of every run, as a start takes them.

    Raises:
        DefinitionError: it can never fire, or the parts contradict each other.
    """

    key: str
    workflow: Callable[..., Any] | str
    input: Any = NoScheduledInput
    every: Duration | None = None
    cron: str | None = None
    timezone: str = "UTC"
    overlap: Overlap = "allow"
    jitter: Duration = _ZERO
    backfill: int = 0
    paused: bool = False
    tags: tuple[str, ...] = ()
    priority: int | None = None
    queue: str | None = None
    fairness_key: str | None = None

    def __post_init__(self) -> None:
        if not self.key or len(self.key) > _KEY_LIMIT or not self.key.isprintable():
            raise DefinitionError(
                f"the key of a schedule has 1 to {_KEY_LIMIT} printable characters: {self.key[:80]!r}"
            )
        if (self.every is None) == (self.cron is None):
            raise DefinitionError(f"schedule {self.key!r} needs either every= or cron=")
        if self.overlap not in ("allow", "skip"):
            raise DefinitionError(f"overlap={self.overlap!r} of schedule {self.key!r} is unknown: 'allow' or 'skip'")
        if self.backfill < 0:
            raise DefinitionError(f"backfill={self.backfill} of schedule {self.key!r} is negative")
        jitter = parse_duration(self.jitter)
        if self.every is not None:
            interval = parse_duration(self.every)
            if interval < _MILLISECOND:
                raise DefinitionError(f"every={self.every!r} of schedule {self.key!r} is no interval")
            if jitter >= interval:
                raise DefinitionError(
                    f"jitter={self.jitter!r} of schedule {self.key!r} is not shorter than its interval"
                )
        else:
            self._check_cron()

    def _check_cron(self) -> None:
        try:
            zone = ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise DefinitionError(f"timezone={self.timezone!r} of schedule {self.key!r} is unknown") from error
        try:
            next(CronSim(self.cron or "", datetime(2024, 1, 1, tzinfo=zone)))
        except (CronSimError, StopIteration) as error:
            raise DefinitionError(f"cron={self.cron!r} of schedule {self.key!r} is refused: {error}") from error

    def bucket(self, window: datetime) -> int:
        """The number of a window in its run's id."""
        millis = to_millis(window)
        return millis if self.every is None else millis // (parse_duration(self.every) // _MILLISECOND)

    def fires_at(self, window: datetime) -> datetime:
        """The window with its jitter; never after the next window, so that windows keep their order."""
        jitter = parse_duration(self.jitter)
        if not jitter:
            return window
        room = min(jitter + _MILLISECOND, next(self.windows_after(window)) - window) // _MILLISECOND
        digest = hashlib.sha256(f"{self.key}:{to_millis(window)}".encode()).digest()
        return window + timedelta(milliseconds=int.from_bytes(digest[:6], "big") % room)

    def windows_after(self, moment: datetime) -> Iterator[datetime]:
        """The windows after a moment, the earliest first."""
        if self.every is None:
            for fire in CronSim(self.cron or "", moment.astimezone(ZoneInfo(self.timezone))):
                window = fire.astimezone(UTC)
                if window > moment:
                    yield window
            return
        interval = parse_duration(self.every) // _MILLISECOND
        bucket = to_millis(moment) // interval
        while True:
            bucket += 1
            yield from_millis(bucket * interval)

    def windows_until(self, moment: datetime) -> Iterator[datetime]:
        """The windows up to a moment and at it, the latest first."""
        if self.every is None:
            begin = (moment + timedelta(seconds=1)).astimezone(ZoneInfo(self.timezone))
            for fire in CronSim(self.cron or "", begin, reverse=True):
                window = fire.astimezone(UTC)
                if window <= moment:
                    yield window
            return
        interval = parse_duration(self.every) // _MILLISECOND
        bucket = to_millis(moment) // interval
        while True:
            yield from_millis(bucket * interval)
            bucket -= 1

    def due_windows(self, last: datetime, now: datetime) -> list[datetime]:
        """The windows after `last` that fire by now, the earliest first; at most `backfill` before the latest."""
        due: list[datetime] = []
        for window in self.windows_until(now):
            if window <= last or len(due) > self.backfill:
                break
            if due or self.fires_at(window) <= now:
                due.append(window)
        return due[::-1]
