"""A cron expression in a time zone: the first window after a moment, and the last one up to it.

cronsim provides the calendar. It is asked about local time only, in which every day has 24 hours. This module handles
the time zone itself: each of five libraries that were compared on the nights of clock changes was wrong in some zone,
and cronsim searched without end where clocks change at 2:45.

An expression is read in one of two ways:

* Times of day, if no second, minute or hour begins with `*`. Each time fires once, at the first moment at which the
clock shows it or a later one. A skipped time fires when the clock goes forward. A repeated time fires the first time.

* A rhythm, if one of them begins with `*`. It fires whenever the clock shows a matching time. A skipped time does not
fire. A repeated time fires twice.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from fastapi_durable.model.text import shown

_LONGEST: Final = 500
_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)
"""Local time is less than a day from UTC, and no zone has ever changed its clocks twice within three days."""

_MOST_STRETCHES: Final = 200
"""Maximum number of stretches in one search. A stretch is a day or less, and a search jumps over the years between two
matching days. A search that needs more than a few stretches follows matches that the clock skips year after year."""

_OF_ONE_MACHINE: Final = ("localtime", "posixrules")
_OF_SOME_MACHINES: Final = ("posix/", "right/")
"""Other copies of the time zone database. Those under right/ count leap seconds, which UTC here does not."""

_FIRST_CHECKED: Final = datetime(2024, 1, 1, tzinfo=UTC)


class CronExpression:
    """Five fields, or six with the seconds first, and the time zone in which they are read.

    Raises:
        ValueError: the expression cannot be read or matches no moment of 50 years, or there is no such time zone.
    """

    def __init__(self, expression: str, timezone: str) -> None:
        self._zone = _zone(timezone)
        self._expression = _checked(expression)
        *seconds, minute, hour, _, _, _ = expression.split()
        self._is_rhythm = any(field.startswith("*") for field in (*seconds, minute, hour))
        if self.after(_FIRST_CHECKED) is None:
            raise ValueError(f"cron must match a moment of the next 50 years in {timezone}, got {expression!r}")

    def after(self, moment: datetime) -> datetime | None:
        """Return the first window after `moment`, in UTC; None if there is none within 50 years."""
        try:
            second = moment.astimezone(UTC).replace(microsecond=0)
            return self._rhythm_after(second) if self._is_rhythm else self._time_after(second)
        except OverflowError:  # the search left the calendar, which ends with the year 9999
            return None

    def until(self, moment: datetime) -> datetime | None:
        """Return the last window before `moment` or at it, in UTC; None if there is none within 50 years."""
        try:
            second = moment.astimezone(UTC).replace(microsecond=0)
            return self._rhythm_until(second) if self._is_rhythm else self._time_until(second)
        except OverflowError:  # the search left the calendar, which begins with the year 1
            return None

    # Times of day. What the clock has shown so far decides, so both directions are one search of the calendar.

    def _time_after(self, moment: datetime) -> datetime | None:
        time = self._calendar_after(self._latest_shown(moment))
        return None if time is None else self._first_shown(time)

    def _time_until(self, moment: datetime) -> datetime | None:
        time = self._calendar_until(self._latest_shown(moment))
        return None if time is None else self._first_shown(time)

    def _latest_shown(self, moment: datetime) -> datetime:
        """The latest local time that the clock has shown up to a moment."""
        local = moment.astimezone(self._zone)
        shown = local.replace(tzinfo=None)
        if local.fold == 0:
            return shown
        # The time is shown for the second time: the clock had come to the moment at which it was put back.
        first = local.replace(fold=0).astimezone(UTC)
        put_back = self._change(first, moment)
        return self._local(put_back - _SECOND)

    def _first_shown(self, time: datetime) -> datetime:
        """The first moment at which the clock shows a local time or a later one."""
        moment = time.replace(tzinfo=self._zone, fold=0).astimezone(UTC)
        if self._local(moment) == time:
            return moment
        # The time is skipped. With `fold=1` Python reads it by the clock before the change, else by the one after.
        return self._change(time.replace(tzinfo=self._zone, fold=1).astimezone(UTC), moment)

    # Rhythms. Between two changes of the clock local time is UTC and a constant, and there the calendar is right.

    def _rhythm_after(self, moment: datetime) -> datetime | None:
        begin = moment + _SECOND
        for _ in range(_MOST_STRETCHES):
            offset, end = self._offset(begin), self._change(begin, begin + _DAY)
            time = self._calendar_after(begin.replace(tzinfo=None) + offset - _SECOND)
            if time is not None and (window := time.replace(tzinfo=UTC) - offset) < end:
                return window
            soonest = self._calendar_after(end.replace(tzinfo=None) - _DAY - _SECOND)
            if soonest is None:
                return None
            begin = max(end, soonest.replace(tzinfo=UTC) - _DAY)
        return None

    def _rhythm_until(self, moment: datetime) -> datetime | None:
        end = moment
        for _ in range(_MOST_STRETCHES):
            offset, begin = self._offset(end), end - _DAY
            if self._offset(begin) != offset:
                begin = self._change(begin, end)
            time = self._calendar_until(end.replace(tzinfo=None) + offset)
            if time is not None and (window := time.replace(tzinfo=UTC) - offset) >= begin:
                return window
            latest = self._calendar_until(begin.replace(tzinfo=None) + _DAY - _SECOND)
            if latest is None:
                return None
            end = min(begin - _SECOND, latest.replace(tzinfo=UTC) + _DAY)
        return None

    def _change(self, earlier: datetime, later: datetime) -> datetime:
        """The moment after `earlier` at which the clock is changed; `later` if it is not before that."""
        offset = self._offset(earlier)
        if self._offset(later) == offset:
            return later
        before, after = 0, (later - earlier) // _SECOND
        while after - before > 1:
            middle = (before + after) // 2
            if self._offset(earlier + middle * _SECOND) == offset:
                before = middle
            else:
                after = middle
        return earlier + after * _SECOND

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(self._zone).replace(tzinfo=None)

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self._zone).utcoffset() or timedelta(0)

    # The calendar, in local time without a zone.

    def _calendar_after(self, time: datetime) -> datetime | None:
        return next(CronSim(self._expression, time), None)

    def _calendar_until(self, time: datetime) -> datetime | None:
        return next(CronSim(self._expression, time + _SECOND, reverse=True), None)


def _zone(name: Any) -> ZoneInfo:
    refused = f"timezone must be the name of an IANA time zone such as 'Europe/Berlin', got {shown(name)}"
    if not isinstance(name, str) or name in _OF_ONE_MACHINE or name.startswith(_OF_SOME_MACHINES):
        raise ValueError(refused)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(refused) from error


def _checked(expression: Any) -> str:
    refused = (
        "cron must be five fields (minute, hour, day of the month, month, day of the week), or six with the seconds "
        f"first, got {shown(expression)}"
    )
    if not isinstance(expression, str) or len(expression) > _LONGEST:
        raise ValueError(refused)
    try:
        CronSim(expression, _FIRST_CHECKED)
    except CronSimError as error:
        raise ValueError(f"{refused}: {error}") from error
    return expression
