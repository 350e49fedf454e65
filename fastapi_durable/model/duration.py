"""Durations as users write them: a `timedelta`, or a string such as "200ms", "1.5 h" or "3 days"."""

import re
from datetime import timedelta

from fastapi_durable.model.text import shown

_UNITS: dict[str, timedelta] = {
    unit: length
    for length, units in (
        (timedelta(milliseconds=1), ("ms", "millisecond", "milliseconds")),
        (timedelta(seconds=1), ("s", "sec", "secs", "second", "seconds")),
        (timedelta(minutes=1), ("m", "min", "mins", "minute", "minutes")),
        (timedelta(hours=1), ("h", "hr", "hrs", "hour", "hours")),
        (timedelta(days=1), ("d", "day", "days")),
        (timedelta(weeks=1), ("w", "week", "weeks")),
    )
    for unit in units
}
_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.IGNORECASE)

Duration = timedelta | str

LONGEST = timedelta(days=36_525)
"""A hundred years. Every database can store, and compute with, a moment that far ahead."""


def parse_duration(value: Duration) -> timedelta:
    """Return the duration of `value`.

    A bare number is refused: it does not say its unit.

    Raises:
        ValueError: `value` is not a duration, negative, or longer than a hundred years.
    """
    if isinstance(value, timedelta):
        return _checked(value, value)
    match = _PATTERN.fullmatch(str(value))
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(
            f"a duration must be a timedelta or a string such as '200ms', '30s' or '3 days', got {shown(value)}"
        )
    try:
        return _checked(float(match[1]) * unit, value)
    except OverflowError as error:
        raise ValueError(_too_long(value)) from error


def _checked(duration: timedelta, given: Duration) -> timedelta:
    if duration < timedelta(0):
        raise ValueError(f"a duration must not be negative, got {shown(given)}")
    if duration > LONGEST:
        raise ValueError(_too_long(given))
    return duration


def _too_long(given: Duration) -> str:
    return f"a duration must be at most {LONGEST.days} days, got {shown(given)}. For no limit, pass None"
