"""Durations as users write them: a `timedelta`, or a string such as "200ms", "1.5 h" or "3 days"."""

import re
from datetime import timedelta

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


def parse_duration(value: Duration) -> timedelta:
    """The duration that `value` writes.

    A bare number is refused: it does not say its unit.

    Raises:
        ValueError: `value` is negative, or not a duration.
    """
    if isinstance(value, timedelta):
        if value < timedelta(0):
            raise ValueError(f"a duration cannot be negative: {value!r}")
        return value
    match = _PATTERN.fullmatch(str(value))
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"a duration is a timedelta or a string such as '200ms', '30s' or '3 days', not {value!r}")
    try:
        return float(match[1]) * unit
    except OverflowError as error:
        raise ValueError(f"the duration {value!r} is longer than Python's timedelta can hold") from error
