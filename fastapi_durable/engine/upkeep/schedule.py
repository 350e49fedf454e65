"""A schedule as it is declared, and the arithmetic of its windows.

A window is a moment at which the schedule fires. Its number, the bucket, is the same as in nestjs-durable: for an
interval the count of intervals since 1970, for a cron expression the moment in milliseconds.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from fastapi_durable.engine.upkeep.cron import CronExpression
from fastapi_durable.model.clock import from_millis, to_millis
from fastapi_durable.model.duration import Duration, parse_duration
from fastapi_durable.model.errors import DefinitionError
from fastapi_durable.model.text import fits_index, index_rule, shown

Overlap = Literal["allow", "skip"]

_KEY_LIMIT: Final = 200
_BACKFILL_LIMIT: Final = 1000
"""Maximum number of missed windows, because one transaction starts them."""

_LONGEST: Final = timedelta(days=3650)
_LAST_MOMENT: Final = datetime.max.replace(tzinfo=UTC)
_ZERO: Final = timedelta(0)
_MILLISECOND: Final = timedelta(milliseconds=1)


class NoScheduledInput:
    """Stands for the input of a workflow that takes none."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Times at which workers start a workflow: `DurableOptions(schedules=[Schedule(...)])`.

    Each window starts one run `sched:<key>:<bucket>`, however many workers there are, even after that run was deleted.
    A schedule that is new waits for its next window.

    Attributes:
        key: Name of the schedule. A schedule with another key starts without progress.
        workflow: Decorated function or registered name. Each window starts its newest version.
        input: Input of every run.
        every: Interval, counted from 1970 in UTC. Give either `every` or `cron`.
        cron: Five fields, or six with the seconds first. When clocks change, a time of day fires once, and an
            expression with `*` in its seconds, minutes or hours follows the clock.
        timezone: IANA name of the time zone of `cron`.
        overlap: "skip" skips a window while another run of the schedule has not ended: a run of an earlier window, a
            triggered run, or a run that continued one of them.
        jitter: Longest delay of a window. Every worker computes the same delay for a window.
        backfill: Number of missed windows to fire before the latest one, 0 to 1000. The latest missed window always
            fires.
        paused: Whether the schedule starts no runs.
        tags: Tags of every run. The tag `schedule:<key>` is added.
        priority: Priority of every run.
        queue: Queue of every run.
        fairness_key: Fairness key of every run.

    Raises:
        DefinitionError: it can never fire, or its options contradict each other.
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

    _cron: CronExpression | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        key: Any = self.key
        if not fits_index(key, _KEY_LIMIT):
            raise DefinitionError(f"the key of a schedule must be {index_rule(_KEY_LIMIT)}, got {shown(key)}")
        try:
            self._check()
        except ValueError as error:
            raise DefinitionError(f"schedule {self.key!r}: {error}") from error

    def _check(self) -> None:
        if (self.every is None) == (self.cron is None):
            raise ValueError(f"either every= or cron= must be given, got {'neither' if self.cron is None else 'both'}")
        if self.overlap not in ("allow", "skip"):
            raise ValueError(f"overlap must be 'allow' or 'skip', got {shown(self.overlap)}")
        backfill: Any = self.backfill
        if not isinstance(backfill, int) or not 0 <= backfill <= _BACKFILL_LIMIT:
            raise ValueError(f"backfill must be 0-{_BACKFILL_LIMIT} windows, got {shown(backfill)}")
        if parse_duration(self.jitter) > _LONGEST:
            raise ValueError(f"jitter must be at most {_LONGEST.days} days, got {self.jitter!r}")
        if self.every is not None:
            self._check_interval(parse_duration(self.every))
        elif self.cron is not None:
            object.__setattr__(self, "_cron", CronExpression(self.cron, self.timezone))

    def _check_interval(self, interval: timedelta) -> None:
        if not _MILLISECOND <= interval <= _LONGEST or interval % _MILLISECOND:
            raise ValueError(
                f"every must be a whole number of milliseconds, at most {_LONGEST.days} days, got {self.every!r}"
            )
        if parse_duration(self.jitter) >= interval:
            raise ValueError(f"jitter must be shorter than every={self.every!r}, got {self.jitter!r}")
        if self.timezone != "UTC":
            raise ValueError(f"timezone must be left out with every=, which counts in UTC, got {shown(self.timezone)}")

    def bucket(self, window: datetime) -> int:
        """Return the number of a window, which is part of its run's id.

        Args:
            window: A window of this schedule.
        """
        millis = to_millis(window)
        return millis if self._cron else millis // self._interval

    def fires_at(self, window: datetime) -> datetime:
        """Return when a window fires: the window plus its jitter, and never after the next window.

        Args:
            window: A window of this schedule.
        """
        jitter = parse_duration(self.jitter)
        if not jitter:
            return window
        room = min(jitter + _MILLISECOND, (self.window_after(window) or _LAST_MOMENT) - window)
        digest = hashlib.sha256(f"{self.key}:{to_millis(window)}".encode()).digest()
        return window + timedelta(milliseconds=int.from_bytes(digest[:6], "big") % (room // _MILLISECOND))

    def window_after(self, moment: datetime) -> datetime | None:
        """Return the first window after a moment.

        Args:
            moment: A datetime with a time zone.

        Returns:
            The window. None if there is none within 50 years.
        """
        if self._cron:
            return self._cron.after(moment)
        return _moment((to_millis(moment) // self._interval + 1) * self._interval)

    def window_until(self, moment: datetime) -> datetime | None:
        """Return the last window at a moment or before it.

        Args:
            moment: A datetime with a time zone.

        Returns:
            The window. None if there is none within 50 years.
        """
        if self._cron:
            return self._cron.until(moment)
        return _moment(to_millis(moment) // self._interval * self._interval)

    def windows_after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the windows after a moment, the earliest first.

        Args:
            moment: A datetime with a time zone.
        """
        while (window := self.window_after(moment)) is not None:
            yield window
            moment = window

    def windows_until(self, moment: datetime) -> Iterator[datetime]:
        """Yield the windows at a moment and before it, the latest first.

        Args:
            moment: A datetime with a time zone.
        """
        while (window := self.window_until(moment)) is not None:
            yield window
            moment = window - _MILLISECOND

    @property
    def _interval(self) -> int:
        return parse_duration(self.every or _ZERO) // _MILLISECOND

    def due_windows(self, last: datetime, now: datetime) -> list[datetime]:
        """Return the windows that are due, the earliest first: the latest one, and up to `backfill` windows before it.

        Args:
            last: The last window that the schedule has passed.
            now: The current time.
        """
        due: list[datetime] = []
        for window in self.windows_until(now):
            if window <= last or len(due) > self.backfill:
                break
            if due or self.fires_at(window) <= now:
                due.append(window)
        return due[::-1]


def _moment(millis: int) -> datetime | None:
    moment = from_millis(millis)
    # The next window would lie beyond the calendar, which ends with the year 9999.
    return moment if to_millis(moment) == millis else None
