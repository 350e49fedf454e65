"""The windows of a schedule: intervals, cron expressions, clock changes, jitter, what was missed."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any

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


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"every": "1h", "cron": "* * * * *"},
        {"every": "0s"},
        {"every": "1h", "jitter": "1h"},
        {"every": "1h", "backfill": -1},
        {"every": "1h", "overlap": "wait"},
        {"cron": "61 * * * *"},
        {"cron": "every day"},
        {"cron": "0 0 31 2 *"},
        {"cron": "0 0 * * *", "timezone": "Mars/Olympus"},
        {"cron": "0 0 * * *", "timezone": "../etc/passwd"},
    ],
)
def test_a_schedule_that_cannot_fire_or_contradicts_itself_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        schedule(**options)
