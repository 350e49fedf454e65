"""Durations as users write them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastapi_durable.model.duration import LONGEST, Duration, parse_duration

UNITS = {
    "ms": timedelta(milliseconds=1),
    "milliseconds": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "sec": timedelta(seconds=1),
    "second": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "min": timedelta(minutes=1),
    "minutes": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "hr": timedelta(hours=1),
    "hours": timedelta(hours=1),
    "d": timedelta(days=1),
    "days": timedelta(days=1),
    "w": timedelta(weeks=1),
    "weeks": timedelta(weeks=1),
}


@given(number=st.integers(0, 5_000), unit=st.sampled_from(sorted(UNITS)), space=st.sampled_from(["", " ", "  "]))
def test_a_number_with_a_unit_is_that_many_units(number: int, unit: str, space: str) -> None:
    for text in (f"{number}{space}{unit}", f" {number}{space}{unit.upper()} "):
        assert parse_duration(text) == number * UNITS[unit]


@given(st.timedeltas(min_value=timedelta(0), max_value=LONGEST))
def test_a_timedelta_stays_as_it_is(duration: timedelta) -> None:
    assert parse_duration(duration) == duration


@given(st.timedeltas(max_value=timedelta(microseconds=-1)))
def test_a_negative_duration_is_refused(duration: timedelta) -> None:
    with pytest.raises(ValueError, match="negative"):
        parse_duration(duration)


def test_fractions_are_understood() -> None:
    assert parse_duration("1.5 h") == timedelta(minutes=90)
    assert parse_duration("0.25s") == timedelta(milliseconds=250)


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        assert parse_duration(text) >= timedelta(0)
    except ValueError:
        pass


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "5 parsecs", "1h 30m", "nan s", "inf s", "1e3 s", "0x5s", "٣"])
def test_what_does_not_say_its_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration must be"):
        parse_duration(text)


@pytest.mark.parametrize("value", [5, 2.5, None, True])
def test_a_bare_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="a duration must be"):
        parse_duration(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [f"{10**12} days", "9" * 400 + " s", "36526 days", timedelta.max])
def test_a_duration_beyond_a_hundred_years_is_refused(value: Duration) -> None:
    """Added to a moment, it would end in a year that no database column and no `datetime` can hold."""
    with pytest.raises(ValueError, match="at most 36525 days"):
        parse_duration(value)
