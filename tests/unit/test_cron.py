"""A cron expression in a time zone: what is refused, what is rare, and that no search is long."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from fastapi_durable.engine.upkeep import cron
from fastapi_durable.engine.upkeep.cron import CronExpression


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def following(expression: str, timezone: str, moment: datetime) -> Iterator[datetime]:
    parsed = CronExpression(expression, timezone)
    while (window := parsed.after(moment)) is not None:
        yield window
        moment = window


@pytest.mark.parametrize(
    "expression",
    [
        *("", "* * * *", "* * * * * * *", "@daily", "every day", "? * * * *", "0,\x00 * * * *", None, 7),
        *("61 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *", "5-1 * * * *"),
        *("0 0 30 2 *", "0 0 31 2,4 *", "0 " * 300, "9" * 5000 + " * * * *"),
    ],
    ids=lambda expression: repr(expression)[:20],
)
def test_an_expression_that_cannot_be_read_is_refused_with_the_fields_that_there_are(expression: str) -> None:
    with pytest.raises(ValueError, match=r"cron must be five fields \(minute, hour,.*, got "):
        CronExpression(expression, "UTC")


@pytest.mark.parametrize(
    ("expression", "timezone"),
    [
        ("0 0 */20 2 MON#4", "UTC"),  # the 1st or 21st of February is never its fourth Monday
        ("*/30 2 */1 3 7L", "Europe/Berlin"),  # the clock skips that hour each year
    ],
)
def test_an_expression_that_matches_no_moment_is_refused(expression: str, timezone: str) -> None:
    with pytest.raises(ValueError, match=f"cron must match a moment of the next 50 years in {timezone}, got "):
        CronExpression(expression, timezone)


def test_what_is_refused_in_one_zone_is_allowed_where_clocks_do_not_change() -> None:
    assert next(following("*/30 2 */1 3 7L", "UTC", utc("2026-01-01"))) == utc("2026-03-29T02:00")


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "Mars/Olympus", "Europe", "CEST", "Zürich", "Europe/Berlin\x00", "x" * 5000, None, 2),
        *("../etc/passwd", "/etc/localtime", "zone.tab", "localtime", "posixrules"),
        *("posix/Europe/Berlin", "right/Europe/Berlin"),
    ],
    ids=lambda name: repr(name)[:20],
)
def test_a_time_zone_that_not_every_machine_knows_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"timezone must be the name of an IANA time zone such as .*, got "):
        CronExpression("0 0 * * *", name)


def test_the_package_tzdata_serves_a_machine_without_time_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slim images have none; the package is a dependency."""
    import zoneinfo

    try:
        zoneinfo.reset_tzpath([])
        ZoneInfo.clear_cache()
        window = CronExpression("30 2 * * *", "Pacific/Chatham").after(utc("2026-01-01"))
    finally:
        zoneinfo.reset_tzpath()
        ZoneInfo.clear_cache()
    assert window == utc("2026-01-01T12:45")


def test_an_expression_may_match_once_in_forty_years() -> None:
    """29 February on a Sunday: 2100 is no leap year."""
    parsed = CronExpression("0 0 29 2 */7", "UTC")
    assert list(islice(following("0 0 29 2 */7", "UTC", utc("2026-01-01")), 4)) == [
        utc("2032-02-29"),
        utc("2060-02-29"),
        utc("2088-02-29"),
        utc("2128-02-29"),
    ]
    assert parsed.until(utc("2128-02-28")) == utc("2088-02-29")
    on_a_monday = CronExpression("0 0 * 2 MON#5", "UTC")
    assert (on_a_monday.until(utc("2033-01-01")), on_a_monday.after(utc("2033-01-01"))) == (
        utc("2016-02-29"),
        utc("2044-02-29"),
    )
    rhythm = CronExpression("* 12 29 2 */7", "Europe/Berlin")
    assert rhythm.after(utc("2088-03-01")) == utc("2128-02-29T11:00")
    assert rhythm.until(utc("2128-02-28")) == utc("2088-02-29T11:59")


