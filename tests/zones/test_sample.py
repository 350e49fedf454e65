"""A sample of what `make zones` compares in full: zones that are hard, and some that are drawn."""

from datetime import timedelta
from random import Random
from zoneinfo import ZoneInfo, available_timezones

import pytest

from tests.zones.by_minutes import windows
from tests.zones.compare import changes, compare, compare_around, years

pytestmark = pytest.mark.slow

HARD = [
    ("Pacific/Chatham", 2026, "at 2:45 and 3:45, from an offset of 12:45"),
    ("Australia/Lord_Howe", 2026, "by half an hour"),
    ("Antarctica/Troll", 2026, "by two hours"),
    ("Europe/Berlin", 2026, "by an hour, at night"),
    ("Africa/Casablanca", 2026, "back for Ramadan"),
    ("Asia/Gaza", 2040, "for a week only"),
    ("America/Asuncion", 2023, "at midnight: the day has no first hour"),
    ("America/Havana", 2026, "at one o'clock to midnight"),
    ("America/St_Johns", 2010, "one minute after midnight, to the day before"),
    ("Asia/Pyongyang", 2018, "by half an hour, for good"),
    ("America/Caracas", 2016, "by half an hour, for good"),
    ("Pacific/Apia", 2011, "forward by a day"),
    ("Pacific/Kwajalein", 1993, "forward by a day"),
    ("Pacific/Kwajalein", 1969, "back by 23 hours"),
]


@pytest.mark.parametrize(("timezone", "year", "how"), HARD, ids=lambda value: str(value).replace("/", "-"))
def test_windows_around_a_change_of_the_clock_are_those_found_minute_by_minute(
    timezone: str, year: int, how: str
) -> None:
    """In both directions, and from moments between them."""
    found = list(changes(ZoneInfo(timezone), *years(year, year)))
    assert found, how
    for change in found:
        assert compare_around(timezone, change, Random(1)).differences == []


def test_zones_that_are_drawn_have_the_windows_found_minute_by_minute() -> None:
    """A month of each, with a change in it if it has any."""
    random = Random(14)
    for timezone in random.sample(sorted(available_timezones()), 8):
        begin, end = years(2026, 2035)
        begin += (end - begin) * 0.8 * random.random()
        begin = begin.replace(second=0, microsecond=0)
        change = next(changes(ZoneInfo(timezone), begin, begin + timedelta(days=366)), begin)
        begin = change - timedelta(days=15)
        assert compare(timezone, begin, begin + timedelta(days=30), random).differences == []


def test_the_walk_through_the_minutes_finds_what_a_calendar_on_the_wall_shows() -> None:
    """The second implementation, held to a few days that anybody can check."""
    begin, end = years(2026, 2026)
    found = windows(
        ["0 8 L * *", "0 8 LW * *", "0 8 * * MON#2", "0 8 * * 5L", "0 8 13 * FRI", "0 0 29 2 *", "30 2 29 3 *"],
        ZoneInfo("Europe/Berlin"),
        begin,
        end,
    )
    dates = {expression: [f"{each:%d.%m}" for each in moments] for expression, moments in found.items()}
    assert dates["0 8 L * *"][:3] == ["31.01", "28.02", "31.03"]
    assert dates["0 8 LW * *"][:3] == ["30.01", "27.02", "31.03"]
    assert dates["0 8 * * MON#2"][:3] == ["12.01", "09.02", "09.03"]
    assert dates["0 8 * * 5L"][:3] == ["30.01", "27.02", "27.03"]
    assert dates["0 8 13 * FRI"][:4] == ["02.01", "09.01", "13.01", "16.01"]
    assert dates["0 0 29 2 *"] == []
    assert [f"{each:%H:%M}" for each in found["30 2 29 3 *"]] == ["01:00"]
