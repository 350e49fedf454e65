"""Compares the library's windows with those found minute by minute, in both directions and from moments between."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from fastapi_durable.engine.upkeep.cron import CronExpression
from tests.zones.by_minutes import windows

FEW_A_DAY = (
    "30 2 * * *",
    "59 23 * * *",
    "*/30 2 * * *",
    "20 */8 * * 1-5",
    "0 2 L * *",
    "30 1 LW * *",
    "45 1 1-7 * SUN",
    "0 3 */2 * TUE#2,5L",
    "5 2 29 2 *",
    "*/30 1 29 FEB *",
)
"""For whole years."""

MANY_A_DAY = (
    *FEW_A_DAY,
    "0 0 * * *",
    "15,45 0-3 * * *",
    "*/15 2 * * *",
    "0 */2 * * *",
    "*/20 0 * * *",
    "0 * * * *",
    "7-59/13 * * * *",
    "0,20,40 0-23 * * *",
)
"""For the days around a change of the clock."""

MOMENTS = 20
"""How many moments between windows are asked about, for each expression and stretch."""


@dataclass
class Comparison:
    """What was compared, and each difference as a sentence."""

    windows: int = 0
    questions: int = 0
    differences: list[str] = field(default_factory=list)

    def add(self, other: "Comparison") -> None:
        self.windows += other.windows
        self.questions += other.questions
        self.differences += other.differences


def changes(zone: ZoneInfo, begin: datetime, end: datetime) -> Iterator[datetime]:
    """The moments at which the zone's clock is changed, found by looking every quarter of an hour."""
    offset = begin.astimezone(zone).utcoffset()
    while (begin := begin + timedelta(minutes=15)) <= end:
        if begin.astimezone(zone).utcoffset() != offset:
            yield begin
            offset = begin.astimezone(zone).utcoffset()


def compare(
    timezone: str, begin: datetime, end: datetime, random: Random, expressions: Sequence[str] = FEW_A_DAY
) -> Comparison:
    """Ask for every window from `begin` to `end`, forwards and backwards, and from moments chosen by `random`."""
    comparison = Comparison()
    expected = windows(expressions, ZoneInfo(timezone), begin, end)
    for expression, right in expected.items():
        cron = CronExpression(expression, timezone)
        comparison.windows += len(right)
        comparison.questions += 2 * len(right) + 2 + 2 * MOMENTS
        for name, got in (
            ("forwards", list(forwards(cron, begin, end))),
            ("backwards", list(backwards(cron, begin, end))[::-1]),
        ):
            if got != right:
                wrong = sorted(set(got) ^ set(right)) or sorted(got)
                comparison.differences.append(
                    f"{expression!r} in {timezone}, {name}: {wrong[0]} and {len(wrong)} in all"
                )
        for _ in range(MOMENTS):
            moment = begin + (end - begin) * random.random()
            later, earlier = bisect_right(right, moment), bisect_left(right, moment + timedelta.resolution) - 1
            if later < len(right) and cron.after(moment) != right[later]:
                comparison.differences.append(f"{expression!r} in {timezone}, after {moment}: {cron.after(moment)}")
            if earlier >= 0 and cron.until(moment) != right[earlier]:
                comparison.differences.append(f"{expression!r} in {timezone}, until {moment}: {cron.until(moment)}")
    return comparison


def compare_around(timezone: str, change: datetime, random: Random) -> Comparison:
    """The same for the days before and after a change, with expressions that fire often."""
    return compare(timezone, change - timedelta(hours=36), change + timedelta(hours=36), random, MANY_A_DAY)


def forwards(cron: CronExpression, begin: datetime, end: datetime) -> Iterator[datetime]:
    moment = begin - timedelta.resolution
    while (window := cron.after(moment)) is not None and window <= end:
        yield window
        # A search that does not get on is a difference, and must not last for ever.
        assert window > moment
        moment = window


def backwards(cron: CronExpression, begin: datetime, end: datetime) -> Iterator[datetime]:
    moment = end
    while (window := cron.until(moment)) is not None and window >= begin:
        yield window
        assert window <= moment
        moment = window - timedelta.resolution


def years(first: int, last: int) -> tuple[datetime, datetime]:
    """From the beginning of one year to the last minute of another."""
    return datetime(first, 1, 1, tzinfo=UTC), datetime(last, 12, 31, 23, 59, tzinfo=UTC)