@pytest.mark.parametrize("timezone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "Pacific/Chatham"])
@pytest.mark.parametrize("expression", ["0,30 12 1 1 *", "*/30 12 1 1 *"])
def test_what_fires_once_a_year_is_found_from_every_hour_around_it(expression: str, timezone: str) -> None:
    """Local time is up to 14 hours ahead of UTC and 11 behind it: the match may be on another day than the moment."""
    parsed = CronExpression(expression, timezone)
    windows = [
        datetime(year, 1, 1, 12, minute, tzinfo=ZoneInfo(timezone)).astimezone(UTC)
        for year in (2026, 2027, 2028)
        for minute in (0, 30)
    ]
    for hours in range(-80, 80):
        moment = windows[2] + timedelta(hours=hours, minutes=7)
        assert parsed.until(moment) == max(window for window in windows if window <= moment)
        assert parsed.after(moment) == min(window for window in windows if window > moment)


@pytest.mark.parametrize("expression", ["0 0 1 1 *", "*/30 * * * *"])
@pytest.mark.parametrize("timezone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_at_the_ends_of_the_calendar_there_is_no_window_rather_than_an_error(expression: str, timezone: str) -> None:
    parsed = CronExpression(expression, timezone)
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert parsed.until(first) in (None, first)
    assert parsed.after(last) is None
    for days in range(5):
        earlier, later = parsed.until(last - timedelta(days=days)), parsed.after(first + timedelta(days=days))
        assert earlier is None or earlier.year in (9998, 9999)
        assert later is None or later.year in (1, 2)
    assert parsed.until(last - timedelta(days=5)) is not None


def test_seconds_change_nothing_in_how_an_expression_is_read() -> None:
    """Six fields with a fixed second are times of day as well, on both nights."""
    for begin in ("2026-03-28T00:00", "2026-10-24T00:00"):
        with_seconds = list(islice(following("15 30 2 * * *", "Europe/Berlin", utc(begin)), 4))
        without = list(islice(following("30 2 * * *", "Europe/Berlin", utc(begin)), 4))
        gap = utc("2026-03-29T01:00")
        assert with_seconds == [each if each == gap else each + timedelta(seconds=15) for each in without]


def test_a_star_in_the_seconds_makes_a_rhythm() -> None:
    autumn = following("*/30 30 2 * * *", "Europe/Berlin", utc("2026-10-24T12:00"))
    assert list(islice(autumn, 5)) == [
        utc("2026-10-25T00:30"),
        utc("2026-10-25T00:30:30"),
        utc("2026-10-25T01:30"),
        utc("2026-10-25T01:30:30"),
        utc("2026-10-26T01:30"),
    ]
    assert next(following("*/30 30 2 * * *", "Europe/Berlin", utc("2026-03-28T12:00"))) == utc("2026-03-30T00:30")


def test_a_change_is_found_to_the_second() -> None:
    """Liberia put its clocks forward by 44 minutes and 30 seconds in 1972."""
    parsed = CronExpression("15 0 * * *", "Africa/Monrovia")
    change = utc("1972-01-07T00:44:30")
    assert parsed.after(utc("1972-01-06T12:00")) == change
    assert parsed.after(change - timedelta(seconds=1)) == change
    assert parsed.after(change) == utc("1972-01-08T00:15")
    assert parsed.until(change) == change
    assert parsed.until(change - timedelta(milliseconds=1)) == utc("1972-01-06T00:59:30")


def test_a_moment_may_have_fractions_of_a_second_and_any_time_zone() -> None:
    for expression in ("30 2 * * *", "*/30 2 * * *"):
        parsed = CronExpression(expression, "Europe/Berlin")
        window = utc("2026-06-01T00:30")
        almost, behind = window - timedelta(microseconds=1), window + timedelta(microseconds=1)
        assert (parsed.after(almost), parsed.until(window), parsed.until(behind)) == (window, window, window)
        assert parsed.until(almost) != window
        assert parsed.after(window.astimezone(ZoneInfo("Pacific/Chatham"))) == parsed.after(window)
    repeated = datetime(2026, 10, 25, 2, 15, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
    assert CronExpression("30 2 * * *", "Europe/Berlin").after(repeated) == utc("2026-10-26T01:30")
    skipped = datetime(2026, 3, 29, 2, 45, tzinfo=ZoneInfo("Europe/Berlin"))
    assert CronExpression("30 2 * * *", "Europe/Berlin").after(skipped) == utc("2026-03-30T00:30")


LONGEST_SEARCH = 5_000
"""Steps of the calendar, for what fires once in 40 years."""

LONGEST_REFUSAL = 2 * 50 * 12 * 33
"""Two searches through each day of 50 years, which end with nothing."""


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts each day that the calendar looks at, and each tick of its clock."""
    counted = [0]

    class Counting(CronSim):
        def tick(self, seconds: int = 1) -> None:
            counted[0] += 1
            super().tick(seconds)

        def match_day(self, d: object) -> bool:
            counted[0] += 1
            return super().match_day(d)  # type: ignore[arg-type] # a date, as its caller has it

    monkeypatch.setattr(cron, "CronSim", Counting)
    return counted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("expression", "timezone"),
    [
        ("0 */2 * * *", "Pacific/Chatham"),
        ("0 3 * * *", "Pacific/Chatham"),
        ("0-59 0-59 0-23 * * *", "Pacific/Apia"),
        ("* * * * * *", "Australia/Lord_Howe"),
        ("59 59 23 31 12 *", "America/St_Johns"),
        ("0 0 29 2 */7", "Europe/Berlin"),
        ("*/30 2 29 2 */7", "Europe/Berlin"),
        ("0 0 * 2 MON#5", "Africa/Casablanca"),
        ("*/20 0 */1 3 SUN#4", "Asia/Beirut"),
    ],
)
def test_no_search_is_long(expression: str, timezone: str, steps: list[int]) -> None:
    """Counted, since the speed of the machine says little: around changes of the clock, and far from them."""
    parsed = CronExpression(expression, timezone)
    for begin in ("2011-12-29T00:00", "2026-03-28T00:00", "2026-04-04T00:00", "2026-10-03T00:00", "2097-01-01T00:00"):
        for number in range(40):
            for search in (parsed.after, parsed.until):
                steps[0] = 0
                search(utc(begin) + number * timedelta(minutes=97))
                assert steps[0] <= LONGEST_SEARCH


@pytest.mark.parametrize("expression", ["0 0 */20 * MON#4", "* * */20 * MON#4", "*/30 2 */1 3 7L"])
def test_a_search_that_finds_nothing_gives_up_after_50_years(expression: str, steps: list[int]) -> None:
    with pytest.raises(ValueError, match="50 years"):
        CronExpression(expression, "Europe/Berlin")
    assert 0 < steps[0] <= LONGEST_REFUSAL


FIELDS = st.lists(
    st.one_of(
        st.sampled_from(["*", "*/2", "*/20", "0", "2", "30", "59", "31", "29", "1-7", "1-5", "L", "LW", "MON", "5L"]),
        st.sampled_from(["MON#5", "FEB", "0,30", "7", "0-23/3", "45/5", "L,1", "*/7", "SUN#1,SUN#3"]),
        st.text(alphabet="0123456789*/-,L#W MONfebé²", max_size=6),
    ),
    min_size=4,
    max_size=7,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    fields=FIELDS,
    timezone=st.sampled_from(["UTC", "Pacific/Chatham", "Australia/Lord_Howe", "Europe/Berlin", "Pacific/Apia"]),
    moment=st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_every_text_is_refused_or_has_windows_that_agree_in_both_directions(
    fields: list[str], timezone: str, moment: datetime
) -> None:
    try:
        parsed = CronExpression(" ".join(fields), timezone)
    except ValueError:
        return
    later, earlier = parsed.after(moment), parsed.until(moment)
    assert later is None or (later > moment and parsed.until(later) == later)
    assert earlier is None or (earlier <= moment and parsed.after(earlier - timedelta(seconds=1)) == earlier)
    if later is not None and earlier is not None:
        assert parsed.until(later - timedelta(seconds=1)) == earlier
        assert parsed.after(earlier) == later
