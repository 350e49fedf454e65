"""The windows of a schedule: intervals, cron expressions, clock changes, jitter, what was missed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fastapi_durable import Schedule
from fastapi_durable.model.errors import DefinitionError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def schedule(**options: Any) -> Schedule:
    return Schedule(key="k", workflow="w", **options)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_an_interval_counts_from_1970_so_that_all_workers_agree() -> None:
    hourly = schedule(every="1h")
    assert list(islice(hourly.windows_after(NOON + timedelta(minutes=5)), 2)) == [
        utc("2026-03-01T13:00"),
        utc("2026-03-01T14:00"),
    ]
    assert list(islice(hourly.windows_until(NOON), 2)) == [NOON, utc("2026-03-01T11:00")]
    assert hourly.bucket(NOON) == int(NOON.timestamp()) // 3600


def test_a_cron_window_has_its_moment_as_its_number_as_the_reference_has_it() -> None:
    daily = schedule(cron="30 3 * * *")
    (window,) = islice(daily.windows_after(NOON), 1)
    assert window == utc("2026-03-02T03:30")
    assert daily.bucket(window) == int(window.timestamp() * 1000)
    assert next(schedule(cron="*/10 * * * * *").windows_after(NOON)) == NOON + timedelta(seconds=10)


def test_a_window_in_the_hour_that_spring_leaves_out_fires_once_that_day() -> None:
    daily = schedule(cron="30 2 * * *", timezone="Europe/Berlin")
    windows = list(islice(daily.windows_after(utc("2026-03-28T00:00")), 3))
    assert windows == [utc("2026-03-28T01:30"), utc("2026-03-29T01:00"), utc("2026-03-30T00:30")]
    assert list(islice(daily.windows_until(utc("2026-03-30T12:00")), 3)) == windows[::-1]


def test_a_window_in_the_hour_that_autumn_repeats_fires_once_that_day() -> None:
    daily = schedule(cron="30 2 * * *", timezone="Europe/Berlin")
    windows = list(islice(daily.windows_after(utc("2026-10-24T12:00")), 2))
    assert windows == [utc("2026-10-25T00:30"), utc("2026-10-26T01:30")]
    assert list(islice(daily.windows_until(utc("2026-10-26T12:00")), 2)) == windows[::-1]


def test_an_hourly_window_fires_every_hour_through_both_clock_changes() -> None:
    hourly = schedule(cron="0 * * * *", timezone="Europe/Berlin")
    for begin in ("2026-03-28T20:00", "2026-10-24T20:00"):
        windows = list(islice(hourly.windows_after(utc(begin)), 12))
        assert {later - earlier for earlier, later in pairwise(windows)} == {timedelta(hours=1)}


def test_a_time_that_is_a_window_itself_counts_as_until_and_not_as_after() -> None:
    for each in (schedule(every="1h"), schedule(cron="0 * * * *"), schedule(cron="0 * * * *", timezone="Asia/Tokyo")):
        assert next(each.windows_until(NOON)) == NOON
        assert next(each.windows_until(NOON - timedelta(milliseconds=1))) == NOON - timedelta(hours=1)
        assert next(each.windows_after(NOON)) == NOON + timedelta(hours=1)
        assert next(each.windows_after(NOON - timedelta(milliseconds=1))) == NOON


def test_of_missed_windows_the_latest_is_due_and_as_many_before_it_as_backfill_says() -> None:
    now = NOON + timedelta(hours=5, minutes=1)
    hours = [NOON + timedelta(hours=number) for number in range(1, 6)]
    assert schedule(every="1h").due_windows(NOON, now) == hours[-1:]
    assert schedule(every="1h", backfill=2).due_windows(NOON, now) == hours[-3:]
    assert schedule(cron="0 * * * *", backfill=99).due_windows(NOON, now) == hours
    assert schedule(every="1h", backfill=9).due_windows(hours[-1], now) == []


def test_jitter_is_the_same_for_everyone_differs_by_window_and_keeps_the_order() -> None:
    spread = schedule(cron="* * * * *", jitter="5 min")
    same = schedule(cron="* * * * *", jitter="5 min")
    windows = list(islice(spread.windows_after(NOON), 50))
    fires = [spread.fires_at(window) for window in windows]
    assert fires == [same.fires_at(window) for window in windows]
    assert fires == sorted(fires)
    offsets = {fire - window for fire, window in zip(fires, windows, strict=True)}
    assert len(offsets) > 40
    assert all(timedelta(0) <= offset < timedelta(minutes=1) for offset in offsets)


def test_a_window_is_not_due_before_its_jitter_has_passed() -> None:
    late = schedule(every="1h", jitter="30 min")
    window = NOON + timedelta(hours=1)
    fire = late.fires_at(window)
    assert late.due_windows(NOON, fire - timedelta(milliseconds=1)) == []
    assert late.due_windows(NOON, fire) == [window]


def test_an_interval_keeps_its_length_when_clocks_change() -> None:
    """It counts in UTC: by the clock of Berlin it fires an hour later in summer."""
    daily = schedule(every="1 day")
    windows = list(islice(daily.windows_after(utc("2026-03-27T12:00")), 4))
    assert {later - earlier for earlier, later in pairwise(windows)} == {timedelta(days=1)}
    assert [f"{each.astimezone(ZoneInfo('Europe/Berlin')):%H:%M}" for each in windows[:3]] == [
        "01:00",
        "01:00",
        "02:00",
    ]


def test_nothing_is_due_for_a_clock_that_jumped_back() -> None:
    for each in (schedule(every="1h", backfill=9), schedule(cron="0 * * * *", backfill=9)):
        for back in (timedelta(seconds=1), timedelta(hours=5), timedelta(days=5000)):
            assert each.due_windows(NOON, NOON - back) == []


def test_the_calendar_ends_with_the_year_9999_and_schedules_with_it() -> None:
    last = datetime(9999, 12, 31, 23, 30, tzinfo=UTC)
    for each in (schedule(every="1h", jitter="30 min"), schedule(cron="0 * * * *", jitter="30 min")):
        assert each.window_after(last) is None
        assert list(each.windows_after(last)) == []
        assert each.window_until(last) == last - timedelta(minutes=30)
        assert each.due_windows(last - timedelta(hours=1), last + timedelta(minutes=29)) == [
            last - timedelta(minutes=30)
        ]
    assert schedule(every="3650 days").window_after(last) is None
    assert schedule(every="3650 days").window_until(datetime.min.replace(tzinfo=UTC)) is None


def test_a_jitter_that_is_longer_than_the_distance_of_two_windows_keeps_their_order_over_a_clock_change() -> None:
    spread = schedule(cron="0,15,30,45 * * * *", timezone="Australia/Lord_Howe", jitter="10 h")
    windows = list(islice(spread.windows_after(utc("2026-04-04T10:00")), 30))
    fires = [spread.fires_at(window) for window in windows]
    assert all(window <= fire < following for window, fire, following in zip(windows, fires, windows[1:], strict=False))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"every": None}, "schedule 'k': either every= or cron= must be given, got neither"),
        ({"cron": "* * * * *"}, "schedule 'k': either every= or cron= must be given, got both"),
        ({"every": "0s"}, "every must be a whole number of milliseconds, at most 3650 days, got '0s'"),
        ({"every": timedelta(microseconds=1500)}, "every must be a whole number of milliseconds, at most 3650 days"),
        ({"every": "3651 days"}, "every must be a whole number of milliseconds, at most 3650 days, got '3651 days'"),
        ({"every": "soon"}, "schedule 'k': .*'soon'"),
        ({"every": 5}, "schedule 'k': .*'200ms'"),
        ({"jitter": "1h"}, "jitter must be shorter than every='1h', got '1h'"),
        ({"jitter": "-1s"}, "schedule 'k': .*'-1s'"),
        (
            {"every": None, "cron": "* * * * *", "jitter": timedelta(days=3651)},
            "jitter must be at most 3650 days, got ",
        ),
        ({"backfill": -1}, "backfill must be 0-1000 windows, got -1"),
        ({"backfill": 1001}, "backfill must be 0-1000 windows, got 1001"),
        ({"backfill": "3"}, "backfill must be 0-1000 windows, got '3'"),
        ({"overlap": "wait"}, "overlap must be 'allow' or 'skip', got 'wait'"),
        ({"timezone": "Europe/Berlin"}, "timezone must be left out with every=, which counts in UTC, got "),
        ({"every": None, "cron": "61 * * * *"}, "schedule 'k': cron must be five fields .*: Bad minute"),
        ({"every": None, "cron": "0 0 30 2 *"}, "schedule 'k': cron must be five fields .*: Bad day-of-month"),
        ({"every": None, "cron": "0 0 * * *", "timezone": "Mars/Olympus"}, "timezone must be the name of .*'Mars/Olym"),
        ({"key": ""}, "the key of a schedule must be printable text of 1-200 bytes in UTF-8, got ''"),
        ({"key": "a\n"}, "the key of a schedule must be printable text of 1-200 bytes in UTF-8, got "),
        ({"key": "k" * 201}, "the key of a schedule must be printable text of 1-200 bytes in UTF-8, got "),
        ({"key": 7}, "the key of a schedule must be printable text of 1-200 bytes in UTF-8, got 7"),
    ],
)
def test_a_schedule_that_cannot_fire_or_contradicts_itself_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        Schedule(**{"key": "k", "workflow": "w", "every": "1h"} | options)


def test_a_schedule_may_be_copied_with_another_expression() -> None:
    nightly = schedule(cron="0 3 * * *", timezone="Europe/Berlin")
    later = replace(nightly, cron="0 4 * * *")
    assert next(later.windows_after(NOON)) == next(nightly.windows_after(NOON)) + timedelta(hours=1)
    assert replace(later, cron="0 3 * * *") == nightly
    assert "CronExpression" not in repr(nightly)
