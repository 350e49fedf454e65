"""When cron expressions fire, found by walking through every minute: slow, and too simple to be wrong.

It shares nothing with the library but Python's time zones, and of those only the step from UTC to local time.
"""

import calendar
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
MONTHS = {name: number for number, name in enumerate(calendar.month_abbr) if name}
WEEKDAYS = {name: number % 7 for number, name in enumerate(calendar.day_abbr, start=1)}


def numbers(field: str, least: int, most: int, names: Mapping[str, int] = MappingProxyType({})) -> Iterator[int]:
    """The numbers that a field lists, without what only days may say (`L`, `#`)."""
    for part in field.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = least, most
        else:
            bounds = [names[each.capitalize()] if each.isalpha() else int(each) for each in span.split("-")]
            first, last = bounds[0], bounds[-1]
            if step and len(bounds) == 1:
                last = most
        yield from range(first, last + 1, int(step or 1))


def day_matches(day: date, day_field: str, weekday_field: str) -> bool:
    """Both fields must match if one begins with `*`, as in Debian's cron, else one of them is enough."""
    last = calendar.monthrange(day.year, day.month)[1]
    by_day = False
    for part in day_field.split(","):
        if part == "L":
            by_day |= day.day == last
        elif part == "LW":
            by_day |= day.day == max(each for each in range(1, last + 1) if day.replace(day=each).weekday() < 5)
        else:
            by_day |= day.day in numbers(part, 1, 31)
    by_weekday = False
    for part in weekday_field.split(","):
        span, _, nth = part.partition("#")
        of_last_week = span.endswith("L")
        given = {each % 7 for each in numbers(span.removesuffix("L"), 0, 7, WEEKDAYS)}
        fits = day.isoweekday() % 7 in given
        if nth:
            fits = fits and (day.day - 1) // 7 + 1 == int(nth)
        if of_last_week:
            fits = fits and day.day > last - 7
        by_weekday |= fits
    if day_field.startswith("*") or weekday_field.startswith("*"):
        return by_day and by_weekday
    return by_day or by_weekday


@dataclass(frozen=True)
class Minutes:
    """An expression of five fields, as the minutes of a day and a rule for days."""

    expression: str
    of_day: frozenset[int]
    is_rhythm: bool

    @classmethod
    def of(cls, expression: str) -> "Minutes":
        minute, hour, *_ = expression.split()
        of_day = {h * 60 + m for h in numbers(hour, 0, 23) for m in numbers(minute, 0, 59)}
        return cls(expression, frozenset(of_day), minute.startswith("*") or hour.startswith("*"))

    def matches(self, day: date) -> bool:
        _, _, day_field, month, weekday = self.expression.split()
        return day.month in numbers(month, 1, 12, MONTHS) and day_matches(day, day_field, weekday)


class Days:
    """Which expressions match a local minute."""

    def __init__(self, expressions: Sequence[str]) -> None:
        self._read = [Minutes.of(expression) for expression in expressions]
        self._days: dict[date, dict[int, list[Minutes]]] = {}

    def at(self, local: datetime) -> Sequence[Minutes]:
        """The expressions that match a minute."""
        return self.on(local.date()).get(local.hour * 60 + local.minute, ())

    def on(self, day: date) -> dict[int, list[Minutes]]:
        """The same for the minutes of one day that any expression matches."""
        if day not in self._days:
            table: dict[int, list[Minutes]] = defaultdict(list)
            for each in self._read:
                if each.matches(day):
                    for minute in each.of_day:
                        table[minute].append(each)
            self._days[day] = table
        return self._days[day]


def windows(expressions: Sequence[str], zone: ZoneInfo, begin: datetime, end: datetime) -> dict[str, list[datetime]]:
    """The windows of each expression from `begin` to `end`, both included; whole minutes of UTC."""
    found: dict[str, list[datetime]] = {expression: [] for expression in expressions}
    days = Days(expressions)
    # Two days before, since a time that was shown then is not shown for the first time now.
    moment = begin - timedelta(days=2)
    shown = moment.astimezone(zone).replace(tzinfo=None) - MINUTE
    while moment <= end:
        here = moment.astimezone(zone)
        local = here.replace(tzinfo=None)
        if local != shown + MINUTE:
            firing = {each.expression for each in days.at(local) if each.is_rhythm}
            # Put forward, the clock shows several minutes at once; put back, none that it did not show before.
            for minute in minutes_between(shown, local):
                firing |= {each.expression for each in days.at(minute) if not each.is_rhythm}
            table, passed = {0: firing}, 1
        else:
            passed = 1 if is_changed_soon(here) else min(60, (end - moment) // MINUTE + 1)
            on_day, now = days.on(local.date()), local.hour * 60 + local.minute
            table = {
                minute: {each.expression for each in on_day[now + minute]}
                for minute in range(passed)
                if now + minute in on_day
            }
        for after, firing in table.items():
            window = moment + after * MINUTE
            if window >= begin:
                for expression in firing:
                    found[expression].append(window)
        shown = max(shown, local + (passed - 1) * MINUTE)
        moment += passed * MINUTE
    return found


def is_changed_soon(here: datetime) -> bool:
    """Whether the day or the offset changes within the hour, so that each of its minutes must be looked at."""
    later = (here.astimezone(UTC) + timedelta(hours=1)).astimezone(here.tzinfo)
    return later.date() != here.date() or later.utcoffset() != here.utcoffset()


def minutes_between(shown: datetime, local: datetime) -> Iterator[datetime]:
    """The local minutes that the clock shows now or has passed over, and did not show before."""
    while shown < local:
        shown += MINUTE
        yield shown
